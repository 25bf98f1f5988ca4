"""Pictures and pages: the same chart without a kernel and without the network."""

from __future__ import annotations

import copy
import re
import struct

import numpy as np
import pytest

from bossaviz import look, offline
from bossaviz.livechart import LiveChart

SPEC = {
    "width": "container", "height": 100, "autosize": {"type": "none"},
    "padding": {"left": 40, "right": 10, "top": 20, "bottom": 40},
    "params": [{"name": "cut", "value": 0}],
    "layer": [
        {"name": "bars", "data": {"name": "bins"}, "mark": {"type": "bar", "color": "@sim"},
         "encoding": {"x": {"field": "x", "bin": "binned", "type": "quantitative"}, "x2": {"field": "x2"},
                      "y": {"field": "n", "type": "quantitative"},
                      "fill": {"condition": {"test": "datum.x >= cut", "value": "url(#bv-hatch)"},
                               "value": "@sim"}}},
        {"data": {"values": [{}]}, "mark": {"type": "rule", "color": "var(--bv-tail, #000)"},
         "encoding": {"x": {"datum": {"expr": "cut"}, "type": "quantitative"}}},
    ],
    "config": {"background": "transparent", "axis": {"labelColor": "@ink2"}},
}  # fmt: skip
DATA = {"bins": {"x": np.arange(6.0), "x2": np.arange(6.0) + 1, "n": [1, 4, 9, 7, 3, 1]}}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_picture_has_the_colours_of_its_theme_and_no_token(theme):
    svg = offline.render_svg(SPEC, DATA, {"cut": 4}, theme=theme)
    colours = look.THEMES[theme]
    assert f'fill="{colours["sim"]}"' in svg
    assert f'stroke="{colours["tail"]}"' in svg
    assert f'fill="{colours["ground"]}"' in svg
    assert not re.search(r"var\(|@[a-z]", svg)
    assert svg.count('aria-roledescription="bar"') == 6
    # cut = 4: the bars from 4 and 5 are hatched, and the pattern is in the picture
    assert svg.count('fill="url(#bv-hatch)"') == 2
    assert '<pattern id="bv-hatch"' in svg


def test_a_png_is_as_large_as_asked():
    png = offline.render_png(SPEC, DATA, width=500, scale=2)
    assert png.startswith(b"\x89PNG")
    # width 500 as on screen; height 100 and the padding of 20 and 40
    assert struct.unpack(">II", png[16:24]) == (1000, 320)


def test_a_livechart_is_its_own_source():
    chart = LiveChart(SPEC, DATA, {"cut": 4})
    assert offline.render_svg(chart) == offline.render_svg(SPEC, DATA, {"cut": 4})
    chart.push(params={"cut": 2})
    assert offline.render_svg(chart).count('fill="url(#bv-hatch)"') == 4


def test_the_spec_given_is_not_changed():
    before = copy.deepcopy(SPEC)
    offline.self_contained(SPEC, DATA, {"cut": 4})
    assert before == SPEC


def test_only_tokens_are_replaced():
    value = {
        "a": "@sim", "b": "x ? '@tail' : \"@sim\"", "c": "me@sim.org, '@nobody'",
        "d": ["var(--bv-real, #000)", 3, None], "e": "var(--jp-ui-font-color1)",
    }  # fmt: skip
    light = look.LIGHT
    assert offline.with_colours(value) == {
        "a": light["sim"], "b": f"x ? '{light['tail']}' : \"{light['sim']}\"", "c": "me@sim.org, '@nobody'",
        "d": [light["real"], 3, None], "e": "var(--jp-ui-font-color1)",
    }  # fmt: skip


def test_widths_are_given_as_on_screen():
    assert offline.self_contained(SPEC, width=600)["width"] == 550
    plain = offline.self_contained({"width": "container", "mark": "point"}, width=600)
    assert plain["width"] == 600
    assert plain["autosize"] == {"type": "fit-x", "contains": "padding"}
    column = {"padding": 5, "vconcat": [{"width": "container", "mark": "point"}, {"width": 80, "mark": "point"}]}
    assert [unit["width"] for unit in offline.self_contained(column, width=600)["vconcat"]] == [590, 80]


def test_nothing_is_loaded():
    far = {"data": {"url": "https://example.org/data.csv"}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    with pytest.raises(ValueError, match=r"example\.org"):
        offline.render_svg(far)


def test_a_page_holds_all_it_needs():
    page = offline.embed_html(SPEC, DATA, {"cut": 4}, title="A <b> & c", description="d </script> e")
    assert "<title>A &lt;b&gt; &amp; c</title>" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert page.count("</script>") == 2
    assert len(page) < 1_000_000


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("html", b"<!DOCTYPE html>")])
def test_save_follows_the_ending(tmp_path, suffix, start):
    path = tmp_path / f"figure.{suffix}"
    offline.save(LiveChart(SPEC, DATA), path)
    assert path.read_bytes().startswith(start)


def test_altair_charts_are_shown_as_pictures():
    import altair

    before = altair.renderers.active
    try:
        offline.enable_renderer()
        chart = altair.Chart(altair.Data(values=[{"x": 1, "y": 2}])).mark_point(color="@sim").encode(x="x:Q", y="y:Q")
        bundle = chart._repr_mimebundle_()
        assert look.LIGHT["sim"] in bundle["image/svg+xml"]
        assert bundle["image/png"].startswith(b"\x89PNG")
        assert bundle["text/plain"] == "chart"
    finally:
        altair.renderers.enable(before)
