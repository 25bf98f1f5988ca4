"""The bootstrap panel on mixed models, headless: groups in the panes, SDs and correlations, schemes, code."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
import traitlets

import bossaviz as bv
from bossaviz.compute.groups import MOST_GROUPS, conditional_modes
from bossaviz.compute.worker import SyncWorker
from bossaviz.panels.making import schemes_of
from bossaviz.spreads import observed_statistics, position_of, spreads_of
from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.errors import InferenceError

SLEEP = "Reaction ~ Days + (Days | Subject)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
MODELS = [
    (SLEEP, "sleepstudy", {}),
    ("Reaction ~ Days + (Days || Subject)", "sleepstudy", {}),
    ("strength ~ 1 + (1 | batch/cask)", "pastes", {}),
    ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}),
    ("angle ~ recipe + temp + (1 | recipe:replicate)", "cake", {}),
    ("weight ~ Time + Diet + (Time | Chick)", "chickweight", {}),
    (CBPP, "cbpp", {"family": "binomial"}),
]


def fit(formula, data, **words):
    return model(formula, load_dataset(data), **words).fit()


@pytest.fixture(scope="module")
def sleep():
    return fit(SLEEP, "sleepstudy")


@pytest.fixture
def panel(sleep):
    return bv.bootstrap(sleep, n_boot=300, seed=7, ci_type="percentile", worker=SyncWorker())


def shown_html(panel, name):
    return re.sub(r"<[^>]+>", " ", getattr(panel._controls, name).value)


# ---- every number -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("formula", "data", "words"), MODELS, ids=[m[0] for m in MODELS])
def test_every_number_of_every_model_can_be_looked_at(formula, data, words):
    p = bv.bootstrap(fit(formula, data, **words), n_boot=120, seed=3, worker=SyncWorker())
    m = p._machine.model
    assert p.state.terms == tuple(n for n, v in zip(p._machine.statistics, p._machine.observed, strict=True) if v == v)
    for term in p.state.terms:
        p.state.term = term
        axis = p._chart_c.params
        assert axis["xlo"] < p._machine.observed[position_of(m.bundle, term)] < axis["xhi"]
        assert len(p._chart_a.data["points"]["x"]) == m.bundle.n
        assert "nan" not in p.sentence and len(p.sentence.split()) <= 45
        assert shown_html(p, "question").strip().endswith("?")
        assert p._chart_b.data["grouplines"]["line"].size > 0  # the groups of the draw
        assert axis["est"] == pytest.approx(p._reading.estimate[p._reading.focal], rel=1e-12)


def test_the_tables_are_those_of_the_model(panel):
    m = fit(SLEEP, "sleepstudy").infer(how="boot", n_boot=300, ci_type="percentile", seed=7)
    # with and without standard errors of the draws the last digits of a product may differ
    for column in ("estimate", "se", "ci_lower", "ci_upper", "p_value"):
        np.testing.assert_allclose(panel.result[column], m.params[column], rtol=1e-9)
    ours = panel.spread.filter(~pl.col("term").str.starts_with("cor_"))
    np.testing.assert_allclose(ours["estimate"], m.varying_spread["sd"], rtol=1e-9)
    np.testing.assert_allclose(ours["ci_lower"], m.varying_spread["sd_ci_lower"], rtol=1e-9)
    np.testing.assert_allclose(ours["ci_upper"], m.varying_spread["sd_ci_upper"], rtol=1e-9)
    cor = panel.spread.filter(pl.col("term").str.starts_with("cor_"))
    np.testing.assert_allclose(cor["ci_upper"], m.varying_corr["ci_upper"], rtol=1e-9)


def test_the_table_on_screen_has_the_random_part_below_a_line_of_words(panel):
    text = shown_html(panel, "table")
    assert text.index("Days") < text.index("between and within the 18 subjects") < text.index("SD of Days")
    assert "correlation" in text and "residual SD" in text


@pytest.mark.parametrize("n", [300, 900])
def test_the_shaded_count_is_the_count_between_the_limits(sleep, n):
    p = bv.bootstrap(sleep, n_boot=n, seed=7, ci_type="percentile", worker=SyncWorker())
    for term in p.state.terms:
        p.state.term = term
        low, high = p._reading.chosen.low, p._reading.chosen.high
        draws = p.resamples[term].drop_nulls().to_numpy()
        inside = ((draws > low) & (draws < high)).sum()
        data = p._chart_c.data["dots" if n <= 500 else "bars"]
        weight = np.ones(len(data["x"])) if n <= 500 else data["count"]
        assert (weight * data["inside"]).sum() == inside


def test_a_limit_of_an_sd_at_zero_holds_the_draws_at_zero():
    p = bv.bootstrap(fit("strength ~ 1 + (1 | batch/cask)", "pastes"), n_boot=300, seed=7, term="sd_(Intercept)|batch",
                     worker=SyncWorker())  # fmt: skip
    assert p._reading.chosen.low < 1e-3
    zero = p.resamples["sd_(Intercept)|batch"].to_numpy() < 1e-3
    assert 0.1 < zero.mean() < 0.4  # 22 % of 100,000 draws
    at_zero = p._chart_c.data["dots"]["value"] < 1e-3
    assert p._chart_c.data["dots"]["inside"][at_zero].all()
    assert (p._chart_c.data["dots"]["x"][at_zero] > 0).all()  # no dot stands below 0
    assert "came out as exactly 0" in p.sentence


# ---- kinds of interval ----------------------------------------------------------------------------------------------


def test_an_sd_offers_the_kinds_that_stay_in_range_and_says_why_not_the_others(panel):
    panel.state.ci_type = "expanded"
    panel.state.term = "sd_Days|Subject"
    offered = [name for _, name in panel._controls.ci_type.options]
    assert offered == ["percentile", "bca"] and panel._controls.ci_type.value == "percentile"
    assert panel.state.ci_type == "expanded"  # what was chosen for coefficients is kept
    assert "95% percentile interval" in repr(panel)
    rows = panel._chart_c.data["rows"]
    assert dict(zip(rows["name"], rows["has"], strict=True)) == {
        "percentile": 1, "basic": 0, "normal": 0, "BCa": 1, "studentized": 0, "expanded": 0, "Wald": 0,
    }  # fmt: skip
    assert all(note for note, has in zip(rows["note"], rows["has"], strict=True) if not has)
    panel._controls.ci_type.value = "bca"
    assert panel.state.ci_type == "bca" and "95% BCa interval" in repr(panel)
    panel.state.term = "Days"
    assert [name for _, name in panel._controls.ci_type.options][-1] == "expanded"


def test_a_generalized_model_has_no_studentized_limits():
    p = bv.bootstrap(fit(CBPP, "cbpp", family="binomial"), seed=7, worker=SyncWorker())
    assert "studentized" not in p.state.ci_types
    with pytest.raises(traitlets.TraitError, match="has no studentized limits"):
        p.state.ci_type = "studentized"


def test_display_controls_draw_nothing(panel, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a display control must not draw")

    monkeypatch.setattr(type(panel._store), "append", refuse)
    before = panel.resamples
    for name, value in {"conf_level": 0.8, "term": "sd_Days|Subject", "ci_type": "basic", "bins": 9, "overlay": True,
                        "shown": 3, "tab": "draws", "null": 3.0, "alternative": "less"}.items():  # fmt: skip
        setattr(panel.state, name, value)
    panel.state.term = "cor_Days.(Intercept)|Subject"
    assert panel.resamples.equals(before)


# ---- panes A and B --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("formula", "data", "words"), MODELS, ids=[m[0] for m in MODELS])
def test_the_groups_of_the_data_are_those_of_the_fit(formula, data, words):
    """The conditional modes for the statistics of the fit are the fit's own."""
    m = fit(formula, data, **words)
    b = conditional_modes(m, observed_statistics(m), np.asarray(m.bundle.y))
    # both end where a step is below the rounding of the criterion
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in b]), m.fit_state.b, rtol=1e-5, atol=1e-6)


def test_a_draw_shows_the_groups_of_a_fit_to_its_own_responses(panel):
    panel.state.shown = 37
    frame = load_dataset("sleepstudy").with_columns(Reaction=pl.Series(panel._store.stream.response_of(36)))
    again = model(SLEEP, frame).fit()
    lines = panel._chart_b.data["grouplines"]
    wide = again.varying_params.pivot(on="term", index="level", values="estimate")
    for k, (level, slope) in enumerate(wide.select("(Intercept)", "Days").iter_rows()):
        y = lines["y"][lines["line"] == k]
        # a refit that starts elsewhere ends within the tolerance of its search
        np.testing.assert_allclose(y, [level, level + 9 * slope], rtol=1e-5)
    np.testing.assert_allclose(panel._chart_b.data["points"]["y"], frame["Reaction"].to_numpy(), rtol=1e-12)
    assert "18 new subjects" in panel._controls.title_b.value


def test_real_and_simulated_are_told_apart_by_colour_and_word(panel):
    def marks(chart):
        return {layer["data"]["name"]: layer["mark"].get("color") for layer in chart.spec["layer"]
                if "name" in layer["data"]}  # fmt: skip

    real, sim = marks(panel._chart_a), marks(panel._chart_b)
    assert {real[k] for k in ("points", "lines", "grouplines")} == {"@real"}
    assert {sim[k] for k in ("points", "lines", "grouplines")} == {"@sim"}
    assert "real" in panel._controls.title_a.value and "simulated" in panel._controls.title_b.value


def test_hundreds_of_groups_are_thinned_and_the_pane_says_so():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(300), 4)
    x = np.tile(np.arange(4.0), 300)
    y = 1 + 2 * x + rng.normal(size=300)[g] + rng.normal(size=1200)
    p = bv.bootstrap(model("y ~ x + (1 | g)", {"y": y, "x": x, "g": [f"s{i}" for i in g]}).fit(), n_boot=20, seed=1,
                     worker=SyncWorker())  # fmt: skip
    assert len(np.unique(p._chart_a.data["grouplines"]["line"])) == MOST_GROUPS
    assert f"({MOST_GROUPS} drawn)" in p._controls.title_a.value


# ---- schemes --------------------------------------------------------------------------------------------------------


def test_the_scheme_control_lists_what_the_core_has(sleep):
    from inference_core.infer.request import SCHEMES

    assert schemes_of(sleep) == SCHEMES["boot", "lmer"]
    p = bv.bootstrap(sleep, seed=7, worker=SyncWorker())
    assert [name for _, name in p._controls.scheme.options] == list(SCHEMES["boot", "lmer"])
    assert p.state.scheme == "parametric"


@pytest.mark.parametrize("scheme", ["parametric", "cluster", "residual", "wild"])
def test_every_scheme_gives_the_table_of_the_model(panel, scheme):
    panel.state.scheme = scheme
    panel.state.n_boot = 300
    m = fit(SLEEP, "sleepstudy").infer(how="boot", n_boot=300, ci_type="percentile", seed=7, scheme=scheme)
    np.testing.assert_allclose(panel.result["ci_lower"], m.params["ci_lower"], rtol=1e-9)
    assert f"({scheme}, seed 7)" in repr(panel)
    said = {"parametric": "The fitted model simulated", "cluster": "Whole subjects (18) were resampled",
            "residual": "What the line leaves over was dealt out again",
            "wild": "The sign of each leftover was flipped by coin"}  # fmt: skip
    assert said[scheme] in panel.sentence


def test_a_scheme_without_sds_takes_them_off_the_menu_and_another_brings_them_back(panel):
    panel.state.term = "sd_Days|Subject"
    panel.state.scheme = "wild"
    assert panel.state.term == "Days" and panel.state.terms == ("(Intercept)", "Days")
    assert "scheme was changed from parametric to wild" in shown_html(panel, "status")
    panel.state.scheme = "parametric"
    assert "sd_Days|Subject" in panel.state.terms and panel.state.n_boot == 300


def test_a_reset_brings_a_number_back_that_the_scheme_had_taken_away(sleep):
    p = bv.bootstrap(sleep, n_boot=100, seed=7, term="sd_Days|Subject", worker=SyncWorker())
    p.state.scheme = "wild"
    p.reset()
    assert (p.state.scheme, p.state.term, p.state.n_boot) == ("parametric", "sd_Days|Subject", 100)
    assert p._controls.term.value == "sd_Days|Subject"


def test_a_whole_group_draw_shows_only_the_groups_in_it(panel):
    panel.state.scheme = "cluster"
    panel.draw(1)
    rows = panel._store.stream.indices_of(0)
    here = np.unique(panel._machine.model.bundle.re_metadata.blocks[0].group_index[rows]).size
    assert len(np.unique(panel._chart_b.data["grouplines"]["line"])) == here < 18
    assert f"{here} of 18 subjects, some more than once" in panel._controls.title_b.value


def test_a_scheme_that_cannot_draw_from_this_model_is_a_sentence_and_the_last_one_stays():
    p = bv.bootstrap(fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"), n_boot=100, seed=7,
                     worker=SyncWorker())  # fmt: skip
    p._controls.scheme.value = "cluster"
    assert p.state.scheme == p._controls.scheme.value == "parametric"
    assert "crossed" in shown_html(p, "status")
    assert p.state.n_boot == 100


def test_a_fit_at_the_boundary_is_said_before_any_draw(sleep):
    made_up = load_dataset("sleepstudy").with_columns(
        Reaction=pl.Series(sleep.draw_stream(seed=1).response_of(36))  # a draw whose best correlation is 1
    )
    p = bv.bootstrap(model(SLEEP, made_up).fit(), n_boot=1000, seed=7, worker=SyncWorker())
    assert "edge of what is possible" in shown_html(p, "status")
    p.state.term = "cor_Days.(Intercept)|Subject"
    assert "The estimated correlation is 1, the edge of what is possible: 18 subjects" in p.sentence
    assert "resamples fitted at the boundary" in shown_html(p, "status")


# ---- words and code -------------------------------------------------------------------------------------------------


def test_before_the_first_draw_and_after_it(sleep):
    p = bv.bootstrap(sleep, seed=7, worker=SyncWorker())
    assert "No data set has been simulated yet: press +1" in p.sentence
    assert p._chart_c.data["invitation"]["text"].tolist() == ["press +1 to draw the first"]
    axis = [p._chart_c.params[k] for k in ("xlo", "xhi")]
    p.draw(1)
    assert p.sentence.endswith("One dot is one slope from one data set that the fitted model made up.")
    p.draw(100)
    assert [p._chart_c.params[k] for k in ("xlo", "xhi")] == axis  # no draw moves it


def test_a_dot_says_what_it_is(panel):
    panel.state.n_boot = 40
    pieces, dots = panel._chart_c.params["pieces"], panel._chart_c.data["dots"]
    assert not dots["distinct"].any()  # no rows to count
    said = f"{pieces[0]}{dots['draw'][4]:.0f}{pieces[1]}{dots['said'][4]}{pieces[2].split(';')[0]}"
    assert said.startswith("Dot 5: the slope is ") and "ms per day in this data set of 18 made-up subjects" in said


@pytest.mark.parametrize(
    "term", ["Days", "sd_(Intercept)|Subject", "sd_Days|Subject", "cor_Days.(Intercept)|Subject", "sigma"]
)
def test_the_code_runs_and_gives_the_same_numbers_and_reads_back(panel, term):
    panel.state.term = term
    names: dict = {}
    exec(panel.code(), names)
    row = names["focus"].row(0, named=True)
    low = row.get("sd_ci_lower", row.get("ci_lower"))
    assert low == pytest.approx(panel._reading.chosen.low, rel=1e-9)
    again = bv.from_code(panel.code())
    assert (again.state.term, again.state.scheme, again.state.seed) == (term, "parametric", 7)
    assert repr(again) == repr(panel)


def test_a_row_that_does_not_pick_one_number_is_refused(panel):
    panel.state.term = "sd_Days|Subject"
    with pytest.raises(InferenceError, match="line 7"):
        bv.from_code(panel.code().replace(" & (table[\"term\"] == 'Days')", ""))


def test_names_of_the_random_part(sleep):
    assert [s.name for s in spreads_of(sleep.bundle)] == list(sleep.draw_stream(seed=1).names[2:])
    with pytest.raises(KeyError, match=r"sd_Days\|Subject"):
        position_of(sleep.bundle, "sd_Dayz|Subject")
    with pytest.raises(InferenceError, match=r'Did you mean "sd_Days\|Subject"'):
        bv.bootstrap(sleep, term="sd_Day|Subject")


def test_what_is_given_away(panel, tmp_path):
    panel.state.term = "sd_Days|Subject"
    assert panel.save(tmp_path / "page.html").read_text().count("between and within the 18 subjects") == 1
    assert "sd_Days|Subject" in panel.save(tmp_path / "draws.csv").read_text().splitlines()[0]
    assert "How different are subjects in their slopes?" in panel.save(tmp_path / "fig.svg").read_text()
    with pytest.raises(InferenceError, match="without random effects"):
        _ = bv.bootstrap(fit("mpg ~ wt", "mtcars"), seed=1, worker=SyncWorker()).spread
