"""Least squares against certified values, exact rational arithmetic, and R's rule for dropping columns."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import DataError
from inference_core.solvers import lstsq, rank_of_design
from inference_core.solvers.lstsq import independent_columns
from inference_core.solvers.tall import solve_tall, well_conditioned

from .nist import LONGLEY, LONGLEY_COEF, LONGLEY_SE, LONGLEY_SIGMA, WAMPLER, WAMPLER_X


def rational_solution(X, y):
    """The exact least-squares solution of the floats given, by Gaussian elimination in fractions."""
    A = [[Fraction(v) for v in row] for row in X]
    b = [Fraction(v) for v in y]
    p = len(A[0])
    M = [[sum(r[i] * r[j] for r in A) for j in range(p)] + [sum(r[i] * v for r, v in zip(A, b, strict=True))]
         for i in range(p)]  # fmt: skip
    for i in range(p):
        for k in range(p):
            if k != i:
                factor = M[k][i] / M[i][i]
                M[k] = [u - factor * v for u, v in zip(M[k], M[i], strict=True)]
    return np.array([float(M[i][p] / M[i][i]) for i in range(p)])


def test_longley_reaches_the_certified_digits():
    X = np.column_stack([np.ones(16), LONGLEY[:, 1:]])
    fit = lstsq(X, LONGLEY[:, 0])
    sigma = np.sqrt(fit.rss / 9)
    # scaled condition number 5e4 of a design with condition 5e9: ten digits are what QR gives
    np.testing.assert_allclose(fit.coef, LONGLEY_COEF, rtol=1e-9)
    np.testing.assert_allclose(sigma * np.sqrt(np.diag(fit.unscaled_vcov())), LONGLEY_SE, rtol=1e-9)
    assert sigma == pytest.approx(LONGLEY_SIGMA, rel=1e-11)


@pytest.mark.parametrize("name", WAMPLER)
def test_wampler_reaches_the_accuracy_of_qr(name):
    y, exact = WAMPLER[name]
    got = lstsq(WAMPLER_X, y).coef
    # QR's bound: eps * (cond + cond^2 * residual / (|A| |b|)), scaled condition 8e4 in place of cond
    tolerance = {"Wampler5": 1e-5, "Wampler4": 1e-7}.get(name, 1e-8)
    np.testing.assert_allclose(got, exact, rtol=tolerance)


def test_a_raw_polynomial_of_degree_ten_as_in_filip():
    """Condition number near 1e15, as NIST's Filip; the reference is exact arithmetic on the same floats."""
    x = np.linspace(-8.75, -3.0, 47)
    X = np.vander(x, 11, increasing=True)
    y = np.sin(x) + 0.01 * np.cos(37 * x)
    got = lstsq(X, y, tol=1e-15)
    exact = rational_solution(X, y)
    assert got.rank == 11
    # NumPy's SVD keeps no digit here; Householder QR, invariant to column scaling, keeps about seven
    np.testing.assert_allclose(got.coef, exact, rtol=1e-5)
    assert lstsq(X, y).rank == 10  # R's tolerance drops the last power, as R does for Filip


def test_the_later_column_goes():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(2, 30))
    X = np.column_stack([np.ones(30), x, 2 * x, z, np.full(30, 7.0), x + z])
    info = rank_of_design(X, names=("a", "b", "c", "d", "e", "f"))
    assert info.rank == 3 and list(info.kept) == [0, 1, 3] and info.dropped_names == ("c", "e", "f")
    fit = lstsq(X, rng.normal(size=30))
    assert np.isnan(fit.coef[[2, 4, 5]]).all() and np.isfinite(fit.coef[[0, 1, 3]]).all()


@pytest.mark.parametrize(("gap", "kept"), [(1e-6, 2), (1e-8, 1)])
def test_the_threshold_is_r_s(gap, kept):
    """R's dqrdc2 compares what is left of a column with 1e-7 of its norm."""
    x = np.ones(50)
    other = np.where(np.arange(50) % 2 == 0, 1.0, -1.0)
    assert rank_of_design(np.column_stack([x, x + gap * other])).rank == kept


def test_more_columns_than_rows():
    X = np.random.default_rng(2).normal(size=(3, 5))
    info = rank_of_design(X)
    assert list(info.kept) == [0, 1, 2]
    assert lstsq(X, np.arange(3.0)).rss == pytest.approx(0.0, abs=1e-25)  # three equations, three unknowns


def test_no_columns_and_zero_columns():
    y = np.arange(4.0)
    assert lstsq(np.zeros((4, 0)), y).rss == pytest.approx(14.0)
    assert lstsq(np.zeros((4, 1)), y).rank == 0


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(6, 40), p=st.integers(1, 5), copies=st.integers(0, 3))
def test_rank_from_the_small_factor_is_rank_from_the_design(seed, n, p, copies):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    for _ in range(copies):
        X = np.column_stack([X, X[:, rng.integers(X.shape[1])] * rng.uniform(1, 3)])
    kept = independent_columns(np.linalg.qr(X, mode="r"))
    assert list(kept) == list(range(p)) == list(rank_of_design(X).kept)


@given(seed=st.integers(0, 2**32 - 1), p=st.integers(1, 6))
def test_leverages_are_the_diagonal_of_the_hat_matrix(seed, p):
    rng = np.random.default_rng(seed)
    X, y, w = rng.normal(size=(20, p)), rng.normal(size=20), rng.uniform(0.1, 3, 20)
    root = np.sqrt(w)[:, None] * X
    hat = root @ np.linalg.pinv(root)
    got = lstsq(X, y, w)
    np.testing.assert_allclose(got.leverage, np.diag(hat), rtol=1e-9, atol=1e-12)  # pinv loses a few digits
    assert got.leverage.sum() == pytest.approx(p, rel=1e-12)  # the trace of a projection


@given(seed=st.integers(0, 2**32 - 1))
def test_integer_weights_are_repeated_rows(seed):
    rng = np.random.default_rng(seed)
    X, y, w = rng.normal(size=(15, 3)), rng.normal(size=15), rng.integers(0, 4, 15)
    w[:4] = 1
    once = lstsq(X, y, w.astype(float))
    rows = np.repeat(np.arange(15), w)
    many = lstsq(X[rows], y[rows])
    np.testing.assert_allclose(once.coef, many.coef, rtol=1e-8, atol=1e-10)  # cond of 3 random columns < 1e4
    assert once.rss == pytest.approx(many.rss, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 300.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_tall_path_equals_householder(shift, weighted):
    """shift 300 makes the scaled condition number about 600, so that the second pass is taken."""
    rng = np.random.default_rng(5)
    X = np.column_stack([np.ones(5000), rng.normal(size=(5000, 4)) + shift])
    y = X @ np.arange(1.0, 6.0) + rng.normal(size=5000)
    w = rng.uniform(0.0, 2.0, 5000) if weighted else None
    tall = lstsq(X, y, w)
    assert tall.method == "cholesky"
    part = slice(0, 4000)  # below the threshold: Householder
    short = lstsq(X[part], y[part], None if w is None else w[part])
    again = solve_tall(X[part], y[part], None if w is None else np.sqrt(w[part]), True)
    assert short.method == "householder" and again is not None
    np.testing.assert_allclose(again.coef, short.coef, rtol=1e-11)  # eps times the condition number
    np.testing.assert_allclose(again.leverage, short.leverage, rtol=1e-9)
    np.testing.assert_allclose(np.abs(again.r_factor), np.abs(short.r_factor), rtol=1e-9, atol=1e-8)


def test_ill_conditioned_tall_designs_fall_back():
    x = np.linspace(0, 1, 6000)
    X = np.vander(x, 9, increasing=True)
    assert not well_conditioned(X)
    y = X @ np.ones(9)
    got = lstsq(X, y)
    assert got.method == "householder" and got.rank == 9
    np.testing.assert_allclose(got.coef, np.ones(9), rtol=1e-8)  # cond 1e6 after scaling, times eps, times margin


def test_rank_deficient_tall_designs_drop_the_later_column():
    rng = np.random.default_rng(8)
    x = rng.normal(size=6000)
    X = np.column_stack([np.ones(6000), x, 3 * x, rng.normal(size=6000)])
    assert list(rank_of_design(X).dropped) == [2]
    assert np.isnan(lstsq(X, x).coef[2])


@pytest.mark.parametrize("n", [10, 5000])
def test_numbers_that_are_not_finite_are_named(n):
    X = np.ones((n, 2))
    X[:, 1] = np.arange(n)
    X[3, 1] = np.nan
    with pytest.raises(DataError, match="column 1 of the design has no finite number in row 3"):
        lstsq(X, np.ones(n))
    X[3, 1] = 0.0
    y = np.ones(n)
    y[4] = np.inf
    with pytest.raises(DataError, match="the response has no finite number in row 4"):
        lstsq(X, y)
    for scale in (1e200, 1e-200):
        with pytest.raises(DataError, match="whose squares a computer cannot hold"):
            lstsq(X * scale, np.ones(n))
