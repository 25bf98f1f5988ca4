"""Panes A and B draw the real rows and the model's own line, whatever the term is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import bossaviz as bv
from bossaviz.compute.columns import MOST_POINTS
from bossaviz.compute.worker import SyncWorker
from inference_core import load_dataset, model

MODELS = [
    ("mpg ~ 1", "mtcars", {}),
    ("mpg ~ wt * hp", "mtcars", {}),
    ("mpg ~ poly(wt, 2)", "mtcars", {}),
    ("mpg ~ factor(cyl)", "mtcars", {}),
    ("mpg ~ 0 + factor(cyl)", "mtcars", {}),
    ("log(mpg) ~ log(wt) + am", "mtcars", {}),
    ("mpg ~ wt + I(2 * wt)", "mtcars", {}),
    ("mpg ~ ns(wt, df=3)", "mtcars", {}),
    ("mpg ~ wt", "mtcars", {"family": "gamma", "link": "log"}),
    ("breaks ~ wool * tension", "warpbreaks", {"family": "poisson"}),
    ("case ~ spontaneous + induced", "infert", {"family": "binomial"}),
    ("cbind(ncases, ncontrols) ~ agegp", "esoph", {"family": "binomial"}),
    ("incidence / size ~ period", "cbpp", {"family": "binomial", "weights": "size"}),
    ("body_mass_g ~ species * sex", "penguins", {}),
    ("body_mass_g ~ bill_length_mm", "penguins_na", {}),
]


def panel_of(formula, data, words, n_boot=60):
    return bv.bootstrap(model(formula, load_dataset(data), **words).fit(), n_boot=n_boot, seed=3, worker=SyncWorker())


@pytest.mark.parametrize(("formula", "data", "words"), MODELS, ids=[m[0] for m in MODELS])
def test_every_term_of_every_model_can_be_looked_at(formula, data, words):
    p = panel_of(formula, data, words)
    n = p._machine.model.bundle.n
    for term in p.state.terms:
        p.state.term = term
        for chart in (p._chart_a, p._chart_b):
            points, low, high = chart.data["points"], chart.params["xlo"], chart.params["xhi"]
            assert np.isfinite(points["x"]).all() and np.isfinite(points["y"]).all()
            assert ((points["x"] >= low) & (points["x"] <= high)).all()
            assert points["times"].sum() == n
        assert len(p._chart_a.data["points"]["x"]) == n
        assert len(p._chart_a.data["lines"]["x"]) > 0
        for chart in (p._chart_a, p._chart_b, p._chart_c):
            assert chart.description and "nan" not in chart.description


def lines_of(panel):
    return panel._chart_a.data["lines"]


def test_the_line_of_one_predictor_is_the_fitted_line():
    p = panel_of("mpg ~ wt", "mtcars", {})
    a, b = p._machine.model.fit_state.coef
    # the same sum in another order
    np.testing.assert_allclose(lines_of(p)["y"], a + b * lines_of(p)["x"], rtol=1e-12)


def test_the_bars_of_a_factor_alone_are_the_means_of_its_groups():
    df = load_dataset("mtcars")
    p = panel_of("mpg ~ factor(cyl)", "mtcars", {})
    means = df.group_by("cyl").agg(pl.col("mpg").mean()).sort("cyl")["mpg"].to_numpy()
    np.testing.assert_allclose(np.unique(np.round(lines_of(p)["y"], 9)), np.sort(means), rtol=1e-8)
    assert p._chart_a.params["xlabels"] == ["4", "6", "8"]


def test_a_glm_is_drawn_on_the_scale_of_the_response():
    p = panel_of("case ~ spontaneous", "infert", {"family": "binomial"})
    a, b = p._machine.model.fit_state.coef
    expected = 1 / (1 + np.exp(-(a + b * lines_of(p)["x"])))
    # logistic by another formula
    np.testing.assert_allclose(lines_of(p)["y"], expected, rtol=1e-12)


def test_other_predictors_stand_at_their_mean_and_the_pane_says_so():
    df = load_dataset("mtcars")
    p = panel_of("mpg ~ wt + hp", "mtcars", {})
    a, b, c = p._machine.model.fit_state.coef
    # the same sum in another order
    np.testing.assert_allclose(lines_of(p)["y"], a + b * lines_of(p)["x"] + c * df["hp"].mean(), rtol=1e-12)
    assert "line at typical horsepower" in p._controls.title_a.value


def test_pane_b_stands_on_the_axes_of_pane_a():
    p = panel_of("mpg ~ wt", "mtcars", {})
    for name in ("xlo", "xhi", "ylo", "yhi", "xticks", "yticks"):
        assert p._chart_a.params[name] == p._chart_b.params[name]
    np.testing.assert_array_equal(p._chart_b.data["reallines"]["y"], lines_of(p)["y"])


def test_many_rows_are_thinned_evenly():
    rng = np.random.default_rng(1)
    x = rng.standard_normal(30_000)
    df = pl.DataFrame({"x": x, "y": x + rng.standard_normal(30_000)})
    p = bv.bootstrap(model("y ~ x", df).fit(), n_boot=2, seed=1, worker=SyncWorker())
    rows = p._chart_a.data["points"]["row"]
    assert rows.size <= MOST_POINTS and rows.min() == 1 and rows.max() == 30_000


def test_rows_are_numbered_as_in_the_frame():
    df = load_dataset("penguins_na")
    p = panel_of("body_mass_g ~ bill_length_mm", "penguins_na", {})
    rows = p._chart_a.data["points"]["row"].astype(int)
    np.testing.assert_array_equal(df["body_mass_g"].to_numpy()[rows - 1], p._chart_a.data["points"]["y"])


@pytest.mark.parametrize("level", ["6", "8"])
def test_a_difference_is_written_at_the_bar_of_its_level(level):
    p = panel_of("mpg ~ factor(cyl)", "mtcars", {})
    p.state.term = f"factor(cyl)[{level}]"
    ends, lines = p._chart_a.data["ends"], lines_of(p)
    at = lines["y"][lines["line"] == ["4", "6", "8"].index(level)]
    assert ends["y"].tolist() == pytest.approx([at[0]])
