"""Cluster-robust errors of generalized mixed models, against scores and Hessians by differences of a Laplace
approximation written here, one group at a time.
"""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.families import default_link
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.infer.asymptotic import compute_params_asymptotic
from inference_core.infer.cluster_robust import cluster_robust
from inference_core.model import model

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def frame(seed=1, J=12, size=9):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(J), size)
    x = rng.standard_normal(J * size)
    eta = 0.5 + 0.4 * x + 0.6 * rng.standard_normal(J)[g]
    mu = np.exp(eta)
    return pl.DataFrame({
        "x": x, "g": g, "inner": np.tile(np.repeat([0, 1, 2], size // 3), J), "h": rng.integers(0, 5, J * size),
        "region": g // 2, "count": rng.poisson(mu), "time": rng.gamma(4, mu / 4),
        "spread": rng.poisson(rng.gamma(3, mu / 3)), "above": (x > 0).astype(int),
    })  # fmt: skip


def fitted(formula, data, family, n_agq=1, link=None):
    spec, bundle = build_bundle(formula, data, family=family, link=link or default_link(family), method="ml")
    return spec, bundle, fit_glmer(spec, bundle, n_agq=n_agq)


# ---- an independent Laplace approximation: a scalar effect, one group at a time --------------------------------


def binomial(eta, y, n):
    return n * (y * eta - np.logaddexp(0, eta))


def poisson(eta, y, n):
    return y * eta - np.exp(eta) - gammaln(y + 1)


def laplace(loglik, par, X, y, n, h=1e-3):
    """log of the integral of f(y | sd u) phi(u) for one group; par = (sd, beta)."""

    def penalised(u):
        return -np.sum(loglik(X @ par[1:] + par[0] * u, y, n)) + 0.5 * u * u

    u = minimize_scalar(penalised, bracket=(-1, 1), tol=1e-12).x
    f = penalised
    # fourth-order second difference of the exponent
    curvature = (-f(u + 2 * h) + 16 * f(u + h) - 30 * f(u) + 16 * f(u - h) - f(u - 2 * h)) / (12 * h * h)
    return -f(u) - 0.5 * np.log(curvature)


def by_hand(m, loglik):
    """The sandwich by numeric derivatives, J / (J - 1) left out."""
    _, bundle, fit = m
    block = bundle.re_metadata.blocks[0]
    n = np.ones(bundle.n) if bundle.trials is None else bundle.trials
    par = np.concatenate([fit.theta, fit.coef])
    step = 1e-4 * np.eye(par.size)

    def parts(p):
        out = []
        for j in range(block.n_levels):
            rows = block.group_index == j
            out.append(laplace(loglik, p, bundle.X[rows], bundle.y[rows], n[rows]))
        return np.array(out)

    def scores(p):
        return np.stack([(parts(p + s) - parts(p - s)) / 2e-4 for s in step], axis=1)

    S = scores(par)
    wide = 1e-2 * np.eye(par.size)
    H = np.stack([(scores(par + s).sum(0) - scores(par - s).sum(0)) / 2e-2 for s in wide])
    bread = np.linalg.inv(-0.5 * (H + H.T))
    return (bread @ S.T @ S @ bread)[1:, 1:]


@pytest.mark.parametrize(
    ("formula", "family", "loglik"), [(CBPP, "binomial", binomial), ("count ~ x + (1 | g)", "poisson", poisson)]
)
def test_equals_numeric_derivatives(formula, family, loglik):
    m = fitted(formula, load_dataset("cbpp") if "herd" in formula else frame(), family)
    found = cluster_robust(*m, "CR0")
    # differences of differences: four digits of the Hessian
    np.testing.assert_allclose(found.vcov, by_hand(m, loglik), rtol=2e-3, atol=2e-3 * np.max(np.diag(found.vcov)))
    J = found.n_clusters
    np.testing.assert_allclose(cluster_robust(*m, "CR1").vcov, found.vcov * J / (J - 1), rtol=1e-12)
    np.testing.assert_array_equal(found.df(), np.full(m[2].coef.size, J - 1.0))
    assert found.joint(np.eye(2, m[2].coef.size)).df1 == 2


@pytest.mark.parametrize(
    ("formula", "family", "n_agq"),
    [
        ("count ~ x + (x | g)", "poisson", 1), ("count ~ x + (1 | g)", "poisson", 7),
        ("time ~ x + (1 | g)", "gamma", 1),
        ("time ~ x + (1 | g)", "gamma", 5), ("spread ~ x + (1 | g)", "negative_binomial", 1),
        ("count ~ x + (1 | g/inner)", "poisson", 1),
    ],
)  # fmt: skip
def test_scores_are_what_a_cluster_adds(formula, family, n_agq):
    """The deviance of all rows less that of the rows without the cluster, by differences in the units of the data."""
    data = frame(4, 14, 12)
    link = "log" if family == "gamma" else default_link(family)
    spec, bundle, fit = fitted(formula, data, family, n_agq, link)
    found = cluster_robust(spec, bundle, fit, "CR0")
    problem = glmer_problem(spec, bundle, n_agq=n_agq)
    at = problem.solver.to_data @ problem.coordinates(fit)
    h = 1e-4 * np.eye(at.size)

    def gradient(rows):
        _, own = build_bundle(formula, rows, family=family, link=link, method="ml")
        solver = glmer_problem(spec, own, n_agq=n_agq).solver
        points = np.linalg.solve(solver.to_data, np.concatenate([at + h, at - h]).T).T
        d = [solver.evaluate(x[None], np.zeros((1, solver.design.q)), gradient=False).deviance[0] for x in points]
        return (np.array(d[: at.size]) - np.array(d[at.size :])) / 2e-4

    whole = gradient(data)
    for j in (0, 6, 13):
        expected = -0.5 * problem.solver.to_data.T @ (whole - gradient(data.filter(pl.col("g") != j)))
        # differences with an error of h^2, and deviances of 600 rounded to 1e-13 of themselves
        np.testing.assert_allclose(found.scores[j], expected, rtol=1e-4, atol=1e-4)
    # the estimate is where the scores add up to nothing
    assert np.max(np.abs(found.scores.sum(0))) < 1e-4 * np.max(np.abs(found.scores))


def test_coarser_clusters_add_up():
    m = fitted("count ~ x + (1 | g)", frame(), "poisson")
    data = frame()
    coarse = cluster_robust(*m, "CR0", "region", data)
    fine = cluster_robust(*m, "CR0")
    assert (coarse.n_clusters, fine.n_clusters) == (6, 12)
    np.testing.assert_allclose(coarse.scores, fine.scores[::2] + fine.scores[1::2], rtol=1e-10)


def test_crossed_factors_with_a_cluster_that_holds_both():
    data = frame().with_columns(pl.concat_str([pl.lit("r"), pl.col("region"), pl.lit("h"), pl.col("h")]).alias("h"))
    m = fitted("count ~ x + (1 | g) + (1 | h)", data, "poisson")
    found = cluster_robust(*m, "CR1", "region", data)
    assert found.n_clusters == 6 and np.all(np.isfinite(found.vcov))
    assert np.max(np.abs(found.scores.sum(0))) < 1e-4 * np.max(np.abs(found.scores))
    with pytest.raises(InferenceError, match="crossed"):
        cluster_robust(*m, "CR1")


def test_where_the_model_is_right_it_is_the_models_own():
    """400 groups drawn from the model: the sandwich tends to the inverse information."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(400), 6)
    x = rng.standard_normal(g.size)
    y = rng.poisson(np.exp(0.3 + 0.3 * x + 0.5 * rng.standard_normal(400)[g]))
    m = fitted("y ~ x + (1 | g)", pl.DataFrame({"x": x, "g": g, "y": y}), "poisson")
    ratio = np.sqrt(np.diag(cluster_robust(*m, "CR1").vcov) / np.diag(m[2].vcov))
    np.testing.assert_allclose(ratio, 1.0, atol=0.12)  # an SE from 400 scores: 1 / sqrt(800) and skewness


def test_through_the_public_names():
    m = model(CBPP, load_dataset("cbpp"), family="binomial").fit().infer(errors="CR1")
    robust = cluster_robust(m.spec, m.bundle, m.fit_state, "CR1")
    np.testing.assert_allclose(m.params["se"], np.sqrt(np.diag(robust.vcov)), rtol=1e-12)
    assert m.params["df"].to_list() == [14.0] * 4
    table = compute_params_asymptotic(m.spec, m.bundle, m.fit_state, 0.95, errors="CR0")
    assert table.errors == "CR0" and np.all(table.se < m.params["se"].to_numpy())


def test_refusals():
    data = frame()
    m = fitted("count ~ x + (1 | g)", data, "poisson")
    for kind in ("CR2", "CR1S"):
        with pytest.raises(InferenceError, match="does not depend on the coefficients"):
            cluster_robust(*m, kind)
    with pytest.raises(InferenceError, match="errors='CR1'"):
        compute_params_asymptotic(*m, 0.95, errors="HC3")
    with pytest.raises(InferenceError, match="errors='CR1', or leave cluster out"):
        compute_params_asymptotic(*m, 0.95, data=data, cluster="g")
    with pytest.raises(InferenceError, match="maximise no likelihood"):
        cluster_robust(*fitted("count ~ x + (1 | g)", data, "poisson", n_agq=0), "CR1")
    with pytest.raises(InferenceError, match="4 clusters; fewer than 5"):
        cluster_robust(*fitted("count ~ x + (1 | g)", data.filter(pl.col("g") < 4), "poisson"), "CR1")
    with pytest.raises(InferenceError, match="lie in several clusters"):
        cluster_robust(*m, "CR1", "h", data)
    with pytest.raises(InferenceError, match="separated"):
        cluster_robust(*fitted("above ~ x + (1 | g)", data, "binomial"), "CR1")
