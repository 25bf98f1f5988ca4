"""All resamples at once equal a loop of single fits: weights, offset, dropped columns, standard errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.errors import DataError, InferenceError
from inference_core.infer.resample.common import refit_indices
from inference_core.infer.resample.lm_operators import (
    LmKernel,
    build_lm_coefficient_operator,
    compute_batched_ols_bootstrap,
)
from inference_core.rng import RNG
from inference_core.solvers.lstsq import lstsq
from inference_core.states import DRAW_OK, DRAW_RANK_DEFICIENT


def data(seed, n, p, mean=0.0):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1)) * 3 + 5])
    return X, X @ rng.normal(size=p) + rng.normal(size=n) + mean


def single(X, y, rows, weights=None, offset=None):
    """One fit by pivoted QR: coefficients and classical standard errors."""
    w = None if weights is None else weights[rows]
    z = y[rows] if offset is None else y[rows] - offset[rows]
    fit = lstsq(X[rows], z, w)
    size = len(rows) if w is None else np.count_nonzero(w)
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(fit.rss / max(size - fit.rank, 0) * np.diag(fit.unscaled_vcov()))
    return fit.coef, se


def assert_equals_loop(kernel, X, y, indices, weights=None, offset=None):
    coef, status, se = refit_indices(kernel, indices)
    for rows, b, code, s in zip(indices, coef, status, se, strict=True):
        expected, expected_se = single(X, y, rows, weights, offset)
        kept = ~np.isnan(expected)
        if code == DRAW_RANK_DEFICIENT:
            assert np.count_nonzero(kept) < kernel.kept.size
            assert np.isnan(b).all()
            continue
        np.testing.assert_array_equal(np.flatnonzero(kept), kernel.kept)
        # 1e-9 of a standard error (or of the coefficient): what the batch owes a single fit
        scale = np.fmax(np.abs(expected[kept]), np.nan_to_num(expected_se[kept]))
        assert np.max(np.abs(b[kept] - expected[kept]) / scale) < 1e-9
        if np.isfinite(expected_se[kept]).all() and len(rows) > kernel.kept.size + 1:
            # exact fits (as many distinct rows as columns) have an error of 0, up to rounding
            np.testing.assert_allclose(s[kept], expected_se[kept], rtol=1e-7, atol=1e-9)


@given(
    seed=st.integers(0, 10**6), n=st.integers(8, 60), p=st.integers(1, 5), weighted=st.booleans(),
    shifted=st.booleans(), mean=st.sampled_from([0.0, 1e4]),
)  # fmt: skip
def test_the_batch_equals_a_loop_of_single_fits(seed, n, p, weighted, shifted, mean):
    X, y = data(seed, n, p, mean)
    rng = np.random.default_rng(seed + 1)
    weights = rng.uniform(0.2, 3.0, n) if weighted else None
    offset = rng.normal(size=n) if shifted else None
    kernel = LmKernel.from_arrays(X, y, weights=weights, offset=offset, want_se=True)
    assert_equals_loop(kernel, X, y, RNG(seed).indices(0, 12, n), weights, offset)


@settings(max_examples=40)  # thirty single fits an example
@given(seed=st.integers(0, 10**6), n=st.integers(6, 20))
def test_factors_lose_levels_in_some_resamples_and_those_are_marked(seed, n):
    rng = np.random.default_rng(seed)
    level = np.arange(n) % 3
    X = np.column_stack([np.ones(n), level == 1, level == 2, rng.normal(size=n)]).astype(float)
    y = rng.normal(size=n)
    kernel = LmKernel.from_arrays(X, y, want_se=True)
    assert_equals_loop(kernel, X, y, RNG(seed).indices(0, 30, n))


def test_a_rank_deficient_design_keeps_its_other_columns():
    X, y = data(3, 30, 3)
    X = np.column_stack([X, 2 * X[:, 1], X[:, 2] ** 2])
    coef = compute_batched_ols_bootstrap(RNG(1).indices(0, 20, 30), X, y)
    assert np.isnan(coef[:, 3]).all()
    assert np.isfinite(np.delete(coef, 3, axis=1)).all()


def test_ill_conditioned_resamples_are_redone_with_all_digits():
    """A column nearly constant but for one row: resamples that miss this row are nearly, not quite, singular."""
    n = 25
    rng = np.random.default_rng(2)
    x = 1e-4 * rng.normal(size=n)
    x[0] = 1.0
    X, y = np.column_stack([np.ones(n), x]), rng.normal(size=n)
    kernel = LmKernel.from_arrays(X, y, want_se=True)
    indices = RNG(5).indices(0, 60, n)
    without = ~(indices == 0).any(1)
    assert without.any()
    assert not without.all()
    _, status, _ = refit_indices(kernel, indices)
    assert (status == DRAW_OK).all()
    assert_equals_loop(kernel, X, y, indices)


@pytest.mark.parametrize("errors", ["HC0", "HC1", "HC2", "HC3", "HC4"])
@pytest.mark.parametrize("weighted", [False, True])
def test_robust_errors_inside_a_draw_are_those_of_the_fit_to_its_rows(errors, weighted):
    """The sandwich written out over the repeated rows of one resample."""
    n, p = 20, 3
    X, y = data(7, n, p)
    w = np.random.default_rng(8).uniform(0.5, 2.0, n) if weighted else np.ones(n)
    kernel = LmKernel.from_arrays(X, y, weights=w if weighted else None, want_se=True, errors=errors)
    indices = RNG(2).indices(0, 8, n)
    _, _, se = refit_indices(kernel, indices)
    for rows, found in zip(indices, se, strict=True):
        x, weight = X[rows], w[rows]
        bread = np.linalg.inv(x.T @ (x * weight[:, None]))
        e = y[rows] - x @ (bread @ (x.T @ (weight * y[rows])))
        h = weight * np.einsum("ij,jk,ik->i", x, bread, x)
        power = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2, "HC4": np.minimum(4, n * h / p)}[errors]
        u = (weight * e) ** 2 / (1 - h) ** power * (n / (n - p) if errors == "HC1" else 1)
        expected = np.sqrt(np.diag(bread @ (x.T @ (x * u[:, None])) @ bread))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_row_drawn_twice_is_a_row_of_weight_two():
    X, y = data(4, 12, 3)
    rows = np.r_[np.arange(12), 3, 3, 7]
    weights = np.bincount(rows, minlength=12).astype(float)
    drawn = compute_batched_ols_bootstrap(rows[None], X, y)[0]
    np.testing.assert_allclose(drawn, lstsq(X, y, weights).coef, rtol=1e-10)  # two roundings of one answer


def test_rows_of_weight_zero_are_drawn_but_count_for_nothing():
    X, y = data(6, 20, 3)
    weights = np.ones(20)
    weights[[2, 9]] = 0.0
    y[[2, 9]] = 1e6
    kernel = LmKernel.from_arrays(X, y, weights=weights, want_se=True)
    assert_equals_loop(kernel, X, y, RNG(3).indices(0, 20, 20), weights)


@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 40))
def test_the_chunk_size_changes_rounding_only(seed, chunk):
    X, y = data(seed, 15, 3)
    indices = RNG(seed).indices(0, 25, 15)
    whole, pieces = compute_batched_ols_bootstrap(indices, X, y), compute_batched_ols_bootstrap(indices, X, y, chunk)
    np.testing.assert_allclose(pieces, whole, rtol=1e-8, atol=1e-10)  # another shape of one matrix product


@pytest.mark.parametrize("method", ["cholesky", "qr"])
def test_the_coefficient_operator_maps_one_response_and_many(method):
    X, y = data(1, 20, 4)
    operator = build_lm_coefficient_operator(X, method)
    Y = np.column_stack([y, y**2, np.sin(y)])
    np.testing.assert_allclose(operator(Y), np.linalg.lstsq(X, Y, rcond=None)[0], rtol=1e-8)  # condition 1e3, squared
    np.testing.assert_allclose(operator(y), operator(Y)[:, 0], rtol=1e-12)


def test_the_operator_refuses_what_it_cannot_factorise():
    X, _ = data(1, 20, 3)
    X = np.column_stack([X, X[:, 1]])
    with pytest.raises(DataError, match="linearly dependent"):
        build_lm_coefficient_operator(np.column_stack([np.ones(5), np.zeros(5)]))
    assert np.isnan(build_lm_coefficient_operator(X, "qr")(np.ones(20))[3])
    with pytest.raises(InferenceError, match="'cholesky' and 'qr'"):
        build_lm_coefficient_operator(X, "svd")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="20 rows"):
        build_lm_coefficient_operator(X[:, :3])(np.ones(19))


def test_errors_that_no_draw_has_are_refused():
    X, y = data(1, 20, 3)
    with pytest.raises(InferenceError, match="HC9"):
        LmKernel.from_arrays(X, y, errors="HC9")


def test_row_numbers_outside_the_data_are_refused():
    X, y = data(1, 20, 3)
    for bad in (np.full((2, 20), 20), np.full((2, 20), -1), np.zeros((2, 20)), np.zeros(20, int)):
        with pytest.raises(DataError):
            compute_batched_ols_bootstrap(bad, X, y)


def test_no_resamples_give_an_empty_table():
    X, y = data(1, 20, 3)
    assert compute_batched_ols_bootstrap(np.empty((0, 20), int), X, y).shape == (0, 3)
