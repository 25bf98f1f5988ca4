"""Fits and refits: laws that hold for any data, limits that are linear mixed models, lanes against single fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.families import get_family
from inference_core.solvers.glmm.fit import optimise
from inference_core.solvers.glmm.problem import pose
from inference_core.solvers.glmm.refit import refit
from inference_core.solvers.glmm.rows import RowModel
from inference_core.states import DRAW_OK, DRAW_SEPARATED

from .simulated import term

# 1e-5: both fits stop within 1e-13 deviance units of their optimum, which is 1e-6 of a standard error
RTOL, ATOL = 1e-5, 1e-6


def binary(seed=0, J=20, m=8, sd=0.8, slope=0.0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(J), m)
    x = rng.normal(size=J * m)
    eta = 0.2 + 0.7 * x + sd * rng.normal(size=J)[group] + slope * rng.normal(size=J)[group] * x
    y = (rng.random(J * m) < 1 / (1 + np.exp(-eta))).astype(float)
    return np.column_stack([np.ones(J * m), x]), group, y


def fit(X, terms, y, family="binomial", link=None, n_agq=1, weights=None, offset=None):
    model = RowModel(get_family(family, link), np.atleast_2d(y), weights)
    problem = pose(X, terms, model, offset, n_agq)
    found = optimise(problem)
    return problem, found, problem.to_data @ found.x


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), n_agq=st.sampled_from([0, 1, 4]))
def test_row_order_and_labels_change_nothing(seed, n_agq):
    X, group, y = binary(seed, J=12, m=8, sd=1.2)
    _, a, data = fit(X, (term(group),), y, n_agq=n_agq)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(y.size), rng.permutation(12)
    _, b, again = fit(X[order], (term(names[group][order]),), y[order], n_agq=n_agq)
    assert b.deviance == pytest.approx(a.deviance, rel=1e-9)  # the same optimum
    np.testing.assert_allclose(again, data, rtol=1e-3, atol=1e-3 if data[0] < 0.05 else 1e-5)  # flat at a zero SD


def test_columns_follow_their_units():
    X, group, y = binary(3, slope=0.5)
    z = X[:, 1]
    _, a, data = fit(X, (term(group, z),), y)
    _, b, scaled = fit(X * [1.0, 1000.0], (term(group, 1000.0 * z),), y)
    assert b.deviance == pytest.approx(a.deviance, abs=1e-8)
    # T' = diag(1, 1/1000) T: entries in the second row shrink, and so does the slope
    np.testing.assert_allclose(scaled * [1, 1000, 1000, 1, 1000], data, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("slope", [False, True])
def test_many_trials_tend_to_the_linear_mixed_model(slope):
    """Counts of mean 1e6 with the identity link are normal of variance 1e6: a known residual variance.

    The deviance then is that of N(X beta, Z Sigma Z' + I) in units of sqrt(1e6), minimised here by brute force.
    """
    from scipy.optimize import minimize

    rng = np.random.default_rng(4)
    J, m, mean = 12, 8, 1e6
    group, x = np.repeat(np.arange(J), m), np.tile(np.linspace(-1, 1, m), J)
    X = np.column_stack([np.ones(J * m), x])
    b = rng.normal(size=(J, 2)) * [1.5, 0.8]
    z = X @ [0.5, -0.3] + b[group, 0] + (b[group, 1] * x if slope else 0.0) + rng.normal(size=J * m)
    t = term(group, x) if slope else term(group)
    _, found, counted = fit(X, (t,), mean + np.sqrt(mean) * z, "poisson", "identity")
    assert found.converged
    got = counted / np.sqrt(mean)
    got[-2] -= np.sqrt(mean)
    k = t.Z.shape[1]

    def deviance(free):
        T = np.zeros((k, k))
        T[np.tril_indices(k)] = free  # row by row: for k = 2 the same order as column by column
        rows = t.Z @ T
        V = np.eye(J * m) + (rows @ rows.T) * (group[:, None] == group[None, :])
        W = np.linalg.solve(V, np.column_stack([X, z]))
        beta = np.linalg.solve(X.T @ W[:, :2], X.T @ W[:, 2])
        residual = z - X @ beta
        return np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual), beta

    best = minimize(lambda f: deviance(f)[0], np.eye(k)[np.tril_indices(k)], tol=1e-12)
    # counts differ from the normal by terms of order z / sqrt(mean) = 3e-3
    np.testing.assert_allclose(got[-2:], deviance(best.x)[1], atol=1e-2)
    np.testing.assert_allclose(got[:-2], best.x * np.sign(best.x[0]), rtol=1e-2, atol=1e-2)


def test_a_gaussian_with_estimated_dispersion_is_the_linear_mixed_model():
    """Laplace is exact there, so the fit is ML to the last digits: T sigma, beta, sigma and the deviance."""
    from inference_core.solvers.lmm.groups import GroupDesign
    from inference_core.solvers.lmm.one_factor import fit_one

    rng = np.random.default_rng(8)
    J, m = 15, 7
    group, x = np.repeat(np.arange(J), m), np.tile(np.linspace(-1, 2, m), J)
    X = np.column_stack([np.ones(J * m), x])
    b = rng.normal(size=(J, 2)) @ [[1.2, 0.3], [0.0, 0.6]]
    y = X @ [2.0, -1.0] + b[group, 0] + b[group, 1] * x + 0.7 * rng.normal(size=J * m)
    w = rng.uniform(0.5, 2.0, J * m)
    t = term(group, x)
    _, found, data = fit(X, (t,), y, "gaussian", "identity", weights=w)
    design = GroupDesign.of(X, t.Z, group, n_groups=J, mask=t.mask, weights=w)
    fits, _ = fit_one(design, y, reml=False)
    T, sigma = fits.T[0] * float(fits.sigma[0]), float(fits.sigma[0])
    np.testing.assert_allclose(data[:3], [T[0, 0], T[1, 0], T[1, 1]], rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(data[3:5], fits.beta[0], rtol=RTOL)
    assert np.exp(0.5 * data[5]) == pytest.approx(sigma, rel=RTOL)
    deviance = found.deviance - np.sum(np.log(w))  # what the weights alone add to the density
    assert deviance == pytest.approx(float(fits.deviance[0]), abs=1e-8)


def test_nodes_converge():
    X, group, y = binary(11, J=25, m=4, sd=1.5)
    ends = [fit(X, (term(group),), y, n_agq=q)[2] for q in (1, 5, 15, 31)]
    gaps = [np.max(np.abs(e - ends[-1])) for e in ends[:-1]]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3  # fifteen nodes for four binary rows a group


@pytest.mark.parametrize("n_agq", [0, 1, 5])
def test_refits_in_lanes_are_single_fits(n_agq):
    X, group, y = binary(2)
    problem, found, data = fit(X, (term(group),), y, n_agq=n_agq)
    rng = np.random.default_rng(1)
    eta = X @ data[1:] + data[0] * rng.normal(size=(12, 20))[:, group]
    Y = (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype(float)
    lanes = refit(problem.with_responses(Y), found, tol=1e-12)
    assert np.all(lanes.status == DRAW_OK)
    for i in range(12):
        _, single, alone = fit(X, (term(group),), Y[i], n_agq=n_agq)
        assert lanes.deviance[i] == pytest.approx(single.deviance, abs=1e-7)
        np.testing.assert_allclose(lanes.beta[i], alone[1:], rtol=1e-4, atol=1e-4)  # tol 1e-12: 1e-6 SE
        assert lanes.theta[i, 0] == pytest.approx(alone[0], abs=1e-4 if alone[0] > 0.05 else 2e-2)  # flat at 0


def test_chunks_do_not_matter(monkeypatch):
    from inference_core.solvers.glmm import refit as module

    X, group, y = binary(2)
    problem, found, data = fit(X, (term(group),), y)
    rng = np.random.default_rng(1)
    Y = (rng.random((9, y.size)) < 1 / (1 + np.exp(-(X @ data[1:])))).astype(float)
    whole = refit(problem.with_responses(Y), found)
    monkeypatch.setattr(module, "_LANE_NUMBERS", 2.0 * y.size)
    pieces = refit(problem.with_responses(Y), found)
    np.testing.assert_allclose(pieces.beta, whole.beta, rtol=1e-3, atol=1e-3)  # REPLICATE_TOL: 1e-4 SE


def test_crossed_refits_are_single_fits():
    rng = np.random.default_rng(6)
    n = 240
    a, b = np.arange(n) % 20, rng.integers(0, 6, n)
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    terms = (term(a), term(b))
    eta = X @ [0.3, 0.4] + 0.6 * rng.normal(size=20)[a] + 0.4 * rng.normal(size=6)[b]
    Y = rng.poisson(np.exp(eta), size=(4, n)).astype(float)
    problem, found, _ = fit(X, terms, Y[0], "poisson")
    lanes = refit(problem.with_responses(Y[1:]), found, tol=1e-12)
    for i in range(3):
        _, single, data = fit(X, terms, Y[i + 1], "poisson")
        assert lanes.status[i] == DRAW_OK
        assert lanes.deviance[i] == pytest.approx(single.deviance, abs=1e-7)
        np.testing.assert_allclose(np.r_[lanes.theta[i], lanes.beta[i]], data, rtol=1e-4, atol=1e-4)  # as above


def test_lanes_with_counted_groups():
    """The cluster bootstrap: a lane with groups counted more than once is the fit of the repeated data."""
    X, group, y = binary(5)
    problem, found, _ = fit(X, (term(group),), y)
    rng = np.random.default_rng(3)
    times = np.stack([np.bincount(rng.integers(0, 20, 20), minlength=20) for _ in range(3)]).astype(float)
    lanes = refit(problem.with_multiplicity(times), found, tol=1e-12)
    for i in range(3):
        picked = np.repeat(np.arange(20), times[i].astype(int))
        rows = np.concatenate([np.flatnonzero(group == j) for j in picked])
        _, single, data = fit(X[rows], (term(np.repeat(np.arange(20), 8)),), y[rows])
        assert lanes.deviance[i] == pytest.approx(single.deviance, abs=1e-7)
        np.testing.assert_allclose(np.r_[lanes.theta[i], lanes.beta[i]], data, rtol=1e-4, atol=1e-4)  # as above


def test_a_separated_lane_has_its_code():
    X, group, y = binary(2)
    problem, found, _ = fit(X, (term(group),), y)
    lanes = refit(problem.with_responses(np.stack([y, (X[:, 1] > 0).astype(float)])), found)
    assert lanes.status.tolist() == [DRAW_OK, DRAW_SEPARATED]


def test_a_lane_may_leave_the_boundary():
    """A singular full fit must not hold its replicates at a zero SD."""
    X, group, y0 = binary(21, sd=0.0, J=20)
    for seed in range(21, 60):
        X, group, y0 = binary(seed, sd=0.0)
        problem, found, data = fit(X, (term(group),), y0)
        if data[0] < 1e-3:
            break
    _, _, y1 = binary(2, sd=1.5)
    lanes = refit(problem.with_responses(np.stack([y0, y1])), found)
    _, single, alone = fit(X, (term(group),), y1)
    assert alone[0] > 0.5
    assert lanes.theta[1, 0] == pytest.approx(alone[0], abs=1e-3)  # REPLICATE_TOL
    assert lanes.deviance[1] == pytest.approx(single.deviance, abs=1e-6)


@pytest.mark.parametrize("family", ["gamma", "inverse_gaussian", "negative_binomial"])
def test_the_scale_is_found_with_the_rest(family):
    """At the optimum the gradient is gone in every parameter, the log scale included, and no start ends lower."""
    rng = np.random.default_rng(9)
    J, m = 20, 10
    group, x = np.repeat(np.arange(J), m), rng.normal(size=J * m)
    X = np.column_stack([np.ones(J * m), x])
    mu = np.exp(1.0 + 0.3 * x + 0.5 * rng.normal(size=J)[group])
    y = {"gamma": rng.gamma(4, mu / 4), "inverse_gaussian": rng.wald(mu, 4 * mu),
         "negative_binomial": rng.poisson(rng.gamma(3, mu / 3))}[family].astype(float)  # fmt: skip
    problem, found, data = fit(X, (term(group),), y, family, "log")
    assert found.converged and found.decrement < 1e-10
    assert np.linalg.eigvalsh(found.hessian)[0] > 0
    for height in (0.1, 3.0):
        start = found.x.copy()
        start[0], start[-1] = height, 0.0
        again = optimise(problem, start=start)
        assert again.deviance == pytest.approx(found.deviance, abs=1e-8)
    fine = optimise(problem.at_nodes(15))
    # Laplace with ten rows a group is near the integral: 3 % of each parameter's size
    np.testing.assert_allclose(problem.to_data @ fine.x, data, rtol=0.03, atol=0.03)
