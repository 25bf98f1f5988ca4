"""Schemes and interval types of the bootstrap of linear mixed models, through the table and through the model."""

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.fit.mixed_df import mixed_df
from inference_core.infer import compute_params_bootstrap_mixed
from inference_core.infer.bootstrap import resamples_of
from inference_core.infer.intervals import interval, p_value
from inference_core.infer.resample.stream import open_stream

SCHEMES = ("parametric", "cluster", "residual", "wild")


@pytest.fixture(scope="module")
def sleep():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    return m.spec, m.bundle, m.fit_state


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ci_type", ["expanded", "percentile", "basic", "normal", "bca", "studentized"])
def test_limits_and_p_values_are_those_of_the_draws(sleep, scheme, ci_type):
    stream = open_stream("boot", scheme, *sleep, seed=21, want_se=ci_type == "studentized")
    draws = stream.collect(500)
    parts = {}
    if ci_type == "expanded":
        df = np.array([17.0, 17.0]) if scheme in ("cluster", "wild") else mixed_df(*sleep).satterthwaite()
        parts = dict(df=df, inflation=18 / 17 if scheme == "cluster" else 1.0)
    elif ci_type == "bca":
        parts = dict(jackknife=stream.jackknife()[:, :2])
    elif ci_type == "studentized":
        parts = dict(se_draws=draws.se[:, :2], se_observed=np.sqrt(np.diag(sleep[2].vcov)))
    found = compute_params_bootstrap_mixed(*sleep, 0.9, 500, ci_type, 21, null=10.0, scheme=scheme)
    samples, observed = draws.samples[:, :2], draws.observed[:2]
    expected = interval(ci_type, samples, observed, 0.9, **parts)
    np.testing.assert_array_equal(found.ci_lower, expected.lower)
    np.testing.assert_array_equal(found.ci_upper, expected.upper)
    np.testing.assert_array_equal(found.p_value, p_value(ci_type, samples, observed, 10.0, level=0.9, **parts))
    assert (found.scheme, found.ci_type, found.n_resamples, found.n_failed) == (scheme, ci_type, 500, 0)
    if scheme == "wild":
        assert np.isnan(found.spread.ci_lower).all() and len(found.spread.ci_lower) == 4
        assert any("sign flips keep every |residual|" in note for note in found.notes)
        return
    assert any("the SD is bounded at 0" in n for n in found.notes) == (ci_type in ("basic", "normal", "studentized"))
    kind = "bca" if ci_type == "bca" else "percentile"
    assert found.spread.ci_type == kind
    for j in range(4):
        own = dict(jackknife=stream.jackknife()[:, [2 + j]]) if kind == "bca" else {}
        limits = interval(kind, draws.samples[:, [2 + j]], draws.observed[[2 + j]], 0.9, **own)
        assert found.spread.ci_lower[j] == limits.lower[0] and found.spread.ci_upper[j] == limits.upper[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_container_is_rebuilt_from_the_table(sleep, scheme):
    found = compute_params_bootstrap_mixed(*sleep, n_boot=199, ci_type="percentile", seed=5, scheme=scheme, n_jobs=2)
    again = resamples_of(found, *sleep)
    draws = open_stream("boot", scheme, *sleep, seed=5).collect(199)
    np.testing.assert_array_equal(again.samples, draws.samples)
    np.testing.assert_array_equal(again.draw(77), draws.draw(77))
    assert (again.names, again.scheme) == (draws.names, scheme)


def test_every_scheme_through_the_model():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    se = {}
    for scheme in SCHEMES:
        m.infer(how="boot", n_boot=300, seed=3, scheme=scheme)
        assert (m.inference.scheme, m.inference.ci_type) == (scheme, "expanded")
        names = m.resamples.columns[2:]
        assert names == list(m.draw_stream(scheme=scheme, seed=3).names)
        first = m.draw_stream(scheme=scheme, seed=3).batch(0, 5).samples
        np.testing.assert_array_equal(m.resamples.head(5).select(names).to_numpy(), first)
        spread = m.varying_spread
        nulls = spread["sd_ci_lower"].is_nan() | spread["sd_ci_lower"].is_null()
        assert nulls.all() == (scheme == "wild") == nulls.any()
        assert m.monte_carlo.height == 2
        se[scheme] = m.params["se"].to_numpy()
    # lme4: se 6.825, 1.546 (lmer(Reaction ~ Days + (Days | Subject), sleepstudy)); 300 draws: 4 % each, and clusters
    # estimate the same two SEs from 18 subjects
    for scheme, found in se.items():
        np.testing.assert_allclose(found, [6.825, 1.546], rtol=0.2, err_msg=scheme)


def test_bca_of_a_nested_model_leaves_the_outer_groups_out():
    rng = np.random.default_rng(0)
    a = np.repeat(np.arange(9), 8)
    y = rng.standard_normal(9)[a] + rng.standard_normal(18)[np.repeat(np.arange(18), 4)] + rng.standard_normal(72)
    m = model("y ~ 1 + (1 | a/b)", pl.DataFrame({"y": y, "a": a, "b": np.tile(np.repeat([0, 1], 4), 9)})).fit()
    assert m.draw_stream().jackknife().shape == (9, 4)
    m.infer(how="boot", ci_type="bca", n_boot=199, seed=1)
    assert m.inference.spread.ci_type == "bca"
    assert np.isfinite(m.inference.ci_lower).all()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (dict(scheme="cluster"), "the factors g, h are crossed"),
        (dict(scheme="wild"), "the factors g, h are crossed"),
        (dict(ci_type="bca"), "the factors g, h are crossed"),
        (dict(scheme="case"), "parametric, cluster, residual, wild"),
        (dict(scheme="clutser"), "did you mean"),
        (dict(ci_type="studentized", errors="CR2"), "CR2 errors go with how='asymp'"),
    ],
)
def test_refused_before_any_refit(monkeypatch, ask, words):
    rng = np.random.default_rng(0)
    g, h = np.repeat(np.arange(6), 10), np.tile(np.arange(5), 12)
    y = rng.standard_normal(6)[g] + rng.standard_normal(5)[h] + rng.standard_normal(60)
    m = model("y ~ 1 + (1 | g) + (1 | h)", pl.DataFrame({"y": y, "g": g, "h": h})).fit()

    def refit(*_):
        raise AssertionError("a refit was begun")

    monkeypatch.setattr("inference_core.infer.resample.lmer_kernel.LmerKernel.refit", refit)
    with pytest.raises(InferenceError, match=words):
        m.infer(how="boot", **ask)


def test_a_residual_bootstrap_takes_crossed_factors():
    rng = np.random.default_rng(0)
    g, h = np.repeat(np.arange(6), 10), np.tile(np.arange(5), 12)
    y = rng.standard_normal(6)[g] + rng.standard_normal(5)[h] + rng.standard_normal(60)
    m = model("y ~ 1 + (1 | g) + (1 | h)", pl.DataFrame({"y": y, "g": g, "h": h})).fit()
    m.infer(how="boot", scheme="residual", n_boot=300, seed=1, ci_type="percentile")
    # an own parametric bootstrap of the same fit has nearly this SE: the model's spread is restored
    own = m.params["se"][0]
    m.infer(how="boot", n_boot=300, seed=1, ci_type="percentile")
    assert own == pytest.approx(m.params["se"][0], rel=0.25)  # 300 draws each: 4 % and 4 %, 11 levels


def test_notes_on_few_groups():
    few = load_dataset("sleepstudy").head(80)
    m = model("Reaction ~ Days + (1 | Subject)", few).fit()

    def notes(**ask):
        return " ".join(m.infer(how="boot", n_boot=399, seed=1, **ask).inference.notes)

    assert "8 groups of Subject: z and percentile limits are too narrow" in notes(ci_type="percentile")
    assert "z and percentile" not in notes(ci_type="studentized")
    assert "SDs from 8 whole groups are too narrow" in notes(scheme="cluster")
    assert "whole groups" not in notes(scheme="residual")
    three = model("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy").head(30)).fit()
    for scheme in ("cluster", "wild"):
        with pytest.raises(InferenceError, match=r"3 groups; fewer than 5[\s\S]*scheme='parametric'"):
            three.infer(how="boot", scheme=scheme)
    with pytest.warns(InferenceCoreWarning, match="3 groups of Subject"):
        three.infer(how="boot", n_boot=999, ci_type="percentile", seed=1)


def test_a_model_without_fixed_effects_has_a_spread():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(12), 5)
    y = rng.standard_normal(12)[g] + rng.standard_normal(60)
    m = model("y ~ 0 + (1 | g)", pl.DataFrame({"y": y, "g": g})).fit()
    for scheme in ("parametric", "cluster", "residual"):
        for ci_type in ("expanded", "bca", "studentized"):
            m.infer(how="boot", scheme=scheme, ci_type=ci_type, n_boot=299, seed=1)
            assert m.params.height == 0
            assert (m.varying_spread["sd_ci_lower"] < m.varying_spread["sd"]).all()


def test_a_coefficient_with_few_degrees_of_freedom_costs_the_others_nothing(sleep, monkeypatch):
    """2.2 df: the tail level of 95 % limits is Phi(-3.95) = 4e-5, far beyond 999 draws; 17 df: Phi(-2.11)."""
    from inference_core.infer.resample import lmer_streams

    monkeypatch.setattr(lmer_streams, "_satterthwaite", lambda *_: np.array([17.0, 2.2, *4 * [np.inf]]))
    found = compute_params_bootstrap_mixed(*sleep, n_boot=999, ci_type="expanded", seed=1)
    assert np.isfinite([found.ci_lower[0], found.ci_upper[0]]).all()
    assert np.isnan([found.ci_lower[1], found.ci_upper[1]]).all()
    assert any(note.startswith("Days has 2.2 degrees of freedom: its expanded limits need 2") for note in found.notes)
    monkeypatch.setattr(lmer_streams, "_satterthwaite", lambda *_: np.array([2.2, 2.2, *4 * [np.inf]]))
    with pytest.raises(InferenceError, match=r"cannot give 95 % limits[\s\S]*n_boot >= 2\d,\d{3}$"):
        compute_params_bootstrap_mixed(*sleep, n_boot=999, ci_type="expanded", seed=1)
