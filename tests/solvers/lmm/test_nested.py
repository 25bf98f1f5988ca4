"""Nested factors as one wide factor with tied entries, against the dense kernel and against its own differences."""

import numpy as np
import pytest

from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.dense_fit import fit_dense
from inference_core.solvers.lmm.group_counts import GroupSums
from inference_core.solvers.lmm.nested import NestedDesign, TiedLanes


def scene(seed=2, slopes=False, weighted=True):
    """7 outer groups of 2 to 4 inner ones of 3 to 6 rows."""
    rng = np.random.default_rng(seed)
    rows = [(s, c) for s in range(7) for c in range(rng.integers(2, 5)) for _ in range(rng.integers(3, 7))]
    outer, within = np.array(rows).T
    inner = np.unique(4 * outer + within, return_inverse=True)[1]
    x = rng.standard_normal(len(rows))
    X = np.column_stack([np.ones(len(rows)), x])
    y = x + rng.standard_normal(7)[outer] + rng.standard_normal(inner.max() + 1)[inner] + rng.standard_normal(len(rows))
    terms = (Term.of(X[:, :1], inner), Term.of(X if slopes else X[:, :1], outer))
    return X, terms, outer, y, rng.uniform(0.5, 2.0, len(rows)) if weighted else None


@pytest.mark.parametrize("slopes", [False, True])
@pytest.mark.parametrize("reml", [True, False])
def test_deviance_and_derivatives_are_those_of_the_dense_kernel(slopes, reml):
    X, terms, outer, y, w = scene(slopes=slopes)
    nested = NestedDesign.of(X, terms, outer, 7, w)
    dense = DenseDesign.of(X, terms, w)
    assert nested is not None
    lanes = GroupSums.of(nested.groups, y).lanes(np.ones((1, 7)), reml=reml)
    tied = TiedLanes(lanes, nested.tie, np.eye(nested.n_theta)[nested.tie])
    theta = np.random.default_rng(0).standard_normal((1, nested.n_theta))
    ours, theirs = tied.evaluate(theta), dense.lanes(y, reml=reml).evaluate(theta)
    # n x n algebra in another order
    np.testing.assert_allclose(ours.deviance, theirs.deviance, rtol=1e-11)
    np.testing.assert_allclose(ours.gradient, theirs.gradient, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(ours.hessian, theirs.hessian, rtol=1e-7, atol=1e-7)
    information = lanes.x_information(theta[:, nested.tie])
    np.testing.assert_allclose(information, dense.lanes(y).x_information(theta), rtol=1e-9)


@pytest.mark.parametrize("slopes", [False, True])
def test_counts_are_copies_of_whole_groups(slopes):
    X, terms, outer, y, w = scene(slopes=slopes)
    nested = NestedDesign.of(X, terms, outer, 7, w)
    assert nested is not None and w is not None
    whole = fit_dense(X, terms, y, weights=w)
    counts = np.array([[1, 1, 1, 1, 1, 1, 1.0], [2, 0, 1, 3, 0, 1, 0]])
    lanes = GroupSums.of(nested.groups, y).lanes(counts)
    T, beta, sigma, found = nested.fit_many(lanes, whole.T, tol=1e-12)
    assert found.converged.all()
    for i, times in enumerate(counts.astype(int)):
        drawn = np.repeat(np.arange(7), times)
        rows = np.concatenate([np.flatnonzero(outer == j) for j in drawn])
        copy = np.concatenate([np.full(np.sum(outer == j), at) for at, j in enumerate(drawn)])
        parts = [
            Term.of(term.Z[rows], np.unique(100 * copy + term.group[rows], return_inverse=True)[1]) for term in terms
        ]
        alone = fit_dense(X[rows], parts, y[rows], weights=w[rows])
        assert found.deviance[i] == pytest.approx(alone.deviance, abs=1e-8)  # both at a decrement of 1e-12
        np.testing.assert_allclose(beta[i], alone.beta, rtol=1e-6)
        assert sigma[i] == pytest.approx(alone.sigma, rel=1e-6)
        for ours, theirs in zip(T, alone.T, strict=True):
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-5, atol=1e-5)


def test_many_inner_groups_are_left_to_the_other_kernels():
    rng = np.random.default_rng(0)
    outer, inner = np.repeat(np.arange(4), 60), np.repeat(np.arange(80), 3)
    ones = np.ones((240, 1))
    assert NestedDesign.of(ones, [Term.of(ones, inner), Term.of(ones, outer)], outer, 4, rng.uniform(1, 2, 240)) is None
