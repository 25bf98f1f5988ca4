"""Elimination of the largest factor against dense algebra, differences, and the laws that any fit obeys."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.errors import FitError
from inference_core.solvers.lmm import crossed, crossed_map
from inference_core.solvers.lmm.crossed import CrossedKernel
from inference_core.solvers.lmm.crossed_design import CrossedDesign
from inference_core.solvers.lmm.crossed_fit import fit_crossed, replicate_crossed
from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.dense_fit import fit_dense

from .crossed_models import draw_crossed
from .models import BLOCKS, DIAGONAL, FULL, differences

SHAPES = [
    ((1, 1), FULL), ((1, 1, 1), FULL), ((2, 1), FULL), ((1, 2), FULL), ((2, 2), FULL), ((2, 2), DIAGONAL),
    ((3, 2, 1), FULL), ((3, 2), BLOCKS), ((2, 3, 2), DIAGONAL),
]  # fmt: skip


def by(way, monkeypatch):
    """Make small models go the way of large ones."""
    if way == "products":
        monkeypatch.setattr(crossed_map, "_DENSE", 0.0)
        monkeypatch.setattr(crossed_map, "_CHUNK", 64)
    if way == "pairs":
        monkeypatch.setattr(crossed_map, "_DENSE", 1.0)
    if way == "sparse":
        monkeypatch.setattr(crossed, "SPARSE_FROM", 0)
        monkeypatch.setattr(crossed, "SPARSE_SHARE", 2.0)
        monkeypatch.setattr(crossed, "SPARSE_GAIN", np.inf)
        monkeypatch.setattr(crossed, "DENSE_COPIES", 1000)


def pair(d, reml):
    dense = DenseDesign.of(d.X, d.terms, d.weights).lanes(d.y, reml=reml)
    return dense, CrossedKernel(CrossedDesign.of(d.X, d.terms, d.weights)).lanes(d.y, reml=reml)


@pytest.mark.parametrize(("effects", "kind"), SHAPES)
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("way", ["pairs", "products", "sparse"])
def test_deviance_and_gradient_equal_dense_algebra(effects, kind, reml, way, monkeypatch):
    by(way, monkeypatch)
    dense, ours = pair(draw_crossed(3, effects, kind), reml)
    assert (ours.kernel.plan is not None) == (way == "sparse")
    assert isinstance(ours.kernel.levels, crossed_map.ProductMap) == (way == "products")
    for scale in (1.0, 1e-4, 1e-9, 0.0):
        theta = scale * np.random.default_rng(1).standard_normal((2, dense.design.n_theta))
        both = dense.take(np.zeros(2, int)).evaluate(theta), ours.take(np.zeros(2, int)).evaluate(theta)
        for one, other in zip(both[0], both[1], strict=True):
            if one.ndim < 3:  # the curvature is another one
                # rounding, and the square of 1e-7 where theta is lifted off 0
                np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-11 * max(1.0, np.abs(one).max()))


@pytest.mark.parametrize(("effects", "kind"), SHAPES)
def test_gradient_equals_differences(effects, kind):
    _, ours = pair(draw_crossed(4, effects, kind), True)
    theta = np.random.default_rng(2).standard_normal(ours.kernel.design.n_theta)
    numeric, _ = differences(ours.evaluate, theta)
    found = ours.evaluate(theta[None]).gradient[0]
    np.testing.assert_allclose(found, numeric, atol=1e-7 * np.abs(found).max())  # h^2 and eps / h, h = 1e-5


@pytest.mark.parametrize(("effects", "kind"), SHAPES)
def test_curvature_is_the_hessian_where_theta_is_zero(effects, kind):
    dense, ours = pair(draw_crossed(5, effects, kind), True)
    theta = np.zeros((1, dense.design.n_theta))
    exact, found = dense.evaluate(theta).hessian[0], ours.evaluate(theta).hessian[0]
    np.testing.assert_allclose(found, exact, atol=1e-9 * np.abs(exact).max())  # K is read off at 1e-7 from 0


@pytest.mark.parametrize("reml", [True, False])
def test_average_information_is_the_mean_of_observed_and_expected(reml):
    """H = -tr(N E N E') + 2 a, AI = a, a = e'Nh e / s2: so 2 AI - H is the trace, which dense algebra gives."""
    d = draw_crossed(6, (2, 1), FULL)
    dense, ours = pair(d, reml)
    theta = np.random.default_rng(3).standard_normal((1, dense.design.n_theta))
    at = ours.at([t[0] for t in ours.kernel.design.t_inside(theta)])
    exact, found = dense.evaluate(theta), ours.evaluate(theta)
    along = np.array([  # d r2 = -tr(E G)
        2 * (g.T @ g @ T)[a, b] for g, T, s in zip(at.g, at.T, ours.kernel.design.slots, strict=True)
        for a, b in s.entries
    ])  # fmt: skip
    linear = np.zeros((theta.size, theta.size))
    for s, K in zip(ours.kernel.design.slots, at.slopes, strict=True):
        for i, (a, b) in enumerate(s.entries, s.first):
            for j, (a2, b2) in enumerate(s.entries, s.first):
                linear[i, j] = 2 * K[a, a2] * (b == b2)
    shrink = at.ratio / at.r2 * np.outer(along, along)
    quadratic = found.hessian[0] - linear + shrink
    trace = 2 * quadratic - (exact.hessian[0] - linear + shrink)
    assert np.linalg.eigvalsh(trace)[0] > -1e-8 * np.abs(trace).max()  # tr(N E N E') is a Gram matrix
    assert np.linalg.eigvalsh(quadratic)[0] > -1e-10 * np.abs(quadratic).max()


@pytest.mark.parametrize(("effects", "kind"), SHAPES)
@pytest.mark.parametrize(("reml", "way"), [(True, "pairs"), (False, "pairs"), (True, "sparse")])
def test_fit_equals_the_dense_fit(effects, kind, reml, way, monkeypatch):
    by(way, monkeypatch)
    d = draw_crossed(7, effects, kind, levels=(30, 15, 8), n=500)
    dense = fit_dense(d.X, d.terms, d.y, weights=d.weights, reml=reml)
    ours = fit_crossed(d.X, d.terms, d.y, weights=d.weights, reml=reml)
    assert ours.converged
    # decrement 1e-9 deviance units: some 1e-5 SE, in practice far less because the last step overshoots the promise
    assert abs(ours.deviance - dense.deviance) < 1e-9
    for name, close in (("beta", 1e-5), ("vcov_unscaled", 1e-5), ("leverage", 1e-5), ("sigma", 1e-6)):
        np.testing.assert_allclose(getattr(ours, name), getattr(dense, name), rtol=close, atol=close, err_msg=name)
    for name in ("b", "cond_var"):
        for mine, theirs in zip(getattr(ours, name), getattr(dense, name), strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=name)
    for mine, theirs in zip(ours.T, dense.T, strict=True):
        np.testing.assert_allclose(mine @ mine.T, theirs @ theirs.T, atol=1e-5)
    assert np.abs(ours.gradient).max() < 1e-2  # of a deviance of some hundreds
    # leverage adds up to the effective number of parameters: at least p, at most p + q
    assert 3 < ours.leverage.sum() < 3 + sum(term.q for term in d.terms)


def test_nested_factors():
    """Levels of b within a, numbered on: the leading factor meets one level of the other."""
    rng = np.random.default_rng(8)
    n, a = 900, rng.integers(0, 40, 900)
    b = a * 6 + rng.integers(0, 6, n)
    b = np.unique(b, return_inverse=True)[1]
    y = rng.standard_normal(n) + 0.7 * rng.standard_normal(40)[a] + 0.5 * rng.standard_normal(b.max() + 1)[b]
    X = np.ones((n, 1))
    terms = [Term.of(X, b), Term.of(X, a)]
    dense, ours = fit_dense(X, terms, y), fit_crossed(X, terms, y)
    assert abs(ours.deviance - dense.deviance) < 1e-9
    np.testing.assert_allclose(ours.leverage, dense.leverage, atol=1e-6)  # theta agrees to 1e-6


def test_without_fixed_effects_and_with_a_start():
    d = draw_crossed(9, (1, 1))
    none = np.zeros((d.y.size, 0))
    begin = [np.array([[0.4]]), np.array([[0.8]])]
    dense, ours = fit_dense(none, d.terms, d.y), fit_crossed(none, d.terms, d.y, start=begin)
    assert abs(ours.deviance - dense.deviance) < 1e-9
    assert ours.beta.shape == (0,)
    assert ours.vcov_unscaled.shape == (0, 0)


@pytest.mark.parametrize("effects", [(1, 1), (2, 1), (1, 2)])
def test_a_variance_at_zero_is_found_and_flagged(effects):
    """What the second factor explains beside the rest is taken off, so its levels differ less than by chance."""
    d = draw_crossed(11, effects, levels=(25, 12), n=300, weighted=False)
    Z = [np.zeros((d.y.size, term.n_groups, term.k)) for term in d.terms]
    for z, term in zip(Z, d.terms, strict=True):
        z[np.arange(d.y.size), term.group] = term.Z
    columns = np.hstack([d.X, *(z.reshape(d.y.size, -1) for z in Z)])
    fitted = np.linalg.lstsq(columns, d.y)[0]
    y = d.y - columns[:, -d.terms[1].q :] @ fitted[-d.terms[1].q :]
    dense, ours = fit_dense(d.X, d.terms, y), fit_crossed(d.X, d.terms, y)
    assert dense.singular
    assert ours.singular
    assert ours.converged
    assert abs(ours.deviance - dense.deviance) < 1e-8


def test_a_start_at_zero_leaves_it():
    """At theta = 0 the gradient is 0 too; the curvature shows the way down."""
    d = draw_crossed(12, (1, 1), weighted=False)
    kernel = CrossedKernel(CrossedDesign.of(d.X, d.terms))
    T, beta, sigma, found = replicate_crossed(kernel, np.tile(d.y, (2, 1)), [np.zeros((1, 1))] * 2)
    dense = fit_dense(d.X, d.terms, d.y)
    assert found.converged.all()
    np.testing.assert_allclose(found.deviance, dense.deviance, atol=1e-7)  # a decrement of 1e-8
    np.testing.assert_allclose(beta, [dense.beta] * 2, atol=1e-4)
    np.testing.assert_allclose(sigma, dense.sigma, rtol=1e-4)
    np.testing.assert_allclose([t[0, 0, 0] for t in T], [t[0, 0] for t in dense.T], rtol=1e-3)


def test_replicates_are_single_fits():
    d = draw_crossed(13, (2, 1), weighted=True)
    rng = np.random.default_rng(14)
    Y = d.y + rng.standard_normal((3, d.y.size))
    kernel = CrossedKernel(CrossedDesign.of(d.X, d.terms, d.weights))
    one = fit_crossed(d.X, d.terms, d.y, weights=d.weights)
    _, beta, sigma, found = replicate_crossed(kernel, Y, one.T)
    for i, y in enumerate(Y):
        alone = fit_crossed(d.X, d.terms, y, weights=d.weights)
        assert abs(found.deviance[i] - alone.deviance) < 1e-6  # decrement 1e-8 at the last step but one
        np.testing.assert_allclose(beta[i], alone.beta, atol=1e-4)
        np.testing.assert_allclose(sigma[i], alone.sigma, rtol=1e-4)
    part = replicate_crossed(kernel, Y[1:2], one.T)
    np.testing.assert_array_equal(part[1][0], beta[1])  # the same to the last bit, whatever else is in the batch


@pytest.mark.parametrize("effects", [(1, 1), (2, 1), (1, 2)])
def test_replicates_on_the_boundary_find_the_best_of_many_starts(effects):
    """Responses without random effects: about half of the variances are 0 in each."""
    d = draw_crossed(19, effects, levels=(25, 10), weighted=False)
    kernel = CrossedKernel(CrossedDesign.of(d.X, d.terms))
    Y = np.random.default_rng(20).standard_normal((15, d.y.size))
    singular = 0
    found = replicate_crossed(kernel, Y, [0.3 * np.eye(term.k) for term in d.terms])[3]
    assert found.converged.all()
    for i, y in enumerate(Y):
        dense = fit_dense(d.X, d.terms, y)
        singular += dense.singular
        assert found.deviance[i] < dense.deviance + 1e-6  # decrement 1e-8 at the last step but one
    assert singular > 3


def test_row_order_and_relabelling_change_nothing():
    d = draw_crossed(15, (2, 1, 1))
    rng = np.random.default_rng(16)
    rows = rng.permutation(d.y.size)
    moved = []
    for term in d.terms:
        label = rng.permutation(term.n_groups)
        moved.append(Term.of(term.Z[rows], label[term.group[rows]], term.n_groups, term.mask))
    one = fit_crossed(d.X, d.terms, d.y, weights=d.weights)
    other = fit_crossed(d.X[rows], moved, d.y[rows], weights=d.weights[rows])
    assert abs(one.deviance - other.deviance) < 1e-9
    np.testing.assert_allclose(other.leverage, one.leverage[rows], atol=1e-6)  # theta agrees to 1e-6


def test_many_levels_of_nested_factors_take_the_sparse_way(monkeypatch):
    """Pupils in classes in schools: 1,200 classes do not make a dense matrix, and the dense way agrees."""
    rng = np.random.default_rng(17)
    n = 12_000
    pupil = rng.integers(0, 6000, n)
    levels = [np.unique(g, return_inverse=True)[1] for g in (pupil, pupil // 5, pupil // 150)]
    x = rng.standard_normal(n)
    y = rng.standard_normal(n)
    for spread, g in zip((0.8, 0.5, 0.4), levels, strict=True):
        y = y + spread * rng.standard_normal(6000)[g]
    X = np.column_stack([np.ones(n), x])
    terms = [Term.of(Z, g) for Z, g in zip((X[:, :1], X, X[:, :1]), levels, strict=True)]
    ours = fit_crossed(X, terms, y)
    assert CrossedKernel(CrossedDesign.of(X, terms)).plan is not None
    monkeypatch.setattr(crossed, "SPARSE_FROM", 10**9)
    assert CrossedKernel(CrossedDesign.of(X, terms)).plan is None
    at = [np.array([[0.7]]), np.array([[0.6, 0.0], [0.1, 0.2]]), np.array([[0.4]])]
    theta = CrossedDesign.of(X, terms).theta_inside([t[None] for t in at])
    dense = CrossedKernel(CrossedDesign.of(X, terms)).lanes(y).evaluate(theta)
    monkeypatch.undo()
    sparse = CrossedKernel(CrossedDesign.of(X, terms)).lanes(y).evaluate(theta)
    for one, other in zip(dense, sparse, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())  # sums of 12,000 rows
    assert ours.converged
    assert np.abs(ours.leverage.sum()) < 7500  # of 7,242 effects of which most are shrunk, and p = 2
    assert np.all((ours.leverage > 0) & (ours.leverage < 1))


def test_what_does_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(crossed, "MAX_BYTES", 2**12)
    d = draw_crossed(18, (1, 1))
    with pytest.raises(FitError, match="12 random effects beside those of the largest term"):
        fit_crossed(d.X, d.terms, d.y)
