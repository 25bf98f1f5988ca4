"""A saved page opens from the disk, without a kernel, a server or the network, and is as alive as it can be."""

from __future__ import annotations

import numpy as np
import pytest

from bossaviz import offline
from bossaviz.livechart import LiveChart

from .jupyter_drive import ARTEFACTS

pytestmark = pytest.mark.browser

X = {"field": "x", "bin": "binned", "type": "quantitative", "axis": {"title": "slope of wt"}}
SPEC = {
    "padding": {"left": 40, "right": 10, "top": 10, "bottom": 40},
    "params": [{"name": "cut", "value": 2.5}],
    "data": {"name": "bins"},
    "vconcat": [
        {
            "width": "container", "height": 120,
            "layer": [
                {"name": "bars", "mark": {"type": "bar", "color": "@sim"},
                 "encoding": {"x": X, "x2": {"field": "x2"}, "y": {"field": "n", "type": "quantitative"}}},
                {"name": "grip", "data": {"values": [{}]}, "mark": {"type": "rule", "color": "@tail", "size": 4},
                 "encoding": {"x": {"datum": {"expr": "cut"}, "type": "quantitative"}}},
            ],
        },
        {"width": "container", "height": 60, "mark": {"type": "tick", "color": "@theory"}, "encoding": {"x": X}},
    ],
    "config": {"axis": {"labelColor": "@ink2", "titleColor": "@ink2", "gridColor": "@grid"},
               "view": {"stroke": None}, "background": "transparent"},
}  # fmt: skip
BAR = "document.querySelector('[aria-roledescription=bar]')"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    chart = LiveChart(
        SPEC,
        {"bins": {"x": np.arange(6.0), "x2": np.arange(6.0) + 1, "n": [1, 4, 9, 7, 3, 2]}},
        handles={"cut": {"mark": "grip", "scale": "concat_0_x", "max": 5}},
        description="Slopes of 24 resamples",
    )
    path = tmp_path_factory.mktemp("saved") / "page.html"
    offline.save(chart, path)
    return path


@pytest.mark.parametrize(("scheme", "sim"), [("light", "rgb(109, 79, 194)"), ("dark", "rgb(171, 151, 242)")])
def test_a_saved_page_draws_in_the_readers_theme_and_width(browser, saved, scheme, sim):
    context = browser.new_context(color_scheme=scheme, viewport={"width": 900, "height": 400})
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(saved.as_uri())
    page.wait_for_function(BAR)
    assert page.evaluate(f"getComputedStyle({BAR}).fill") == sim
    assert page.locator(".bv-chart").get_attribute("aria-label") == "Slopes of 24 resamples"
    # both plots of the column follow the page, and leave room for the axis at their left
    svg, plots = "document.querySelector('svg.marks').getBoundingClientRect().width", (
        "[...document.querySelectorAll('path.background')].map(n => n.getBoundingClientRect().width).filter(w => w)"
    )
    for width in (900, 500):
        page.set_viewport_size({"width": width, "height": 400})
        page.wait_for_function(f"Math.abs({svg} - ({width} - 32)) < 2")  # 16 px of the page at each side
    widths = page.evaluate(plots)
    assert 380 < widths[-1] < 418  # 468 less padding of 50, less labels and title
    assert widths[-1] == widths[-2]
    page.locator(".bv-chart").focus()
    place = page.locator(".grip_marks line")
    for _ in range(200):
        page.keyboard.press("Shift+ArrowRight")
    # the handle stops where it is told to: 5 on an axis from 0 to 6
    page.wait_for_timeout(100)
    assert float(place.evaluate("n => n.transform.baseVal[0].matrix.e")) == pytest.approx(widths[-1] * 5 / 6, abs=0.5)
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS / f"saved_page_{scheme}.png")
    context.close()
    assert asked == [saved.as_uri()]
    assert errors == []
