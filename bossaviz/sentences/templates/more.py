"""Expansions behind "why?"; each is shown when its condition holds."""

TEMPLATES = {
    "M1": (
        "If the whole study were repeated many times, about {level} of the intervals made this way would "
        "hold the true {quantity}. This one either does or does not."
    ),
    "M2": (
        "The p-value says how often an estimate this many standard errors out, or more, would appear if "
        "the null and the rest of the model held. It is not the chance that the null is true."
    ),
    "M3": (
        "Chance in the draws alone may move these limits by about {two_mcse} {unit}; drawing more "
        "shrinks that. It is not the uncertainty about the {quantity}: only more {units} shrink the "
        "interval."
    ),
    "M4": (
        "Another {B} shuffles would mostly put p between {lo} and {hi}. That range is about the "
        "shuffling, not about the {units}."
    ),
    "M5": "The real data count as one arrangement, so p = ({c} + 1) / ({B} + 1) and can never be 0.",
    "M6": "Read from the same draws, the p-value for a true {quantity} of {null} is {p}.",
    "M7": "One dot is {one_dot}.",
    "M8": "Held fixed: {others}. Without them the estimate would answer a different question.",
    "M9": (
        "Percentile takes the middle of the dots; BCa also corrects for bias and skew; basic mirrors the "
        "dots around the estimate; studentized rescales each dot by its own error."
    ),
    "M10": (
        "With {m} comparisons, unadjusted intervals would too often miss at least one true difference. "
        "{Adjust} widens them so that all {m} hold together {level} of the time."
    ),
    "M11": "Odds are not probabilities: at a probability of {p0}, odds multiplied by {or} make it {p1}.",
    "M12": (
        "Robust errors keep the estimate and let the scatter differ from row to row; with few rows they "
        "can still be too small."
    ),
    "M13": (
        "At each value of the {quantity} everything else is refitted; the limits are where the fit has "
        "worsened by {thr}."
    ),
    "M14": (
        "Cross-validation asks whether a term helps predict new {units}, p asks whether the data fit a "
        "null. The answers may differ."
    ),
    "M15": (
        "The confidence interval narrows as {units} are added; the prediction interval cannot become "
        "narrower than the scatter of single {units}."
    ),
    "M16": "n = {n} {units} were measured; B = {B} draws were made by computer. Only n is evidence.",
    "M17": (
        "Rows of one {group} resemble each other; drawing rows one by one pretends they do not and "
        "halves the spread here ({se_rows} against {se_cluster} {unit})."
    ),
    "M18": (
        "The {units} were observed, not assigned, so other differences between them may be part of this "
        "number."
    ),
    "M19": (
        "Cases were sought out, so predicted probabilities describe this sample, not the population. "
        "Odds ratios carry over."
    ),
    "M20": "These probabilities are for a typical {group}; averaged over {groups} they are {avg}.",
    "M21": (
        "The model assumes the same scatter in every {group}; resampling whole {groups} does not, and "
        "gives {a} instead of {b} for the standard error of {what}."
    ),
}
