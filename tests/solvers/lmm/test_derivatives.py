"""The deviance against the n x n covariance, its gradient and Hessian against differences."""

import numpy as np
import pytest

from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.groups import GroupDesign

from .models import BLOCKS, DIAGONAL, FULL, brute_deviance, covariance, differences, draw

STRUCTURES = [(1, FULL), (2, FULL), (2, DIAGONAL), (3, FULL), (3, BLOCKS), (4, FULL), (4, DIAGONAL)]


def close_to_differences(evaluate, theta):
    at = evaluate(theta[None])
    gradient, hessian = differences(evaluate, theta)
    # central differences with h = 1e-5 of a deviance near 200: rounding 1e-16 * 200 / 1e-5, truncation h^2
    np.testing.assert_allclose(at.gradient[0], gradient, rtol=1e-6, atol=2e-7 * np.abs(gradient).max() + 1e-7)
    np.testing.assert_allclose(at.hessian[0], hessian, rtol=1e-5, atol=1e-6 * np.abs(hessian).max())


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(("k", "kind"), STRUCTURES)
def test_one_factor(k, kind, reml):
    m = draw(k, k, kind, weighted=k % 2 == 0)
    design = GroupDesign.of(m.X, m.Z, m.group, mask=m.mask, weights=m.weights)
    lanes = design.lanes(m.y, reml=reml)
    theta = np.random.default_rng(0).standard_normal(len(design.entries))
    at = lanes.evaluate(theta[None])
    T = design.t_outside(theta[None])[0]
    V = covariance([(m.Z, m.group, T)], m.y.size, m.weights)
    deviance, beta, sigma = brute_deviance(m.X, m.y, V, reml)
    np.testing.assert_allclose(at.deviance[0], deviance, rtol=1e-11)  # an n x n determinant and inverse
    np.testing.assert_allclose(design.beta_outside(at.beta, lanes.shift)[0], beta, rtol=1e-8)
    assert np.sqrt(at.r2[0] / lanes.dof) == pytest.approx(sigma, rel=1e-9)
    close_to_differences(lanes.evaluate, theta)


@pytest.mark.parametrize("reml", [True, False])
def test_merged_patterns(reml):
    """Groups with one design: sums over a pattern stand for its groups."""
    rng = np.random.default_rng(3)
    Z = np.tile(np.column_stack([np.ones(5), np.arange(5.0)]), (12, 1))
    group, y = np.repeat(np.arange(12), 5), rng.standard_normal(60)
    one, apart = (GroupDesign.of(Z, Z, group, merge=merge) for merge in (True, False))
    assert one.patterns.U == 1 and apart.patterns.U == 12
    theta = np.array([[0.7, -0.4, 0.5]])
    a, b = one.lanes(y, reml=reml).evaluate(theta), apart.lanes(y, reml=reml).evaluate(theta)
    for name in ("deviance", "gradient", "hessian", "beta", "r2"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-10)  # 11 digits merge
    close_to_differences(one.lanes(y, reml=reml).evaluate, theta[0])


@pytest.mark.parametrize("reml", [True, False])
def test_groups_that_count(reml):
    """A group drawn twice is two groups; derivatives hold in such lanes too."""
    m = draw(5, 2, weighted=True)
    design = GroupDesign.of(m.X, m.Z, m.group, weights=m.weights)
    counts = np.array([[2, 0, 1, 1, 3, 1, 0, 1.0]])
    lanes = design.lanes_of_groups(m.y, counts, reml=reml)
    theta = np.array([0.8, -0.3, 0.6])
    T = design.t_outside(theta[None])[0]
    rows, copies = [], []
    for j, times in enumerate(counts[0].astype(int)):
        for _ in range(times):
            copies += [len(rows)] * int(np.sum(m.group == j))
            rows.append(np.flatnonzero(m.group == j))
    rows = np.concatenate(rows)
    V = covariance([(m.Z[rows], np.array(copies), T)], rows.size, m.weights[rows])
    deviance, beta, _ = brute_deviance(m.X[rows], m.y[rows], V, reml)
    at = lanes.evaluate(theta[None])
    np.testing.assert_allclose(at.deviance[0], deviance, rtol=1e-10)  # n x n algebra
    np.testing.assert_allclose(design.beta_outside(at.beta, lanes.shift)[0], beta, rtol=1e-8)
    close_to_differences(lanes.evaluate, theta)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", [FULL, DIAGONAL])
def test_several_factors(kind, reml):
    m = draw(11, 2, kind, weighted=True)
    rng = np.random.default_rng(1)
    other = rng.integers(0, 5, m.y.size)
    design = DenseDesign.of(m.X, [Term.of(m.Z, m.group, mask=m.mask), Term.of(m.X[:, :1], other)], m.weights)
    lanes = design.lanes(m.y, reml=reml)
    theta = rng.standard_normal(design.n_theta)
    T1, T2 = (T[0] for T in design.t_outside(theta[None]))
    V = covariance([(m.Z, m.group, T1), (m.X[:, :1], other, T2)], m.y.size, m.weights)
    deviance, beta, _ = brute_deviance(m.X, m.y, V, reml)
    at = lanes.evaluate(theta[None])
    np.testing.assert_allclose(at.deviance[0], deviance, rtol=1e-11)  # n x n algebra
    np.testing.assert_allclose(design.beta_outside(at.beta, lanes.shift)[0], beta, rtol=1e-8)
    close_to_differences(lanes.evaluate, theta)


def test_products_made_block_by_block(monkeypatch):
    """Beyond a size the products of columns are not kept; the answer is the same."""
    m = draw(2, 3)
    theta = np.random.default_rng(0).standard_normal((2, 6))
    kept = GroupDesign.of(m.X, m.Z, m.group).lanes(np.vstack([m.y, -m.y[::-1]]))
    a = kept.evaluate(theta)
    monkeypatch.setattr("inference_core.solvers.lmm.lanes._STORED", 600.0)
    b = GroupDesign.of(m.X, m.Z, m.group).lanes(np.vstack([m.y, -m.y[::-1]])).evaluate(theta)
    for one, two in zip(a, b, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-10)  # sums in another order
