"""The sparse factor against numpy: solutions, determinant and the entries of the inverse within the pattern."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from inference_core.solvers.lmm.sparse_factor import SparseFactor
from inference_core.solvers.lmm.sparse_symbolic import analyse

MANY = 10**8


def positive(q, rows, columns, seed=0):
    """A diagonally dominant matrix with these entries off the diagonal."""
    values = np.random.default_rng(seed).standard_normal(len(rows))
    A = sp.csr_matrix((values, (rows, columns)), shape=(q, q))
    A = A + A.T
    return (A + sp.diags(np.asarray(abs(A).sum(axis=1)).ravel() + 0.5)).tocsr()


def lower(A):
    L = sp.tril(A).tocoo()
    return L.row.astype(np.int64), L.col.astype(np.int64), L.data


def grid(m):
    at = np.arange(m * m).reshape(m, m)
    return m * m, np.r_[at[1:].ravel(), at[:, 1:].ravel()], np.r_[at[:-1].ravel(), at[:, :-1].ravel()]


def patterns():
    rng = np.random.default_rng(1)
    yield "one", (1, [0], [0])
    yield "diagonal", (7, np.arange(7), np.arange(7))
    yield "path", (30, np.arange(1, 30), np.arange(29))
    yield "star", (40, np.full(39, 0), np.arange(1, 40))
    yield "tree", (70, np.arange(1, 70), np.arange(1, 70) // 2)
    yield "grid", grid(12)
    yield "full", (20, *np.tril_indices(20, -1))
    yield "large front", (90, *np.tril_indices(90, -1))
    for density in (20, 80, 300):
        yield f"random {density}", (100, rng.integers(0, 100, density), rng.integers(0, 100, density))


@pytest.mark.parametrize("pattern", [pytest.param(p, id=name) for name, p in patterns()])
def test_against_dense_algebra(pattern):
    A = positive(*pattern)
    i, j, v = lower(A)
    symbolic = analyse(i, j, A.shape[0], MANY)
    assert sorted(symbolic.order) == list(range(A.shape[0]))
    factor = SparseFactor(symbolic, v)
    dense = A.toarray()
    F = np.random.default_rng(2).standard_normal((A.shape[0], 3))
    # well conditioned: rounding
    np.testing.assert_allclose(factor.solve(F), np.linalg.solve(dense, F), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(factor.log_det, np.linalg.slogdet(dense)[1], rtol=1e-12)
    np.testing.assert_allclose(factor.inverse_entries(), np.linalg.inv(dense)[i, j], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("q", [5, 90])
def test_what_is_not_positive_definite_is_told(q):
    A = positive(q, *np.tril_indices(q, -1)).toarray()
    A[2, 2] = -1.0
    i, j, v = lower(sp.csr_matrix(A))
    assert not SparseFactor(analyse(i, j, q, MANY), v).ok


def test_a_tree_does_not_fill_in():
    """Leaves first: each column of the factor has its parent only, so 2 x 2 fronts and no more."""
    q = 2000
    A = positive(q, np.arange(1, q), np.arange(1, q) // 2)
    i, j, _ = lower(A)
    assert analyse(i, j, q, MANY).length <= 4 * q


def test_the_limit_is_kept():
    i, j, _ = lower(positive(60, *np.tril_indices(60, -1)))
    assert analyse(i, j, 60, 60 * 60) is not None
    assert analyse(i, j, 60, 60 * 60 - 1) is None
