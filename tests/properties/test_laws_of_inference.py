"""Laws that hold for every interval and every draw: through the public API."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from inference_core import model
from inference_core.errors import InferenceError
from inference_core.fit import fit_model
from inference_core.infer.resample_bundle import build_resampled_bundle

from .data import MODELS, SEEDS, frame

few = settings(max_examples=10)
every_model = pytest.mark.parametrize(("formula", "words"), MODELS.values(), ids=MODELS.keys())
TYPES = ("percentile", "basic", "normal", "bca", "studentized", "expanded")


def fitted(formula, words, seed, n=36):
    return model(formula, frame(seed, n), **words).fit()


def draws(m, n_boot, seed, **options) -> np.ndarray:
    m.infer(how="boot", n_boot=n_boot, seed=seed, ci_type="percentile", **options)
    return m.resamples.select(m.bundle.X_names).to_numpy()


@few
@given(seed=SEEDS)
@every_model
def test_the_batched_bootstrap_is_a_loop_of_single_fits(formula, words, seed):
    m = fitted(formula, words, seed)
    stream = m.draw_stream(seed=seed)
    batch = stream.batch(0, 12)
    for i in range(12):
        if batch.status[i]:
            assert np.isnan(batch.samples[i]).all()
            continue
        single = fit_model(m.spec, build_resampled_bundle(m.bundle, stream.indices_of(i)))
        # The promise: 1e-9, relative to the size of the coefficients of the draw.
        np.testing.assert_allclose(batch.samples[i], single.coef, rtol=1e-9, atol=1e-9 * np.abs(single.coef).max())


@few
@given(seed=SEEDS, first=st.integers(39, 60), more=st.integers(1, 200))
@every_model
def test_growing_b_keeps_the_earlier_draws(formula, words, seed, first, more):
    m = fitted(formula, words, seed)
    np.testing.assert_array_equal(draws(m, first + more, seed)[:first], draws(m, first, seed))


@few
@given(seed=SEEDS, start=st.integers(0, 300), length=st.integers(1, 40))
@every_model
def test_any_slice_of_draws_stands_alone(formula, words, seed, start, length):
    stream = fitted(formula, words, seed).draw_stream(seed=seed)
    whole = stream.batch(0, start + length).samples[start:]
    np.testing.assert_array_equal(stream.batch(start, start + length).samples, whole)


def test_workers_leave_every_draw():
    m = fitted("y ~ x + g", {}, 5, n=400)
    np.testing.assert_array_equal(draws(m, 3000, 7, n_jobs=2), draws(m, 3000, 7, n_jobs=1))


# No shrinking: an example costs a jackknife and twelve tables, and any seed is as readable as another.
@settings(max_examples=4, phases=[Phase.generate])
@given(seed=SEEDS, levels=st.sampled_from([(0.8, 0.9), (0.9, 0.95), (0.95, 0.975)]))
@every_model
def test_a_higher_level_widens_the_interval(formula, words, seed, levels):
    m = fitted(formula, words, seed)
    for how in ({"how": "asymp"}, *({"how": "boot", "n_boot": 399, "seed": 1, "ci_type": t} for t in TYPES)):
        one, two = (m.infer(conf_level=level, **how).params for level in levels)
        slack = 1e-9 * (1 + one["estimate"].abs())  # equal order statistics at neighbouring levels
        assert (two["ci_lower"] <= one["ci_lower"] + slack).all(), how
        assert (two["ci_upper"] >= one["ci_upper"] - slack).all(), how


@few
@given(seed=SEEDS, level=st.sampled_from([0.8, 0.9, 0.95, 0.99]), null=st.floats(-1, 1))
@every_model
def test_the_interval_holds_the_null_exactly_when_p_exceeds_alpha(formula, words, seed, level, null):
    table = fitted(formula, words, seed).infer(conf_level=level, null=null).params
    for low, high, p in table.select("ci_lower", "ci_upper", "p_value").iter_rows():
        if abs(p - (1 - level)) > 1e-9:  # on the edge either answer is right
            assert (low <= null <= high) == (p > 1 - level)


@few
@given(seed=SEEDS, null=st.floats(-1, 1))
@every_model
def test_one_sided_p_values_share_the_two_sided_one(formula, words, seed, null):
    m = fitted(formula, words, seed)
    two, less, more = (
        m.infer(null=null, alternative=a).params["p_value"].to_numpy() for a in ("two-sided", "less", "greater")
    )
    np.testing.assert_allclose(less + more, 1.0, rtol=1e-12)  # one continuous distribution
    np.testing.assert_allclose(two, 2 * np.minimum(less, more), rtol=1e-10)


@few
@given(seed=SEEDS, scale=st.floats(0.01, 100))
@pytest.mark.parametrize("errors", ["iid", "HC0", "HC1", "HC2", "HC3", "HC4"])
def test_errors_follow_the_units_of_y(errors, seed, scale):
    data = frame(seed)
    one = model("y ~ x + g", data).fit().infer(errors=errors).params
    two = model("y ~ x + g", data.with_columns(y=scale * data["y"])).fit().infer(errors=errors).params
    # Sums of squares of residuals that are themselves differences: half the digits remain at worst.
    np.testing.assert_allclose(two["se"].to_numpy(), scale * one["se"].to_numpy(), rtol=1e-8)
    np.testing.assert_allclose(two["p_value"].to_numpy(), one["p_value"].to_numpy(), rtol=1e-7, atol=1e-12)


@few
@given(seed=SEEDS)
@every_model
def test_bootstrap_p_values_are_never_zero(formula, words, seed):
    m = fitted(formula, words, seed)
    for ci_type in TYPES:
        p = m.infer(how="boot", n_boot=99, seed=seed, ci_type=ci_type).params["p_value"].drop_nulls()
        assert (p > 0).all() and (p <= 1).all()


def test_a_refused_request_leaves_the_model_as_it_was():
    m = fitted("y ~ x", {}, 3)
    before = m.infer(how="boot", n_boot=50, seed=2).state
    for wrong in ({"conf_level": 1.5}, {"ci_tipe": "bca"}, {"how": "bot"}, {"how": "boot", "n_boot": 0}):
        with pytest.raises(InferenceError):
            m.infer(**wrong)
        assert m.state is before


def test_a_new_fit_drops_old_results():
    m = fitted("y ~ x", {}, 3).infer(how="boot", n_boot=50, seed=2)
    m.fit()
    assert m.params.columns == ["term", "estimate"]
    assert m.inference is None
