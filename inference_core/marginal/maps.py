"""The monotone maps that a row of effects may have, by name, and what a null value means under each."""

from __future__ import annotations

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families.family import Family
from inference_core.states import Array, ModelSpec

from .options import INVERSES
from .quantity import Function

_FORWARD = {"log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sqrt": np.sqrt}


def map_named(name: str, spec: ModelSpec, family: Family) -> tuple[Function, Function]:
    """The map from the linear predictor to the scale of the effect, and its derivative."""
    if name == "exp":
        return np.exp, np.exp
    if name == "inverse_link":
        return family.link.inverse, family.link.derivative
    if name == "inverse_response":
        return INVERSES[str(spec.response_transform)]
    return (lambda eta: eta), np.ones_like


_UNIT = (0.0, 1.0)
_IMAGE = {
    "log": (0.0, np.inf), "sqrt": (0.0, np.inf), "inverse_squared": (0.0, np.inf), "logit": _UNIT, "probit": _UNIT,
    "cloglog": _UNIT, "cauchit": _UNIT,
}  # fmt: skip


def range_of(name: str, spec: ModelSpec, family: Family) -> tuple[float, float]:
    """Open interval of values that a map can give."""
    if name == "exp":
        return 0.0, np.inf
    if name == "inverse_response":
        return (-1.0, np.inf) if spec.response_transform == "log1p" else (0.0, np.inf)
    if name == "identity":
        return -np.inf, np.inf
    low, high = _IMAGE.get(family.link.name, (-np.inf, np.inf))
    return max(low, family.mean_range[0]), min(high, family.mean_range[1])


def falls(name: str, family: Family) -> bool:
    """Whether a map turns around: the larger the linear predictor, the smaller the effect."""
    return name == "inverse_link" and family.link.name in ("inverse", "inverse_squared")


def mapped(name: str, spec: ModelSpec, family: Family, eta: Array) -> Array:
    """A map with its ends: limits at infinity, or beyond what the link can have, are the ends of the effect's range."""
    inverse, _ = map_named(name, spec, family)
    low, high = (-np.inf, np.inf)
    if name == "inverse_link":
        low, high = family.eta_bounds
    elif name == "inverse_response" and spec.response_transform == "sqrt":
        low = 0.0
    first, last = range_of(name, spec, family)
    if falls(name, family):
        first, last = last, first
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        value = inverse(np.where((eta > low) & (eta < high), eta, np.nan))
    value = np.where(eta <= low, first, np.where(eta >= high, last, value))
    return np.where(np.isnan(eta), np.nan, value)


def to_link(name: str, spec: ModelSpec, family: Family, null: Array) -> tuple[Array, Array, str | None]:
    """Null values on the scale of the linear predictor, the same on the scale of the effect, and a note.

    A null of 0 that the effect cannot take stands for "no effect": 0 on the scale of the linear predictor.

    Raises
    ------
    InferenceError
        A value that the effect cannot take.
    """
    inverse, _ = map_named(name, spec, family)
    low, high = range_of(name, spec, family)
    outside = (null <= low) | (null >= high)
    if np.any(outside & (null != 0)):
        bad = float(null[outside & (null != 0)][0])
        raise InferenceError(f"null={bad:g}", f"these effects lie between {low:g} and {high:g}",
                             f"null={float(inverse(np.zeros(1))[0]):g}")  # fmt: skip
    standard = float(inverse(np.zeros(1))[0])
    shown = np.where(outside, standard, null)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "exp":
            inner = np.log(shown)
        elif name == "inverse_link":
            inner = family.link.link(shown)
        else:
            inner = _FORWARD[str(spec.response_transform)](shown)
    inner = np.where(outside, 0.0, inner)
    if not outside.any():
        return inner, shown, None
    if name == "exp":
        return inner, shown, "ratios are tested against 1"
    scale = spec.link if name == "inverse_link" else spec.response_transform
    return inner, shown, f"tested against {standard:g}, where the {scale} is 0; null= names another value"
