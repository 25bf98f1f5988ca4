"""Bootstrap p-values: the smallest alpha whose interval, of the type shown, leaves the null out."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from inference_core.errors import InferenceError
from inference_core.states.base import Array

from .limits import Material
from .requirements import ALTERNATIVES, CI_TYPES


def p_value(
    ci_type: str,
    samples: Array,
    observed: Array,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    *,
    level: float = 0.95,
    **parts: Any,
) -> Array:
    """(p,) p-values that agree with the limits of ``ci_type``: p < alpha exactly when the limits exclude ``null``.

    Parameters
    ----------
    ci_type, samples, observed, alternative
        As in :func:`interval`, and so are ``parts``: jackknife, se_draws, se_observed, df, n, inflation.
    null : float or (p,)
        The value under test.
    level : float
        Only BCa looks at it: its fall-backs are judged at the limits of this level.

    Returns
    -------
    (p,)
        Never 0: at least 1 / (B + 1) in each tail; NaN for a statistic without draws.
    """
    return p_from(Material.of(samples, observed, **parts), ci_type, null, alternative, level)


def p_from(m: Material, ci_type: str, null: float | Array, alternative: str, level: float = 0.95) -> Array:
    """(p,) the p-values of :func:`p_value` from material that is at hand."""
    rule = _RULES.get(ci_type)
    if rule is None or alternative not in ALTERNATIVES:
        raise InferenceError(
            asked=f"a p-value for ci_type={ci_type!r}, alternative={alternative!r}",
            found=f"types are {', '.join(CI_TYPES)}; alternatives are {', '.join(ALTERNATIVES)}",
            remedy="ci_type='percentile', alternative='two-sided'",
        )
    if m.size < 2:
        return np.full(m.p, np.nan)
    above, below = rule(m, _null_of(m, null), level, alternative)
    if alternative == "greater":
        return m.spread(above)
    if alternative == "less":
        return m.spread(below)
    return m.spread(np.minimum(1.0, 2.0 * np.minimum(above, below)))


def p_value_mcse(m: Material, ci_type: str, p: Array, null: float | Array, alternative: str) -> Array:
    """(p,) Monte-Carlo standard errors of p-values: those of the share of draws beyond the null.

    2 sqrt(u (1 - u) / B) with u = p / 2, or sqrt(u (1 - u) / B) one-sided; for the normal type by the delta method.
    """
    size = m.size
    if size < 2:
        return np.full(m.p, np.nan)
    sides = 2.0 if alternative == "two-sided" else 1.0
    if ci_type == "normal":
        z = _normal_z(m, _null_of(m, null))
        spread = np.sqrt(1.0 / size + (z * m.sd_mcse / m.sd) ** 2)
        return m.spread(sides * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) * spread)
    u = p / sides
    return sides * np.sqrt(u * (1.0 - u) / size)


# Each rule gives the one-sided p-values (above, below), both (k,): against a value above the null, and below it.
# Among draws tied with the null the rank that is nearer the middle counts: the interval holds its end points.


def _percentile(m: Material, null: Array, *_: Any):
    return m.ordered.rank(null, "right"), 1.0 - m.ordered.rank(null, "left")


def _basic(m: Material, null: Array, *_: Any):
    below, above = _percentile(m, 2.0 * m.observed - null)
    return above, below


def _expanded(m: Material, null: Array, *_: Any):
    above, below = _percentile(m, null)
    return _shrink(m, above), _shrink(m, below)


def _shrink(m: Material, share: Array) -> Array:
    """The nominal tail probability whose expanded level is ``share``."""
    z = ndtri(share) / np.sqrt(m.inflation)
    finite = np.isfinite(m.df)
    return np.where(finite, stdtr(np.where(finite, m.df, 1.0), z), ndtr(z))


def _normal(m: Material, null: Array, *_: Any):
    z = _normal_z(m, null)
    tiny = np.finfo(float).tiny
    return np.maximum(ndtr(-z), tiny), np.maximum(ndtr(z), tiny)


def _normal_z(m: Material, null: Array) -> Array:
    return (2.0 * m.observed - m.mean - null) / m.sd


def _studentized(m: Material, null: Array, *_: Any):
    pivots, se = m.studentized()
    if pivots.size < 2:
        nothing = np.full(len(m.columns), np.nan)
        return nothing, nothing
    at = (m.observed - null) / se
    return 1.0 - pivots.rank(at, "left"), pivots.rank(at, "right")


def _bca(m: Material, null: Array, level: float, alternative: str):
    constants = m.bca(level, alternative)
    right, left = m.ordered.rank(null, "right"), m.ordered.rank(null, "left")
    floor = 1.0 / (m.size + 1)
    above = np.maximum(ndtr(constants.nominal_z(right)), floor)
    below = np.maximum(ndtr(-constants.nominal_z(left)), floor)
    fallback = _expanded(m, null)
    usable = constants.usable
    return np.where(usable, above, fallback[0]), np.where(usable, below, fallback[1])


def _null_of(m: Material, null: float | Array) -> Array:
    return np.broadcast_to(np.asarray(null, float), (m.p,))[m.columns]


_RULES = {
    "percentile": _percentile,
    "basic": _basic,
    "normal": _normal,
    "bca": _bca,
    "studentized": _studentized,
    "expanded": _expanded,
}
