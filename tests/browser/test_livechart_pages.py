"""LiveChart where people will see it: JupyterLab, Notebook 7 and Voila, with the network refused."""

from __future__ import annotations

import json

import nbformat
import pytest

from .jupyter_drive import FIND_KERNEL

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
def run(frames, epoch):
    for i in range(1, frames + 1):
        chart.push({"bins": bins(i)}, {"seq": i}, epoch=epoch)
        time.sleep(0.02)

def start(frames, epoch):
    threading.Thread(target=run, args=(frames, epoch), daemon=True).start()

chart = LiveChart(spec, {"bins": bins(0)}, description="Slopes of 4,000 resamples",
                  selectable=["bars"], handles={"cut": {"mark": "grip"}})
"""



def bars(book, view=0):
    return book.page.locator(".bv-livechart").nth(view).locator("[aria-roledescription=bar]")


def drawing(book, view):
    """The shapes and the title of one view (which axis labels are shown depends on sizes it had before)."""
    return book.page.locator(".bv-livechart").nth(view).evaluate(
        "el => [...el.querySelectorAll('.role-mark path, .role-title text')]"
        ".map(n => n.getAttribute('d') ?? n.textContent)"
    )


# every drawing is as wide as its element
FILLS = (
    "[...document.querySelectorAll('.bv-livechart svg.marks')].every(svg => Math.abs("
    "svg.getBoundingClientRect().width - svg.closest('.bv-livechart').clientWidth) < 1)"
)


@pytest.fixture(scope="module")
def lab_book(module_page_for, jupyter_lab):
    """One JupyterLab page with two views of one chart and a chart that cannot be drawn."""
    broken = 'broken = LiveChart({"data": {"values": []}, "mark": "nonsense"})\nbroken'
    book = module_page_for(jupyter_lab, [CHART, "chart", "chart", broken])
    book.wait_painted(0, ".bv-livechart:has(svg)")
    book.wait_for_text(".bv-chart-error", "could not be drawn")
    return book


def test_sixty_updates_from_a_thread_while_a_cell_runs_remove_nothing(lab_book):
    lab_book.watch_removals()
    # the cell sleeps on the main thread until the thread has pushed its last frame
    lab_book.python("t = threading.Thread(target=run, args=(60, 1)); t.start(); t.join()")
    lab_book.wait_for_text(".bv-livechart svg text", "frame 60")
    assert lab_book.removals() == 0
    lab_book.screenshot("livechart_lab_light")


def test_frames_are_painted_while_the_cell_still_runs(lab_book):
    lab_book.page.evaluate(
        f"code => {{ window.__cell = {FIND_KERNEL}.requestExecute({{ code }}); }}",
        "start(10, 2); time.sleep(60)",
    )
    lab_book.wait_for_text(".bv-livechart svg text", "frame 10")
    assert lab_book.page.evaluate(f"{FIND_KERNEL}.status") == "busy"
    lab_book.page.evaluate(f"{FIND_KERNEL}.interrupt().then(() => window.__cell.done).then(() => null)")


def test_two_views_show_the_same(lab_book):
    lab_book.wait_painted(int(lab_book.python("chart.frame")), ".bv-livechart:has(svg)")
    first = drawing(lab_book, 0)
    assert len(first) > 50
    assert first == drawing(lab_book, 1)


def test_an_old_run_draws_nothing(lab_book):
    assert lab_book.python("chart.push(params={'seq': 999}, epoch=1)") == "False"
    lab_book.page.wait_for_timeout(200)
    assert "frame 10" in drawing(lab_book, 0)


def test_a_click_reaches_python(lab_book):
    bars(lab_book).nth(25).click()
    lab_book.wait_until_python("chart.selections.get('seq') == 1")
    assert lab_book.python("chart.selections['name'], float(chart.selections['datum']['x'])") == "('bars', 5.0)"
    bars(lab_book, 1).nth(30).click()
    lab_book.wait_until_python("chart.selections['seq'] == 2 and chart.selections['datum']['x'] == 6.0")


def test_a_rule_over_a_bar_does_not_swallow_the_click(lab_book):
    # the hatch lies over the bars of the tail and is not selectable
    bars(lab_book).nth(38).click(force=True)
    lab_book.wait_until_python("abs(chart.selections['datum']['x'] - 7.6) < 1e-9")


def test_marks_are_reached_by_keyboard(lab_book):
    # a chart without handles: arrows go from mark to mark
    lab_book.python("chart.handles = {}")
    lab_book.page.locator(".bv-livechart .bv-chart").first.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        lab_book.page.keyboard.press(key)
    lab_book.wait_until_python("abs(chart.selections['datum']['x'] - 0.4) < 1e-9")
    lab_book.python("chart.handles = {'cut': {'mark': 'grip'}}")


def test_a_handle_is_dragged_and_moved_by_keys_and_both_views_follow(lab_book):
    grip = lab_book.page.locator(".bv-livechart").first.locator(".grip_marks line")
    box = grip.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    lab_book.page.mouse.move(x, y)
    lab_book.page.mouse.down()
    lab_book.page.mouse.move(x - 40, y, steps=4)
    lab_book.page.mouse.up()
    lab_book.wait_until_python("chart.params.get('cut', 7.0) < 6.9")
    lab_book.page.locator(".bv-livechart .bv-chart").first.focus()
    before = float(lab_book.python("chart.params['cut']"))
    lab_book.page.keyboard.press("ArrowRight")
    # a two-hundredth of the axis, which runs from 0 to 10
    lab_book.wait_until_python(f"abs(chart.params['cut'] - {before} - 0.05) < 1e-9")
    lab_book.wait_until(
        "(() => { const at = [...document.querySelectorAll('.bv-livechart .grip_marks line')]"
        ".map(n => n.getAttribute('transform')); return at.length === 2 && at[0] === at[1]; })()"
    )


def test_the_theme_changes_without_a_redraw(lab_book):
    fill = "getComputedStyle(document.querySelector('.bv-livechart [aria-roledescription=bar]')).fill"
    assert lab_book.page.evaluate(fill) == "rgb(109, 79, 194)"  # sim, light
    # a redraw would make a new element
    lab_book.page.evaluate("window.__bar = document.querySelector('.bv-livechart [aria-roledescription=bar]')")
    lab_book.set_theme("dark")
    lab_book.wait_until(f"{fill} === 'rgb(171, 151, 242)'")  # sim, dark
    assert lab_book.page.evaluate("window.__bar.isConnected")
    lab_book.wait_until(FILLS)
    lab_book.screenshot("livechart_lab_dark")
    lab_book.set_theme("light")


def test_the_width_follows_the_page(lab_book):
    width = "document.querySelector('.bv-livechart svg').getBoundingClientRect().width"
    wide = lab_book.page.evaluate(width)
    lab_book.watch_removals()
    lab_book.page.set_viewport_size({"width": 900, "height": 900})
    lab_book.wait_until(f"{width} < {wide} - 100")
    lab_book.wait_until(FILLS)
    lab_book.page.set_viewport_size({"width": 1280, "height": 900})
    lab_book.wait_until(f"{width} === {wide}")
    assert lab_book.removals() == 0


def test_the_pointer_over_a_mark_is_reported_where_asked_for(lab_book):
    lab_book.python("chart.report_hover = True")
    bars(lab_book).nth(20).hover()
    lab_book.wait_until_python("chart.hovered.get('datum', {}).get('x') == 4.0")
    lab_book.python("chart.report_hover = False")


def test_the_chart_is_described_and_dimmed(lab_book):
    assert lab_book.page.locator(".bv-chart").first.get_attribute("aria-label") == "Slopes of 4,000 resamples"
    lab_book.python("chart.stale = True; chart.description = 'Out of date'")
    opacity = "getComputedStyle(document.querySelector('.bv-chart')).opacity"
    lab_book.wait_until(f"{opacity} === '0.35'")
    lab_book.wait_until("document.querySelector('.bv-chart').ariaLabel === 'Out of date'")
    lab_book.python("chart.stale = False; chart.description = 'Slopes of 4,000 resamples'")
    lab_book.wait_until(f"{opacity} === '1'")


def test_a_chart_that_could_not_be_drawn_recovers(lab_book):
    lab_book.python("broken.spec = {'data': {'name': 'd'}, 'mark': 'point', 'title': 'mended', 'encoding': {}}")
    lab_book.wait_for_text(".bv-livechart svg text", "mended")
    assert lab_book.page.locator(".bv-chart-error").count() == 0


def test_a_saved_notebook_draws_the_last_data_without_its_kernel(lab_book, page_for, jupyter_lab):
    lab_book.python("chart.push(params={'seq': 4711})")
    lab_book.wait_for_text(".bv-livechart svg text", "frame 4711")
    lab_book.command("docmanager:save")
    saved = jupyter_lab.root / lab_book.name
    state = nbformat.read(saved, 4).metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    # the bundle once, compressed, whatever the number of charts
    assert len(json.dumps(state)) < 600_000
    # a copy: its kernel is new and knows no widget (Notebook 7 restores no saved widget of anyone)
    again = page_for(jupyter_lab, saved, run=False)
    again.wait_for_text(".bv-livechart svg text", "frame 4711")
    assert drawing(again, 0) == drawing(lab_book, 0)
    again.screenshot("livechart_saved", show=".bv-livechart svg")


def test_notebook7_draws_and_updates(page_for, notebook7):
    brush = """
watched = LiveChart({"width": 300, "height": 100, "data": {"name": "d"}, "mark": "point",
                     "params": [{"name": "brush", "select": {"type": "interval", "encodings": ["x"]}}],
                     "encoding": {"x": {"field": "x", "type": "quantitative"}}},
                    {"d": {"x": [0, 10]}}, watch=["brush"])
watched
"""
    book = page_for(notebook7, [CHART, "chart", brush])
    book.wait_painted(0)
    book.watch_removals()
    book.python("run(20, 1)")
    book.wait_for_text(".bv-livechart svg text", "frame 20")
    assert book.removals() == 0
    book.screenshot("livechart_notebook7", show=".bv-livechart svg")
    book.page.locator(".bv-livechart").nth(1).scroll_into_view_if_needed()
    box = book.page.locator(".bv-livechart").nth(1).locator("svg").bounding_box()
    book.page.mouse.move(box["x"] + 80, box["y"] + 20)
    book.page.mouse.down()
    book.page.mouse.move(box["x"] + 200, box["y"] + 40, steps=5)
    book.page.mouse.up()
    book.wait_until_python("len(watched.signals.get('brush', {}).get('x', [])) == 2")


def test_a_chart_without_its_runtime_gets_the_code_from_the_kernel(page_for, notebook7):
    book = page_for(notebook7, [CHART, "time.sleep(2); chart.runtime.close()", "chart"])
    book.wait_painted(0, seconds=30)
    assert book.python("len(chart.bundle['vega']) > 100_000") == "True"


def test_voila_draws_and_updates(page_for, voila):
    button = """
import ipywidgets
go = ipywidgets.Button(description="run")
go.add_class("bv-go")
go.on_click(lambda _: start(60, 1))
ipywidgets.VBox([go, chart])
"""
    book = page_for(voila, [CHART, button])
    book.wait_painted(0, seconds=30)
    book.watch_removals()
    book.page.locator(".bv-go").click()
    book.wait_for_text(".bv-livechart svg text", "frame 60")
    assert book.removals() == 0
    book.screenshot("livechart_voila")
