"""Panes A and B: the rows of the data, and the rows of one resample on the same axes.

Both use one specification, the first in ink, the second in violet with the real line dotted. Points, lines and axis
labels are all data, so another term or another resample never rebuilds the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bossaviz.look import vega_config

PLOT = 160  # px
WIDTH = 343  # px of the axis in a panel 1200 px wide
TOP, RIGHT, BOTTOM = 20, 52, 36  # px; RIGHT at least
MANY = 150  # more rows than this get small points


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The axes that both panes share; fixed for one term."""

    x_axis: tuple[float, float]
    y_axis: tuple[float, float]
    x_ticks: tuple[float, ...]
    x_labels: tuple[str, ...]
    y_ticks: tuple[float, ...]
    y_labels: tuple[str, ...]
    x_title: str
    y_title: str
    longest: int = 0  # letters of the longest name under the axis, where the axis is one of groups


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Points and fitted lines of one data set, real or resampled."""

    x: np.ndarray  # (n,) where a row stands, jitter included
    y: np.ndarray  # (n,)
    row: np.ndarray  # (n,) row number in the data, from 1
    times: np.ndarray  # (n,) how often the row is in this data set; 0 rows are not drawn
    lines: tuple[np.ndarray, ...] = ()  # each (k, 2): a fitted line, curve, or the bar of a mean
    real_lines: tuple[np.ndarray, ...] = ()  # the lines of the real data, dotted (pane B only)
    end_words: tuple[str, str] = ("", "")  # the name and the value at the end of a line
    end_line: int = -1  # which line they belong to
    group_lines: tuple[np.ndarray, ...] = ()  # thin: one a group of a mixed model


def left_padding(labels: tuple[str, ...]) -> int:
    """Pixels that the longest label of the y axis needs, at least 34."""
    return max(34, 12 + round(6.6 * max((len(t) for t in labels), default=0)))


def right_padding(words: Iterable[str]) -> int:
    """Pixels that the longest word at the end of a line needs, at least 52."""
    return max(RIGHT, 10 + round(6.9 * max((len(word) for word in words), default=0)))


def cases_data(cases: Cases, frame: Frame) -> tuple[dict[str, dict], dict]:
    """Turn one data set into named columns and parameters for :func:`cases_spec`."""
    kept = np.flatnonzero(cases.times > 0)
    data = {
        "points": {
            "x": cases.x[kept], "y": cases.y[kept], "row": cases.row[kept].astype(float),
            "times": cases.times[kept].astype(float),
        },
        "lines": _line_columns(cases.lines),
        "reallines": _line_columns(cases.real_lines),
        "grouplines": _line_columns(cases.group_lines),
        "ends": _end_columns(cases, frame),
    }  # fmt: skip
    params = {
        "xlo": float(frame.x_axis[0]), "xhi": float(frame.x_axis[1]),
        "ylo": float(frame.y_axis[0]), "yhi": float(frame.y_axis[1]),
        "xticks": [float(t) for t in frame.x_ticks], "xlabels": list(frame.x_labels),
        "yticks": [float(t) for t in frame.y_ticks], "ylabels": list(frame.y_labels),
        "xtitle": frame.x_title, "ytitle": frame.y_title, "longest": float(frame.longest),
        "area": 11.0 if cases.x.size > MANY else 28.0,
    }  # fmt: skip
    return data, params


def _line_columns(lines: tuple[np.ndarray, ...]) -> dict[str, np.ndarray]:
    if not lines:
        return {"line": np.array([]), "x": np.array([]), "y": np.array([])}
    return {
        "line": np.concatenate([np.full(len(line), float(i)) for i, line in enumerate(lines)]),
        "x": np.concatenate([line[:, 0] for line in lines]),
        "y": np.concatenate([line[:, 1] for line in lines]),
    }


def _end_columns(cases: Cases, frame: Frame) -> dict[str, list]:
    if not cases.lines or not cases.end_words[1]:
        return {"y": [], "name": [], "value": []}
    low, high = frame.y_axis
    y = float(np.clip(cases.lines[cases.end_line][-1, 1], low + 0.1 * (high - low), high - 0.02 * (high - low)))
    return {"y": [y], "name": [cases.end_words[0]], "value": [cases.end_words[1]]}


# Names of groups that are too long to stand side by side stand in two lines by turns, the last one in the first line,
# where it leaves the second to the title of the axis; what is too long even then is cut.
_SLOT = "(width / (xhi - xlo))"
_CUT = f"floor({_SLOT} * (longest * 6.6 + 6 > {_SLOT} ? 2 : 1) / 6.6)"
_NAME = "xlabels[indexof(xticks, datum.value)]"
_GROUP_LABEL = (
    f"longest == 0 || longest * 6.6 + 6 <= {_SLOT} ? {_NAME} : (length(xticks) - 1 - indexof(xticks, datum.value)) % 2"
    f" ? ['', truncate({_NAME}, {_CUT})] : truncate({_NAME}, {_CUT})"
)


def cases_spec(kind: str, *, left: int = 34, right: int = RIGHT) -> dict:
    """Return the Vega-Lite specification of pane A (``"real"``) or pane B (``"sim"``): axes and marks, no data."""
    colour = f"@{kind}"
    x = {
        "field": "x", "type": "quantitative",
        "scale": {"domain": {"expr": "[xlo, xhi]"}, "nice": False, "zero": False},
        "axis": {"title": None, "grid": False, "values": {"expr": "xticks"}, "tickCount": 40, "labelFlush": False,
                 "labelOverlap": {"expr": "longest > 0 ? false : 'greedy'"}, "labelExpr": _GROUP_LABEL},
    }  # fmt: skip
    y = {
        "field": "y", "type": "quantitative",
        "scale": {"domain": {"expr": "[ylo, yhi]"}, "nice": False, "zero": False},
        "axis": {"title": None, "values": {"expr": "yticks"}, "labelExpr": "ylabels[indexof(yticks, datum.value)]"},
    }  # fmt: skip
    by_line = {"detail": {"field": "line", "type": "nominal"}, "order": {"value": 0}}
    layer = [
        {
            "data": {"name": "grouplines"},
            "mark": {"type": "line", "color": colour, "strokeWidth": 1, "opacity": 0.28, "clip": True},
            "encoding": {"x": x, "y": y, **by_line},
        },
        {
            "data": {"name": "points"}, "name": "points",
            "mark": {"type": "circle", "color": colour, "opacity": 0.62, "clip": True,
                     "size": {"expr": "area * datum.times"}},
            "encoding": {"x": x, "y": y, "tooltip": {"value": {
                "expr": "'row ' + datum.row + (datum.times > 1 ? ', drawn ' + datum.times + ' times' : '')"}}},
        },
        {
            "data": {"name": "reallines"},
            "mark": {"type": "line", "color": "@real", "strokeWidth": 1.2, "strokeDash": [2, 3], "clip": True},
            "encoding": {"x": x, "y": y, **by_line},
        },
        {
            "data": {"name": "lines"},
            "mark": {"type": "line", "color": colour, "strokeWidth": 3, "clip": True},
            "encoding": {"x": x, "y": y, **by_line},
        },
        *[
            {
                "data": {"name": "ends"},
                "mark": {"type": "text", "align": "left", "baseline": "alphabetic", "fontSize": 12, "color": colour,
                         "fontWeight": weight, "dy": dy},
                "encoding": {"x": {"value": {"expr": "width + 6"}}, "y": y,
                             "text": {"field": field, "type": "nominal"}},
            }
            for field, weight, dy in (("name", 400, 0), ("value", 600, 15))
        ],
        {
            "data": {"values": [{}]},
            "mark": {"type": "text", "align": "left", "baseline": "alphabetic"},
            "encoding": {"x": {"value": -left}, "y": {"value": -8}, "text": {"value": {"expr": "ytitle"}}},
        },
        {
            "data": {"values": [{}]},
            "mark": {"type": "text", "align": "right", "baseline": "alphabetic"},
            "encoding": {"x": {"value": {"expr": "width"}}, "y": {"value": {"expr": "height + 29"}},
                         "text": {"value": {"expr": "xtitle"}}},
        },
    ]  # fmt: skip
    values = {"xlo": 0, "xhi": 1, "ylo": 0, "yhi": 1, "xticks": [], "xlabels": [], "yticks": [], "ylabels": [],
              "xtitle": "", "ytitle": "", "longest": 0, "area": 28}  # fmt: skip
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": "container", "height": PLOT, "autosize": {"type": "none"},
        "padding": {"left": left, "right": right, "top": TOP, "bottom": BOTTOM},
        "config": vega_config(), "params": [{"name": k, "value": v} for k, v in values.items()],
        "layer": layer,
    }  # fmt: skip
