"""Confidence limits from draws: six types, one quantile rule, a Monte-Carlo error for each limit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import ndtri

from inference_core.errors import InferenceError
from inference_core.states.base import Array, Frozen

from .bca import BcaConstants, bca_constants, bias_correction
from .order import OrderedDraws, moments
from .requirements import CI_TYPES, tail_level, tails

__all__ = ["CI_TYPES", "IntervalResult", "Material", "interval"]

BLOCKS = 10  # BCa limits: the Monte-Carlo error is a delete-a-tenth jackknife over draws


@dataclass(frozen=True, slots=True, eq=False)
class IntervalResult(Frozen):
    """Limits of p statistics; NaN where there are none, infinite on the open side of a one-sided interval."""

    lower: Array  # (p,)
    upper: Array  # (p,)
    mcse_lower: Array  # (p,) Monte-Carlo standard errors
    mcse_upper: Array  # (p,)
    tail_draws: Array  # (p,) (B + 1) times the smaller tail level: how many draws the outer limit rests on
    notes: tuple[str, ...]  # (p,) "" or why the limits are not of the type that was asked for


@dataclass(frozen=True, slots=True, eq=False)
class Material(Frozen):
    """What limits and p-values are read from: B usable draws of k statistics that vary.

    ``columns`` are their positions among the p statistics. ``se_draws`` and ``se_observed`` serve the studentized
    interval, ``jackknife`` BCa, ``df`` and ``inflation`` the expanded one.
    """

    draws: Array  # (k, B) in the order they were drawn: reductions run along the contiguous axis
    observed: Array  # (k,)
    columns: Array  # (k,) int
    p: int
    size: int  # B
    ordered: OrderedDraws
    mean: Array  # (k,)
    sd: Array  # (k,)
    sd_mcse: Array  # (k,)
    jackknife: Array | None = None  # (n, k)
    df: float | Array = np.inf  # one for all, or (k,)
    inflation: float = 1.0
    pivots: OrderedDraws | None = None  # (t* - t) / se*
    se_observed: Array | None = None  # (k,)
    constants: dict[Any, BcaConstants] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        samples: Array,
        observed: Array,
        *,
        jackknife: Array | None = None,
        se_draws: Array | None = None,
        se_observed: Array | None = None,
        df: float | Array | None = None,
        n: int | None = None,
        inflation: float | None = None,
    ) -> Material:
        """Keep the usable draws (no NaN in the columns that are estimable) of the statistics that vary.

        An array of ``df`` (p,) gives each statistic its own; ``inflation`` then has to be given too.
        """
        samples, observed = np.asarray(samples, float), np.atleast_1d(np.asarray(observed, float))
        draws = np.ascontiguousarray(samples.reshape(len(samples), observed.size).T)  # also 0 draws
        p = len(draws)
        estimable, good = _usable(draws, observed)
        size = len(samples) if good is None else int(np.count_nonzero(good))
        if good is not None:
            draws = draws[:, good]
        if size:
            ordered = np.sort(draws, axis=1)
            estimable &= ordered[:, -1] > ordered[:, 0]
        columns = np.flatnonzero(estimable) if size > 1 else np.empty(0, np.intp)
        if len(columns) < p:
            draws = draws[columns]
            ordered = np.sort(draws, axis=1)
        mean, sd, sd_mcse = moments(draws)
        df = _own_df(df, columns)
        if inflation is None:
            inflation = n / df if n is not None and isinstance(df, float) and 0 < df < np.inf else 1.0
        pivots = None
        if se_draws is not None:
            se = np.asarray(se_draws, float).T[columns]
            pivots = _pivots(draws, observed[columns], se if good is None else se[:, good])
        return cls(
            draws=draws, observed=observed[columns], columns=columns, p=p, size=size, ordered=OrderedDraws(ordered),
            mean=mean, sd=sd, sd_mcse=sd_mcse,
            jackknife=None if jackknife is None else np.reshape(jackknife, (len(jackknife), p))[:, columns],
            df=df, inflation=float(inflation), pivots=pivots,
            se_observed=None if se_observed is None else np.atleast_1d(np.asarray(se_observed, float))[columns],
        )  # fmt: skip

    def bca(self, level: float, alternative: str) -> BcaConstants:
        """z0 and a, judged for the limits of ``level``; computed once."""
        key = (level, alternative)
        if key not in self.constants:
            low, high = tails(level, alternative)
            wanted = tuple(t for t in (low, None if high is None else 1.0 - high) if t is not None)
            self.constants[key] = bca_constants(self.ordered, self.observed, self.jackknife, wanted)
        return self.constants[key]

    def studentized(self) -> tuple[OrderedDraws, Array]:
        """The pivots and the standard errors of the data themselves.

        Raises
        ------
        InferenceError
            If the draws carry no standard errors.
        """
        if self.pivots is None or self.se_observed is None:
            raise InferenceError(
                asked="studentized limits",
                found="these draws carry no standard errors of their own",
                remedy="draw them again with ci_type='studentized', or read ci_type='expanded' off these draws",
            )
        return self.pivots, self.se_observed

    def spread(self, values: Any) -> Array:
        """(p,) with NaN for statistics that have no draws or do not vary."""
        out = np.full(self.p, np.nan)
        out[self.columns] = values
        return out


def interval(
    ci_type: str,
    samples: Array,
    observed: Array,
    level: float = 0.95,
    alternative: str = "two-sided",
    *,
    jackknife: Array | None = None,
    se_draws: Array | None = None,
    se_observed: Array | None = None,
    df: float | None = None,
    n: int | None = None,
    inflation: float | None = None,
    beyond: str = "extreme",
) -> IntervalResult:
    """Confidence limits of one type from (B, p) draws.

    Parameters
    ----------
    ci_type : {"percentile", "basic", "normal", "bca", "studentized", "expanded"}
    samples : (B, p)
        Draws; rows with NaN are left out.
    observed : (p,)
        The statistics of the data themselves.
    level : float
        Confidence level.
    alternative : {"two-sided", "greater", "less"}
        ``"greater"`` gives [lower, inf), ``"less"`` (-inf, upper].
    jackknife : (n, p), optional
        Leave-one-out estimates: the acceleration of BCa, 0 without them.
    se_draws, se_observed : (B, p) and (p,), optional
        Standard errors inside and outside the draws, by one formula; studentized needs them.
    df, n, inflation : optional
        Expanded: tail level Phi(-sqrt(c) t_df) with c = ``inflation``, or n / df.
    beyond : {"extreme", "null"}
        A limit further out than the outermost draw is that draw (as ``boot.ci`` has it), or NaN.

    Raises
    ------
    InferenceError
        For another ``ci_type``, or if its parts are missing.
    """
    material = Material.of(samples, observed, jackknife=jackknife, se_draws=se_draws, se_observed=se_observed,
                           df=df, n=n, inflation=inflation)  # fmt: skip
    return limits(material, ci_type, level, alternative, beyond)


def limits(
    material: Material, ci_type: str, level: float, alternative: str = "two-sided", beyond: str = "null"
) -> IntervalResult:
    """The limits of :func:`interval` from material that is at hand; nothing is sorted again."""
    rule = _RULES.get(ci_type)
    if rule is None:
        raise InferenceError(
            asked=f"ci_type={ci_type!r}", found=f"the types are {', '.join(CI_TYPES)}", remedy="ci_type='percentile'"
        )
    k = len(material.columns)
    notes = [""] * material.p
    if material.size < 2:
        nothing = np.full(material.p, np.nan)
        return IntervalResult(nothing, nothing, nothing, nothing, nothing, tuple(notes))
    sides, rests = [], np.full(k, np.inf)
    for sign, tail in zip((-1, 1), tails(level, alternative), strict=True):
        if tail is None:
            sides.append((np.full(k, sign * np.inf), np.zeros(k)))
            continue
        value, mcse, share = rule(material, tail, sign, level, alternative)
        draws = (material.size + 1) * share
        rests = np.minimum(rests, draws)
        if beyond == "null":
            value, mcse = np.where(draws < 1 - 1e-9, np.nan, value), np.where(draws < 1 - 1e-9, np.nan, mcse)
        sides.append((value, mcse))
    if ci_type == "bca":
        for column, reason in zip(material.columns, material.bca(level, alternative).reasons, strict=True):
            notes[column] = reason and f"bca_fallback: {reason}"
    (lower, mcse_lower), (upper, mcse_upper) = sides
    spread = material.spread
    return IntervalResult(spread(lower), spread(upper), spread(mcse_lower), spread(mcse_upper), spread(rests),
                          tuple(notes))  # fmt: skip


# Each rule gives one limit: (value, Monte-Carlo error, share of draws beyond it), all (k,). `sign` is -1 for the lower.


def _percentile(m: Material, tail: float, sign: int, *_: Any, ci_type: str = "percentile"):
    share = tail_level(ci_type, tail, m.df, m.inflation)
    at = share if sign < 0 else 1.0 - share
    return m.ordered.quantile(at), m.ordered.quantile_mcse(at), np.full(len(m.columns), share)


def _expanded(m: Material, tail: float, sign: int, *_: Any):
    return _percentile(m, tail, sign, ci_type="expanded")


def _basic(m: Material, tail: float, sign: int, *_: Any):
    value, mcse, share = _percentile(m, tail, -sign)
    return 2.0 * m.observed - value, mcse, share


def _normal(m: Material, tail: float, sign: int, *_: Any):
    z = ndtri(1.0 - tail)
    value = 2.0 * m.observed - m.mean + sign * z * m.sd
    return value, np.sqrt(m.sd**2 / m.size + (z * m.sd_mcse) ** 2), np.full(len(m.columns), np.inf)


def _studentized(m: Material, tail: float, sign: int, *_: Any):
    pivots, se = m.studentized()
    k = len(m.columns)
    if pivots.size < 2:
        return np.full(k, np.nan), np.full(k, np.nan), np.zeros(k)
    at = tail if sign > 0 else 1.0 - tail
    value = m.observed - pivots.quantile(at) * se
    return value, pivots.quantile_mcse(at) * se, np.full(k, tail * (pivots.size + 1) / (m.size + 1))


def _bca(m: Material, tail: float, sign: int, level: float, alternative: str):
    constants = m.bca(level, alternative)
    at = constants.level(tail if sign < 0 else 1.0 - tail)
    usable = constants.usable
    fallback = _expanded(m, tail, sign)
    with np.errstate(invalid="ignore"):
        at = np.where(usable, at, 0.5)
    value = np.where(usable, m.ordered.quantile(at), fallback[0])
    mcse = np.where(usable, _bca_mcse(m, constants, tail, sign), fallback[1])
    return value, mcse, np.where(usable, np.minimum(at, 1.0 - at), fallback[2])


def _bca_mcse(m: Material, constants: BcaConstants, tail: float, sign: int) -> Array:
    """(k,) delete-a-tenth jackknife over draws: z0 is estimated from them too."""
    k, size = m.draws.shape
    if size < 2 * BLOCKS or not k:
        return np.full(k, np.nan)
    block = np.argsort(m.draws, axis=1) % BLOCKS
    deleted = []
    for b in range(BLOCKS):
        rest = m.ordered.without(block == b)
        z0, _ = bias_correction(rest, m.observed)
        deleted.append(rest.quantile(replace(constants, z0=z0).level(tail if sign < 0 else 1.0 - tail)))
    return np.sqrt((BLOCKS - 1) / BLOCKS * ((np.array(deleted) - np.mean(deleted, axis=0)) ** 2).sum(0))


def _own_df(df: float | Array | None, columns: Array) -> float | Array:
    if df is None:
        return np.inf
    return df[columns] if isinstance(df, np.ndarray) and df.ndim else float(df)


def _usable(draws: Array, observed: Array) -> tuple[Array, Array | None]:
    """Which statistics exist (p,), and which draws (B,) have all of these; None where all have."""
    estimable = ~np.isnan(observed)
    if not np.isnan(draws.sum()):
        return estimable, None
    missing = np.isnan(draws)
    estimable &= ~missing.all(1)
    return estimable, np.asarray(~missing[estimable].any(0))


def _pivots(draws: Array, observed: Array, se: Array) -> OrderedDraws:
    """Sorted (t* - t) / se*; a draw without a standard error (no residual df) goes, the others stand for it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        pivots = (draws - observed[:, None]) / se
    fine = np.isfinite(pivots).all(0)
    return OrderedDraws(np.sort(pivots if fine.all() else pivots[:, fine], axis=1))


_RULES = {
    "percentile": _percentile,
    "basic": _basic,
    "normal": _normal,
    "bca": _bca,
    "studentized": _studentized,
    "expanded": _expanded,
}
