"""Every control path of the bootstrap panel, headless and synchronous: traits in, what is shown out."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
import traitlets

import bossaviz as bv
from bossaviz.compute.worker import SyncWorker, ThreadWorker
from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.errors import InferenceError


@pytest.fixture(scope="module")
def fitted():
    return model("mpg ~ wt + hp", load_dataset("mtcars")).fit()


@pytest.fixture
def panel(fitted):
    return bv.bootstrap(fitted, n_boot=600, seed=7, worker=SyncWorker())


def shown_html(panel, name):
    """The text of a piece of markup, tags off."""
    return re.sub(r"<[^>]+>", " ", getattr(panel._controls, name).value)


# ---- draws ----------------------------------------------------------------------------------------------------------


def test_an_empty_panel_has_its_axes_and_says_what_to_press(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=SyncWorker())
    assert p._chart_c.params["xlo"] < fitted.fit_state.coef[1] < p._chart_c.params["xhi"]
    assert p._chart_c.data["invitation"]["text"].tolist() == ["press +1 to draw the first"]
    assert "no draws yet" in shown_html(p, "status")
    assert "press +1 and watch one dot appear" in shown_html(p, "sentence")
    assert repr(p) == "bootstrap of 'mpg ~ wt + hp': wt, 0 draws (case, seed 7), no limits yet"


def test_the_axis_does_not_move_as_draws_come(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=SyncWorker())
    axis = [p._chart_c.params[k] for k in ("xlo", "xhi")]
    for k in (1, 10, 100, 1000):
        p.draw(k)
        assert [p._chart_c.params[k] for k in ("xlo", "xhi")] == axis
    assert p.state.n_boot == 1111


def test_growing_in_steps_gives_the_draws_of_one_run(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=SyncWorker())
    for k in (1, 10, 100, 489):
        p.draw(k)
    whole = bv.bootstrap(fitted, n_boot=600, seed=7, worker=SyncWorker())
    assert p.resamples.equals(whole.resamples)
    assert p.result.equals(whole.result)


def test_the_table_is_that_of_the_model(panel, fitted):
    panel.state.ci_type = "percentile"
    fitted_again = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
    fitted_again.infer(how="boot", n_boot=600, ci_type="percentile", seed=7)
    for column in ("estimate", "se", "ci_lower", "ci_upper", "p_value"):
        # with and without standard errors of the draws the kernel multiplies in another order
        np.testing.assert_allclose(panel.result[column], fitted_again.params[column], rtol=1e-9)


def test_dots_up_to_500_then_bars(fitted):
    p = bv.bootstrap(fitted, n_boot=500, seed=7, worker=SyncWorker())
    assert (len(p._chart_c.data["dots"]["x"]), len(p._chart_c.data["bars"]["x"])) == (500, 0)
    p.draw(1)
    assert len(p._chart_c.data["dots"]["x"]) == 0
    assert p._chart_c.data["bars"]["count"].sum() + beyond(p) == 501
    assert len(p._chart_c.data["bars"]["x"]) <= 200


def beyond(panel):
    return sum(int(re.sub(r"\D", "", text)) for text in panel._chart_c.data["beyond"]["text"].tolist())


@pytest.mark.parametrize("ci_type", ["percentile", "basic", "normal", "bca", "studentized", "expanded"])
@pytest.mark.parametrize("n", [300, 900])
def test_the_shaded_count_is_the_count_between_the_limits(fitted, ci_type, n):
    p = bv.bootstrap(fitted, n_boot=n, seed=7, ci_type=ci_type, worker=SyncWorker())
    row = p.result.filter(pl.col("term") == "wt").row(0, named=True)
    draws = p.resamples["wt"].to_numpy()
    inside = ((draws > row["ci_lower"]) & (draws < row["ci_upper"])).sum()
    data = p._chart_c.data["dots" if n <= 500 else "bars"]
    weight = np.ones(len(data["x"])) if n <= 500 else data["count"]
    assert (weight * data["inside"]).sum() == inside


def test_every_kind_of_interval_stands_below_the_draws(panel):
    rows = panel._chart_c.data["rows"]
    assert rows["name"].tolist() == ["percentile", "basic", "normal", "BCa", "studentized", "expanded", "Wald"]
    assert rows["theory"].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert rows["chosen"].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert rows["has"].all()
    types = ("percentile", "basic", "normal", "bca", "studentized", "expanded")
    for ci_type, low in zip(types, rows["x"], strict=False):  # Wald is left over
        panel.state.ci_type = ci_type
        got = panel.result.filter(pl.col("term") == "wt")["ci_lower"][0]
        assert low == pytest.approx(max(got, panel._chart_c.params["xlo"]), rel=1e-12)  # one engine, read twice


# ---- display controls ----------------------------------------------------------------------------------------------


def test_display_controls_draw_nothing(panel, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a display control must not draw")

    monkeypatch.setattr(type(panel._store), "append", refuse)
    before = panel.resamples
    for name, value in {"conf_level": 0.8, "ci_type": "basic", "term": "hp", "null": -0.01, "alternative": "less",
                        "bins": 9, "overlay": True, "shown": 3, "tab": "draws"}.items():  # fmt: skip
        setattr(panel.state, name, value)
    assert panel.resamples.equals(before)


def test_a_higher_level_widens_the_interval_on_screen(panel):
    widths = []
    for level in (0.8, 0.9, 0.95, 0.99):
        panel.state.conf_level = level
        rows = panel._chart_c.data["rows"]
        widths.append((rows["x2"] - rows["x"])[3])
        assert f"{100 * level:g}%" in repr(panel)
    assert widths == sorted(widths) and widths[0] < widths[-1]


def test_another_term_shows_its_own_data_and_question(panel):
    before = panel._chart_a.params["xtitle"], shown_html(panel, "question")
    panel.state.term = "hp"
    assert panel._chart_a.params["xtitle"] == panel._chart_b.params["xtitle"] != before[0]
    assert shown_html(panel, "question") != before[1]
    assert "hp" in repr(panel)


def test_fewer_draws_can_be_looked_at_without_losing_the_others(panel):
    panel.state.n_boot = 100
    assert panel.resamples.height == 100
    panel.state.n_boot = 600
    assert panel.resamples.height == 600


def test_the_slider_and_the_box_follow_the_state_and_the_state_them(panel):
    c = panel._controls
    panel.state.conf_level = 0.9
    assert c.level.value == c.level_box.value == 0.9
    c.level_box.value = 0.99
    assert panel.state.conf_level == c.level.value == 0.99
    c.level.value = 0.8
    assert panel.state.conf_level == c.level_box.value == 0.8
    c.ci_type.value = "basic"
    c.term.value = "hp"
    assert (panel.state.ci_type, panel.state.term) == ("basic", "hp")


def test_a_refused_number_is_a_sentence_and_the_last_good_result_stays(panel):
    before = panel.result
    panel._controls.level_box.value = 1.5
    assert "A level of 1.5 is outside 0.50 to 0.999." in shown_html(panel, "status")
    assert "Type 0.95 for 95%." in shown_html(panel, "status")
    assert "bv-wrong" in panel._controls.level_box._dom_classes
    assert panel.result.equals(before) and panel.state.conf_level == 0.95
    panel._controls.level_box.value = 0.9
    assert "Ready" in shown_html(panel, "status")
    assert "bv-wrong" not in panel._controls.level_box._dom_classes
    with pytest.raises(traitlets.TraitError):
        panel.state.conf_level = 2.0


# ---- one resample ---------------------------------------------------------------------------------------------------


def test_pane_b_shows_the_latest_draw_or_the_one_clicked(panel):
    assert "Resample #600" in panel._controls.title_b.value
    panel.state.n_boot = 100
    dots = panel._chart_c.data["dots"]
    panel._chart_c.selections = {"name": "dots", "datum": {"draw": dots["draw"][36], "value": 0.0}, "seq": 1}
    assert panel.state.shown == int(dots["draw"][36]) == 37
    assert "Resample #37" in panel._controls.title_b.value
    assert panel._chart_c.data["stem"]["text"].tolist() == ["#37"]
    points = panel._chart_b.data["points"]
    assert points["times"].sum() == 32
    value = panel.resamples["wt"][36]
    assert panel._chart_b.data["ends"]["value"].tolist() == [f"{value:.2f}".replace("-", "−")]


def test_the_rows_of_a_resample_refit_to_its_dot(panel):
    panel.state.shown = 37
    points = panel._chart_b.data["points"]
    rows = np.repeat(points["row"].astype(int) - 1, points["times"].astype(int))
    data = load_dataset("mtcars")[rows.tolist()]
    refit = model("mpg ~ wt + hp", data).fit()
    # the batched kernel against one least-squares fit
    np.testing.assert_allclose(refit.fit_state.coef, panel.resamples.row(36)[1:], rtol=1e-9)


def test_clicks_on_a_bar_walk_through_its_resamples(panel):
    bars = panel._chart_c.data["bars"]
    at = int(np.argmax(bars["count"]))
    datum = {"x": float(bars["x"][at]), "x2": float(bars["x2"][at])}
    seen = []
    for seq in range(3):
        panel._chart_c.selections = {"name": "bars", "datum": datum, "seq": seq + 1}
        seen.append(panel.state.shown)
        value = panel.resamples["wt"][panel.state.shown - 1]
        assert datum["x"] <= value <= datum["x2"]
    assert len(set(seen)) == 3


# ---- another seed ---------------------------------------------------------------------------------------------------


def test_another_seed_dims_the_old_draws_until_there_are_new_ones(panel):
    old = panel.resamples
    panel.state.seed = 8
    assert panel._chart_c.stale and panel._chart_b.stale and not panel._chart_a.stale
    assert "Out of date" in shown_html(panel, "status")
    assert panel.resamples.equals(old)
    assert panel.state.n_boot == 0
    panel.draw(100)
    assert not panel._chart_c.stale
    assert panel.resamples.height == 100
    assert not panel.resamples["wt"].equals(old["wt"][:100])
    panel.state.seed = 7  # toggled back: at once, nothing drawn
    assert panel.resamples.equals(old) and panel.state.n_boot == 600


def test_reset_goes_back_to_the_beginning(panel):
    before = panel.state.to_json(), repr(panel)
    panel.state.term, panel.state.seed, panel.state.conf_level = "hp", 9, 0.8
    panel.draw(10).reset()
    assert (panel.state.to_json(), repr(panel)) == before


# ---- runs in a thread -----------------------------------------------------------------------------------------------


class Slow(ThreadWorker):
    """A thread whose runs are worth watching for 16 s: only Stop ends them in time."""

    watch = 16.0


def test_stop_keeps_what_was_drawn_and_says_so(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=Slow())
    p.draw(1000)
    until(lambda: p._reading.count > 0)
    assert not p._controls.stop.disabled
    p.stop().wait(2.0)
    done = p.state.n_boot
    assert 0 < done < 1000
    assert f"at {done:,} of 1,000" in shown_html(p, "status")
    assert "Press +" in p._said.main or any("Press +" in more for more in p._said.more)
    assert p._controls.stop.disabled
    whole = bv.bootstrap(fitted, n_boot=done, seed=7, worker=SyncWorker())
    assert p.resamples.equals(whole.resamples)


def test_pressing_again_lengthens_the_run_and_display_controls_answer_meanwhile(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=Slow())
    p.draw(1000)
    p.draw(1000)
    assert p._run.goal == 2000
    until(lambda: p._reading.count > 100)
    p.state.conf_level = 0.8
    assert "80%" in repr(p)
    p.stop().wait(2.0)


def test_an_old_run_draws_nothing_over_a_new_one(fitted):
    p = bv.bootstrap(fitted, seed=7, worker=Slow())
    p.draw(1000)
    until(lambda: p._reading.count > 0)
    p.state.seed = 8
    p._worker = SyncWorker()
    p.draw(50)
    assert p._reading.seed == 8 and p.resamples.height == 50


def test_a_failure_in_the_thread_is_a_sentence_and_the_last_result_stays(fitted, monkeypatch):
    p = bv.bootstrap(fitted, n_boot=100, seed=7, worker=ThreadWorker())
    p.wait(5.0)

    def broken(*_args, **_kwargs):
        raise MemoryError("no room")

    monkeypatch.setattr(type(p._store.stream), "batches", broken)
    p.draw(10).wait(5.0)
    assert "no room" in shown_html(p, "status")
    assert p.resamples.height == 100 and "95%" in repr(p)


def test_many_threads_may_turn_the_same_knobs(fitted):
    p = bv.bootstrap(fitted, n_boot=200, seed=7, worker=SyncWorker())
    problems = []

    def turn(k):
        try:
            for i in range(8):
                p.state.conf_level = 0.8 + 0.01 * ((k + i) % 10)
                p.state.term = ("wt", "hp")[(k + i) % 2]
        except Exception as problem:  # anything at all in a thread is a failure of this test
            problems.append(problem)

    threads = [threading.Thread(target=turn, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not problems
    p._show()
    row = p._chart_c.data["rows"]
    assert row["x"][3] == pytest.approx(p.result.filter(pl.col("term") == p.state.term)["ci_lower"][0])


def until(condition, seconds=10.0):
    """Wait for a thread."""
    event = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return
        event.wait(0.01)
    raise AssertionError("did not happen in time")


# ---- what a panel gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "data", "words"),
    [
        ("mpg ~ wt", "mtcars", {}),
        ("case ~ spontaneous + induced", "infert", {"family": "binomial"}),
        ("breaks ~ wool * tension", "warpbreaks", {"family": "poisson"}),
    ],
)
def test_the_code_runs_by_itself_and_gives_the_table(formula, data, words):
    m = model(formula, load_dataset(data), **words).fit()
    p = bv.bootstrap(m, n_boot=200, seed=5, conf_level=0.9, ci_type="basic", worker=SyncWorker())
    space: dict = {}
    exec(p.code(), space)  # our own code, which is what is being tested
    for column in ("estimate", "se", "ci_lower", "ci_upper", "p_value"):
        # see test_the_table_is_that_of_the_model
        np.testing.assert_allclose(space["table"][column], p.result[column], rtol=1e-9)
    assert space["focus"]["term"].to_list() == [p.state.term]
    again = bv.from_code(p.code()).wait()
    assert repr(again) == repr(p)


def test_code_of_a_readers_own_frame_names_the_frame():
    df = pl.DataFrame({"x": np.arange(12.0), "y": np.arange(12.0) ** 1.2})
    p = bv.bootstrap(model("y ~ x", df).fit(), n_boot=99, seed=1, worker=SyncWorker())
    assert "load_dataset" not in p.code()
    assert repr(bv.from_code(p.code(), df=df).wait()) == repr(p)
    with pytest.raises(InferenceError, match="df=df"):
        bv.from_code(p.code())


def test_files(panel, tmp_path):
    svg = panel.save(tmp_path / "fig.svg").read_text()
    assert svg.startswith("<svg") and "Resample #600" in svg and "var(--" not in svg and '"@' not in svg
    assert panel.save(tmp_path / "fig.png").read_bytes().startswith(b"\x89PNG")
    page = panel.save(tmp_path / "page.html").read_text()
    assert "<script" not in page and "http://www.w3.org" in page and "m.infer(" in page
    csv = pl.read_csv(panel.save(tmp_path / "draws.csv"))
    assert csv.columns == ["draw", "(Intercept)", "wt", "hp"] and csv.height == 600
    with pytest.raises(InferenceError, match=r"\.pdf"):
        panel.save(tmp_path / "fig.pdf")


def test_a_saved_notebook_has_words_and_a_picture(panel):
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == repr(panel)
    assert bundle["image/png"].startswith(b"\x89PNG")


def test_the_chart_is_a_static_altair_chart(panel):
    chart = panel.chart
    assert type(chart).__module__.startswith("altair")
    assert chart.to_dict()["layer"]


def test_repr_is_the_same_in_two_panels(fitted, panel):
    assert repr(panel) == repr(bv.bootstrap(fitted, n_boot=600, seed=7, worker=SyncWorker()))
    assert "0x" not in repr(panel) and "0x" not in repr(panel.state)


def test_pins_and_drawers(panel):
    panel.pin()
    panel.state.ci_type = "basic"
    panel.pin()
    assert panel.state.tab == "pinned"
    text = shown_html(panel, "table")
    assert "BCa" in text and "basic" in text
    panel._open_drawer("code")
    assert "m.infer(" in panel._controls.drawer.value
    panel.state.conf_level = 0.9
    assert "conf_level=0.9" in panel._controls.drawer.value
    panel._open_drawer("share")
    assert "bv.from_code(" in panel._controls.drawer.value
    panel._open_drawer("save")
    assert panel._controls.drawer.value.count("download=") == 4
    panel._open_drawer("save")
    assert panel._controls.drawer.value == ""


def test_the_panel_keeps_the_model_it_was_made_with():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit()
    p = bv.bootstrap(m, n_boot=50, seed=7, worker=SyncWorker())
    m.infer(how="asymp")
    m.fit(weights="hp")
    p.draw(50)
    assert p.result["estimate"][1] == pytest.approx(-5.344472, abs=1e-6)  # printed digits of R's lm


@pytest.mark.parametrize(
    ("words", "message"),
    [({"ci_type": "bcaa"}, 'Did you mean "bca"'), ({"conf_level": 95}, "Type 0.95"), ({"term": "wtt"}, '"wt"'),
     ({"nboot": 10}, "no such choice"), ({"seed": -1}, "seed")],
)  # fmt: skip
def test_choices_that_make_no_sense_are_refused_before_anything_is_drawn(fitted, words, message):
    with pytest.raises(InferenceError, match=re.escape(message)):
        bv.bootstrap(fitted, **words)


def test_something_that_is_not_a_model_is_refused():
    with pytest.raises(InferenceError, match="not a model"):
        bv.bootstrap(load_dataset("mtcars"))


def test_hostile_names_are_text_on_the_screen():
    bad = '<img src=x onerror="alert(1)">'
    df = pl.DataFrame({bad: np.arange(20.0), "y": np.arange(20.0) ** 1.1})
    p = bv.bootstrap(model(f"y ~ `{bad}`", df).fit(), n_boot=60, seed=1, worker=SyncWorker())
    p._open_drawer("code")
    for tab in ("estimates", "draws"):
        p.state.tab = tab
        for widget in vars(p._controls).values():
            if hasattr(widget, "value") and isinstance(widget.value, str) and widget.value.startswith("<"):
                assert "<img" not in widget.value
    assert "<img" not in p.page() and "<img" not in p.picture_svg()


def test_importing_bossaviz_is_light():
    heavy = ("altair", "ipywidgets", "anywidget", "pandas", "vl_convert", "formulaic", "jax")
    code = f"import sys, bossaviz; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_panel_does_not_wait_for_altair():
    code = (
        "import sys, bossaviz as bv\nfrom inference_core import load_dataset, model\n"
        "p = bv.bootstrap(model('mpg ~ wt', load_dataset('mtcars')).fit(), n_boot=100, seed=1)\n"
        "p.picture_svg(); print('altair' in sys.modules, 'jsonschema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
