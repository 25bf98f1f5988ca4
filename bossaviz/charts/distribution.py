"""Pane C: the distribution of one estimate over its draws, and every kind of interval read from them.

One Vega-Lite specification serves the whole life of a panel: everything that changes (draws, limits, axis, words) is
named data or a parameter, so growing by 1,000 draws never removes the drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .axis import decimals_beside, nice_ticks, number
from .binning import Bins, bins_through, nice_ceiling, stack

DOTS_UP_TO = 500  # more draws than this are bars
ROW = 18  # px of one interval row
PLOT = 110  # px of the distribution itself
PADDING = {"left": 34, "right": 8, "top": 26, "bottom": 34}
WIDTH = 832  # px of the axis in a panel 1200 px wide


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One interval: name, limits, and where they came from."""

    name: str
    low: float | None
    high: float | None
    chosen: bool = False
    theory: bool = False
    mcse_low: float = 0.0
    mcse_high: float = 0.0
    note: str = ""  # why there are no limits


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """What pane C shows; pure numbers and words."""

    draws: np.ndarray  # (B,) finite draws of the focal estimate, in the order drawn
    numbers: np.ndarray  # (B,) int: which draw each of them is
    estimate: float
    axis: tuple[float, float]
    rows: tuple[IntervalRow, ...]
    decimals: int = 2
    null: float | None = None
    null_words: str = ""
    x_title: str = ""
    shown: int | None = None  # the draw that pane B shows
    bin_width: float = 1 / 6  # in standard errors
    se: float = 1.0
    curve: tuple[np.ndarray, np.ndarray] | None = field(default=None)  # x, density of the reference distribution
    curve_words: str = ""  # "t curve, 30 df"
    draw_words: str = "estimate"  # what one draw is: "slope"
    failed: int = 0  # draws that gave nothing
    pieces: tuple[str, str, str, str] = ("Resample ", ": ", "", "")  # between a dot's number, value and rows
    spoken: tuple[str, ...] = ()  # each draw in words
    distinct: np.ndarray = field(default_factory=lambda: np.empty(0))  # different rows in each draw, by its number
    observed: str = ""  # the estimate in words
    floor: float | None = None  # the least value there is: 0 for a standard deviation, -1 for a correlation


def height_of_rows(n_rows: int) -> int:
    """Pixels below the axis that ``n_rows`` interval rows take."""
    return 26 + ROW * n_rows


def figure_height(n_rows: int) -> int:
    """Pixels of the whole figure; 280 for six rows."""
    return PADDING["top"] + PLOT + height_of_rows(n_rows) + 10


def _chosen(rows: tuple[IntervalRow, ...]) -> IntervalRow | None:
    """The chosen interval, if the draws gave both of its ends; an end at infinity is one."""
    return next((r for r in rows if r.chosen and _has_both(r)), None)


def _has_both(row: IntervalRow) -> bool:
    return row.low is not None and row.high is not None and not math.isnan(row.low) and not math.isnan(row.high)


def binned(view: Distribution) -> Bins:
    """Return the bins of the picture: through the chosen limits, dots narrower than bars."""
    row = _chosen(view.rows)
    low, high = (-math.inf, math.inf) if row is None else _ends(view, row)
    if view.draws.size < 2 or not low < high:
        low, high = view.estimate, math.inf
    return bins_through(view.draws, low, high, _bin_width(view), view.axis)


def _ends(view: Distribution, row: IntervalRow) -> tuple[float, float]:
    """Limits between which draws are inside; a limit at the least value there is holds the draws at it."""
    assert row.low is not None and row.high is not None  # the caller has looked
    if view.floor is not None and row.low <= view.floor + 1e-9:
        return view.floor - 1e-9, row.high
    return row.low, row.high


def _bin_width(view: Distribution) -> float:
    """Width of a bin in units of the estimate: the reader's for bars, as wide as a dot may be for dots."""
    scale = view.se if math.isfinite(view.se) and view.se > 0 else (view.axis[1] - view.axis[0]) / 9
    if view.draws.size > DOTS_UP_TO:
        return view.bin_width * scale
    px = WIDTH / (view.axis[1] - view.axis[0]) * scale  # pixels of one standard error
    # A pile at the peak holds about 0.4 B w dots, each w px high: the widest w that still fits 85 % of the plot.
    fits = math.sqrt(0.85 * PLOT / (0.45 * max(view.draws.size, 1) * px))
    return min(10 / px, fits) * scale


def distribution_data(view: Distribution) -> tuple[dict[str, dict], dict]:
    """Turn what is to be shown into named columns and parameters for :func:`distribution_spec`."""
    bins = binned(view)
    dots = view.draws.size <= DOTS_UP_TO
    peak = int(bins.counts.max(initial=0))
    row = _chosen(view.rows)
    if dots:
        at = np.flatnonzero(bins.index >= 0)
        where = bins.index[at]
        inside = np.ones(at.size)
        if row is not None and view.draws.size > 1:
            values, (low, high) = view.draws[at], _ends(view, row)
            inside = ((values > low) & (values < high)).astype(float)
        dot_data = {
            "x": bins.centres[where], "y": stack(where) + 0.5, "inside": inside,
            "draw": view.numbers[at].astype(float), "value": view.draws[at],
            "said": [view.spoken[i] for i in at] if view.spoken else [""] * at.size,
            "distinct": _distinct(view, at),
        }  # fmt: skip
        bar_data = _columns("x", "x2", "count", "inside", "bin")
    else:
        full = np.flatnonzero(bins.counts)
        bar_data = {
            "x": bins.edges[full], "x2": bins.edges[full + 1], "count": bins.counts[full].astype(float),
            "inside": bins.inside[full].astype(float) if row is not None else np.ones(full.size),
            "bin": full.astype(float),
        }  # fmt: skip
        dot_data = _columns("x", "y", "inside", "draw", "value", "said", "distinct")
    width = float(np.median(np.diff(bins.edges)))
    top = nice_ceiling(peak / 0.86) if not dots else max(peak, 1)
    data = {
        "bars": bar_data,
        "dots": dot_data,
        "rows": _row_columns(view),
        "cuts": _cut_columns(row, view),
        "curve": _curve_columns(view, bins, width),
        "marks": _mark_columns(view),
        "stem": _stem_columns(view, bins),
        "beyond": _beyond_columns(view, bins),
        "curvewords": _curve_words(view, width),
        "invitation": _invitation(view),
    }
    params = {
        "xlo": float(view.axis[0]),
        "xhi": float(view.axis[1]),
        "xtitle": view.x_title,
        "est": float(view.estimate),
        "observed": view.observed,
        "xfloor": -1e300 if view.floor is None else float(view.floor) - 1e-9,
        "pieces": list(view.pieces),
        "binw": width,
        "peak": float(peak),
        "bartop": float(top),
        "dotty": bool(dots),
        "barticks": nice_ticks(0.0, float(top), 3),
        "bracket": _room_for_bracket(view),
    }
    return data, params


def _distinct(view: Distribution, at: np.ndarray) -> np.ndarray:
    """(k,) how many different rows each of the draws ``at`` holds; 0 where nobody counted."""
    known = np.zeros(int(view.numbers.max(initial=0)) + 1)
    known[1 : view.distinct.size + 1] = view.distinct[: known.size - 1]
    return known[view.numbers[at]]


def _columns(*names: str) -> dict[str, list]:
    return {name: [] for name in names}


def _clamp(value: float, axis: tuple[float, float]) -> float:
    return min(max(value, axis[0]), axis[1])


def _row_columns(view: Distribution) -> dict[str, list]:
    """One row an interval. An end that has no room between the names and the frame is cut off by the drawing."""
    out = _columns("row", "name", "x", "x2", "lo", "hi", "chosen", "theory", "h0", "h1", "h2", "h3", "has", "note")
    for i, row in enumerate(view.rows):
        has = _has_both(row)
        low, high = (row.low, row.high) if has else (view.estimate, view.estimate)
        assert low is not None and high is not None  # _has_both() has looked
        a, b = _clamp(low, view.axis), _clamp(high, view.axis)
        out["row"].append(float(i))
        out["name"].append(row.name)
        out["x"].append(a)
        out["x2"].append(b)
        out["lo"].append(number(low, decimals_beside(low, view.decimals, view.null)) if has else "")
        out["hi"].append(number(high, decimals_beside(high, view.decimals, view.null)) if has else "")
        out["chosen"].append(float(row.chosen))
        out["theory"].append(float(row.theory))
        for name, value, mcse, sign in (("h0", a, row.mcse_low, -1), ("h1", a, row.mcse_low, 1),
                                        ("h2", b, row.mcse_high, -1), ("h3", b, row.mcse_high, 1)):  # fmt: skip
            mcse = mcse if math.isfinite(mcse) else 0.0
            out[name].append(_clamp(value + sign * mcse, view.axis))
        out["has"].append(float(has))
        missing = not has and view.draws.size > 1
        out["note"].append((row.note or "these draws do not give both limits") if missing else "")
    return out


def _cut_columns(row: IntervalRow | None, view: Distribution) -> dict[str, list]:
    """Dotted lines that drop from the distribution to the chosen limits."""
    if row is None:
        return {"x": []}
    ends = [v for v in (row.low, row.high) if v is not None and view.axis[0] <= v <= view.axis[1]]
    return {"x": ends}


def _curve_columns(view: Distribution, bins: Bins, width: float) -> dict[str, object]:
    if view.curve is None or view.draws.size == 0:
        return {"x": [], "y": []}
    x, density = view.curve
    return {"x": np.asarray(x, float), "y": np.asarray(density, float) * width * view.draws.size}


def _curve_words(view: Distribution, width: float) -> dict[str, list]:
    """Name the curve where it has fallen to a third of its height, on the right."""
    if view.curve is None or view.draws.size == 0:
        return {"x": [], "y": [], "text": []}
    x, density = (np.asarray(part, float) for part in view.curve)
    at = int(np.flatnonzero((density > density.max() / 3) & (x > view.estimate))[-1])
    return {"x": [float(x[at])], "y": [float(density[at] * width * view.draws.size)], "text": [view.curve_words]}


def _invitation(view: Distribution) -> dict[str, list]:
    """Words on the empty plot, beside the rule of the estimate."""
    if view.draws.size:
        return _columns("x", "side", "text")
    side = _mark_columns(view)["side"][0]
    words = "press +1 to draw the first"
    if view.failed:
        words = f"none of {view.failed:,} resamples gave a {view.draw_words}"
    return {"x": [view.estimate], "side": [side], "text": [words]}


def _room_for_bracket(view: Distribution) -> bool:
    """Whether the upper limits leave room at the right end for the words that say where they came from."""
    highs = [row.high for row in view.rows if row.high is not None and math.isfinite(row.high)]
    per_px = (view.axis[1] - view.axis[0]) / WIDTH
    return not highs or max(highs) + 155 * per_px < view.axis[1]


def _mark_columns(view: Distribution) -> dict[str, list]:
    """The rules that stay: the estimate and the null, each with its words."""
    out = _columns("x", "kind", "text", "side")
    out["x"].append(view.estimate)
    out["kind"].append("estimate")
    out["text"].append(f"estimate {number(view.estimate, view.decimals)}")
    middle = 0.5 * (view.axis[0] + view.axis[1])
    reach = 0.3 * (view.axis[1] - view.axis[0])
    out["side"].append(-1.0 if view.estimate > middle + reach else 1.0)
    if view.null is not None and view.axis[0] <= view.null <= view.axis[1]:
        out["x"].append(view.null)
        out["kind"].append("null")
        out["text"].append(view.null_words)
        out["side"].append(-1.0 if view.null > middle else 1.0)
    return out


def _stem_columns(view: Distribution, bins: Bins) -> dict[str, list]:
    out = _columns("x", "text", "height", "side", "down")
    if view.shown is None:
        return out
    at = np.flatnonzero(view.numbers == view.shown)
    if at.size == 0 or bins.index[at[0]] < 0:
        return out
    value = float(view.draws[at[0]])
    out["x"].append(value)
    out["text"].append(f"#{view.shown}")
    out["height"].append(float(bins.counts[bins.index[at[0]]]))
    side = 1.0 if value > view.estimate else -1.0
    out["side"].append(side)
    per_px = (view.axis[1] - view.axis[0]) / WIDTH
    ends = sorted((value, value + side * 7.5 * len(out["text"][0]) * per_px))
    out["down"].append(14.0 if _meets_null_words(view, *ends) else 0.0)
    return out


def _meets_null_words(view: Distribution, low: float, high: float) -> bool:
    """Whether words between ``low`` and ``high`` on the axis would stand on those of the null."""
    marks = _mark_columns(view)
    if "null" not in marks["kind"]:
        return False
    at, side = marks["x"][1], marks["side"][1]
    per_px = (view.axis[1] - view.axis[0]) / WIDTH
    first, last = sorted((at, at + side * (16 + 6.4 * len(view.null_words)) * per_px))
    return low < last and high > first


def _beyond_columns(view: Distribution, bins: Bins) -> dict[str, list]:
    out = _columns("right", "text")
    if bins.below:
        out["right"].append(0.0)
        out["text"].append(f"← {bins.below:,} beyond the axis, counted")
    if bins.above:
        out["right"].append(1.0)
        out["text"].append(f"{bins.above:,} beyond the axis, counted →")
    return out
