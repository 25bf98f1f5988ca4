"""The bootstrap panel of a mixed model as a person meets it in JupyterLab, with the network refused."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.browser

MAKE = """
import bossaviz as bv
from inference_core import model
from inference_core.datasets import load_dataset

m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
p = bv.bootstrap(m, seed=7, ci_type="percentile")
"""
DRAWN = ".bv-panel .bv-pane-c .bv-livechart svg"


@pytest.fixture(scope="module")
def lab(module_page_for, jupyter_lab):
    """One page with the panel; each journey leaves it ready for the next."""
    book = module_page_for(jupyter_lab, [MAKE, "p"], width=1320, height=1250)
    book.page.wait_for_selector(DRAWN, timeout=30_000)
    return book


def panel(book):
    return book.page.locator(".bv-panel").first


def status_says(book, words, seconds=15.0):
    panel(book).locator(".bv-status").filter(has_text=words).wait_for(timeout=seconds * 1000)


def thin_lines(book, pane):
    """Lines of groups in a pane: the strokes of 1 px."""
    return panel(book).locator(f".bv-pane-{pane} svg path[stroke-width='1'][opacity='0.28']").count()


def test_a_draw_is_a_new_set_of_subjects(lab):
    assert panel(lab).locator(".bv-facts").inner_text().startswith("Reaction ~ Days + (Days | Subject)")
    assert "18 subjects" in panel(lab).locator(".bv-facts").inner_text()
    assert (thin_lines(lab, "a"), thin_lines(lab, "b")) == (18, 0)
    panel(lab).locator(".bv-plus-1").click()
    status_says(lab, "1 draw")
    panel(lab).locator(".bv-pane-b .bv-pane-title").filter(has_text="18 new subjects").wait_for()
    lab.wait_painted(int(lab.python("p._chart_b.frame")), ".bv-pane-b .bv-livechart")
    assert thin_lines(lab, "b") == 18
    panel(lab).locator(".bv-sentence").filter(has_text="that the fitted model made up").wait_for()


def test_real_and_simulated_never_share_a_colour(lab):
    colours = [
        set(panel(lab).locator(f".bv-pane-{pane} svg").evaluate(
            "el => [...el.querySelectorAll('.points_marks > *')].map(n => getComputedStyle(n).fill)"
        ))
        for pane in "ab"
    ]  # fmt: skip
    assert all(len(one) == 1 for one in colours)
    assert colours[0].isdisjoint(colours[1])


def test_a_hundred_then_a_standard_deviation_of_the_same_draws(lab):
    lab.watch_removals()
    panel(lab).locator(".bv-plus-100").click()
    status_says(lab, "101 draws")
    before = lab.python("p.resamples.height")
    panel(lab).locator(".bv-term select").select_option(label="SD of Days")
    panel(lab).locator(".bv-question").filter(has_text="How different are subjects in their slopes?").wait_for()
    panel(lab).locator(".bv-sentence").filter(has_text="Subjects' slopes differ with a standard").wait_for()
    offered = panel(lab).locator(".bv-ci-type .widget-radio-box label").all_inner_texts()
    assert [word.strip() for word in offered] == ["percentile", "BCa"]
    assert panel(lab).locator(".bv-chips .bv-no").filter(has_text="basic").count() == 1
    assert lab.python("p.resamples.height") == before
    assert lab.removals() == 0
    lab.screenshot("panel_mixed_sd", ".bv-panel")


def test_the_level_is_dragged_and_draws_nothing(lab):
    handle = panel(lab).locator(".bv-level .noUi-handle")
    box, drawn = handle.bounding_box(), lab.python("p.resamples.height")
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    lab.page.mouse.move(*middle)
    lab.page.mouse.down()
    lab.page.mouse.move(middle[0] - 40, middle[1], steps=8)
    lab.page.mouse.up()
    lab.wait_until_python("p.state.conf_level < 0.9")
    level = float(lab.python("p.state.conf_level"))
    panel(lab).locator(".bv-sentence").filter(has_text=f"{100 * level:g}%").wait_for()
    assert lab.python("p.resamples.height") == drawn
    panel(lab).locator(".bv-level-box input").fill("0.95")
    lab.wait_until_python("p.state.conf_level == 0.95")


def test_stop_keeps_what_was_drawn(lab):
    panel(lab).locator(".bv-term select").select_option(label="Days (slope)")
    lab.python("p._worker.watch = 30.0")  # a run that is held long enough to be stopped by a slow machine
    before = int(lab.python("p.state.n_boot"))
    panel(lab).locator(".bv-plus-1000").click()
    lab.wait_until_python(f"p._reading.count > {before}")
    panel(lab).locator(".bv-stop").click()
    status_says(lab, "Stopped")
    lab.python("p._worker.watch = 0.8")
    assert before < int(lab.python("p.state.n_boot")) < before + 1000
    panel(lab).locator(".bv-plus-1000").click()
    status_says(lab, "Ready")


def test_schemes_are_a_menu_and_other_draws_are_asked_for(lab):
    panel(lab).locator(".bv-scheme select").select_option(index=1)
    status_says(lab, "scheme was changed from parametric to cluster")
    panel(lab).locator(".bv-plus-100").click()
    status_says(lab, "100 draws")
    panel(lab).locator(".bv-pane-b .bv-pane-title").filter(has_text="some more than once").wait_for()
    panel(lab).locator(".bv-scheme select").select_option(index=0)
    lab.wait_until_python("p.state.scheme == 'parametric' and p.state.n_boot > 1000")


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [1200, 720])
def test_pictures_to_look_at(lab, theme, width):
    lab.command("apputils:change-theme", theme=f"JupyterLab {theme}")
    lab.page.set_viewport_size({"width": 1640, "height": 1900})
    panel(lab).evaluate("(el, w) => { el.style.width = w + 'px'; }", width - 32)
    lab.wait_until(f"document.querySelector('.bv-panel .bv-pane-c svg').getBoundingClientRect().width < {width}")
    lab.page.wait_for_timeout(400)
    lab.screenshot(f"panel_mixed_{theme.lower()}_{width}", ".bv-panel")
    assert panel(lab).evaluate("el => el.scrollWidth - el.clientWidth") <= 1  # nothing sticks out
    ground = panel(lab).evaluate("el => getComputedStyle(el).backgroundColor")
    assert (sum(int(v) for v in re.findall(r"\d+", ground)[:3]) > 600) == (theme == "Light")
    panel(lab).evaluate("el => { el.style.width = ''; }")
    lab.page.set_viewport_size({"width": 1320, "height": 1250})
    lab.command("apputils:change-theme", theme="JupyterLab Light")
