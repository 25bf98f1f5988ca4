"""Laws that hold for every fit, whatever the data: through the public API."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core import model

from .data import LEVELS, MODELS, SEEDS, frame

# Solved by QR, condition numbers below some hundreds: 1e-8 leaves a factor of a million for rounding.
EXACT = {"rtol": 1e-8, "atol": 1e-9}
# IRLS stops when the deviance moves by 1e-12 of itself; the coefficients are then good to 1e-6.
ITERATED = {"rtol": 1e-6, "atol": 1e-6}

few = settings(max_examples=15)
every_model = pytest.mark.parametrize(("formula", "words"), MODELS.values(), ids=MODELS.keys())


def estimates(formula, data, **words) -> np.ndarray:
    return model(formula, data, **words).fit().params["estimate"].to_numpy()


def close(words) -> dict[str, float]:
    return ITERATED if "family" in words else EXACT


@few
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_an_lm_follows_the_units_of_y(seed, scale, shift):
    """y -> a*y + c multiplies every slope by a and moves only the intercept by c."""
    data = frame(seed)
    before = estimates("y ~ x + z + g", data)
    after = estimates("y ~ x + z + g", data.with_columns(y=scale * pl.col("y") + shift))
    expected = scale * before
    expected[0] += shift
    # A shift of 1e3 beside slopes of 1e-3: rounding is 1e3 times machine precision times a condition of 100.
    np.testing.assert_allclose(after, expected, rtol=1e-8, atol=1e-9 * (1 + abs(shift)))


@few
@given(seed=SEEDS, scale=st.floats(0.01, 100))
@every_model
def test_slopes_follow_the_units_of_x(formula, words, seed, scale):
    data = frame(seed)
    rescaled = data.with_columns(x=pl.col("x") * scale)
    one, two = (model(formula, d, **words).fit() for d in (data, rescaled))
    for name, before, after in zip(one.bundle.X_names, one.fit_state.coef, two.fit_state.coef, strict=True):
        factor = 1 / scale if "x" in name.split(":") else 1.0
        np.testing.assert_allclose(after, before * factor, **close(words))
    np.testing.assert_allclose(two.fit_state.fitted, one.fit_state.fitted, **close(words))


@few
@given(seed=SEEDS)
@every_model
def test_row_order_changes_nothing(formula, words, seed):
    data = frame(seed)
    shuffled = data[np.random.default_rng(seed).permutation(len(data))]
    one, two = (model(formula, d, **words).fit().infer().params for d in (data, shuffled))
    for name in ("estimate", "se", "p_value"):
        np.testing.assert_allclose(two[name].to_numpy(), one[name].to_numpy(), **close(words))


@few
@given(seed=SEEDS)
@pytest.mark.parametrize(
    ("formula", "words"),
    [("y ~ x + g", {}), ("hit ~ x", {"family": "binomial"}), ("count ~ x", {"family": "poisson"})],
    ids=["lm", "logistic", "Poisson"],
)
def test_a_repeated_row_is_a_weight(formula, words, seed):
    """Rows written w times, and the same rows once with weight w, give the same estimates."""
    data = frame(seed)
    times = data["w"].cast(pl.Int64).to_numpy()
    repeated = data[np.repeat(np.arange(len(data)), times)]
    weighted = model(formula, data, weights="w", **words).fit()
    np.testing.assert_allclose(weighted.fit_state.coef, estimates(formula, repeated, **words), **close(words))


@few
@given(seed=SEEDS, coding=st.sampled_from(["sum", "helmert", "poly", "sequential"]))
@every_model
def test_recoding_a_factor_leaves_the_fit(formula, words, seed, coding):
    data = frame(seed)
    contrasts = {"g": coding} if "g" in formula.split() else None
    one = model(formula, data, **words).fit().fit_state
    two = model(formula, data, contrasts=contrasts, **words).fit().fit_state
    np.testing.assert_allclose(two.fitted, one.fitted, **close(words))
    np.testing.assert_allclose(two.deviance, one.deviance, **close(words))
    np.testing.assert_allclose(two.leverage, one.leverage, **close(words))


@few
@given(seed=SEEDS)
def test_renaming_levels_renames_rows_only(seed):
    data = frame(seed)
    names = dict(zip(LEVELS, ("c", "b", "a"), strict=True))  # alphabetical order reversed: names must not matter
    renamed = data.with_columns(pl.col("g").cast(pl.String).replace(names).cast(pl.Enum(["c", "b", "a"])))
    one, two = (model("y ~ x * g", d).fit().params for d in (data, renamed))
    assert two["term"].to_list() == [t.replace("mid", "b").replace("high", "a") for t in one["term"]]
    np.testing.assert_array_equal(two["estimate"].to_numpy(), one["estimate"].to_numpy())


@few
@given(seed=SEEDS, slope=st.floats(-5, 5))
def test_an_offset_is_a_slope_taken_off(seed, slope):
    data = frame(seed).with_columns(known=slope * pl.col("x"))
    free = estimates("y ~ x + z", data)
    given_ = estimates("y ~ x + z", data, offset="known")
    np.testing.assert_allclose(given_, free - [0, slope, 0], **EXACT)


@few
@given(seed=SEEDS, factor=st.floats(0.1, 10))
def test_exposure_moves_only_the_intercept(seed, factor):
    data = frame(seed).with_columns(exposure=pl.lit(factor))
    rate = estimates("count ~ x + g + offset(log(exposure))", data, family="poisson")
    plain = estimates("count ~ x + g", data, family="poisson")
    np.testing.assert_allclose(rate[1:], plain[1:], **ITERATED)
    np.testing.assert_allclose(rate[0], plain[0] - np.log(factor), **ITERATED)


@few
@given(seed=SEEDS)
def test_success_and_failure_mirror_each_other(seed):
    data = frame(seed)
    hits = estimates("hit ~ x", data, family="binomial")
    misses = estimates("hit ~ x", data.with_columns(hit=1.0 - pl.col("hit")), family="binomial")
    np.testing.assert_allclose(misses, -hits, **ITERATED)


@few
@given(seed=SEEDS)
def test_a_gaussian_glm_with_log_link_is_not_an_lm(seed):
    """The link takes part: fitted means are positive whatever the lm says."""
    data = frame(seed)
    curved = model("time ~ x", data, link="log").fit().fit_state
    np.testing.assert_allclose(curved.fitted, np.exp(curved.eta), rtol=1e-12)
    assert (curved.fitted > 0).all()


@few
@given(seed=SEEDS)
@every_model
def test_leverages_sum_to_the_rank(formula, words, seed):
    fit = model(formula, frame(seed), **words).fit().fit_state
    np.testing.assert_allclose(fit.leverage.sum(), fit.rank, rtol=1e-9)  # trace of a projection
    assert (fit.leverage > -1e-12).all() and (fit.leverage < 1 + 1e-12).all()
