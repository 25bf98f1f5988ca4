"""Linear models: closed forms, laws, and what R counts. R's own numbers are checked in tests/reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import DataError, FitError
from inference_core.fit import fit_lm
from inference_core.fit.predict import linear_predictor, link_se, mean

from .handmade import fit, make, random_design

SEEDS = st.integers(0, 2**32 - 1)


def test_a_response_too_small_to_square_is_refused():
    X, y = random_design(1)
    with pytest.raises(DataError, match="squares a computer cannot hold"):
        fit(X, 1e-160 * y)


def test_a_line_through_five_points():
    """y = (1, 2, 4, 3, 5) on x = 0..4: slope .9, intercept 1.2, rss 1.9."""
    got = fit(np.column_stack([np.ones(5), np.arange(5)]), [1, 2, 4, 3, 5])
    np.testing.assert_allclose(got.coef, [1.2, 0.9], rtol=1e-14)  # rounding
    assert got.deviance == pytest.approx(1.9) and got.null_deviance == pytest.approx(10.0)
    assert got.sigma**2 == pytest.approx(1.9 / 3) and got.df_resid == 3 and got.n_params == 3
    assert np.sqrt(got.vcov[1, 1]) == pytest.approx(np.sqrt(1.9 / 3 / 10))
    assert got.loglik == pytest.approx(-2.5 * (np.log(2 * np.pi * 1.9 / 5) + 1))


@given(seed=SEEDS)
def test_the_order_of_rows_changes_nothing(seed):
    X, y = random_design(seed)
    order = np.random.default_rng(seed).permutation(y.size)
    one, two = fit(X, y), fit(X[order], y[order])
    np.testing.assert_allclose(one.coef, two.coef, rtol=1e-10, atol=1e-12)  # sums in another order
    np.testing.assert_allclose(one.fitted[order], two.fitted, rtol=1e-10, atol=1e-12)
    assert one.loglik == pytest.approx(two.loglik, rel=1e-12)


@given(seed=SEEDS, row=st.integers(0, 29))
def test_a_row_given_twice_is_weight_2_in_the_estimate(seed, row):
    X, y = random_design(seed)
    twice = fit(np.vstack([X, X[row]]), np.append(y, y[row]))
    weighted = fit(X, y, weights=1.0 + (np.arange(30) == row))
    np.testing.assert_allclose(weighted.coef, twice.coef, rtol=1e-10, atol=1e-12)
    assert weighted.deviance == pytest.approx(twice.deviance, rel=1e-11)
    # weights are precisions, as in R: rows are not counted twice
    assert (weighted.df_resid, twice.df_resid) == (27, 28)


@given(seed=SEEDS)
def test_weight_0_leaves_the_row_out_of_everything_but_the_fitted_values(seed):
    X, y = random_design(seed)
    w = np.random.default_rng(seed).uniform(0.5, 2, 30)
    w[[3, 8]] = 0.0
    used = w > 0
    with_zero, without = fit(X, y, weights=w), fit(X[used], y[used], weights=w[used])
    for name in ("coef", "vcov", "df_resid", "sigma", "loglik", "null_deviance", "df_null", "n_params"):
        np.testing.assert_allclose(getattr(with_zero, name), getattr(without, name), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(with_zero.leverage[used], without.leverage, rtol=1e-11)
    assert with_zero.leverage[3] == 0.0 and with_zero.fitted[3] == pytest.approx(X[3] @ with_zero.coef)


@given(seed=SEEDS, scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_the_units_of_y_carry_over(seed, scale, shift):
    X, y = random_design(seed)
    before, after = fit(X, y), fit(X, scale * y + shift)
    expected = scale * before.coef + [shift, 0, 0]
    # adding a shift of 1e3 to values of size 1e-3 costs six digits
    np.testing.assert_allclose(after.coef, expected, rtol=1e-6, atol=1e-9 * (1 + abs(shift)))
    assert after.sigma == pytest.approx(scale * before.sigma, rel=1e-6)


@given(seed=SEEDS)
def test_recoding_a_factor_leaves_the_fitted_values(seed):
    rng = np.random.default_rng(seed)
    group = np.r_[0, 1, 2, rng.integers(0, 3, 27)]
    y = rng.normal(size=30)
    dummies = np.eye(3)[group]
    treatment = np.column_stack([np.ones(30), dummies[:, 1:]])
    sums = np.column_stack([np.ones(30), dummies[:, :2] - dummies[:, 2:]])
    full = np.column_stack([np.ones(30), dummies])  # one column too many
    one, two, three = fit(treatment, y), fit(sums, y), fit(full, y)
    np.testing.assert_allclose(one.fitted, two.fitted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.fitted, three.fitted, rtol=1e-10, atol=1e-12)
    assert np.isnan(three.coef[3]) and three.rank == 3 and "not estimated: x3" in three.messages[0]
    assert np.isnan(three.vcov[3]).all() and np.isfinite(three.vcov[:3, :3]).all()


@given(seed=SEEDS)
def test_an_offset_is_taken_from_the_response(seed):
    X, y = random_design(seed)
    off = np.random.default_rng(seed).normal(size=30)
    with_offset, subtracted = fit(X, y, offset=off), fit(X, y - off)
    np.testing.assert_allclose(with_offset.coef, subtracted.coef, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(with_offset.fitted, subtracted.fitted + off, rtol=1e-12, atol=1e-12)
    assert with_offset.null_deviance == pytest.approx(subtracted.null_deviance, rel=1e-12)


def test_without_an_intercept_the_null_model_is_zero():
    got = fit(np.arange(1.0, 6.0)[:, None], [1, 2, 4, 3, 5], intercept=False)
    assert got.null_deviance == 55.0 and got.df_null == 5.0 and got.df_resid == 4.0


def test_a_tall_fit_equals_a_short_one_repeated():
    X, y = random_design(1, n=50)
    tall, short = fit(np.tile(X, (200, 1)), np.tile(y, 200)), fit(X, y)
    np.testing.assert_allclose(tall.coef, short.coef, rtol=1e-12)  # blocked sums of the same rows
    assert tall.deviance == pytest.approx(200 * short.deviance, rel=1e-12)


@pytest.mark.parametrize(("X", "y", "error", "words"), [
    (np.ones((5, 1)), np.full(5, 3.0), DataError, '"y" is the same in every row (3), so there is nothing to explain'),
    (np.eye(3), [1.0, 2, 4], FitError, "3 rows of data: at least 4 are needed"),
    (np.random.default_rng(0).normal(size=(3, 6)), [1.0, 2, 4], FitError, "3 rows of data"),
    (np.ones((3, 1)), [1.0, np.nan, 2.0], DataError, "row 1"),
])  # fmt: skip
def test_impossible_fits_are_named(X, y, error, words):
    with pytest.raises(error) as caught:
        fit(X, y)
    assert words in str(caught.value)


@pytest.mark.parametrize(("options", "words"), [
    ({"weights": np.array([1.0, -2, 1, 1])}, "the weight in row 1 is -2, below 0"),
    ({"weights": np.zeros(4)}, "every weight is 0"),
    ({"weights": np.array([1.0, 1, np.nan, 1])}, "the weight in row 2 counting from 0 is not a finite number"),
    ({"offset": np.array([0.0, np.inf, 0, 0])}, "the offset in row 1 counting from 0 is not a finite number"),
])  # fmt: skip
def test_impossible_weights_and_offsets_are_named(options, words):
    with pytest.raises(DataError) as caught:
        fit(np.column_stack([np.ones(4), np.arange(4)]), [1.0, 3, 2, 5], **options)
    assert words in str(caught.value)


def test_rows_are_named_as_in_the_data_given():
    mask = np.array([True, False, True, True, False, True])
    with pytest.raises(DataError, match="the weight in row 3 is -1"):
        fit(np.ones((4, 1)), [1.0, 3, 2, 5], weights=np.array([1.0, 1, -1, 1]), valid_mask=mask, n_total=6)


def test_a_perfect_fit_says_that_its_errors_mean_nothing():
    x = np.arange(6.0)
    got = fit(np.column_stack([np.ones(6), x]), 2 + 3 * x)
    assert any("perfect fit" in m for m in got.messages)
    np.testing.assert_allclose(got.coef, [2, 3], rtol=1e-13)


def test_a_constant_column_is_named():
    X, y = random_design(2)
    got = fit(np.column_stack([X, np.full(30, 4.0)]), y)
    assert got.messages == ("not estimated: x3 is a combination of earlier columns, or constant",)


def test_weights_of_0_may_cost_a_column():
    X, y = random_design(3)
    only = np.zeros(30)
    only[5] = 1.0
    w = np.ones(30)
    w[5] = 0.0
    got = fit(np.column_stack([X, only]), y, weights=w)
    assert np.isnan(got.coef[3]) and got.rank == 3 and got.df_resid == 26
    assert np.isfinite(got.fitted).all()


def test_new_rows():
    X, y = random_design(4)
    spec, bundle = make(np.column_stack([X, 2 * X[:, 1]]), y, offset=np.full(30, 2.0))
    got = fit_lm(spec, bundle)
    np.testing.assert_allclose(linear_predictor(got, bundle.X, bundle.offset), got.fitted, rtol=1e-12)
    np.testing.assert_allclose(link_se(got, bundle.X), got.sigma * np.sqrt(got.leverage), rtol=1e-10)
    np.testing.assert_allclose(mean(spec, got, bundle.X, bundle.offset), got.fitted, rtol=1e-12)
