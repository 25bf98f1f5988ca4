"""Where the search for a GLMM begins: the model without random effects, its scale, and a first Hessian."""

from __future__ import annotations

import numpy as np

from inference_core.families import Family, with_params
from inference_core.solvers.irls import maximise
from inference_core.states import Array

from .problem import Problem


def first_guess(problem: Problem, height: float) -> tuple[Array, Array]:
    """Working coordinates to start at, and the inverse Hessian there: beta of the model without random effects."""
    design, model = problem.design, problem.model
    y = model.y[0]
    w = None if model.weights is None else np.atleast_2d(model.weights)[0]
    family = model.family
    simple: Family = family
    if family.name == "negative_binomial":
        simple = with_params(family, family.params or (1.0,))
    beta = np.zeros(design.p)
    if design.p:
        plain = maximise(design.X, y, simple, w, design.offset, tol=1e-6, max_iter=12)
        beta = np.where(np.isfinite(plain.coef), plain.coef, 0.0)
        if family.name == "binomial" and np.max(np.abs(plain.eta)) > 15.0:  # separated without random effects
            beta = np.clip(beta, -3.0, 3.0)
    eta = design.X @ beta + design.offset
    _, unit = simple.score_weight(eta, y)
    scale = _first_scale(problem, simple, eta, y, w)
    phi = np.exp(scale) if scale is not None and family.name != "negative_binomial" else 1.0
    unit = np.where(np.isfinite(unit), unit, 0.0) * (1.0 if w is None else w) / phi
    size = height
    if phi != 1.0:  # effects in units of the noise on the link scale
        size = least = height * float(np.sqrt(1.0 / max(np.mean(unit), 1e-300))) / problem.unit
    else:
        least = max(size, 0.3)
    theta = np.concatenate([[size if a == b else 0.0 for a, b in t.entries] for t in problem.terms])
    # a quarter of 4 J / T^2, what J effects of SD T would tell if they were seen
    curvature = np.concatenate([np.full(len(t.entries), t.J / least**2) for t in problem.terms])
    x = np.concatenate([theta, beta, [] if scale is None else [scale]])
    H0 = np.zeros((x.size, x.size))
    m, p = problem.n_theta, design.p
    H0[np.arange(m), np.arange(m)] = 1.0 / curvature
    H0[m : m + p, m : m + p] = _first_covariance(problem, x, unit)
    if scale is not None:
        H0[-1, -1] = 1.0 / max(float(design.n), 4.0)
    return x, H0[np.ix_(problem.searched, problem.searched)]


def _first_covariance(problem: Problem, x: Array, unit: Array) -> Array:
    """Half the covariance of beta, random effects allowed for; of the model without them where that fails."""
    design = problem.design
    try:
        found = problem.evaluate(x[None], np.zeros((1, design.q)), gradient=False)
        information = problem.precision(x, found.u[0]).beta
        covariance = np.linalg.inv(information) / 2.0
        if np.all(np.isfinite(covariance)) and np.all(np.diagonal(covariance) > 0):
            return covariance
    except np.linalg.LinAlgError:
        pass
    gram = (design.X.T * unit) @ design.X
    return np.linalg.inv(gram + 1e-8 * np.trace(gram) * np.eye(design.p)) / 2.0


def _first_scale(problem: Problem, family: Family, eta: Array, y: Array, w: Array | None) -> float | None:
    if not problem.n_scale:
        return None
    if family.name == "negative_binomial":
        mu = family.link.inverse(eta)
        excess = float(np.mean((y - mu) ** 2 - mu))
        theta = float(np.mean(mu**2)) / excess if excess > 0 else 100.0
        return float(np.log(np.clip(2.0 * theta, 0.1, 1e4)))
    phi = family.dispersion_from(y, eta, w, float(max(y.size - problem.design.p, 1)))
    return float(np.log(max(0.5 * phi, 1e-12)))
