"""compute_params_bootstrap_mixed: limits of coefficients and of spread, refusals before any refit, notes."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.fit import fit_lmer
from inference_core.fit.mixed_df import mixed_df
from inference_core.infer import bootstrap as module
from inference_core.infer.bootstrap import compute_params_bootstrap_mixed, resamples_of
from inference_core.infer.intervals import interval, p_value
from inference_core.infer.resample.stream import open_stream
from inference_core.model import model


def fitted(formula="Reaction ~ Days + (Days | Subject)", data=None, **options):
    spec, bundle = build_bundle(formula, load_dataset("sleepstudy") if data is None else data, method="reml", **options)
    return spec, bundle, fit_lmer(spec, bundle)


@pytest.fixture(scope="module")
def sleep():
    return fitted()


@pytest.fixture(scope="module")
def draws(sleep):
    return open_stream("boot", "parametric", *sleep, seed=21).collect(600)


@pytest.mark.parametrize("ci_type", ["expanded", "percentile", "basic", "normal"])
def test_limits_and_p_values_are_those_of_the_draws(sleep, draws, ci_type):
    parts = dict(df=mixed_df(*sleep).satterthwaite(), inflation=1.0) if ci_type == "expanded" else {}
    found = compute_params_bootstrap_mixed(*sleep, 0.9, 600, ci_type, 21, null=10.0, alternative="two-sided")
    samples, observed = draws.samples[:, :2], draws.observed[:2]
    expected = interval(ci_type, samples, observed, 0.9, **parts)
    np.testing.assert_array_equal(found.ci_lower, expected.lower)
    np.testing.assert_array_equal(found.ci_upper, expected.upper)
    np.testing.assert_array_equal(found.mcse["ci_lower"], expected.mcse_lower)
    np.testing.assert_array_equal(found.p_value, p_value(ci_type, samples, observed, 10.0, level=0.9, **parts))
    np.testing.assert_allclose(found.se, samples.std(axis=0, ddof=1))
    np.testing.assert_array_equal(found.boot_samples, samples)
    assert (found.scheme, found.method, found.seed, found.n_resamples) == ("parametric", "boot", 21, 600)


def test_expanded_limits_are_wider_by_the_degrees_of_freedom(sleep):
    """17 df: the tail level of 95 % limits is Phi(-t_17) = Phi(-2.1098), not Phi(-1.96)."""
    types = ("percentile", "expanded")
    narrow, wide = (compute_params_bootstrap_mixed(*sleep, n_boot=600, ci_type=t, seed=21) for t in types)
    ratio = (wide.ci_upper - wide.ci_lower) / (narrow.ci_upper - narrow.ci_lower)
    assert (ratio > 1.0).all()
    np.testing.assert_allclose(ratio, 2.1098 / 1.96, rtol=0.12)  # limits of 600 draws


def test_the_spread_has_percentile_limits_from_the_same_draws(sleep, draws):
    found = compute_params_bootstrap_mixed(*sleep, n_boot=600, ci_type="expanded", seed=21, null=3.0).spread
    assert found is not None
    expected = interval("percentile", draws.samples[:, 2:], draws.observed[2:], 0.95)
    np.testing.assert_array_equal(found.ci_lower, expected.lower)
    np.testing.assert_array_equal(found.ci_upper, expected.upper)
    np.testing.assert_array_equal(found.boot_samples, draws.samples[:, 2:])
    assert (found.ci_type, found.p_value, found.statistic) == ("percentile", None, None)


def test_a_correlation_without_an_sd_costs_no_draw(sleep, draws):
    """Where an SD is 0 the correlation is undefined; everything else of the draw counts."""
    samples = np.array(draws.samples)
    samples[:50, 4] = np.nan
    stream = open_stream("boot", "parametric", *sleep, seed=21)
    found = module.mixed_inference(replace(draws, samples=samples), stream, 2, ci_type="percentile")
    whole = module.mixed_inference(draws, stream, 2, ci_type="percentile")
    assert found.n_resamples == 600
    np.testing.assert_array_equal(found.ci_lower, whole.ci_lower)
    others = [0, 1, 3]
    np.testing.assert_array_equal(found.spread.ci_lower[others], whole.spread.ci_lower[others])
    alone = interval("percentile", samples[50:, 4:5], draws.observed[4:5], 0.95)
    assert found.spread.ci_lower[2] == alone.lower[0]


def test_the_container_is_rebuilt_from_the_table(sleep, draws):
    found = compute_params_bootstrap_mixed(*sleep, n_boot=600, ci_type="percentile", seed=21, n_jobs=2)
    again = resamples_of(found, *sleep)
    assert again is not None
    np.testing.assert_array_equal(again.samples, draws.samples)
    np.testing.assert_array_equal(again.draw(77), draws.draw(77))
    assert again.names == draws.names
    bare = compute_params_bootstrap_mixed(*sleep, n_boot=600, ci_type="percentile", seed=21, save_resamples=False)
    assert bare.boot_samples is None and bare.spread.boot_samples is None and resamples_of(bare, *sleep) is None
    np.testing.assert_array_equal(bare.ci_lower, found.ci_lower)


def test_singular_draws_are_counted_and_kept():
    rng = np.random.default_rng(2)
    x = rng.standard_normal(120)
    data = pl.DataFrame({"y": x + rng.standard_normal(120), "x": x, "g": np.repeat(np.arange(12), 10)})
    found = compute_params_bootstrap_mixed(*fitted("y ~ x + (1 | g)", data), n_boot=300, ci_type="percentile", seed=2)
    assert found.n_failed == 0 and found.n_resamples == 300
    zero = int(np.count_nonzero(found.spread.boot_samples[:, 0] < 1e-4))
    assert 50 < found.n_singular == zero < 300
    assert any(f"{zero} of 300 draws are singular fits" in note for note in found.notes)
    assert 0.0 <= found.spread.ci_lower[0] < 1e-4


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"n_boot": 40}, "cannot give 95 %"),
        ({"scheme": "case"}, "rows of one group belong together"),
        ({"scheme": "parametrik"}, "scheme='parametrik'"),
        ({"ci_type": "perzentile"}, "percentile"),
        ({"ci_type": "percentile", "n_boot": 10}, "B = 10 cannot give 95 %"),
        ({"ci_type": "expanded", "n_boot": 45}, "cannot give 95 %"),  # enough for 39, not for 17 df
        ({"ci_type": "percentile", "conf_level": 95}, "0.95"),
        ({"ci_type": "percentile", "alternative": "both"}, "alternative"),
        ({"ci_type": "percentile", "seed": -1}, "seed"),
    ],
)
def test_refused_before_any_refit(sleep, monkeypatch, options, word):
    def refit(*_):
        raise AssertionError("a refit was begun")

    monkeypatch.setattr("inference_core.infer.resample.lmer_kernel.LmerKernel.refit", refit)
    with pytest.raises(InferenceError, match=word):
        compute_params_bootstrap_mixed(*sleep, **options)


def test_few_groups_are_spoken_of():
    eight = load_dataset("sleepstudy").head(80)
    few = fitted(data=eight)
    notes = compute_params_bootstrap_mixed(*few, n_boot=199, ci_type="percentile", seed=1).notes
    assert any("8 groups of Subject" in note for note in notes)
    notes = compute_params_bootstrap_mixed(*few, n_boot=199, ci_type="expanded", seed=1).notes
    assert not any("groups of" in note for note in notes)
    four = fitted("Reaction ~ Days + (1 | Subject)", data=eight.head(40))
    with pytest.warns(InferenceCoreWarning, match="4 groups of Subject"):
        compute_params_bootstrap_mixed(*four, n_boot=199, ci_type="percentile", seed=1)


def test_failures_are_counted_and_none_left_is_an_error(sleep, monkeypatch):
    from inference_core.infer.resample.lmer_kernel import LmerKernel

    honest = LmerKernel.refit

    def lossy(self, Y):
        samples, status, se = honest(self, Y)
        samples[::4], status[::4] = np.nan, 1
        return samples, status, se

    monkeypatch.setattr(LmerKernel, "refit", lossy)
    with pytest.warns(InferenceCoreWarning, match="75 of 300 refits failed"):
        found = compute_params_bootstrap_mixed(*sleep, n_boot=300, ci_type="percentile", seed=1)
    assert found.n_failed == 75 and found.spread.n_failed == 75 and found.n_resamples == 225
    assert np.isfinite(found.spread.ci_lower).all()
    nothing = (np.full((512, 6), np.nan), np.ones(512, np.int8), None)
    monkeypatch.setattr(LmerKernel, "refit", lambda self, Y: nothing)
    with pytest.raises(InferenceError, match="not one refit"):
        compute_params_bootstrap_mixed(*sleep, n_boot=300, ci_type="percentile", seed=1)


def test_a_profile_beside_the_draws_is_that_of_how_profile():
    """profile=True: SDs and correlations from the profile, coefficients and draws as without it."""
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    plain = m.infer(how="boot", n_boot=60, seed=1, ci_type="percentile").params
    m.infer(how="boot", n_boot=60, seed=1, ci_type="percentile", profile=True)
    assert m.params.equals(plain) and m.resamples.height == 60
    assert any("profile likelihood" in note for note in m.inference.notes)
    spread, correlation, traces = m.varying_spread, m.varying_corr, m.profile
    m.infer(how="profile")
    assert m.varying_spread.equals(spread) and m.varying_corr.equals(correlation) and m.profile.equals(traces)


def test_a_profile_beside_draws_of_effects_is_refused():
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit().explore("Days")
    with pytest.raises(InferenceError, match=r"profile=True\) after explore"):
        m.infer(how="boot", profile=True)
