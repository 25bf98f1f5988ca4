"""The bootstrap panel where things go another way: several panels, other threads, the keyboard alone, a kernel lost."""

from __future__ import annotations

import time

import nbformat
import pytest

pytestmark = pytest.mark.browser

MAKE = """
import threading, time
import bossaviz as bv
from inference_core import model
from inference_core.datasets import load_dataset

m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
p = bv.bootstrap(m, seed=7)
other = bv.bootstrap(model("weight ~ feed", load_dataset("chickwts")).fit(), seed=1, ci_type="percentile")
"""
KERNEL = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel"
FOCUS = "document.activeElement"
# Notes every disc and ring put over the first panel, what the status line said by then, and when it went.
WATCH_FLIGHTS = """() => {
  const panel = document.querySelector('.bv-panel');
  window.__flights = [];
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) if (/bv-(flight|ring)/.test(node.className)) window.__flights.push(
        { kind: node.className, said: panel.querySelector('.bv-status').textContent, from: performance.now() });
      for (const node of change.removedNodes) {
        const flight = window.__flights.findLast((one) => one.kind === node.className);
        if (flight) flight.ms = performance.now() - flight.from;
      }
    }
  }).observe(panel, { childList: true });
}"""


@pytest.fixture(scope="module")
def lab(module_page_for, jupyter_lab):
    """One page: two views of one panel, and another panel."""
    book = module_page_for(jupyter_lab, [MAKE, "p", "p", "other"], width=1320, height=1250)
    book.wait_until("document.querySelectorAll('.bv-panel .bv-pane-c svg').length === 3", seconds=30)
    book.wait_until("document.querySelectorAll('.bv-panel[role=region]').length === 3")
    return book


def panel(book, view=0):
    return book.page.locator(".bv-panel").nth(view)


def status_says(book, words, view=0, seconds=15.0):
    panel(book, view).locator(".bv-status").filter(has_text=words).wait_for(timeout=seconds * 1000)


def chosen(book, view):
    return panel(book, view).locator(".bv-ci-type label:has(input:checked)").all_inner_texts()


def focus_says(book):
    return book.page.evaluate(f"{FOCUS}.getAttribute('aria-label') ?? ''")


def painted(book, view):
    """The shapes and texts of the three charts of one view, once they have painted the last frame."""
    for pane in "abc":
        frame = int(book.python(f"p._chart_{pane}.frame"))
        book.wait_until(
            f"+document.querySelectorAll('.bv-panel')[{view}].querySelector('.bv-pane-{pane} .bv-chart').dataset.frame"
            f" >= {frame}"
        )
    return panel(book, view).evaluate(
        "el => [...el.querySelectorAll('.bv-pane svg :is(path, text, line)')].map(n => (n.getAttribute('d') ??"
        " n.textContent) + (n.getAttribute('transform') ?? ''))"
    )


def words_of(book, view):
    return [panel(book, view).locator(name).inner_text() for name in (".bv-sentence", ".bv-status", ".bv-table")]


# ---- several panels on one page ------------------------------------------------------------------------------------


def test_panels_on_one_page_keep_their_own_choices(lab):
    assert [chosen(lab, view) for view in range(3)] == [["BCa"], ["BCa"], ["percentile"]]
    panel(lab, 2).locator(".bv-ci-type label").filter(has_text="basic").click()
    lab.wait_until_python("other.state.ci_type == 'basic'")
    assert [chosen(lab, view) for view in range(3)] == [["BCa"], ["BCa"], ["basic"]]
    assert lab.python("p.state.ci_type") == "'bca'"


# ---- one draw ------------------------------------------------------------------------------------------------------


def test_one_draw_flies_and_more_do_not(lab):
    lab.page.evaluate(WATCH_FLIGHTS)
    lab.watch_removals()
    panel(lab).locator(".bv-plus-1").click()
    lab.wait_until("window.__flights[0]?.ms > 0")
    flight = lab.page.evaluate("window.__flights[0]")
    assert flight["kind"] == "bv-flight"
    assert "1 draw" in flight["said"]  # the numbers did not wait for it
    assert 400 < flight["ms"] < 1500  # 450 ms, and a busy machine takes the disc away late
    panel(lab).locator(".bv-plus-10").click()
    status_says(lab, "11 draws")
    lab.page.wait_for_timeout(300)
    assert lab.page.evaluate("window.__flights.length") == 1
    assert lab.removals() == 0


def test_less_motion_rings_the_new_dot(page_for, jupyter_lab):
    book = page_for(
        jupyter_lab, [MAKE, "p"], width=1320, height=1250, reduced_motion="reduce", has_touch=True
    )
    book.wait_until("document.querySelector('.bv-panel[role=region] .bv-pane-c svg') !== null", seconds=30)
    book.page.evaluate(WATCH_FLIGHTS)
    panel(book).locator(".bv-plus-1").click()
    book.wait_until("window.__flights[0]?.ms > 0")
    assert [flight["kind"] for flight in book.page.evaluate("window.__flights")] == ["bv-ring"]
    assert 900 < book.page.evaluate("window.__flights[0].ms") < 2500  # 1 s, on a busy machine
    duration = panel(book).locator(".bv-pane-c .bv-chart").evaluate("el => getComputedStyle(el).transitionDuration")
    assert duration in ("0s", "")
    heights = panel(book).locator(".bv-gen").evaluate_all("all => all.map(el => el.getBoundingClientRect().height)")
    assert min(heights) >= 44  # a finger is coarse


# ---- the keyboard alone --------------------------------------------------------------------------------------------


def test_tab_goes_through_the_groups_in_order_and_is_seen(lab):
    panel(lab).locator(".bv-seed-box input").focus()
    seen, bare = [], []
    for _ in range(45):
        lab.page.keyboard.press("Tab")
        where = lab.page.evaluate(
            f"""() => {{ const el = {FOCUS}; const group = el.closest('.bv-grp')?.className.match(/bv-grp-(\\d)/)?.[1];
            const ring = el.matches('input[type=radio]') ? el.closest('label') : el;
            const style = getComputedStyle(ring);
            return [group ?? (el.closest('.bv-chart') ? 'chart' : el.closest('.bv-panel') ? 'other' : 'out'),
              (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0), el.outerHTML.slice(0, 80)]; }}"""
        )
        if where[0] == "out":
            break
        seen.append(where[0])
        if not where[1]:
            bare.append(where[2])
    groups = list(dict.fromkeys(name for name in seen if name.isdigit()))
    assert groups == ["1", "2", "3", "4", "5"]
    assert "chart" in seen[seen.index("5") :]
    assert not bare  # whatever has the focus shows it


def test_keys_walk_the_dots_in_order_of_value(lab):
    lab.python("p.draw(60).wait()")
    status_says(lab, "71 draws")
    painted(lab, 0)
    panel(lab).locator(".bv-pane-c .bv-chart").focus()
    order = lab.python("p.resamples['wt'].arg_sort().to_list()")
    order = [int(i) + 1 for i in order.strip("[]").split(",")]
    said = []
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft", "End"):
        lab.page.keyboard.press(key)
        said.append(focus_says(lab))
    assert [int(text.split()[1].rstrip(":")) for text in said] == [order[i] for i in (0, 1, 2, 1, -1)]
    one = lab.python(
        "import bossaviz.sentences as bs, bossaviz.situations as bt; d = p._store.first(); s = p._store.stream\n"
        "r = s.resamples(d.samples, d.status, d.se, n_requested=d.count)\n"
        f"print(bs.sentence(bt.situation_from(m, p.inference, 'wt', resamples=r, dot={order[-1]}), p._labels).main)"
    )
    assert said[-1] == one  # PB12, as the sentence has it
    lab.page.keyboard.press("o")
    assert focus_says(lab) == "The estimate from the real data: −3.88."
    lab.page.keyboard.press("ArrowLeft")
    below = int(lab.python("(p.resamples['wt'] <= m.fit_state.coef[1]).sum()"))
    assert focus_says(lab).startswith(f"Dot {order[below - 1]}:")


def test_a_dot_keeps_the_focus_while_others_come(lab):
    here = focus_says(lab)
    assert here.startswith("Dot ")
    lab.python("p.draw(20).wait()")
    status_says(lab, "91 draws")
    painted(lab, 0)
    assert focus_says(lab) == here
    lab.page.keyboard.press("Enter")
    lab.wait_until_python(f"p.state.shown == {int(here.split()[1].rstrip(':'))}")
    lab.page.keyboard.press("t")
    assert lab.page.evaluate(f"{FOCUS}.className") == "bv-table"
    lab.python("p.state.shown = None")


# ---- views ---------------------------------------------------------------------------------------------------------


def test_two_views_agree_after_every_display_control(lab):
    lab.python("p.draw(600).wait()")
    handle = panel(lab, 1).locator(".bv-level .noUi-handle")
    handle.focus()
    lab.page.keyboard.press("ArrowLeft")
    lab.wait_until_python("p.state.conf_level < 0.95")
    panel(lab, 0).locator(".bv-term select").select_option(label="hp (slope)")
    lab.wait_until_python("p.state.term == 'hp'")
    panel(lab, 1).locator(".bv-ci-type label").filter(has_text="studentized").click()
    lab.wait_until_python("p.state.ci_type == 'studentized'")
    lab.python("p.state.bins = 9; p.state.overlay = True; p.state.alternative = 'less'")
    lab.page.wait_for_timeout(300)
    assert painted(lab, 0) == painted(lab, 1)
    assert words_of(lab, 0) == words_of(lab, 1)
    assert chosen(lab, 0) == chosen(lab, 1) == ["studentized"]
    panel(lab, 0).locator(".bv-reset").click()
    lab.wait_until_python("p.state.term == 'wt' and p.state.ci_type == 'bca' and p.state.alternative == 'two-sided'")


def test_one_view_closed_while_running_leaves_the_other_alive(lab):
    before = int(lab.python("p.state.n_boot"))
    lab.python("p._worker.watch = 1.5")
    panel(lab).locator(".bv-plus-1000").click()
    lab.wait_until_python(f"p._reading.count > {before}")
    # the output of the second view is cleared, as a reader does
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets[2].model.clearExecution()")
    lab.wait_until("document.querySelectorAll('.bv-panel').length === 2")
    status_says(lab, f"Ready {before + 1000:,} draws")
    lab.python("p._worker.watch = 0.8")
    assert painted(lab, 0)


# ---- threads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["perCommTarget", "disabled"])
def test_controls_beside_a_running_cell(lab, mode):
    # ipykernel 7 handles messages of sliders on a subshell, where the front end asks for one
    lab.page.evaluate(f"{KERNEL}.commsOverSubshells = {mode!r}")
    lab.python(
        "log = []; p.state.observe(lambda c: log.append((threading.current_thread() is threading.main_thread(),"
        " time.monotonic())), 'conf_level')"
    )
    handle = panel(lab).locator(".bv-level .noUi-handle")
    handle.focus()
    level = float(lab.python("p.state.conf_level"))
    lab.page.keyboard.press("ArrowLeft")  # the first one opens the subshell
    lab.wait_until_python(f"p.state.conf_level < {level}")
    lab.python("log.clear()")
    lab.page.evaluate(
        f"code => {{ window.__cell = {KERNEL}.requestExecute({{ code }}); }}",
        "span = [time.monotonic()]; time.sleep(2); span.append(time.monotonic())",
    )
    lab.wait_until(f"{KERNEL}.status === 'busy'")
    lab.page.keyboard.press("ArrowLeft")
    words = f"{100 * (level - 0.01):g}%"
    lab.page.evaluate("window.__cell.done.then(() => { window.__ended = performance.now(); }); null")
    panel(lab).locator(".bv-sentence").filter(has_text=words).wait_for()
    lab.page.evaluate("window.__cell.done.then(() => null)")
    main, inside = lab.python("print(*[(main, span[0] < at < span[1]) for main, at in log][0])").split()
    assert (main, inside) == (("False", "True") if mode == "perCommTarget" else ("True", "False"))
    lab.python(f"p.state.conf_level = {level}")
    lab.page.evaluate(f"{KERNEL}.commsOverSubshells = 'perCommTarget'")


# ---- what is left --------------------------------------------------------------------------------------------------


def test_a_notebook_saved_without_widgets_shows_the_picture(lab, page_for, jupyter_lab):
    lab.command("docmanager:save")
    end = time.monotonic() + 15
    while True:
        book = nbformat.read(jupyter_lab.root / lab.name, 4)
        outputs = [out for cell in book.cells for out in cell.get("outputs", ())]
        if outputs or time.monotonic() > end:
            break
        time.sleep(0.2)
    book.metadata.pop("widgets", None)
    copy = jupyter_lab.root / f"still-{lab.name}"
    nbformat.write(book, copy)
    from nbconvert import HTMLExporter

    page = HTMLExporter().from_notebook_node(book)[0]
    assert page.count("jp-RenderedImage jp-OutputArea-output") == sum("data" in out for out in outputs) >= 2
    still = page_for(jupyter_lab, copy.name, run=False)
    still.page.wait_for_selector(".jp-OutputArea-output", state="attached")
    still.page.wait_for_timeout(1500)
    still.screenshot("panel_saved_without_widgets")


def test_a_kernel_lost_while_running_is_said(lab):
    lab.python("p._worker.watch = 30.0")
    panel(lab).locator(".bv-plus-1000").click()
    status_says(lab, "Running")
    height = panel(lab).evaluate("el => el.clientHeight")
    lab.page.evaluate(f"{KERNEL}.restart()")
    status_says(lab, "The kernel of this panel is gone")
    assert panel(lab).locator(".bv-plus-1").is_disabled()
    assert panel(lab).locator(".bv-pane-c svg").count() == 1  # the last picture stays, where it was
    assert abs(panel(lab).evaluate("el => el.clientHeight") - height) < 60  # notes have left the status line
    lab.screenshot("panel_kernel_gone", ".bv-panel")
