"""Any random terms: the dense kernel against the one-factor kernel, closed forms and refits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.dense_fit import fit_dense, replicate_dense
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.one_factor import conditional_modes, fit_one, leverage, vcov_unscaled

from .models import BLOCKS, DIAGONAL, FULL, brute_deviance, covariance, draw

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=15)
@given(seed=SEEDS, kind=st.sampled_from([FULL, DIAGONAL, BLOCKS]), k=st.integers(1, 3), reml=st.booleans())
def test_one_factor_is_a_special_case(seed, kind, k, reml):
    m = draw(seed, k, kind, weighted=True)
    design = GroupDesign.of(m.X, m.Z, m.group, mask=m.mask, weights=m.weights)
    fit, _ = fit_one(design, m.y, reml=reml)
    got = fit_dense(m.X, [Term.of(m.Z, m.group, mask=m.mask)], m.y, weights=m.weights, reml=reml)
    assert got.deviance == pytest.approx(fit.deviance[0], abs=1e-7)  # both stop at a decrement of 1e-12
    S, T = fit.T[0] @ fit.T[0].T, got.T[0]
    np.testing.assert_allclose(T @ T.T, S, rtol=1e-3, atol=1e-4 * (1 + np.abs(S).max()))  # flat where singular
    np.testing.assert_allclose(got.beta, fit.beta[0], rtol=1e-4, atol=1e-5)


def test_what_follows_from_the_estimate():
    m = draw(4, 2, weighted=True)
    design = GroupDesign.of(m.X, m.Z, m.group, weights=m.weights)
    got = fit_dense(m.X, [Term.of(m.Z, m.group)], m.y, weights=m.weights)
    T = got.T[0]
    modes = conditional_modes(design, m.y, T, got.beta, got.sigma, m.X)
    np.testing.assert_allclose(got.b[0], modes.b, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.u[0], modes.u, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.cond_var[0], modes.cond_var, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(got.leverage, leverage(design, T), rtol=1e-9)
    np.testing.assert_allclose(got.vcov_unscaled, vcov_unscaled(design, T), rtol=1e-9)


@pytest.mark.parametrize("reml", [True, False])
def test_crossed_and_nested_at_their_optimum(reml):
    """The gradient vanishes, and the deviance is that of the n x n covariance."""
    m = draw(21, 2, groups=10, n=150)
    rng = np.random.default_rng(2)
    crossed, inner = rng.integers(0, 6, 150), m.group * 3 + rng.integers(0, 3, 150)
    one = m.X[:, :1]
    y = m.y + rng.standard_normal(6)[crossed] + 0.7 * rng.standard_normal(30)[inner]
    terms = [Term.of(one, inner, 30), Term.of(m.Z, m.group), Term.of(one, crossed)]
    got = fit_dense(m.X, terms, y, reml=reml)
    assert got.converged and np.abs(got.gradient).max() < 1e-4
    assert np.linalg.eigvalsh(got.hessian)[0] > -1e-6
    V = covariance([(t.Z, t.group, T) for t, T in zip(terms, got.T, strict=True)], 150, None)
    deviance, beta, sigma = brute_deviance(m.X, y, V, reml)
    assert got.deviance == pytest.approx(deviance, rel=1e-11)
    np.testing.assert_allclose(got.beta, beta, rtol=1e-8)
    assert got.sigma == pytest.approx(sigma, rel=1e-9)
    P = np.linalg.inv(V)
    P -= P @ m.X @ np.linalg.solve(m.X.T @ P @ m.X, m.X.T @ P)
    np.testing.assert_allclose(got.leverage, 1 - np.diagonal(P), rtol=1e-8)  # y - fitted = P y


def test_replicates_equal_single_fits():
    m = draw(3, 2, groups=8, n=100)
    rng = np.random.default_rng(0)
    other = rng.integers(0, 5, 100)
    terms = [Term.of(m.Z, m.group), Term.of(m.X[:, :1], other)]
    Y = m.y + rng.standard_normal((5, 5))[:, other] + 0.3 * rng.standard_normal((5, 100))
    start = fit_dense(m.X, terms, Y[0]).T
    T, beta, sigma, found = replicate_dense(DenseDesign.of(m.X, terms), Y, start, tol=1e-12)
    assert found.converged.all()
    for i, y in enumerate(Y):
        alone = fit_dense(m.X, terms, y)
        assert found.deviance[i] == pytest.approx(alone.deviance, abs=1e-7)
        np.testing.assert_allclose(beta[i], alone.beta, rtol=1e-5, atol=1e-6)
        assert sigma[i] == pytest.approx(alone.sigma, rel=1e-5)
        np.testing.assert_allclose(T[0][i] @ T[0][i].T, alone.T[0] @ alone.T[0].T, atol=1e-4)
