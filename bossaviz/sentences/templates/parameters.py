"""Parameters: how the estimate of one coefficient is said (asymp, boot, perm, profile)."""

TEMPLATES = {
    "PA1": (
        "{effect} ({level} confidence interval {ci}). If the true {quantity} were {null}, {freq} samples "
        "would give one at least this far from it ({p})."
    ),
    "PA2": (
        "{effect} ({level} confidence interval {ci_words}). If the true {quantity} were {null}, {freq} "
        "samples would lie at least this far from it ({p}): the direction is not settled."
    ),
    "PA3": (
        "{effect} ({level} confidence interval {ci_words}). Samples like this are common when the true "
        "{quantity} is {null} ({p}); the same goes for other values well inside that interval."
    ),
    "PA4": (
        "{effect} ({level} confidence interval {ci_words}). One end lies almost on {null}: read this as "
        "borderline, whichever side of {alpha} the p-value falls ({p})."
    ),
    "PA5": (
        "{effect}, and by at least {bound} (one-sided {level} limit). If the true {quantity} were {null} "
        "or higher, at most {freq_n} samples would give one this low ({p})."
    ),
    "PA6": (
        "{effect}, and by at most {bound} (one-sided {level} limit). If the true {quantity} were {null} "
        "or lower, at most {freq_n} samples would give one this high ({p})."
    ),
    "PA7": (
        "{effect}: the opposite side of {null} from the one asked about. The one-sided p is therefore "
        "large ({p}); it does not test the direction that was seen."
    ),
    "PA8": (
        "{effect} ({level} confidence interval {ci}). If the true {quantity} were {null}, {freq} samples "
        "would give one at least this far from {null} ({p})."
    ),
    "PA9": "{effect} ({level} confidence interval {ci}).",
    "PA10": "When {zeros}, the model puts {response} at {est} {unit} ({level} confidence interval {ci}).",
    "PA11": (
        "The intercept ({est} {unit}) is the model's value when {zeros}, which no row comes near. Read "
        "it as where the line starts, not as a finding."
    ),
    "PA12": (
        "Going from {a0} to {a1} changes {response} by {d0} at {b0} and by {d1} at {b1}. Those changes "
        "differ by {est} ({level} confidence interval {ci}; {p} for equal changes)."
    ),
    "PA13": (
        "For each extra {step}, {response} changes by {d0} {unit} {in_a} and {d1} {in_b}: a difference "
        "of {est} ({level} confidence interval {ci}; {p} for equal slopes)."
    ),
    "PA14": (
        "Across the ordered levels of {x}, {response} {rises_falls} in the main (straight-line contrast "
        "{est}, {level} confidence interval {ci}). The contrast has no unit per step; ask for the means "
        "to see sizes."
    ),
    "PA15": (
        "{effect} ({level} confidence interval {ci}, {df} degrees of freedom from {k} {groups}). If the "
        "true slope were {null}, {freq} samples would lie this far off ({p})."
    ),
    "PA16": (
        "For each extra {step}, the odds of {event} are multiplied by {or} ({level} confidence interval "
        "{ci}{held}). At a true ratio of 1, {freq} samples would lie this far from it ({p})."
    ),
    "PA17": (
        "The odds of {event} in {level_a} are {or} times those in {ref} ({level} confidence interval "
        "{ci}). At a true ratio of 1, {freq} samples would lie this far from it ({p})."
    ),
    "PA18": (
        "The expected number of {count} at {level_a} is {rr} times that at {ref} ({level} confidence "
        "interval {ci}). At a true ratio of 1, {freq} samples would lie this far from it ({p})."
    ),
    "PA19": (
        "{effect} ({level} confidence interval {ci}, {type} errors, which allow unequal scatter). The "
        "standard error is {ratio} times the usual one; {p} for a true ratio of 1."
    ),
    "PA20": (
        "{effect} ({level} confidence interval {ci}; {type} errors over {k} {groups}, {df} degrees of "
        "freedom). {p} for a true difference of {null}."
    ),
    "PA21": (
        "For each standard deviation of {x} ({sd} {x_unit}), {response} {rises_falls} by {est} {unit} "
        "({level} confidence interval {ci})."
    ),
    "PA22": (
        "{term} repeats what {others} already say, so the data give it no estimate of its own. The fit "
        "and the other estimates are unaffected."
    ),
    "PA23": (
        "{x} sorts {event} perfectly for {which}, so the best slope is infinite and no finite estimate, "
        "standard error or Wald p describes it. Use a profile interval or merge levels."
    ),
    "PB1": (
        "{effect} ({level} {ci_name} interval {ci}). {drawn_s}, and the {quantity} had a standard error "
        "of {se} {unit} across them."
    ),
    "PB2": (
        "{effect} ({level} {ci_name} interval {ci}). {drawn_s}, and the {quantity} had a standard error "
        "of {se} {unit} across them."
    ),
    "PB3": (
        "{effect} ({level} {ci_name} interval {ci}). {drawn_s}, and the {quantity} had a standard error "
        "of {se} {unit} across them."
    ),
    "PB4": "{effect}, and by at least {bound} (one-sided {level} {ci_name} limit from {B} resamples).",
    "PB5": (
        "{effect}. In none of {B} resamples did the {quantity} reach {null}, so the bootstrap p is at "
        "its floor for this many: {p}."
    ),
    "PB6": (
        "{effect}. The {stop} intervals stop short of {null}; the {cross} ones cross it, so the answer "
        "depends on the method: call it borderline."
    ),
    "PB7": (
        "{effect}. After only {B} resamples a limit may still move by about {mc} {unit} through chance "
        "draws alone: add resamples before reading the interval."
    ),
    "PB8": (
        "{effect}. Resamples centre on {boot_mean}, {bias} {unit} away, more than a quarter of a "
        "standard error: prefer a {better} interval to the percentile one."
    ),
    "PB9": (
        "Only {k} {groups} can be redrawn, so the bootstrap sees few different worlds and its interval "
        "tends to be too narrow. Prefer {better}."
    ),
    "PB10": "{effect}. No resample has been drawn yet: press +1 and watch one dot appear.",
    "PB11": (
        "One resample drawn: its {quantity} is {value} {unit}, the estimate from the real data is {est}. "
        "One dot is one {quantity} from one resample."
    ),
    "PB12": (
        "Dot {i}: the {quantity} is {value} {unit} in this resample of {n} {units}; {distinct} different "
        "{units} are in it, some more than once."
    ),
    "PP1": (
        "{effect}. With labels shuffled, as if {x} made no difference, {c_of_B} shuffles gave a {stat} "
        "at least this far from {null} ({p})."
    ),
    "PP2": (
        "{effect}. With labels shuffled, as if {x} made no difference, {c_of_B} shuffles gave a {stat} "
        "this low or lower ({p})."
    ),
    "PP3": (
        "{effect}: the opposite side from the one asked about. With labels shuffled, {c_of_B} shuffles "
        "gave a {stat} this high or higher ({p})."
    ),
    "PP4": (
        "{effect}. With responses shuffled, as if no predictor mattered, none of {B} shuffles gave a "
        "t-value this far from {null}: {p}, the smallest possible with {B}."
    ),
    "PP5": (
        "{effect}. With responses shuffled, as if no predictor mattered, {c_of_B} shuffles gave a "
        "t-value at least this far from {null} ({p})."
    ),
    "PP6": (
        "{effect}. Keeping the other terms and shuffling what they leave unexplained, {c_of_B} shuffles "
        "gave a t-value at least this far from {null} ({p})."
    ),
    "PP7": (
        "{effect}. All {N} ways of dealing out the labels were tried: {c} of them, the real one "
        "included, give a difference at least this large ({p}, exact)."
    ),
    "PP8": (
        "{effect}. Of all {N} ways of dealing out the labels, {c}, the real one included, give a "
        "difference this {high_low} ({p}, exact)."
    ),
    "PP9": (
        "{effect}. Responses were shuffled within each {group} only, as if {x} did not matter: {c_of_B} "
        "shuffles gave a t-value this far from {null} ({p})."
    ),
    "PP10": (
        "{effect}. With a slope of {null} taken out of the responses and the rest shuffled, {c_of_B} "
        "shuffles gave a t-value at least this far from it ({p})."
    ),
    "PP11": (
        "{effect}. Shuffles often look like this ({p}), so these data cannot tell which way the "
        "difference goes; they do not show that it is {null}."
    ),
    "PP12": (
        "With {B} shuffles the smallest possible p is {floor}. Draw at least {need} to be able to see p "
        "below {alpha}."
    ),
    "PP13": (
        "{effect}. Shuffles put p at {p_perm}, the model's formula at {p_wald}: responses scatter more "
        "than a {family} model allows, so trust the shuffles."
    ),
    "PP14": (
        "One shuffle done: with the labels dealt out at random the {stat} is {value}; with the real "
        "labels it is {est}. One dot is one pretend world where {x} makes no difference."
    ),
    "FP1": (
        "{effect} ({level} profile interval {ci}). Moving the coefficient beyond these limits worsens "
        "the best possible fit by more than {thr} deviance units."
    ),
    "FP2": (
        "{effect} ({level} profile interval {ci}). The Wald interval {wald} is drawn beside it; the "
        "profile has the model's own shape."
    ),
    "FP3": (
        "{effect}. The profile interval is {ci}, the Wald interval {wald}: the fit worsens faster on one "
        "side, so the symmetric one misplaces the limits."
    ),
    "FP4": (
        "{effect}. On the {side} side the fit never worsens by {thr} deviance units, so the {level} "
        "interval has no {side} end."
    ),
    "FP5": (
        "{effect}, and by at least {bound} (one-sided {level} profile limit). Below that, the best "
        "possible fit is worse by more than {thr} deviance units."
    ),
}
