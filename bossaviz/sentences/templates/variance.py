"""Variance components of mixed models."""

TEMPLATES = {
    "VA1": (
        "{effect} ({level} profile interval {ci}). The longer {side} arm is real: large spreads are "
        "harder to rule out than small ones."
    ),
    "VA2": (
        "{effect} ({level} profile interval 0 to {hi}). The data are compatible with no variation "
        "between {groups} and with a spread of {hi}."
    ),
    "VA3": (
        "Repeated measurements of one {group} scatter around its own line with a standard deviation of "
        "{est} {unit} ({level} profile interval {ci})."
    ),
    "VA4": (
        "The correlation between a {group}'s {a} and its {b} is {est} ({level} profile interval {ci}): "
        "{k} {groups} say little about its sign."
    ),
    "VA5": (
        "{Groups} differ in {event} with a standard deviation of {est} on the log-odds scale ({level} "
        "profile interval {ci}); two-thirds of {groups} lie within {lo} to {hi} in period 1."
    ),
    "VA6": (
        "{effect} ({level} {ci_name} interval {ci}). In {share} of {B} simulated data sets the spread "
        "came out as exactly 0, so little is known about it."
    ),
    "VA7": (
        "The estimated spread between {groups} is 0: differences as large as those seen arise from the "
        "other variation alone. That is an estimate, not proof that {groups} are alike."
    ),
    "VA8": (
        "The estimated correlation is {est}, the edge of what is possible: {k} {groups} cannot support a "
        "separate {what}. Other estimates are usable; consider `||`."
    ),
    "VA9": (
        "{effect} ({level} profile interval {ci}). Only {k} {groups} speak to this number, so the "
        "interval is wide whatever the number of measurements."
    ),
    "VA10": (
        "{effect}. A symmetric standard error misleads for a spread, which cannot be negative: use "
        "`profile` or `boot` for an interval."
    ),
    "VA11": (
        "About {pct}% of the variation left after the fixed effects lies between {groups}; the rest lies "
        "within them."
    ),
    "VA12": (
        "{effect}. If the true spread were 0, data this far from it would turn up in about {freq} "
        "samples ({p}, halved because a spread cannot be negative)."
    ),
    "VA13": (
        "{effect}, and by at most {bound} (one-sided {level} profile limit). The lower end is 0, as low "
        "as a spread can go."
    ),
    "VA14": (
        "Shuffling and cross-validation speak about terms and predictions, not about a spread. Use "
        "`profile` or `boot` for its interval."
    ),
}
