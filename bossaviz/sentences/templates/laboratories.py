"""Simulated responses, and the coverage and power laboratories."""

TEMPLATES = {
    "SM1": (
        "If the fitted model were the truth, a new {response} for {who} would be {mean} {unit} on "
        "average, and between {lo} and {hi} in {level} of worlds."
    ),
    "SM2": (
        "Simulated responses come from the fitted model, so testing them tests nothing about the world. "
        "Fit the model to real data, or use the power laboratory."
    ),
    "SM3": (
        "{hit} of {R} intervals caught the true value: {cov}% against the {level} promised. All misses "
        "but {right} fell {side} it."
    ),
    "SM4": (
        "{hit} of {R} intervals caught the true value ({cov}%). With {R} samples, chance alone moves "
        "that share by about ±{two_mcse} points, so {level} is not contradicted."
    ),
    "SM5": (
        "With {n} per group and a true difference of {delta} {unit}, {pct}% of simulated studies give p "
        "below {alpha}. The others would miss a difference that is there."
    ),
    "SM6": (
        "With no true difference, {pct}% of simulated studies still give p below {alpha}. That is the "
        "promise of the method, not a fault in the data."
    ),
    "SM7": (
        "Among simulated studies of {n} per group with p below {alpha}, the difference averages {exag} "
        "{unit}; the truth is {delta}. A small study that clears the bar overstates."
    ),
}
