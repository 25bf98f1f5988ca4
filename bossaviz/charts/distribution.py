"""Pane C: the distribution of one estimate over its draws, and every kind of interval read from them.

One Vega-Lite specification serves the whole life of a panel: everything that changes (draws, limits, axis, words) is
named data or a parameter, so growing by 1,000 draws never removes the drawing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..look import vega_config
from .axis import nice_ticks, number
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


def height_of_rows(n_rows: int) -> int:
    """Pixels below the axis that ``n_rows`` interval rows take."""
    return 26 + ROW * n_rows


def figure_height(n_rows: int) -> int:
    """Pixels of the whole figure; 280 for six rows."""
    return PADDING["top"] + PLOT + height_of_rows(n_rows) + 10


def _chosen(rows: tuple[IntervalRow, ...]) -> IntervalRow | None:
    return next((r for r in rows if r.chosen and r.low is not None), None)


def binned(view: Distribution) -> Bins:
    """Return the bins of the picture: through the chosen limits, dots narrower than bars."""
    row = _chosen(view.rows)
    low = row.low if row is not None and row.low is not None else -math.inf
    high = row.high if row is not None and row.high is not None else math.inf
    if view.draws.size < 2 or not low < high:
        low, high = view.estimate, math.inf
    return bins_through(view.draws, low, high, _bin_width(view), view.axis)


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
            values = view.draws[at]
            inside = ((values > row.low) & (values < row.high)).astype(float)
        dot_data = {
            "x": bins.centres[where], "y": stack(where) + 0.5, "inside": inside,
            "draw": view.numbers[at].astype(float), "value": view.draws[at],
        }  # fmt: skip
        bar_data = _columns("x", "x2", "count", "inside", "bin")
    else:
        full = np.flatnonzero(bins.counts)
        bar_data = {
            "x": bins.edges[full], "x2": bins.edges[full + 1], "count": bins.counts[full].astype(float),
            "inside": bins.inside[full].astype(float), "bin": full.astype(float),
        }  # fmt: skip
        dot_data = _columns("x", "y", "inside", "draw", "value")
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
    }
    params = {
        "xlo": float(view.axis[0]),
        "xhi": float(view.axis[1]),
        "xtitle": view.x_title,
        "binw": width,
        "peak": float(peak),
        "bartop": float(top),
        "dotty": bool(dots),
        "barticks": nice_ticks(0.0, float(top), 3),
        "empty": "press +1 to draw the first" if view.draws.size == 0 else "",
    }
    return data, params


def _columns(*names: str) -> dict[str, list]:
    return {name: [] for name in names}


def _clamp(value: float, axis: tuple[float, float]) -> float:
    return min(max(value, axis[0]), axis[1])


def _row_columns(view: Distribution) -> dict[str, list]:
    out = _columns("row", "name", "x", "x2", "lo", "hi", "chosen", "theory", "h0", "h1", "h2", "h3", "has", "note")
    for i, row in enumerate(view.rows):
        has = row.low is not None and row.high is not None and not math.isnan(row.low) and not math.isnan(row.high)
        low, high = (row.low, row.high) if has else (view.estimate, view.estimate)
        a, b = _clamp(low, view.axis), _clamp(high, view.axis)
        out["row"].append(float(i))
        out["name"].append(row.name)
        out["x"].append(a)
        out["x2"].append(b)
        out["lo"].append(("" if a == low or not has else "← ") + (number(low, view.decimals) if has else ""))
        out["hi"].append((number(high, view.decimals) if has else "") + ("" if b == high or not has else " →"))
        out["chosen"].append(float(row.chosen))
        out["theory"].append(float(row.theory))
        for name, value, mcse, sign in (("h0", a, row.mcse_low, -1), ("h1", a, row.mcse_low, 1),
                                        ("h2", b, row.mcse_high, -1), ("h3", b, row.mcse_high, 1)):  # fmt: skip
            mcse = mcse if math.isfinite(mcse) else 0.0
            out[name].append(_clamp(value + sign * mcse, view.axis))
        out["has"].append(float(has))
        out["note"].append(row.note)
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
    out = _columns("x", "text", "height", "side")
    if view.shown is None:
        return out
    at = np.flatnonzero(view.numbers == view.shown)
    if at.size == 0 or bins.index[at[0]] < 0:
        return out
    value = float(view.draws[at[0]])
    out["x"].append(value)
    out["text"].append(f"#{view.shown}")
    out["height"].append(float(bins.counts[bins.index[at[0]]]))
    out["side"].append(1.0 if value > view.estimate else -1.0)
    return out


def _beyond_columns(view: Distribution, bins: Bins) -> dict[str, list]:
    out = _columns("right", "text")
    if bins.below:
        out["right"].append(0.0)
        out["text"].append(f"← {bins.below:,} beyond the axis, counted")
    if bins.above:
        out["right"].append(1.0)
        out["text"].append(f"{bins.above:,} beyond the axis, counted →")
    return out


def distribution_spec(n_rows: int = 6, n_theory: int = 1) -> dict:
    """Return the Vega-Lite specification of pane C: axes and marks, no data.

    n_rows interval rows stand under the axis, the last ``n_theory`` of them from formulas.
    """
    x = {"field": "x", "type": "quantitative", "scale": {"domain": {"expr": "[xlo, xhi]"}, "nice": False, "zero": False}}
    x["axis"] = {"title": None, "grid": False, "tickCount": 9, "labelFlush": False,
                 # the title stands at the right end, in the line of the labels
                 "labelExpr": "scale('x', datum.value) > width - 6.4 * length(xtitle) - 16 ? '' : datum.label"}
    # Every layer names the same axis, so that they merge into one.
    count_scale = {"domain": {"expr": "[0, ytop]"}, "nice": False, "zero": True}
    y_axis = {"title": None, "grid": True, "tickCount": 3, "format": "d", "values": {"expr": "yticks"}}

    def x_of(field: str, **more) -> dict:
        return {**x, "field": field, **more}

    def counts(field: str) -> dict:
        return {"field": field, "type": "quantitative", "scale": count_scale, "axis": y_axis}

    def px(expr: str) -> dict:
        return {"value": {"expr": expr}}

    foot = f"height + 26 + {ROW} * datum.row"
    colour_inside = {"condition": {"test": "datum.inside > 0", "value": "@sim"}, "value": "@sim-soft"}
    source = {"condition": {"test": "datum.theory > 0", "value": "@theory"}, "value": "@sim"}
    layer = [
        {   # the null, behind everything
            "data": {"name": "marks"}, "transform": [{"filter": "datum.kind == 'null'"}],
            "layer": [
                {"mark": {"type": "rule", "strokeWidth": 1, "strokeDash": [3, 3], "color": "@axis"},
                 "encoding": {"x": x_of("x"), "y": px("10"), "y2": px("height")}},
                {"mark": {"type": "text", "align": {"expr": "datum.side < 0 ? 'right' : 'left'"},
                          "dx": {"expr": "7 * datum.side"}, "baseline": "middle"},
                 "encoding": {"x": x_of("x"), "y": px("16"), "text": {"field": "text", "type": "nominal"}}},
            ],
        },
        {   # bars
            "data": {"name": "bars"}, "name": "bars",
            "mark": {"type": "rect", "opacity": {"expr": "datum.inside > 0 ? 0.85 : 1"}, "cursor": "pointer",
                     "xOffset": 0.5, "x2Offset": -0.5},
            "encoding": {"x": x_of("x"), "x2": {"field": "x2"}, "y": counts("count"), "y2": {"datum": 0},
                         "fill": colour_inside},
        },
        {   # one dot is one draw
            "data": {"name": "dots"}, "name": "dots",
            "mark": {"type": "circle", "opacity": 0.85, "cursor": "pointer",
                     "size": {"expr": "pow(0.92 * dotpx, 2)"}},
            "encoding": {"x": x_of("x"), "y": counts("y"), "color": colour_inside},
        },
        {
            "data": {"name": "curve"},
            "mark": {"type": "line", "color": "@theory", "strokeWidth": 1.8, "strokeJoin": "round", "clip": True},
            "encoding": {"x": x_of("x"), "y": counts("y")},
        },
        {   # from the chosen limits up into the distribution
            "data": {"name": "cuts"},
            "mark": {"type": "rule", "strokeWidth": 1, "strokeDash": [2, 2], "color": "@sim"},
            "encoding": {"x": x_of("x"), "y": px("height - 46"), "y2": px("height")},
        },
        {   # the wash under the chosen row
            "data": {"name": "rows"}, "transform": [{"filter": "datum.chosen > 0"}],
            "mark": {"type": "rect", "color": "@sim-wash", "cornerRadius": 3},
            "encoding": {"x": px("-2"), "x2": px("width"), "y": px(f"{foot} + 1"), "y2": px(f"{foot} + {ROW}")},
        },
        {   # the estimate runs through bars and rows
            "data": {"name": "marks"}, "transform": [{"filter": "datum.kind == 'estimate'"}],
            "layer": [
                {"mark": {"type": "rule", "strokeWidth": 2, "color": "@real"},
                 "encoding": {"x": x_of("x"), "y": px("-8"), "y2": px(f"height + 26 + {ROW} * {n_rows} + 4")}},
                *_haloed("text", "@ground", {"fontSize": 12, "fontWeight": 600, "color": "@real",
                         "align": {"expr": "datum.side < 0 ? 'right' : 'left'"}, "dx": {"expr": "8 * datum.side"},
                         "baseline": "alphabetic"}, {"x": x_of("x"), "y": px("0")}),
            ],
        },
        {   # intervals
            "data": {"name": "rows"},
            "layer": [
                {"mark": {"type": "text", "align": "left", "baseline": "alphabetic", "fontSize": 12,
                          "fontWeight": {"expr": "datum.chosen > 0 ? 600 : 400"}},
                 "encoding": {"x": px("6"), "y": px(f"{foot} + 14"), "text": {"field": "name", "type": "nominal"},
                              "color": {"condition": {"test": "datum.chosen > 0", "value": "@text"},
                                        "value": "@ink2"},
                              }},
                *[{"transform": [{"filter": "datum.chosen > 0 && datum.has > 0 && datum.theory == 0"}],
                   "mark": {"type": "rect", "color": "@sim", "opacity": 0.22},
                   "encoding": {"x": x_of(a), "x2": {"field": b}, "y": px(f"{foot} + 3"), "y2": px(f"{foot} + 17")}}
                  for a, b in (("h0", "h1"), ("h2", "h3"))],
                {"transform": [{"filter": "datum.has > 0"}],
                 "mark": {"type": "rule", "strokeWidth": {"expr": "datum.chosen > 0 ? 4 : 1.6"},
                          "strokeDash": {"expr": "datum.name == 'Wald' ? [5, 3] : [1, 0]"}},
                 "encoding": {"x": x_of("x"), "x2": {"field": "x2"}, "y": px(f"{foot} + 10"), "color": source}},
                *[{"transform": [{"filter": "datum.has > 0"}],
                   "mark": {"type": "rule", "strokeWidth": {"expr": "datum.chosen > 0 ? 2.4 : 1.6"}},
                   "encoding": {"x": x_of(end), "y": px(f"{foot} + (datum.chosen > 0 ? 4 : 6)"),
                                "y2": px(f"{foot} + (datum.chosen > 0 ? 16 : 14)"), "color": source}}
                  for end in ("x", "x2")],
                *_haloed("lo", {"expr": "datum.chosen > 0 ? '@sim-wash' : '@ground'"},
                         {"align": "right", "dx": -9, "baseline": "alphabetic", "color": "@text",
                          "fontWeight": {"expr": "datum.chosen > 0 ? 600 : 400"}},
                         {"x": x_of("x"), "y": px(f"{foot} + 14")}),
                *_haloed("hi", {"expr": "datum.chosen > 0 ? '@sim-wash' : '@ground'"},
                         {"align": "left", "dx": 9, "baseline": "alphabetic", "color": "@text",
                          "fontWeight": {"expr": "datum.chosen > 0 ? 600 : 400"}},
                         {"x": x_of("x2"), "y": px(f"{foot} + 14")}),
            ],
        },
        {   # the draw that pane B shows
            "data": {"name": "stem"},
            "layer": [
                {"mark": {"type": "rule", "strokeWidth": 1, "color": "@sim"},
                 "encoding": {"x": x_of("x"), "y": px("24"),
                              "y2": px("max(24, scale('y', datum.height) - 4)")}},
                {"mark": {"type": "point", "shape": "triangle-down", "size": 62, "filled": True,
                          "fill": "@ground", "stroke": "@sim", "strokeWidth": 1.6},
                 "encoding": {"x": x_of("x"), "y": px("height - 5")}},
                *_haloed("text", "@ground", {"fontWeight": 600, "color": "@sim", "baseline": "alphabetic",
                         "align": {"expr": "datum.side < 0 ? 'right' : 'left'"}, "dx": {"expr": "-4 * -datum.side"}},
                         {"x": x_of("x"), "y": px("19")}),
            ],
        },
        {
            "data": {"name": "beyond"},
            "mark": {"type": "text", "color": "@sim", "baseline": "middle",
                     "align": {"expr": "datum.right > 0 ? 'right' : 'left'"}},
            "encoding": {"x": px("datum.right > 0 ? width - 6 : 6"), "y": px("36"),
                         "text": {"field": "text", "type": "nominal"}},
        },
        *_words(n_rows, n_theory),
    ]  # fmt: skip
    params = [
        {"name": "xlo", "value": 0}, {"name": "xhi", "value": 1}, {"name": "xtitle", "value": ""},
        {"name": "binw", "value": 1}, {"name": "peak", "value": 0}, {"name": "bartop", "value": 5},
        {"name": "dotty", "value": True}, {"name": "empty", "value": ""},
        # A dot is as wide as its bin, at most 10 px, and the tallest pile fits under the words.
        {"name": "dotpx", "expr": "min(10, binw / (xhi - xlo) * width, 0.86 * height / max(peak, 1))"},
        {"name": "ytop", "expr": "dotty ? height / dotpx : 1.08 * bartop"},
        {"name": "barticks", "value": [0, 5]},
        {"name": "yticks", "expr": "dotty ? (ytop > 24 ? [0, 10, 20, 30, 40] : ytop > 12 ? [0, 10, 20] : [0, 5, 10]) "
                                   ": barticks"},
    ]  # fmt: skip
    padding = {**PADDING, "bottom": height_of_rows(n_rows) + 10}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container", "height": PLOT, "padding": padding, "autosize": {"type": "none"},
        "config": vega_config(), "params": params, "layer": layer,
    }  # fmt: skip


def _haloed(field: str, ground, mark: dict, encoding: dict) -> list[dict]:
    """Text with a rim of the ground behind it, readable on top of any line."""
    text = {"text": {"field": field, "type": "nominal"}}
    rim = {**mark, "type": "text", "stroke": ground, "strokeWidth": 4, "strokeJoin": "round", "aria": False}
    return [
        {"mark": rim, "encoding": {**encoding, **text}},
        {"mark": {**mark, "type": "text"}, "encoding": {**encoding, **text}},
    ]


def _words(n_rows: int, n_theory: int) -> list[dict]:
    """Titles of the axes, the word on an empty plot, and where each group of intervals came from."""
    one = {"values": [{}]}

    def text(value: str, x: str, y: str, **mark) -> dict:
        return {
            "data": one,
            "mark": {"type": "text", "baseline": "alphabetic", "color": "@ink2", **mark},
            "encoding": {"x": {"value": {"expr": x}}, "y": {"value": {"expr": y}}, "text": {"value": {"expr": value}}},
        }

    def bracket(first: int, last: int, words: str, colour: str) -> list[dict]:
        top, bottom = f"height + {26 + ROW * first + 4}", f"height + {26 + ROW * last - 1}"
        wide = {"expr": "width > 700 ? 1 : 0"}
        return [
            {
                "data": one,
                "mark": {"type": "rule", "strokeWidth": 1, "color": colour, "opacity": wide},
                "encoding": {a: {"value": {"expr": e}} for a, e in (("x", "width - 96"), ("y", top), ("y2", bottom))},
            },
            text(f"'{words}'", "width - 89", f"height + {26 + ROW * (first + last) / 2 + 5}", color=colour,
                 opacity=wide, align="left"),
        ]  # fmt: skip

    return [
        text("'resamples in a bin'", "-34", "-8", align="left"),
        text("xtitle", "width", "height + 15", align="right"),
        text("empty", "width / 2", "height - 26", align="center"),
        *bracket(0, n_rows - n_theory, "from the draws", "@sim"),
        *bracket(n_rows - n_theory, n_rows, "from theory", "@theory"),
    ]
