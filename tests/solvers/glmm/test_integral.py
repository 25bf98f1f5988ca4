"""What is integrated: against brute force, against closed forms, and against itself with more nodes."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.families import get_family
from inference_core.solvers.glmm.problem import TooLargeError, pose
from inference_core.solvers.glmm.quadrature import adaptive
from inference_core.solvers.glmm.rows import RowModel

from .simulated import design, eta_of, log_scale, responses, term

SOME = [("binomial", "logit"), ("binomial", "cloglog"), ("poisson", "log"), ("gamma", "log")]
SOME += [("negative_binomial", "log"), ("inverse_gaussian", "log")]


def brute_force(problem, x):
    """-2 log of the integral over u of each group by the trapezoid rule, which converges geometrically here."""
    point = problem.split(x[None])
    d = problem.design
    grid = np.linspace(-12, 12, 4001)
    eta = (d.X @ point.beta[0] + d.offset)[None] + point.theta[0, 0] * d.Z[:, 0] * grid[:, None]
    model = problem.model
    scale = None if point.scale is None else np.repeat(point.scale, grid.size)
    level = d.by_group(model(eta, scale).deviance) + (grid**2)[:, None]
    low = level.min(axis=0)
    mass = np.sum(np.exp(-0.5 * (level - low)), axis=0) * (grid[1] - grid[0]) / np.sqrt(2 * np.pi)
    return float(np.sum(low - 2 * np.log(mass)))


@pytest.mark.parametrize(("family", "link"), SOME)
def test_quadrature_converges_to_the_integral(family, link):
    X, group, _ = design()
    model = responses(family, link, eta_of(family, link, X[:, 1]))
    problem = pose(X, (term(group),), model)
    scale = log_scale(model)
    x = np.concatenate([[0.8], np.linalg.lstsq(problem.design.X, eta_of(family, link, X[problem.design.order, 1]),
                                               rcond=None)[0], [] if scale is None else scale])  # fmt: skip
    exact = brute_force(problem, x)
    u = np.zeros((1, 8))
    errors = [abs(problem.at_nodes(q).evaluate(x[None], u).deviance[0] - exact) for q in (1, 3, 9, 25)]
    assert errors[0] < 2.0  # Laplace is the rule with one node
    assert errors[2] < 0.1 * errors[0] + 1e-9
    assert errors[3] < 1e-6  # 25 adaptive nodes: rounding of sums of size 1e2 and a remainder below it


def test_one_node_is_laplace():
    X, group, _ = design()
    problem = pose(X, (term(group),), responses("poisson", "log", eta_of("poisson", "log", X[:, 1])))
    x, u = np.array([[0.6, 0.1, 0.2]]), np.zeros((1, 8))
    laplace = problem.evaluate(x, u)
    one = adaptive(problem.design, problem.model, problem.split(x), u, 1)
    np.testing.assert_allclose(one.deviance, laplace.deviance, rtol=1e-13)  # the same sum
    np.testing.assert_allclose(one.gradient, laplace.gradient, rtol=1e-10, atol=1e-10)


def gaussian(X, terms, y):
    return pose(X, terms, RowModel(get_family("gaussian", "identity"), y[None]))


@pytest.mark.parametrize("structure", ["intercept", "slope", "diagonal", "crossed", "crossed slopes"])
def test_laplace_is_exact_for_a_gaussian(structure):
    """-2 log density of N(X beta, sum Z_t T T' Z_t' + phi I), formed densely."""
    X, group, z = design()
    other = np.arange(60) % 5
    terms = {
        "intercept": (term(group),), "slope": (term(group, z),), "diagonal": (term(group, z, diagonal=True),),
        "crossed": (term(group), term(other)), "crossed slopes": (term(group, z), term(other, z), term(other // 2)),
    }[structure]  # fmt: skip
    y = np.random.default_rng(5).normal(size=60) + X[:, 1]
    problem = gaussian(X, terms, y)
    rng = np.random.default_rng(7)
    theta = [1.0 + 0.3 * rng.normal() if a == b else 0.4 for t in terms for a, b in t.entries]
    data = np.concatenate([theta, [0.3, 0.8, np.log(0.7)]])
    x = np.linalg.solve(problem.to_data, data)
    V, at = 0.7 * np.eye(60), 0
    for t in terms:
        T = np.zeros((t.Z.shape[1],) * 2)
        for value, (a, b) in zip(theta[at:], t.entries, strict=False):
            T[a, b] = value
        at += len(t.entries)
        rows = t.Z @ T
        V += (rows @ rows.T) * (t.group[:, None] == t.group[None, :])
    residual = y - X @ data[-3:-1]
    exact = 60 * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual)
    got = problem.evaluate(x[None], np.zeros((1, problem.design.q))).deviance[0]
    assert got == pytest.approx(exact, rel=1e-11)  # two factorisations of well-conditioned matrices


@pytest.mark.parametrize("crossed", [False, True])
def test_working_coordinates_are_linear_in_the_parameters(crossed):
    X, group, z = design()
    terms = (term(group, 10.0 + z),) + ((term(np.arange(60) % 5),) if crossed else ())
    problem = pose(X, terms, responses("poisson", "log", eta_of("poisson", "log", X[:, 1])))
    x = np.array([0.4, 0.1, 0.3, *([0.5] if crossed else []), 0.2, -0.1])
    data = problem.to_data @ x
    T = np.array([[data[0], 0.0], [data[1], data[2]]])
    u = np.random.default_rng(2).normal(size=problem.design.q)
    rows = np.einsum("nk,kl,nl->n", terms[0].Z, T, u[:16].reshape(8, 2)[group]) + X @ data[-2:]
    if crossed:
        rows += data[3] * u[16:][np.arange(60) % 5]
    np.testing.assert_allclose(problem.eta(x, u)[0], rows, rtol=1e-10, atol=1e-10)  # one change of basis


def test_what_needs_too_much_memory_is_refused():
    n = 5000
    X = np.ones((n, 1))
    model = RowModel(get_family("poisson"), np.ones((1, n)))
    codes = np.arange(n)
    with pytest.raises(TooLargeError, match="5000 random effects beside the 5000"):
        pose(X, (term(codes), term(codes[::-1].copy())), model)
