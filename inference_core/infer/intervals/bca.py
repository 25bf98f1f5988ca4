"""The bias-corrected and accelerated interval: its two constants, and when they do not exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from inference_core.states.base import Array, Frozen

from .order import OrderedDraws

BCa_MIN_NBOOT = 50

# Draws this close to the estimate are ties: rounding alone separates them.
TIE_SLACK = 1e-9
MAX_TIED_SHARE = 0.20
MIN_DISTINCT = 20
MAX_ACCELERATION = 0.5

OUTSIDE = "estimate outside the draws"
DISCRETE = "discrete statistic"
NO_ACCELERATION = "acceleration undefined"


@dataclass(frozen=True, slots=True, eq=False)
class BcaConstants(Frozen):
    """z0 and a of k statistics, and per statistic why BCa is not to be had ("" where it is)."""

    z0: Array  # (k,)
    a: Array  # (k,)
    reasons: tuple[str, ...]

    @property
    def usable(self) -> Array:
        """(k,) bool."""
        return np.array([not reason for reason in self.reasons], bool)

    def level(self, nominal: float) -> Array:
        """(k,) level of the draws at which a one-sided limit with tail ``nominal`` lies."""
        z = ndtri(nominal) + self.z0
        with np.errstate(divide="ignore", invalid="ignore"):
            return ndtr(self.z0 + z / (1.0 - self.a * z))

    def nominal_z(self, level: Array) -> Array:
        """(k,) the inverse: normal quantile of the tail whose limit lies at ``level`` of the draws."""
        distance = ndtri(level) - self.z0
        scale = 1.0 + self.a * distance
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(scale > 0, distance / scale, np.sign(distance) * np.inf) - self.z0


def bias_correction(draws: OrderedDraws, observed: Array) -> tuple[Array, Array]:
    """(k,) z0 = Phi^-1(share of draws below the estimate + half the share tied), and (k,) the share tied.

    The share is clipped to [1/(B + 1), B/(B + 1)].
    Source: Efron (1987), J. Amer. Statist. Assoc. 82; ties: Efron & Tibshirani (1993), ch. 14.
    """
    size = draws.size
    below, tied = np.empty(len(observed)), np.empty(len(observed))
    for j, (row, value) in enumerate(zip(draws.values, observed, strict=True)):
        slack = max(TIE_SLACK * _spread(row), 4.0 * np.finfo(float).eps * abs(value))
        first, last = np.searchsorted(row, [value - slack, value + slack], side="left")
        below[j], tied[j] = first, last - first
    share = np.clip((below + tied / 2) / size, 1 / (size + 1), size / (size + 1))
    return ndtri(share), tied / size


def acceleration(jackknife: Array) -> Array:
    """(k,) a = sum L^3 / (6 (sum L^2)^1.5), L_i = mean - theta_(-i), from leave-one-out estimates (n, k).

    NaN where a refit failed or all are equal.
    """
    influence = jackknife.mean(0) - jackknife
    with np.errstate(divide="ignore", invalid="ignore"):
        influence /= np.abs(influence).max(0, initial=0.0)  # a has no unit; cubes of large numbers overflow
        squares = (influence**2).sum(0)
        return np.where(squares > 0, (influence**3).sum(0) / (6.0 * squares**1.5), np.nan)


def bca_constants(
    draws: OrderedDraws, observed: Array, jackknife: Array | None, tails: tuple[float, ...]
) -> BcaConstants:
    """z0 and a with a verdict per statistic, for one-sided limits at the nominal ``tails``.

    ``jackknife=None`` takes a = 0, the bias-corrected percentile interval.
    """
    z0, tied = bias_correction(draws, observed)
    a = np.zeros_like(z0) if jackknife is None else acceleration(jackknife)
    size = draws.size
    outside = (ndtr(z0) <= (1 + 1e-9) / (size + 1)) | (ndtr(-z0) <= (1 + 1e-9) / (size + 1))
    few = np.array([_distinct(row) < MIN_DISTINCT for row in draws.values])
    wild = ~(np.abs(a) <= MAX_ACCELERATION)
    for tail in tails:
        wild |= ~(1.0 - a * (z0 + ndtri(tail)) > 0)
    reasons = tuple(
        DISCRETE if f or t > MAX_TIED_SHARE else OUTSIDE if o else NO_ACCELERATION if w else ""
        for f, t, o, w in zip(few, tied, outside, wild, strict=True)
    )
    return BcaConstants(z0, np.where(wild, 0.0, a), reasons)


def _spread(ordered: Array) -> float:
    # The middle half is enough for a scale, and needs no pass over the draws.
    size = len(ordered)
    return float(ordered[(3 * size) // 4] - ordered[size // 4]) or float(ordered[-1] - ordered[0])


def _distinct(ordered: Array) -> int:
    """Distinct values of sorted draws, counted no further than needed."""
    head = ordered[:: max(1, len(ordered) // (4 * MIN_DISTINCT))]
    count = int(np.count_nonzero(np.diff(head))) + 1
    return count if count >= MIN_DISTINCT else int(np.count_nonzero(np.diff(ordered))) + 1
