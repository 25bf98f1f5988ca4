"""Means, contrasts, slopes and joint tests: what `explore` says."""

TEMPLATES = {
    "EA1": "{effect} ({level} confidence interval {ci}).",
    "EA2": (
        "{effect} ({level} confidence interval {ci}). If the true difference were {null}, {freq} samples "
        "would give one at least this far from it ({p})."
    ),
    "EA3": (
        "{effect} ({level} interval {ci}, {adjust}-adjusted for {m} comparisons). Adjusted {p}: with all "
        "differences at {null}, {freq} samples would show any this extreme."
    ),
    "EA4": (
        "{effect} ({level} interval {ci_words}, {adjust}-adjusted for {m} comparisons; {p}). The data do "
        "not settle which of the two is higher."
    ),
    "EA5": (
        "{a} has {p_a} and {b} has {p_b}, but that does not show that they differ. Their difference is "
        "{est} ({level} confidence interval {ci_words}; {p})."
    ),
    "EA6": (
        "The odds of {event} in {A} are {or} times those in {B} ({level} confidence interval {ci}). At a "
        "true ratio of 1, {freq} samples would lie this far from it ({p})."
    ),
    "EA7": (
        "The expected {count} at {A} are {rr} times those at {B} ({level} confidence interval {ci}). The "
        "interval holds 1, that is equal rates: which is higher is not settled."
    ),
    "EA8": (
        "With one extra {step}, the predicted probability of {event} is {est} percentage points "
        "{higher_lower} on average ({level} {ci_name} interval {ci})."
    ),
    "EA9": (
        "{condition}, the predicted probability of {event} is {est} percentage points {higher_lower} for "
        "each extra {step} ({level} confidence interval {ci})."
    ),
    "EA10": (
        "{effect} ({level} {ci_name} interval {ci}). The same {B} simulated data sets serve every effect "
        "of this model."
    ),
    "EA11": (
        "{effect}. With responses shuffled, as if no predictor mattered, {c_of_B} shuffles gave a "
        "t-value at least this far from {null} ({p})."
    ),
    "EA12": (
        "{effect}. If the true mean were {null} or lower, at most {freq_n} samples would give one this "
        "high ({p})."
    ),
    "EA13": (
        "The {k} {term} means run from {lo} to {hi} {unit}. If they were all equal, F would be at least "
        "{F} in {freq} samples ({p}); the test does not say which means differ."
    ),
    "EA14": (
        "The effect of {a} changes by up to {est} {unit} between levels of {b}. If it were the same at "
        "every level, F would reach {F} in {freq} samples ({p})."
    ),
    "EA15": (
        "The {term} means differ by at most {est} {unit} after adjustment. F at least {F} is common when "
        "all are equal ({p}): these data cannot rank them."
    ),
    "EA16": (
        "{effect}, and by at least {bound} (one-sided {level} limit). If the true difference were {null} "
        "or lower, at most {freq_n} samples would give one this high ({p})."
    ),
}
