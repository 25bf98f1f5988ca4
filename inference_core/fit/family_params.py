"""Families with a parameter of their own: theta of the negative binomial, the scale of Student's t."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import digamma

from inference_core.errors import FitError
from inference_core.families import Family, get_family, with_params
from inference_core.solvers import irls as solver
from inference_core.states import Array

THETA_MAX = 1e8  # beyond it the counts are a Poisson's to every digit of the likelihood


def fit_with_params(X: Array, y: Array, family: Family, weights: Array | None, offset: Array | None, **options: Any):
    """Coefficients and the family's own parameters: the family at those, and the :class:`IrlsResult` there.

    Raises
    ------
    FitError
        The data leave the parameter without an estimate.
    """
    return _FITS[family.name](X, y, family, weights, offset, **options)


def fit_negative_binomial(
    X: Array,
    y: Array,
    family: Family,
    weights: Array | None,
    offset: Array | None,
    *,
    start: Array | None = None,
    tol: float = 1e-12,
    max_iter: int = 100,
):
    """Coefficients and theta by alternating maximum likelihood, as ``MASS::glm.nb``, run to rounding.

    Coefficients and theta are orthogonal in the expected information, so a few rounds suffice. Returns the
    family at its theta and the :class:`IrlsResult` there.
    """
    poisson = get_family("poisson", family.link)
    result = solver.maximise(X, y, poisson, weights, offset, start=start, tol=1e-8, max_iter=max_iter)
    if result.status == solver.NO_START:
        return with_params(family, (1.0,)), result
    if result.status == solver.SEPARATED:
        return _theta_of_separated(X, y, family, weights, offset, result.eta), result
    theta, total = np.nan, result.n_iter
    for _ in range(max_iter):
        before = theta
        theta = theta_ml(y, family.link.inverse(result.eta), weights)
        at_theta = with_params(family, (theta,))
        result = solver.maximise(X, y, at_theta, weights, offset, start=result.coef, tol=tol, max_iter=max_iter)
        total += result.n_iter
        near = 1e-7 if result.status == solver.BOUNDARY else 1e-12  # at an edge a round costs a dozen fits
        if theta >= THETA_MAX or abs(theta - before) <= near * theta or not result.converged:
            break
    return with_params(family, (theta,)), replace(result, n_iter=total)


def _theta_of_separated(X: Array, y: Array, family: Family, weights: Array | None, offset: Array | None, eta: Array):
    """Theta where some means run to 0 (an empty cell): those rows stop telling about it, so it settles all the same."""
    theta = np.nan
    for _ in range(25):
        before, theta = theta, theta_ml(y, family.link.inverse(eta), weights)
        if abs(theta - before) <= 1e-10 * theta:
            break
        eta = solver.r_default_stop(X, y, with_params(family, (theta,)), weights, offset).eta
    return with_params(family, (theta,))


def theta_ml(y: Array, mu: Array, weights: Array | None = None) -> float:
    """Maximum-likelihood theta of a negative binomial with known means; ``THETA_MAX`` where it grows for
    ever.

    Root in log theta of
    sum w [digamma(theta + y) - digamma(theta) - log(1 + mu/theta) + 1 - (y + theta) / (mu + theta)].
    """
    w = np.ones_like(y) if weights is None else weights

    def score(log_theta: float) -> float:
        t = np.exp(log_theta)
        return float(w @ (digamma(t + y) - digamma(t) - np.log1p(mu / t) - (y - mu) / (mu + t)))

    lo, hi = np.log(1e-6), np.log(THETA_MAX)
    # The score's leading term for large theta, free of the cancellation: sum w [(y - mu)^2 - y] / (2
    # theta^2).
    if w @ (np.square(y - mu) - y) <= 0 and score(np.log(1e4 * (1.0 + float(np.max(mu))))) >= -1e-12:
        return THETA_MAX
    return float(np.exp(_root(score, lo, hi)))


def fit_student_t(
    X: Array,
    y: Array,
    family: Family,
    weights: Array | None,
    offset: Array | None,
    *,
    start: Array | None = None,
    tol: float = 1e-12,
    max_iter: int = 100,
):
    """Location by Fisher scoring and scale by its own likelihood equation, alternating.

    The start is least squares; a likelihood with several maxima (wild outliers at high leverage) gives the
    one next to it. Returns the family at (df, scale) and the :class:`IrlsResult` there.
    """
    df = family.params[0]
    gaussian = get_family("gaussian", family.link)
    result = solver.maximise(X, y, gaussian, weights, offset, start=start, max_iter=max_iter)
    if result.status == solver.NO_START:
        return with_params(family, (df, 1.0)), result
    total, coef, scale, previous = result.n_iter, result.coef, np.nan, np.inf
    for _ in range(10 * max_iter):
        scale = scale_ml(y - family.link.inverse(result.eta), df, weights)
        at_scale = with_params(family, (df, scale))
        step = solver.irls(X, y, at_scale, weights, offset, start=coef, tol=tol, max_iter=1)
        if step.status == solver.NO_START:
            break
        moved = float(np.max(np.abs(step.eta - result.eta))) / scale
        total, coef, result = total + 1, step.coef, step
        if moved <= 1e-13 or (moved <= 1e-11 and moved >= 0.9 * previous):
            result = replace(result, status=solver.OK)
            break
        previous = moved
    return with_params(family, (df, scale)), replace(result, n_iter=total)


_FITS = {"negative_binomial": fit_negative_binomial, "tdist": fit_student_t}


def scale_ml(residuals: Array, df: float, weights: Array | None = None) -> float:
    """The scale at which sum w (df + 1) r^2 / (df s^2 + r^2) = sum w: unique, as the left side falls with
    s.
    """
    r2 = np.square(residuals)
    w = np.ones_like(r2) if weights is None else weights
    total = float(np.sum(w))
    biggest = float(np.sqrt(np.max(r2)))
    if float(np.sum(w[r2 > 1e-24 * biggest**2])) * (df + 1.0) <= total or biggest == 0.0:
        raise FitError(
            "a Student-t model",
            "so many rows are fitted exactly that the scale shrinks to 0",
            "use family='gaussian', or leave terms out",
        )

    def excess(log_s: float) -> float:
        return float(w @ ((df + 1.0) * r2 / (df * np.exp(2.0 * log_s) + r2))) - total

    return float(np.exp(_root(excess, np.log(biggest) - 40.0, np.log(biggest) + 2.0 + np.log1p(1.0 / df))))


def _root(function: Callable[[float], float], lo: float, hi: float) -> float:
    from scipy.optimize import brentq

    if function(hi) >= 0:
        return hi
    if function(lo) <= 0:
        return lo
    root: Any = brentq(function, lo, hi, xtol=1e-15, rtol=4 * np.finfo(float).eps, maxiter=200)
    return float(root)
