"""Fixed axes: chosen from the fit before the first draw, and never moved by a draw."""

from __future__ import annotations

import math

import numpy as np

REACH = 4.5  # half-width of the axis of a distribution, in standard errors
NULL_REACH = 10.0  # a null this many standard errors away still belongs in the picture
LONGEST = 2.8  # standard errors from the estimate to a limit, as a rule
NAMES = 0.21  # share of the axis that the names of the intervals and a limit in digits take


def distribution_axis(estimate: float, se: float, null: float | None) -> tuple[float, float]:
    """Return the ends of the axis under a distribution: estimate +- 4.5 SE, stretched to a null that is near.

    Without a usable standard error the axis is a tenth of the estimate to either side (or one unit at 0).
    """
    if not math.isfinite(se) or se <= 0:
        se = abs(estimate) / 45 if estimate else 1 / REACH
    low, high = estimate - REACH * se, estimate + REACH * se
    if null is not None and math.isfinite(null) and abs(null - estimate) <= NULL_REACH * se:
        low, high = min(low, null - 0.6 * se), max(high, null + 0.6 * se)
    # Left of the intervals stand their names and lower limits: about a fifth of the axis.
    furthest = estimate - LONGEST * se
    return min(low, (furthest - NAMES * high) / (1.0 - NAMES)), high


def data_axis(values: np.ndarray, pad: float = 0.05) -> tuple[float, float]:
    """Return the ends of an axis that holds every finite value, with ``pad`` of the range on either side."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        spread = abs(low) * 0.1 or 1.0
        return low - spread, high + spread
    reach = pad * (high - low)
    return low - reach, high + reach


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round numbers inside [low, high], about ``count`` of them, in steps of 1, 2, 2.5 or 5 times 10^k."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    choices = []
    for size in (0.5, 1, 2, 2.5, 5, 10):
        step = size * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first <= count:  # at most one more than asked for
            unlikely = (size == 2.5) + (last - first >= count)  # quarters read badly, and so do crowded axes
            choices.append((abs(last - first + 1 - count) + 0.5 * unlikely, last - first, step, first, last))
    _, _, step, first, last = min(choices)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def decimals_for(se: float) -> int:
    """Return how many decimals show two significant digits of ``se`` (0 to 8)."""
    if not math.isfinite(se) or se <= 0:
        return 2
    return int(min(max(1 - math.floor(math.log10(se) + 1e-12), 0), 8))


def decimals_beside(value: float, decimals: int, null: float | None) -> int:
    """Return the decimals at which ``value`` is seen on its own side of ``null``: as asked for, or up to four more."""
    if null is None or not math.isfinite(value) or value == null:
        return decimals
    for places in range(decimals, decimals + 5):
        shown = round(value, places)
        if shown != null and (shown < null) == (value < null):
            return places
    return decimals


def number(value: float | None, decimals: int) -> str:
    """Return ``value`` with a real minus sign and separated thousands; an empty string for what is missing."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{decimals}f}"
    if text.lstrip("-0.,") == "":
        text = text.lstrip("-")
    return text.replace("-", "−")
