"""One grouping factor: one fit, many fits, and what they must have in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.solvers.lmm import one_factor
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.newton import newton
from inference_core.solvers.lmm.one_factor import conditional_modes, fit_many, fit_one, leverage, vcov_unscaled

from .models import DIAGONAL, FULL, covariance, draw

SEEDS = st.integers(0, 2**32 - 1)


def design_of(m, **options):
    return GroupDesign.of(m.X, m.Z, m.group, mask=m.mask, weights=m.weights, **options)


def sleep(formula="Reaction ~ Days + (Days | Subject)"):
    _, bundle = build_bundle(formula, load_dataset("sleepstudy"))
    block = bundle.re_metadata.blocks[0]
    return bundle, GroupDesign.of(bundle.X, block.X_re, block.group_index, mask=block.mask)


def replicates(design, bundle, T, beta, sigma, B, seed=0):
    rng = np.random.default_rng(seed)
    block = bundle.re_metadata.blocks[0]
    b = rng.standard_normal((B, block.n_levels, block.k)) @ T.T * sigma
    noise = sigma * rng.standard_normal((B, bundle.n))
    return bundle.X @ beta + np.einsum("bnk,nk->bn", b[:, block.group_index], block.X_re) + noise


@settings(max_examples=25)
@given(seed=SEEDS, k=st.integers(1, 3), kind=st.sampled_from([FULL, DIAGONAL]), reml=st.booleans())
def test_the_gradient_is_zero_and_no_random_point_is_lower(seed, k, kind, reml):
    m = draw(seed, k, kind, weighted=True)
    design = design_of(m)
    lanes = design.lanes(m.y, reml=reml)
    fit, _ = fit_one(design, m.y, reml=reml)
    assert fit.converged[0]
    assert np.abs(fit.inside.gradient).max() < 1e-5  # deviance units per unit of whitened theta
    tried = lanes.repeated(50).evaluate(np.random.default_rng(seed).standard_normal((50, len(design.entries))))
    assert np.all(fit.deviance[0] <= tried.deviance + 1e-8)  # rounding of the deviance


@settings(max_examples=15)
@given(seed=SEEDS, reml=st.booleans())
def test_many_at_once_equal_one_by_one(seed, reml):
    m = draw(seed, 2, weighted=True)
    design = design_of(m)
    Y = np.vstack([draw(seed + i, 2, weighted=True).y for i in range(6)])
    lanes = design.lanes(Y, reml=reml)
    start = design.t_outside(np.array([[1.0, 0.0, 1.0]]))[0]
    together = fit_many(lanes, design, start, tol=1e-12)
    for i, y in enumerate(Y):
        alone = fit_many(design.lanes(y, reml=reml), design, start, tol=1e-12)
        # a matrix product of one row rounds otherwise than one of six
        assert together.deviance[i] == pytest.approx(alone.deviance[0], rel=1e-11)
        np.testing.assert_allclose(together.beta[i], alone.beta[0], rtol=1e-6, atol=1e-8)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_order_of_rows_and_names_of_groups_change_nothing(seed):
    m = draw(seed, 2)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(m.y.size), rng.permutation(m.group.max() + 1)
    one, _ = fit_one(design_of(m), m.y)
    shuffled = GroupDesign.of(m.X[order], m.Z[order], names[m.group][order])
    two, _ = fit_one(shuffled, m.y[order])
    assert one.deviance[0] == pytest.approx(two.deviance[0], rel=1e-11)  # sums in another order
    np.testing.assert_allclose(one.T @ one.T.transpose(0, 2, 1), two.T @ two.T.transpose(0, 2, 1), atol=1e-5)


@settings(max_examples=15)
@given(seed=SEEDS, a=st.floats(1e-4, 1e4), c=st.floats(1e-4, 1e4))
def test_units_of_y_and_of_a_slope(seed, a, c):
    """y -> a y multiplies sigma by a and leaves T; x -> c x divides the slope's row of T by c."""
    m = draw(seed, 2)
    X, Z = m.X.copy(), m.Z.copy()
    X[:, 1] *= c
    Z[:, 1] *= c
    one, _ = fit_one(design_of(m), m.y)
    two, _ = fit_one(GroupDesign.of(X, Z, m.group), a * m.y)
    assert two.sigma[0] == pytest.approx(a * one.sigma[0], rel=1e-6)  # the optimum is flat: sqrt of rounding
    S, S2 = one.T[0] @ one.T[0].T, two.T[0] @ two.T[0].T
    unit = np.array([1.0, c])
    np.testing.assert_allclose(S2 * np.outer(unit, unit), S, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two.beta[0] * [1, c, 1], a * one.beta[0], rtol=1e-5, atol=1e-6 * a)


def test_merging_patterns_changes_nothing():
    bundle, design = sleep()
    block = bundle.re_metadata.blocks[0]
    apart = GroupDesign.of(bundle.X, block.X_re, block.group_index, merge=False)
    assert design.patterns.U == 1 and apart.patterns.U == 18
    fit, _ = fit_one(design, bundle.y)
    Y = replicates(design, bundle, fit.T[0], fit.beta[0], fit.sigma[0], 200)
    one, two = (fit_many(d.lanes(Y), d, fit.T[0]) for d in (design, apart))
    np.testing.assert_allclose(one.deviance, two.deviance, rtol=1e-10)  # merged at 11 digits
    np.testing.assert_allclose(one.T, two.T, atol=1e-4)


@pytest.mark.parametrize("size", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("formula", ["(1 | Subject)", "(Days | Subject)", "(Days || Subject)"])
def test_every_replicate_converges_also_on_the_boundary(formula, size):
    """1,000 replicates whose true T is the estimate, a tenth of it, and zero."""
    bundle, design = sleep(f"Reaction ~ Days + {formula}")
    fit, _ = fit_one(design, bundle.y)
    Y = replicates(design, bundle, size * fit.T[0], fit.beta[0], fit.sigma[0], 1_000)
    found = fit_many(design.lanes(Y), design, fit.T[0])
    again = fit_many(design.lanes(Y), design, 0.5 * fit.T[0] + 0.3 * np.eye(design.k) * design.mask)
    assert found.converged.all() and again.converged.all()
    # k = 2: now and then one replicate in thousands has two optima
    assert np.mean(np.abs(found.deviance - again.deviance) > 1e-5) <= 2e-3


def test_a_singular_start_is_left():
    """T = 0 is a stationary point; lanes that should not stay there leave along the negative curvature."""
    bundle, design = sleep()
    lanes = design.lanes(bundle.y)
    found = newton(lanes, np.zeros((1, 3)))
    assert found.converged[0]
    assert found.deviance[0] == pytest.approx(fit_one(design, bundle.y)[0].deviance[0], abs=1e-9)


def test_all_random_starts_reach_the_best_optimum():
    """A bound on the diagonal of T would make a local optimum 58 deviance units higher here; there is no bound."""
    df = load_dataset("chickweight")
    _, bundle = build_bundle("weight ~ Time + I(Time^2) + Diet + (Time + I(Time^2) | Chick)", df)
    block = bundle.re_metadata.blocks[0]
    design = GroupDesign.of(bundle.X, block.X_re, block.group_index)
    lanes = design.lanes(bundle.y)
    rng = np.random.default_rng(0)
    starts = rng.standard_normal((100, 6)) * np.exp(rng.uniform(-3, 2, (100, 1)))
    found = one_factor.solve(lanes.repeated(100), starts, full=True, tol=1e-9)
    assert found.converged.mean() > 0.98  # the rest are in a valley; the fit starts from several points
    assert np.ptp(found.deviance[found.converged]) < 1e-6
    fit, _ = fit_one(design, bundle.y)
    assert fit.deviance[0] <= found.deviance.min() + 1e-8


def test_leaving_groups_out_and_drawing_them_twice():
    """Lanes of group counts equal fits to the data so made."""
    m = draw(8, 2, groups=10, n=100)
    design = design_of(m)
    fit, _ = fit_one(design, m.y)
    counts = np.vstack([1 - np.eye(10)[:3], np.random.default_rng(0).multinomial(10, np.full(10, 0.1), 3)])
    found = fit_many(design.lanes_of_groups(m.y, counts), design, fit.T[0], tol=1e-12)
    for i, times in enumerate(counts.astype(int)):
        rows, names = [], []
        for j, count in enumerate(times):
            for _ in range(count):
                rows.append(np.flatnonzero(m.group == j))
                names.append(np.full(rows[-1].size, len(names)))
        rows = np.concatenate(rows)
        other = GroupDesign.of(m.X[rows], m.Z[rows], np.concatenate(names))
        alone, _ = fit_one(other, m.y[rows])
        assert found.deviance[i] == pytest.approx(alone.deviance[0], abs=1e-7)
        np.testing.assert_allclose(found.beta[i], alone.beta[0], rtol=1e-5, atol=1e-6)
        assert found.sigma[i] == pytest.approx(alone.sigma[0], rel=1e-6)


def test_a_lane_that_loses_a_column_fails_alone():
    m = draw(8, 1, groups=6, n=60)
    X = m.X.copy()
    X[:, 2] = m.group == 0
    design = GroupDesign.of(X, m.Z, m.group)
    fit, _ = fit_one(design, m.y)
    found = fit_many(design.lanes_of_groups(m.y, 1 - np.eye(6)), design, fit.T[0])
    assert not found.converged[0] and found.converged[1:].all()


@pytest.mark.parametrize("merge", [True, False])
def test_modes_and_leverage_by_brute_force(merge):
    bundle, _ = sleep()
    block = bundle.re_metadata.blocks[0]
    weights = np.tile(np.linspace(0.5, 1.5, 10), 18)
    design = GroupDesign.of(bundle.X, block.X_re, block.group_index, weights=weights, merge=merge)
    fit, _ = fit_one(design, bundle.y)
    T, beta, sigma = fit.T[0], fit.beta[0], fit.sigma[0]
    modes = conditional_modes(design, bundle.y, T, beta, sigma, bundle.X)
    V = covariance([(block.X_re, block.group_index, T)], bundle.n, weights)
    Vi = np.linalg.inv(V)
    e = Vi @ (bundle.y - bundle.X @ beta)
    for j in range(18):
        rows = block.group_index == j
        Zj = block.X_re[rows]
        np.testing.assert_allclose(modes.b[j], T @ T.T @ Zj.T @ e[rows], rtol=1e-8, atol=1e-9)
        S = T @ T.T
        inside = S - S @ Zj.T @ Vi[np.ix_(rows, rows)] @ Zj @ S
        np.testing.assert_allclose(modes.cond_var[j], sigma**2 * inside, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(modes.u @ T.T, modes.b, rtol=1e-12, atol=1e-12)
    A = np.linalg.inv(bundle.X.T @ Vi @ bundle.X)
    np.testing.assert_allclose(vcov_unscaled(design, T), A, rtol=1e-9)
    P = Vi - Vi @ bundle.X @ A @ bundle.X.T @ Vi
    # y - fitted = W^-1 P y
    np.testing.assert_allclose(leverage(design, T), 1 - np.diagonal(P) / weights, rtol=1e-8)
