"""Order statistics of draws: quantiles, ranks, and how far Monte-Carlo error moves them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, bdtrik, ndtr, ndtri

from inference_core.states.base import Array, Frozen


@dataclass(frozen=True, slots=True, eq=False)
class OrderedDraws(Frozen):
    """B draws of k statistics, each sorted; what every interval but the normal one is read from."""

    values: Array  # (k, B) ascending in each row

    @classmethod
    def of(cls, samples: Array) -> OrderedDraws:
        """Sort (B, k) draws without missing values."""
        return cls(np.sort(np.ascontiguousarray(samples.T), axis=1))

    @property
    def size(self) -> int:
        """Draws per statistic."""
        return self.values.shape[1]

    def quantile(self, level: Array | float) -> Array:
        """(k,) quantiles at ``level`` (k,): order statistic (B + 1) level, between two of them on the normal scale.

        The rule of ``boot.ci``; beyond the outermost draws it gives these.
        Source: Davison & Hinkley (1997), Bootstrap Methods and their Application, eq. 5.8.
        """
        size = self.size
        level = np.broadcast_to(np.asarray(level, float), (self.values.shape[0],))
        position = (size + 1) * level
        # A whole number of draws, up to the rounding of (1 - conf_level) / 2, is that draw itself.
        whole = np.rint(position)
        exact = np.abs(position - whole) < 1e-9 * (size + 1)
        below = np.where(exact, whole, np.floor(position)).astype(int)
        row = np.arange(self.values.shape[0])
        lower = self.values[row, np.clip(below, 1, size) - 1]
        upper = self.values[row, np.clip(below + 1, 1, size) - 1]
        inside = ~exact & (below >= 1) & (below < size)
        k = np.clip(below, 1, size - 1) if size > 1 else np.ones_like(below)
        z_low, z_high = ndtri(k / (size + 1)), ndtri((k + 1) / (size + 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(inside, (ndtri(level) - z_low) / (z_high - z_low), 0.0)
        return lower + np.where(inside, share * (upper - lower), 0.0)

    def rank(self, value: Array, side: str) -> Array:
        """(k,) level whose quantile is ``value`` (k,): the inverse of :meth:`quantile`, in [1/(B+1), B/(B+1)].

        Where draws tie with ``value`` many levels are; ``side="right"`` gives the largest, ``"left"`` the smallest.
        """
        size = self.size
        out = np.empty(self.values.shape[0])
        for j, (row, v) in enumerate(zip(self.values, np.broadcast_to(value, out.shape), strict=True)):
            # `below` draws lie below v (for "right": at or below); ranks count from 1.
            below = int(np.searchsorted(row, v, side="right"))
            if below and row[below - 1] == v:
                out[j] = (below if side == "right" else int(np.searchsorted(row, v, side="left")) + 1) / (size + 1)
            elif 0 < below < size:
                share = (v - row[below - 1]) / (row[below] - row[below - 1])
                z_low, z_high = ndtri(below / (size + 1)), ndtri((below + 1) / (size + 1))
                out[j] = ndtr(z_low + share * (z_high - z_low))
            else:
                out[j] = min(max(below, 1), size) / (size + 1)
        return out

    def quantile_mcse(self, level: Array | float) -> Array:
        """(k,) Monte-Carlo standard error of :meth:`quantile`: half the spread of the draws at its rank -/+ 1 SD.

        The number of draws below the true quantile is binomial; these are its 16 % and 84 % points.
        """
        low, high = (np.clip(_binomial_quantile(q, self.size, level), 1, self.size).astype(int) for q in (0.16, 0.84))
        row = np.arange(self.values.shape[0])
        return 0.5 * (self.values[row, high - 1] - self.values[row, low - 1])

    def without(self, drop: Array) -> OrderedDraws:
        """Without the draws flagged in ``drop`` (k, B), the same number in each row; the order survives."""
        return OrderedDraws(self.values[~drop].reshape(self.values.shape[0], -1))


def order_statistic_ranks(size: int, level: Array | float, confidence: float) -> tuple[Array, Array]:
    """Ranks (from 1) of the two draws that hold the true quantile at ``level`` with the given confidence.

    The number of draws below the true quantile is binomial(size, level).
    """
    tail = (1.0 - confidence) / 2.0
    low = _binomial_quantile(tail, size, level)
    high = _binomial_quantile(1.0 - tail, size, level) + 1
    return np.clip(low, 1, size).astype(int), np.clip(high, 1, size).astype(int)


def _binomial_quantile(q: float, size: int, prob: Array | float) -> Array:
    # scipy.stats.binom.ppf without importing scipy.stats
    prob = np.clip(prob, 1e-12, 1.0 - 1e-12)
    k = np.ceil(bdtrik(q, size, prob))
    before = np.maximum(k - 1, 0)
    return np.where(bdtr(before, size, prob) >= q, before, k)


def moments(draws: Array) -> tuple[Array, Array, Array]:
    """Mean, standard deviation, and Monte-Carlo standard error of the latter, of (k, B) draws: (k,) each.

    s sqrt((kurtosis - (B - 3) / (B - 1)) / (4 B)); s / sqrt(2 B) for normal draws. NaN for fewer than two draws.
    """
    k, size = draws.shape
    if size < 2:
        nothing = np.full(k, np.nan)
        return nothing, nothing, nothing
    with np.errstate(all="ignore"):
        mean, variance, fourth = _powers(draws)
        unit = np.ones(k)
        far = ~((variance**2 > 0) & np.isfinite(fourth) & (fourth > 0))
        if far.any():  # fourth powers beyond what a double holds, or draws that do not vary: in units of the largest
            unit[far] = np.maximum(np.abs(draws[far]).max(1), np.finfo(float).tiny)
            mean, variance, fourth = _powers(draws / unit[:, None])
        spread = np.maximum(fourth / variance**2 - (size - 3) / (size - 1), 0.0)
        return mean * unit, np.sqrt(variance) * unit, np.sqrt(variance * spread / (4 * size)) * unit


def _powers(draws: Array) -> tuple[Array, Array, Array]:
    """Mean, variance and fourth central moment of each row."""
    size = draws.shape[1]
    mean = draws.mean(1)
    squares = draws - mean[:, None]
    squares *= squares
    return mean, squares.sum(1) / (size - 1), np.einsum("kb,kb->k", squares, squares) / size
