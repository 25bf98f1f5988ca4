"""English for codes: interval types, reasons, remedies, quantities, schemes. Another language is another module."""

from __future__ import annotations

from .situation import Situation

CI_NAMES = {
    "percentile": "percentile bootstrap",
    "basic": "basic bootstrap",
    "normal": "normal bootstrap",
    "bca": "BCa bootstrap",
    "studentized": "studentized bootstrap",
    "expanded": "expanded percentile bootstrap",
}
CI_SHORT = {
    "percentile": "percentile",
    "basic": "basic",
    "normal": "normal",
    "bca": "BCa",
    "studentized": "studentized",
    "expanded": "expanded",
    "wald": "Wald",
    "profile": "profile",
}
REASONS = {
    "": "no reason given",
    "no convergence": "no convergence",
    "separation": "separation",
    "a column lost its variation": "a column lost its variation",
    "the refit failed": "the refit broke off",
}
REMEDIES = {
    "": "Resample within levels, or simplify the formula.",
    "separation": "Merge levels, or simplify the formula.",
    "a column lost its variation": "Resample within levels, or simplify the formula.",
    "no convergence": "Rescale the predictors, or simplify the formula.",
}
BETTER = {"": "a profile interval", "a column lost its variation": "a formula-based interval"}
SCHEMES = {
    "case": "case resampling",
    "parametric": "data sets from the fitted model",
    "cluster": "cluster resampling",
    "residual": "residual resampling",
    "wild": "wild resampling",
}
QUANTITIES = {
    "slope": "slope",
    "scaled": "slope",
    "level": "difference",
    "average": "difference",
    "mean": "mean",
    "intercept": "intercept",
    "levels_by_levels": "difference",
    "slopes_by_levels": "difference",
    "ordered": "contrast",
    "curve": "curvature",
    "smooth": "coefficient",
    "coefficient": "coefficient",
    "spread": "standard deviation",
    "correlation": "correlation",
    "scatter": "standard deviation",
}
SHAPES = {1: "straight-line", 2: "curved", 3: "S-shaped"}


def quantity(s: Situation) -> str:
    """What the number is, for "if the true … were": slope, difference, ratio, mean."""
    if s.is_ratio and s.kind not in ("intercept", "mean"):
        return "ratio"
    if s.kind == "curve" and s.degree == 1:
        return "coefficient"
    return QUANTITIES[s.kind]


def drawn_quantity(s: Situation) -> str:
    """The same for one draw: an odds ratio says which ratio."""
    return "odds ratio" if s.scale == "odds" and quantity(s) == "ratio" else quantity(s)


def reason(s: Situation) -> str:
    """Why refits failed, in words; a reason that has no entry is said as it stands."""
    return REASONS.get(s.reason, s.reason)


def setting(name: str, value: object) -> str:
    """A setting of a panel as the stale sentence says it: "cluster resampling", "seed 7", "a level of 95%"."""
    if name == "scheme":
        return SCHEMES.get(str(value), str(value))
    if name == "how":
        return str(value)
    return f"{name.replace('_', ' ')} {value}"
