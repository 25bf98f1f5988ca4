"""The bootstrap panel as a person meets it: JupyterLab, Notebook 7 and Voila, with the network refused."""

from __future__ import annotations

import re
import time

import nbformat
import pytest

pytestmark = pytest.mark.browser

MAKE = """
import bossaviz as bv
from inference_core import model
from inference_core.datasets import load_dataset

m = model("bill_length_mm ~ flipper_length_mm + species", load_dataset("penguins")).fit()
p = bv.bootstrap(m, seed=7)
"""
STOP_SECONDS = 0.15  # from the click to "Stopped" on the screen
DRAWN = ".bv-panel .bv-pane-c .bv-livechart svg"


def open_panel(opener, server, cells=(MAKE, "p"), **options):
    book = opener(server, list(cells), **{"width": 1320, "height": 1250, **options})
    book.page.wait_for_selector(DRAWN, timeout=30_000)
    return book


@pytest.fixture(scope="module")
def lab(module_page_for, jupyter_lab):
    """One JupyterLab page with two views of one panel; each journey leaves it ready for the next."""
    return open_panel(module_page_for, jupyter_lab, (MAKE, "p", "p"))


def panel(book, view=0):
    return book.page.locator(".bv-panel").nth(view)


def status_says(book, words, view=0, seconds=15.0):
    panel(book, view).locator(".bv-status").filter(has_text=words).wait_for(timeout=seconds * 1000)


def dots(book, view=0):
    return panel(book, view).locator(".bv-pane-c .dots_marks > *")


def picture_of(book, view, pane):
    """The shapes and texts of one chart of one view."""
    return panel(book, view).locator(f".bv-pane-{pane} svg").evaluate(
        "el => [...el.querySelectorAll('path, text, line')].map(n => (n.getAttribute('d') ?? n.textContent)"
        " + (n.getAttribute('transform') ?? ''))"
    )


def test_axes_stand_before_the_first_draw(lab):
    assert panel(lab).locator(".bv-pane-c").get_by_text("press +1 to draw the first").count() == 1
    status_says(lab, "no draws yet")
    lab.screenshot("panel_lab_empty", ".bv-panel")


def test_one_dot_then_ten_then_a_hundred(lab):
    lab.watch_removals()
    panel(lab).locator(".bv-plus-1").click()
    status_says(lab, "1 draw")
    lab.wait_until("document.querySelectorAll('.bv-panel .bv-pane-c .dots_marks > *').length >= 1")
    for k, total in ((10, 11), (100, 111)):
        panel(lab).locator(f".bv-plus-{k}").click()
        status_says(lab, f"{total} draws")
    assert lab.removals() == 0
    lab.screenshot("panel_lab_dots", ".bv-panel")


def test_a_dot_clicked_shows_its_resample(lab):
    dot = dots(lab).nth(20)
    draw = re.search(r"Dot (\d+):", dot.get_attribute("aria-label")).group(1)
    dot.click()
    panel(lab).locator(".bv-pane-b .bv-pane-title").filter(has_text=f"Resample #{draw}").wait_for()
    assert lab.python("p.state.shown") == draw


def test_dots_are_walked_by_keyboard(lab):
    panel(lab).locator(".bv-pane-c .bv-chart").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Enter"):
        lab.page.keyboard.press(key)
    lab.wait_until_python("p.resamples['flipper_length_mm'].rank()[p.state.shown - 1] <= 6")


def test_a_thousand_grow_without_one_removal(lab):
    lab.watch_removals()
    lab.page.evaluate(
        """() => { window.__counts = new Set();
        window.__growing = setInterval(() => { const t = document.querySelector('.bv-panel .bv-counted');
          if (t) window.__counts.add(t.textContent); }, 20);
        const button = document.querySelector('.bv-panel .bv-plus-1000');
        button.addEventListener('click', () => { window.__pressed = performance.now(); }, {once: true});
        window.__frames = [];
        const note = () => { if (window.__pressed) window.__frames.push(performance.now() - window.__pressed); };
        new MutationObserver(note)
          .observe(document.querySelector('.bv-panel .bv-pane-c .bv-chart'), {attributeFilter: ['data-frame']}); }"""
    )
    panel(lab).locator(".bv-plus-1000").click()
    status_says(lab, "1,111 draws")
    lab.page.evaluate("clearInterval(window.__growing)")
    assert lab.page.evaluate("window.__counts.size") >= 5  # seen growing, not at once
    frames = lab.page.evaluate("window.__frames")
    # 100 ms is the aim, and what two busy cores took; four times that is still "at once" to a reader
    assert frames[0] < 400
    assert len(frames) <= 20 * (frames[-1] / 1000) + 2  # 20 a second, and the one that begins and the one that ends
    print(f"first paint after {frames[0]:.0f} ms, {len(frames)} frames in {frames[-1]:.0f} ms")
    assert lab.removals() == 0
    assert lab.python("p.resamples.height") == "1111"


def test_stop_answers_at_once_and_keeps_what_was_drawn(lab):
    lab.python("p._worker.watch = 30.0")  # a run that is held long enough to be stopped by a slow machine
    lab.page.evaluate(
        """() => { const status = document.querySelector('.bv-panel').querySelector('.bv-status').parentElement;
        const seen = () => document.querySelector('.bv-panel .bv-status')?.textContent.includes('Stopped');
        document.querySelector('.bv-panel .bv-stop')
          .addEventListener('click', () => { window.__stop = performance.now(); });
        new MutationObserver(() => { if (seen() && !window.__stopped) window.__stopped = performance.now(); })
          .observe(document.querySelector('.bv-panel'), {subtree: true, childList: true, characterData: true}); }"""
    )
    before = int(lab.python("p.state.n_boot"))
    panel(lab).locator(".bv-plus-1000").click()
    lab.wait_until_python(f"p._reading.count > {before}")
    panel(lab).locator(".bv-stop").click()
    status_says(lab, "Stopped")
    lab.python("p._worker.watch = 0.8")
    after = int(lab.python("p.state.n_boot"))
    assert before < after < before + 1000
    spent = lab.page.evaluate("(window.__stopped - window.__stop) / 1000")
    # 60 to 135 ms while other work filled both cores; four times the aim leaves room for a machine that is busier still
    assert 0 < spent < 4 * STOP_SECONDS
    print(f"stopped after {1000 * spent:.0f} ms")


def test_the_level_moves_the_limits_and_draws_nothing(lab):
    drawn = lab.python("p.resamples.height")
    handle = panel(lab).locator(".bv-level .noUi-handle")
    handle.focus()
    before = float(lab.python("p.state.conf_level"))
    lab.page.keyboard.press("ArrowLeft")
    lab.wait_until_python(f"p.state.conf_level < {before}")
    box = panel(lab).locator(".bv-level-box input")
    box.fill("0.8")
    lab.wait_until_python("p.state.conf_level == 0.8")
    panel(lab).locator(".bv-sentence").filter(has_text="80%").wait_for()
    assert lab.python("p.resamples.height") == drawn


def test_a_wrong_number_is_a_sentence_in_the_status_line(lab):
    box = panel(lab).locator(".bv-level-box input")
    box.fill("1.5")
    status_says(lab, "A level of 1.5 is outside 0.50 to 0.999.")
    lab.screenshot("panel_lab_error", ".bv-panel")
    box.fill("0.95")
    panel(lab).locator(".bv-error").wait_for(state="detached")
    assert lab.page.locator('[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0


def test_every_chip_is_a_radio_button_and_the_term_is_a_menu(lab):
    panel(lab).locator(".bv-ci-type label").filter(has_text="percentile").click()
    lab.wait_until_python("p.state.ci_type == 'percentile'")
    lab.page.keyboard.press("ArrowRight")
    lab.wait_until_python("p.state.ci_type == 'basic'")
    panel(lab).locator(".bv-term select").select_option(label="species[Chinstrap]")
    panel(lab).locator(".bv-question").filter(has_text="Chinstrap").wait_for()
    panel(lab).locator(".bv-term select").select_option(index=1)
    lab.wait_until_python("p.state.term == 'flipper_length_mm'")


def test_two_views_agree(lab):
    frame = lab.python("(p._chart_b.frame, p._chart_c.frame)").strip("()").split(", ")
    for pane, number in zip("bc", frame, strict=True):
        lab.wait_painted(int(number), f".bv-pane-{pane} .bv-livechart")
        assert picture_of(lab, 0, pane) == picture_of(lab, 1, pane)
    assert panel(lab, 0).locator(".bv-sentence").inner_text() == panel(lab, 1).locator(".bv-sentence").inner_text()
    assert panel(lab, 0).locator(".bv-status").inner_text() == panel(lab, 1).locator(".bv-status").inner_text()


def test_python_sets_what_the_screen_shows(lab):
    lab.python("p.state.conf_level = 0.9; p.state.seed = 8")
    status_says(lab, "Out of date")
    assert panel(lab).locator(".bv-livechart.bv-stale").count() == 2
    assert panel(lab).locator(".bv-seed-box input").input_value() == "8"
    lab.python("p.state.seed = 7")
    status_says(lab, "Ready")
    assert panel(lab).locator(".bv-livechart.bv-stale").count() == 0


def test_a_running_cell_does_not_stop_the_drawing(lab):
    before = int(lab.python("p.state.n_boot"))
    lab.python("p.draw(200); import time; time.sleep(1.5)")
    assert int(lab.python("p.state.n_boot")) == before + 200


def test_the_live_region_speaks_when_things_are_still(lab):
    lab.page.evaluate(
        """() => { const el = document.querySelector('.bv-voice'); window.__heard = [];
        new MutationObserver(() => window.__heard.push(el.textContent)).observe(el, {childList: true}); }"""
    )
    panel(lab).locator(".bv-plus-1000").click()
    lab.wait_until("window.__heard.some(text => text.startsWith('Done: '))", seconds=5)
    lab.page.wait_for_timeout(700)  # longer than the region waits for stillness
    heard = [text.partition(":")[0] for text in lab.page.evaluate("window.__heard")]
    assert heard in (["Drawing.", "Done"], ["Done"])  # a run that ends before words are still says only that it ended
    panel(lab).locator(".bv-level-box input").fill("0.85")
    lab.wait_until("window.__heard.at(-1).includes('85%')")
    assert not lab.page.evaluate("window.__heard.at(-1)").startswith("Done")
    panel(lab).locator(".bv-level-box input").fill("0.95")
    lab.wait_until_python("p.state.conf_level == 0.95")
    assert panel(lab).locator(".bv-voice[aria-live=polite]").count() == 1


def test_code_share_and_save_open_a_drawer(lab):
    panel(lab).locator(".bv-code-button").click()
    panel(lab).locator("pre.bv-code").filter(has_text="m.infer(how='boot'").wait_for()
    panel(lab).locator(".bv-save").click()
    panel(lab).locator("a[download='draws.csv']").wait_for()
    with lab.page.expect_download() as download:
        panel(lab).locator("a[download='draws.csv']").click()
    assert download.value.path().read_text().startswith("draw,(Intercept),")
    panel(lab).locator(".bv-save").click()


@pytest.mark.parametrize("theme", ["Light", "Dark"])
@pytest.mark.parametrize("width", [1200, 720])
def test_pictures_to_look_at(lab, theme, width):
    lab.command("apputils:change-theme", theme=f"JupyterLab {theme}")
    lab.page.set_viewport_size({"width": 1640, "height": 1800})
    panel(lab).evaluate("(el, w) => { el.style.width = w + 'px'; }", width - 32)
    lab.wait_until(f"document.querySelector('.bv-panel .bv-pane-c svg').getBoundingClientRect().width < {width}")
    lab.page.wait_for_timeout(400)
    lab.screenshot(f"panel_lab_{theme.lower()}_{width}", ".bv-panel")
    main = panel(lab).locator(".bv-main")
    columns = main.evaluate("el => getComputedStyle(el).gridTemplateColumns.split(' ').length")
    assert columns == (2 if width >= 860 else 1)
    ground = panel(lab).evaluate("el => getComputedStyle(el).backgroundColor")
    assert (sum(int(v) for v in re.findall(r"\d+", ground)[:3]) > 600) == (theme == "Light")
    panel(lab).evaluate("el => { el.style.width = ''; }")
    lab.page.set_viewport_size({"width": 1320, "height": 1250})
    lab.command("apputils:change-theme", theme="JupyterLab Light")


def test_a_saved_notebook_shows_a_picture_without_a_kernel(lab, jupyter_lab):
    lab.command("docmanager:save")
    end = time.monotonic() + 15
    while True:
        book = nbformat.read(jupyter_lab.root / lab.name, 4)
        data = [o["data"] for cell in book.cells for o in cell.get("outputs", ()) if "data" in o]
        if data or time.monotonic() > end:
            break
        time.sleep(0.2)
    assert data and all({"image/png", "text/plain"} <= set(d) for d in data)
    assert all(d["text/plain"].startswith("bootstrap of ") for d in data)


def test_notebook7(page_for, notebook7):
    book = open_panel(page_for, notebook7)
    book.watch_removals()
    panel(book).locator(".bv-plus-1000").click()
    status_says(book, "1,000 draws")
    assert book.removals() == 0
    book.screenshot("panel_notebook7", ".bv-panel")


def test_voila(page_for, voila):
    book = open_panel(page_for, voila)
    book.watch_removals()
    panel(book).locator(".bv-plus-1000").click()
    status_says(book, "1,000 draws")
    panel(book).locator(".bv-level-box input").fill("0.8")
    panel(book).locator(".bv-sentence").filter(has_text="80%").wait_for()
    assert book.removals() == 0
    book.screenshot("panel_voila", ".bv-panel")
