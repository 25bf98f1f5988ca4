"""Bins that pass through the limits, so that no bar straddles one and the counts on either side are exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_BARS = 200  # rows of one frame: more cannot be seen and would cost the browser its frame rate


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts of draws in bins of equal width between ``low`` and ``high``, continued outwards."""

    edges: np.ndarray  # (k + 1,)
    counts: np.ndarray  # (k,) int
    inside: np.ndarray  # (k,) bool: the bin lies between the limits
    index: np.ndarray  # (B,) the bin of each draw, -1 beyond the axis
    below: int  # draws beyond the left end of the axis
    above: int  # draws beyond the right end

    @property
    def centres(self) -> np.ndarray:
        """(k,) the middle of each bin."""
        return 0.5 * (self.edges[:-1] + self.edges[1:])


def bins_through(draws: np.ndarray, low: float, high: float, width: float, axis: tuple[float, float]) -> Bins:
    """Count ``draws`` in bins about ``width`` wide whose edges include ``low`` and ``high`` exactly.

    draws (B,) finite; low < high the limits; axis the two ends of the fixed axis, whose outer bins may be cut short.
    k = round((high - low)/width) bins lie between the limits and their width goes on outwards. A draw equal to a
    limit belongs to the tail, so the counts inside sum to ``((draws > low) & (draws < high)).sum()`` less what lies
    beyond the axis. Draws beyond the axis are counted apart. An infinite limit means "no cutoff on that side"; with
    none at all the bins start at the middle of the axis.
    """
    draws = np.asarray(draws, float)
    start, stop = axis
    left, right = np.isfinite(low), np.isfinite(high)
    width = max(width, (stop - start) / MAX_BARS)
    anchor = low if left else high if right else 0.5 * (start + stop)
    k = 1
    if left and right:
        k = max(1, round((high - low) / width))
        width = (high - low) / k if high > low else width
    span = max((stop - start) / width, 1.0)
    if span > MAX_BARS:  # limits closer together than one bar could show: keep the bars, start at the lower limit
        width, k = (stop - start) / MAX_BARS, 1
    lower = anchor - width * np.arange(int(np.ceil(max(anchor - start, 0.0) / width)), 0, -1)
    top = high if left and right else anchor
    upper = top + width * np.arange(1, int(np.ceil(max(stop - top, 0.0) / width)) + 1)
    middle = np.linspace(low, high, k + 1) if left and right and high > low else np.array([anchor])
    edges = np.concatenate([lower, middle, upper])
    edges = np.unique(np.concatenate([edges[(edges > start) & (edges < stop)], [start, stop]]))

    # Left of the lower limit a bin is (a, b], right of it [a, b): ties go to the tail on both sides.
    open_left = np.searchsorted(edges, draws, side="left") - 1
    open_right = np.searchsorted(edges, draws, side="right") - 1
    index = np.where(draws <= low, open_left, open_right) if left else open_right
    last = edges.size - 2
    beyond_left, beyond_right = draws < start, draws > stop
    index = np.clip(index, 0, last)
    index[beyond_left | beyond_right] = -1
    counts = np.bincount(index[index >= 0], minlength=last + 1)
    centres = 0.5 * (edges[:-1] + edges[1:])
    inside = (centres > low) & (centres < high)
    return Bins(edges, counts, inside, index, int(beyond_left.sum()), int(beyond_right.sum()))


def stack(index: np.ndarray) -> np.ndarray:
    """(B,) the place of each draw in the pile of its bin, 0 at the bottom, in the order they were drawn.

    index (B,) bin of each draw; draws with -1 get -1.
    """
    order = np.argsort(index, kind="stable")
    sorted_index = index[order]
    first = np.searchsorted(sorted_index, sorted_index, side="left")
    place = np.empty(index.size, int)
    place[order] = np.arange(index.size) - first
    place[index < 0] = -1
    return place


def nice_ceiling(value: float) -> float:
    """Return the smallest round number that is at least ``value``, and at least 5."""
    if value <= 5:
        return 5.0
    power = 10.0 ** np.floor(np.log10(value))
    for step in (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0):
        if step * power >= value * (1 - 1e-12):
            return float(step * power)
    return float(10 * power)
