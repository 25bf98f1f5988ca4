"""Crossed and nested models whose random effects number in the thousands, through the path that a user takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.design import build_bundle
from inference_core.fit.lmer import fit_lmer

RATINGS = Path(__file__).parents[1] / "reference" / "data" / "insteval.csv.gz"


@pytest.fixture(scope="module")
def ratings():
    """Ratings of lecturers (d) by students (s) in three departments: 11,203 rows, 2,565 + 168 + 3 levels."""
    frame = pl.read_csv(RATINGS).filter(pl.col("dept").is_in([1, 2, 3]))
    row = np.arange(1, frame.height + 1)
    return frame.with_columns(
        pl.col("s", "d", "dept").cast(pl.String), x=pl.col("service").cast(pl.Float64), w=1.0 + row % 3,
        o=(frame["service"] - 0.5) / 4,
    )  # fmt: skip


def crossed(n=9000, a=1500, b=500, seed=1):
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(0, a, n), rng.integers(0, b, n), rng.standard_normal(n)
    y = 1 + 0.2 * x + 0.5 * rng.standard_normal(a)[g] + 0.4 * rng.standard_normal(b)[h] + rng.standard_normal(n)
    return pl.DataFrame({"y": y, "x": x, "a": [f"a{i}" for i in g], "b": [f"b{i}" for i in h]})


def test_slopes_by_two_crossed_factors_as_lme4(ratings):
    """lmer(y ~ x + (1 + x | s) + (1 + x | d), REML), bobyqa with rhoend = 1e-10: 5,466 random effects."""
    spec, bundle = build_bundle("y ~ x + (1 + x | s) + (1 + x | d)", ratings, method="reml")
    fit = fit_lmer(spec, bundle)
    assert fit.converged and not fit.is_singular
    assert bundle.re_metadata.q == 5466
    # printed to 12 digits; lme4's optimiser stops some 1e-6 from the optimum
    assert abs(fit.criterion - 36410.8180412) < 1e-6
    theta = [0.2749075226059, -0.0469440313869, 0.1840661864271, 0.4323507548092, -0.1201035838901, 0.3699228350709]
    np.testing.assert_allclose(fit.theta, theta, atol=2e-5)
    np.testing.assert_allclose(fit.coef, [3.2854583388736, -0.0712965811908], atol=1e-6)
    vcov = [[0.00238897100867, -0.00131031426809], [-0.00131031426809, 0.00346629789747]]
    np.testing.assert_allclose(fit.vcov, vcov, rtol=1e-4)
    s, d = bundle.re_metadata.blocks
    b = bundle.re_metadata.split_effects(fit.b)
    at = d.levels.index("17")
    np.testing.assert_allclose(b[1][at], [0.494753914074, -0.18439145459582], atol=1e-5)
    postvar = [[0.0113799400477, -0.0106897754841], [-0.0106897754841, 0.0254762769237]]
    np.testing.assert_allclose(fit.cond_var[1][at], postvar, atol=1e-6)
    at = s.levels.index("4")
    np.testing.assert_allclose(b[0][at], [0.180706168922, -0.0308579262774], atol=1e-5)
    postvar = [[0.0862885434110, -0.0170119111815], [-0.0170119111815, 0.0480024547527]]
    np.testing.assert_allclose(fit.cond_var[0][s.levels.index("1")], postvar, atol=1e-5)
    np.testing.assert_allclose(fit.leverage[:3], [0.0761766034493, 0.1414431018546, 0.0985131071209], atol=1e-5)
    np.testing.assert_allclose(fit.leverage.sum(), 768.499785642, rtol=1e-4)


def test_weights_offset_ml_and_a_variance_at_zero_as_lme4(ratings):
    """lmer(y ~ x + (1 | s) + (1 | d) + (1 | dept), weights = w, offset = o, REML = FALSE)."""
    m = model("y ~ x + (1 | s) + (1 | d) + (1 | dept)", ratings, weights="w", offset="o").fit(method="ml")
    fit = m._state.fit
    assert fit.converged and fit.is_singular
    assert abs(fit.criterion - 37464.4081201) < 1e-6  # as above
    np.testing.assert_allclose(fit.theta, [0.226992634395, 0.317395494975, 0.0], atol=1e-5)
    np.testing.assert_allclose(fit.coef, [3.382946884571, -0.285055773569], atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diagonal(fit.vcov)), [0.0484349316833, 0.0364225106297], rtol=1e-5)
    np.testing.assert_allclose(fit.sigma, 1.64468943303, rtol=1e-6)
    np.testing.assert_allclose(fit.leverage[:3], [0.0837365893600, 0.1482756489923, 0.0487661335329], atol=1e-5)
    assert np.all(fit.cond_var[2] < 1e-10)
    assert any("the SD of (Intercept) by dept is 0" in message for message in fit.messages)


def test_the_tables_of_a_large_model(ratings):
    m = model("y ~ x + (1 | s) + (1 | d) + (1 | dept)", ratings).fit()
    params = m.infer().params
    assert np.all(params["df"].to_numpy() > 10)
    spread = m.varying_spread.filter(pl.col("group") == "s")
    offsets = m.varying_offsets
    assert offsets.height == 2565 + 168 + 3
    of_s = offsets.filter(pl.col("group") == "s")
    # Var(b | y) <= Var(b), and what is known of b and what is not add up on average
    assert (of_s["se"] < spread["sd"].item()).all()
    known = of_s["estimate"].var() + of_s["se"].pow(2).mean()
    np.testing.assert_allclose(known, spread["variance"].item(), rtol=0.02)  # 2,565 levels, and REML


def test_parametric_draws_of_a_large_crossed_model_do_not_depend_on_their_chunk():
    m = model("y ~ x + (1 | a) + (1 | b)", crossed()).fit()
    stream = m.draw_stream("boot", seed=3)
    all_of_them = stream.collect(3)
    assert all_of_them.n_failed == 0
    alone = m.draw_stream("boot", seed=3).batch(2, 3)
    np.testing.assert_array_equal(alone.samples[0], all_of_them.samples[2])
    # a refit of the draw from scratch ends where the warm one did: decrement 1e-8 against 1e-9
    frame = crossed().with_columns(y=stream.kernel.response(stream.rng, 2, m._state.bundle))
    again = model("y ~ x + (1 | a) + (1 | b)", frame).fit()._state.fit
    np.testing.assert_allclose(all_of_them.samples[2][:2], again.coef, atol=1e-5)
    sd = again.sigma * np.append(again.theta, 1.0)
    np.testing.assert_allclose(all_of_them.samples[2][2:], sd, atol=1e-5)


@pytest.mark.slow
def test_the_bootstrap_of_a_large_crossed_model_agrees_with_its_asymptotics():
    m = model("y ~ x + (1 | a) + (1 | b)", crossed(4000, 500, 120)).fit()
    asymptotic = m.infer().params["se"].to_numpy()
    spread = m.varying_spread
    boot = m.infer(how="boot", n_boot=400, seed=4, ci_type="percentile")
    # the SD of 400 draws has an error of 1 / sqrt(800); 4 of them
    np.testing.assert_allclose(boot.params["se"].to_numpy(), asymptotic, rtol=4 / np.sqrt(800))
    inside = boot.varying_spread
    assert (inside["sd_ci_lower"] < spread["sd"]).all() and (inside["sd_ci_upper"] > spread["sd"]).all()


def test_a_balanced_nested_model_of_many_levels_counts_them():
    """Methods within schools, by class: classes - schools - 1; the grand mean: schools - 1."""
    rng = np.random.default_rng(5)
    schools, per_school, pupils_each, rows_each = 50, 24, 4, 3
    classes = schools * per_school
    pupils = classes * pupils_each
    pupil = np.repeat(np.arange(pupils), rows_each)
    klass, school = pupil // pupils_each, pupil // (pupils_each * per_school)
    method = klass % 2 - 0.5
    y = 0.3 * method + 0.6 * rng.standard_normal(pupils)[pupil] + rng.standard_normal(pupil.size)
    y = y + 0.5 * rng.standard_normal(classes)[klass] + 0.4 * rng.standard_normal(schools)[school]
    frame = pl.DataFrame({
        "y": y, "method": method, "pupil": [f"p{i}" for i in pupil], "klass": [f"c{i}" for i in klass],
        "school": [f"s{i}" for i in school],
    })  # fmt: skip
    m = model("y ~ method + (1 | school) + (1 | klass) + (1 | pupil)", frame).fit()
    # the optimum is known to 1e-6 of its spread
    np.testing.assert_allclose(m.infer().params["df"].to_numpy(), [schools - 1, classes - schools - 1], rtol=1e-4)
