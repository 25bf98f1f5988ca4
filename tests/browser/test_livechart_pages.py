"""LiveChart where people will see it: JupyterLab, Notebook 7 and Voila, with the network refused."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser

CHART = """
import threading, time
import numpy as np
from bossaviz.livechart import LiveChart

edges = np.linspace(0.0, 10.0, 51)

def bins(seed):
    draws = np.random.default_rng(seed).normal(5 + seed / 60, 1.2, 4000)
    counts, _ = np.histogram(draws, edges)
    return {"x": edges[:-1], "x2": edges[1:], "count": counts,
            "colour": ["@tail" if x > 7 else "@sim" for x in edges[:-1]]}

spec = {
    "width": "container", "height": 160, "autosize": {"type": "none"},
    "padding": {"left": 40, "right": 12, "top": 24, "bottom": 40},
    "params": [{"name": "cut", "value": 7.0}, {"name": "seq", "value": 0}],
    "title": {"text": {"expr": "'frame ' + seq"}, "color": "@ink2", "anchor": "start"},
    "layer": [
        {"name": "bars", "data": {"name": "bins"}, "mark": {"type": "bar", "binSpacing": 1},
         "encoding": {"x": {"field": "x", "bin": "binned", "type": "quantitative", "axis": {"title": "slope"}},
                      "x2": {"field": "x2"}, "y": {"field": "count", "type": "quantitative"},
                      "color": {"field": "colour", "type": "nominal", "scale": None}}},
        {"name": "hatch", "data": {"name": "bins"}, "mark": {"type": "bar", "binSpacing": 1},
         "transform": [{"filter": "datum.x >= 7.5"}],
         "encoding": {"x": {"field": "x", "bin": "binned", "type": "quantitative"}, "x2": {"field": "x2"},
                      "y": {"field": "count", "type": "quantitative"}, "fill": {"value": "url(#bv-hatch)"}}},
        {"name": "grip", "data": {"values": [{}]}, "mark": {"type": "rule", "color": "@tail", "strokeWidth": 6},
         "encoding": {"x": {"datum": {"expr": "cut"}, "type": "quantitative"}}},
    ],
    "config": {"background": "transparent", "view": {"stroke": None},
               "axis": {"labelColor": "@ink2", "titleColor": "@ink2", "gridColor": "@grid", "domainColor": "@axis",
                        "tickColor": "@axis"}},
}
chart = LiveChart(spec, {"bins": bins(0)}, description="Slopes of 4,000 resamples",
                  selectable=["bars"], handles={"cut": {"mark": "grip"}})
"""


def test_in_jupyterlab(page_for, jupyter_lab):
    book = page_for(jupyter_lab, [CHART, "chart"])
    book.wait_painted(0)
    book.screenshot("livechart_lab", ".bv-livechart")
