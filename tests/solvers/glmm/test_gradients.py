"""The adjoint gradient of every deviance is its derivative; both designs give the same numbers for one factor."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.solvers.glmm.grouped import Grouped
from inference_core.solvers.glmm.problem import pose
from inference_core.solvers.glmm.rows import RowModel

from .simulated import PAIRS, design, eta_of, log_scale, responses, term

STEP = 1e-5
RTOL = 2e-7  # central differences at 1e-5 of deviances of size 1e2: rounding 1e-14 * 1e2 / 1e-5 = 1e-7 of them


def problem_of(family, link, terms, n_agq=1, seed=3):
    X, group, _ = design(seed)
    rng = np.random.default_rng(seed)
    part = X[:, 1] + 0.6 * rng.standard_normal(8)[group]
    model = responses(family, link, eta_of(family, link, part))
    return pose(X, terms, model, n_agq=n_agq)


def point_of(problem, family, link):
    theta = [0.15 if a == b else 0.03 for t in problem.terms for a, b in t.entries]
    X = np.column_stack([np.ones(60), design()[0][:, 1]])
    beta = np.linalg.lstsq(problem.design.X, eta_of(family, link, X[problem.design.order, 1]), rcond=None)[0]
    scale = log_scale(problem.model)
    return np.concatenate([theta, beta, [] if scale is None else scale])


def check_gradient(problem, x):
    u = np.zeros((1, problem.design.q))
    found = problem.evaluate(x[None], u)
    s = problem.searched
    numeric = []
    for j in s:
        step = np.zeros(x.size)
        step[j] = STEP
        up, down = problem.evaluate((x + step)[None], u), problem.evaluate((x - step)[None], u)
        numeric.append((up.deviance[0] - down.deviance[0]) / (2 * STEP))
    wanted = np.array(numeric)
    assert np.all(np.isfinite(wanted))
    np.testing.assert_allclose(found.gradient[0], wanted, rtol=RTOL, atol=RTOL * np.max(np.abs(wanted)))


@pytest.mark.parametrize("n_agq", [0, 1, 7])
@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_one_scalar_term(family, link, n_agq):
    _, group, _ = design()
    problem = problem_of(family, link, (term(group),), n_agq)
    check_gradient(problem, point_of(problem, family, link))


SOME = [("binomial", "logit"), ("binomial", "probit"), ("poisson", "log"), ("gamma", "log")]
SOME += [("negative_binomial", "log")]


@pytest.mark.parametrize("n_agq", [0, 1])
@pytest.mark.parametrize(("family", "link"), SOME)
@pytest.mark.parametrize("structure", ["slope", "three", "four", "diagonal", "crossed", "crossed slopes"])
def test_more_structure(structure, family, link, n_agq):
    _, group, z = design()
    other = np.arange(60) % 5
    terms = {
        "slope": (term(group, z),),
        "three": (term(group, z, z**2),),
        "four": (term(group, z, z**2, z**3),),
        "diagonal": (term(group, z, diagonal=True),),
        "crossed": (term(group), term(other), term(other // 2)),
        "crossed slopes": (term(group, z), term(other, z), term(other // 2)),
    }[structure]
    problem = problem_of(family, link, terms, n_agq)
    check_gradient(problem, point_of(problem, family, link))


@pytest.mark.parametrize("n_agq", [0, 1])
@pytest.mark.parametrize(("family", "link"), SOME)
def test_a_second_factor_without_variance_changes_nothing(family, link, n_agq):
    """The blocked algebra with theta = 0 for the second factor is the grouped algebra."""
    _, group, z = design()
    one = problem_of(family, link, (term(group, z),), n_agq)
    two = problem_of(family, link, (term(group, z), term(np.arange(60) % 5)), n_agq)
    x = point_of(one, family, link)
    m = one.n_theta
    y = np.concatenate([x[:m], [0.0], x[m:]])
    a = one.evaluate(x[None], np.zeros((1, one.design.q)))
    b = two.evaluate(y[None], np.zeros((1, two.design.q)))
    np.testing.assert_allclose(b.deviance, a.deviance, rtol=1e-12)  # same sums in another order
    np.testing.assert_allclose(
        np.delete(b.gradient[0], m), a.gradient[0], rtol=1e-9, atol=1e-9  # cancellation in sums of size 1e2
    )


@pytest.mark.parametrize("n_agq", [0, 1, 5])
def test_counted_groups_are_repeated_groups(n_agq):
    """A group with multiplicity 2 is the group twice; with 0 it is not there."""
    X, group, _ = design()
    model = responses("binomial", "logit", eta_of("binomial", "logit", X[:, 1]))
    problem = pose(X, (term(group),), model, n_agq=n_agq)
    times = np.array([[2.0, 0.0, 1.0, 1.0, 3.0, 1.0, 0.0, 1.0]])
    counted = problem.with_multiplicity(times)
    rows, codes, code = [], [], 0
    for j, m in enumerate(times[0].astype(int)):
        for _ in range(m):
            members = np.flatnonzero(group == j)
            rows.append(members)
            codes.append(np.full(members.size, code))
            code += 1
    at, new = np.concatenate(rows), np.concatenate(codes)
    inner = np.empty(60, dtype=int)
    inner[problem.design.order] = np.arange(60)
    Xw = problem.design.X[inner]  # the same working coordinates for both
    repeated = Grouped.make(Xw[at], np.ones((at.size, 1)), new, ((0, 0),))
    weights = None if model.weights is None else model.weights[at]
    other = problem.with_model(RowModel(model.family, model.y[:, at], weights).reorder(repeated.order))
    other = type(problem)(repeated, other.model, problem.terms, n_agq, problem.to_data, problem.maps, problem.unit)
    x = np.array([[0.7, 0.1, 0.2]])
    a = counted.evaluate(x, np.zeros((1, 8)))
    b = other.evaluate(x, np.zeros((1, code)))
    np.testing.assert_allclose(a.deviance, b.deviance, rtol=1e-11)  # the same sums in another order
    np.testing.assert_allclose(a.gradient, b.gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_agq", [0, 1, 5])
def test_negative_observed_weights(n_agq):
    """Successes where almost none are expected: -ds/deta is below 0 for a cauchit link, and the mode is found."""
    X, group, _ = design()
    model = responses("binomial", "cauchit", np.full(60, -3.0))
    y = np.where(np.arange(60) % 9 == 0, 1.0, model.y[0])
    problem = pose(X, (term(group),), RowModel(model.family, y[None], model.weights), n_agq=n_agq)
    x = np.concatenate([[0.8], np.linalg.lstsq(problem.design.X, np.full(60, -3.0), rcond=None)[0]])
    rows = problem.model(np.full((1, 60), -3.0), None)
    assert np.any(rows.observed < 0)
    check_gradient(problem, x)
