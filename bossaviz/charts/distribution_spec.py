"""The drawing of pane C: axes and marks, no data; ``distribution.py`` gives it the data."""

from __future__ import annotations

from bossaviz.look import vega_config

from .distribution import PADDING, PLOT, ROW, height_of_rows


def distribution_spec(n_rows: int = 6, n_theory: int = 1) -> dict:
    """Return the Vega-Lite specification of pane C: axes and marks, no data.

    n_rows interval rows stand under the axis, the last ``n_theory`` of them from formulas.
    """
    x_scale = {"domain": {"expr": "[xlo, xhi]"}, "nice": False, "zero": False}
    x = {"field": "x", "type": "quantitative", "scale": x_scale}
    x["axis"] = {"title": None, "grid": False, "tickCount": 9, "labelFlush": False,
                 # the title stands at the right end, in the line of the labels
                 # and the rule of the estimate runs through that line
                 "labelExpr": "datum.value < xfloor || scale('x', datum.value) > width - 6.4 * length(xtitle) - 16 || "
                              "abs(scale('x', datum.value) - scale('x', est)) < 3 + 3.4 * length(datum.label)"
                              " ? '' : datum.label"}
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
    # Both limits are printed at the ends of their line, between the names on the left and the frame on the right; an
    # end that does not fit is cut off there, without its tick and with an arrow.
    first, last = "(107 + 6.6 * length(datum.lo))", "(width - 22 - 6.6 * length(datum.hi))"
    at_low, at_high = "scale('x', datum.x)", "scale('x', datum.x2)"
    cut_low, cut_high = f"{at_low} < {first} - 18", f"{at_high} > {last} + 16"
    low_px, high_px = f"({cut_low} ? {first} : {at_low})", f"({cut_high} ? {last} : {at_high})"
    colour_inside = {"condition": {"test": "datum.inside > 0", "value": "@sim"}, "value": "@sim-soft"}
    source = {"condition": {"test": "datum.theory > 0", "value": "@theory"}, "value": "@sim"}
    # one sentence a dot, without the clause on its rows where they were not counted
    words = ("pieces[0] + datum.draw + pieces[1] + datum.said + (datum.distinct > 0 ? pieces[2] + datum.distinct + "
             "pieces[3] : split(pieces[2], ';')[0] + '.')")  # fmt: skip
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
                         "fill": colour_inside, "description": {"value": {
                             "expr": "datum.count + ' resamples from ' + format(datum.x, '.4~g') + ' to ' + "
                                     "format(datum.x2, '.4~g')"}}},
        },
        {   # one dot is one draw
            "data": {"name": "dots"}, "name": "dots",
            "mark": {"type": "circle", "opacity": 0.85, "cursor": "pointer",
                     "size": {"expr": "pow(0.92 * dotpx, 2)"}},
            "encoding": {"x": x_of("x"), "y": counts("y"), "color": colour_inside,
                         "description": {"value": {"expr": words}}, "tooltip": {"value": {"expr": words}}},
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
                {"name": "observed", "mark": {"type": "rule", "strokeWidth": 2, "color": "@real"},
                 "encoding": {"x": x_of("x"), "description": {"value": {"expr": "observed"}}, "y": px("-8"),
                              "y2": px(f"height + 26 + {ROW} * {n_rows} + 4")}},
                *_haloed("datum.text", "@ground", {"fontSize": 12, "fontWeight": 600, "color": "@real",
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
                   "mark": {"type": "rect", "color": "@sim", "opacity": {"expr": f"{cut} ? 0 : 0.22"}},
                   "encoding": {"x": x_of(a), "x2": {"field": b}, "y": px(f"{foot} + 3"), "y2": px(f"{foot} + 17")}}
                  for a, b, cut in (("h0", "h1", cut_low), ("h2", "h3", cut_high))],
                {"transform": [{"filter": "datum.has > 0"}],
                 "mark": {"type": "rule", "strokeWidth": {"expr": "datum.chosen > 0 ? 4 : 1.6"},
                          "strokeDash": {"expr": "datum.name == 'Wald' ? [5, 3] : [1, 0]"}},
                 "encoding": {"x": px(low_px), "x2": px(high_px), "y": px(f"{foot} + 10"), "color": source}},
                *[{"transform": [{"filter": "datum.has > 0"}],
                   "mark": {"type": "rule", "strokeWidth": {"expr": "datum.chosen > 0 ? 2.4 : 1.6"},
                            "opacity": {"expr": f"{cut} ? 0 : 1"}},
                   "encoding": {"x": px(end), "y": px(f"{foot} + (datum.chosen > 0 ? 4 : 6)"),
                                "y2": px(f"{foot} + (datum.chosen > 0 ? 16 : 14)"), "color": source}}
                  for end, cut in ((low_px, cut_low), (high_px, cut_high))],
                *_haloed(f"({cut_low} ? '← ' : '') + datum.lo", {"expr": "datum.chosen > 0 ? '@sim-wash' : '@ground'"},
                         {"align": "right", "dx": -9, "baseline": "alphabetic", "color": "@text",
                          "fontWeight": {"expr": "datum.chosen > 0 ? 600 : 400"}},
                         {"x": px(low_px), "y": px(f"{foot} + 14")}),
                *_haloed(f"datum.hi + ({cut_high} ? ' →' : '')", {"expr": "datum.chosen > 0 ? '@sim-wash' : '@ground'"},
                         {"align": "left", "dx": 9, "baseline": "alphabetic", "color": "@text",
                          "fontWeight": {"expr": "datum.chosen > 0 ? 600 : 400"}},
                         {"x": px(high_px), "y": px(f"{foot} + 14")}),
                *_haloed("datum.note", {"expr": "datum.chosen > 0 ? '@sim-wash' : '@ground'"},
                         {"align": "left", "baseline": "alphabetic", "color": "@ink2"},
                         {"x": px("92"), "y": px(f"{foot} + 14")}),
            ],
        },
        {   # the draw that pane B shows
            "data": {"name": "stem"},
            "layer": [
                {"mark": {"type": "rule", "strokeWidth": 1, "color": "@sim"},
                 "encoding": {"x": x_of("x"), "y": px("24 + datum.down"),
                              "y2": px("max(24 + datum.down, scale('y', datum.height) - 4)")}},
                {"name": "stem", "mark": {"type": "point", "shape": "triangle-down", "size": 62, "filled": True,
                          "fill": "@ground", "stroke": "@sim", "strokeWidth": 1.6},
                 "encoding": {"x": x_of("x"), "y": px("height - 5")}},
                *_haloed("datum.text", "@ground", {"fontWeight": 600, "color": "@sim", "baseline": "alphabetic",
                         "align": {"expr": "datum.side < 0 ? 'right' : 'left'"}, "dx": {"expr": "-4 * -datum.side"}},
                         {"x": x_of("x"), "y": px("19 + datum.down")}),
            ],
        },
        {
            "data": {"name": "beyond"},
            "mark": {"type": "text", "color": "@sim", "baseline": "middle",
                     "align": {"expr": "datum.right > 0 ? 'right' : 'left'"}},
            "encoding": {"x": px("datum.right > 0 ? width - 6 : 6"), "y": px("36"),
                         "text": {"field": "text", "type": "nominal"}},
        },
        {
            "data": {"name": "curvewords"},
            "layer": _haloed("datum.text", "@ground", {"align": "left", "dx": 10, "dy": -4, "color": "@theory"},
                             {"x": x_of("x"), "y": counts("y")}),
        },
        {
            "data": {"name": "invitation"},
            "mark": {"type": "text", "baseline": "alphabetic", "dx": {"expr": "14 * datum.side"},
                     "align": {"expr": "datum.side < 0 ? 'right' : 'left'"}},
            "encoding": {"x": x_of("x"), "y": px("height - 26"), "text": {"field": "text", "type": "nominal"}},
        },
        *_words(n_rows, n_theory),
    ]  # fmt: skip
    params = [
        {"name": "xlo", "value": 0}, {"name": "xhi", "value": 1}, {"name": "xtitle", "value": ""},
        {"name": "binw", "value": 1}, {"name": "peak", "value": 0}, {"name": "bartop", "value": 5},
        {"name": "est", "value": 0}, {"name": "observed", "value": ""}, {"name": "xfloor", "value": -1e300},
        {"name": "pieces", "value": ["", "", "", ""]}, {"name": "dotty", "value": True},
        {"name": "bracket", "value": True},
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


def _haloed(words: str, ground, mark: dict, encoding: dict) -> list[dict]:
    """Text, an expression, with a rim of the ground behind it, readable on top of any line."""
    text = {"text": {"value": {"expr": words}}}
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
        wide = {"expr": "width > 700 && bracket ? 1 : 0"}
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
        *bracket(0, n_rows - n_theory, "from the draws", "@sim"),
        *bracket(n_rows - n_theory, n_rows, "from theory", "@theory"),
    ]
