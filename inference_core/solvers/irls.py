"""Iteratively reweighted least squares: Fisher scoring with step halving, run until rounding stops it.

The step is the solution for the *increment*, so every iteration corrects the error of the one before, and the standard
errors are taken at the estimate (R takes them from one iteration earlier).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.families import Family
from inference_core.states import Array
from inference_core.states.base import Frozen

from .lstsq import cholesky_factor, lstsq

OK, NOT_CONVERGED, BOUNDARY, SEPARATED, NO_START = "ok", "not converged", "boundary", "separated", "no start"
_DONE = 1e-20  # squared step in units of the squared standard error: 1e-10 of a standard error
_GOOD = 1e-12  # good enough to be called converged when rounding or slow Fisher scoring ends the polish


@dataclass(frozen=True, slots=True, eq=False)
class IrlsResult(Frozen):
    """Where the iteration stopped: n rows, r columns."""

    coef: Array  # (r,)
    eta: Array  # (n,) offset included
    deviance: float
    n_iter: int
    status: str  # one of the constants above
    separation: Any = None  # solvers.separation.Separation when status is SEPARATED

    @property
    def converged(self) -> bool:
        """Whether the deviance has settled at an interior optimum."""
        return self.status == OK


def irls(X: Array, y: Array, family: Family, weights: Array | None = None, offset: Array | None = None, *,
         start: Array | None = None, tol: float = 1e-12, max_iter: int = 100,
         check_separation: bool = True) -> IrlsResult:
    """Maximum likelihood of a generalized linear model with full-rank design.

    Parameters
    ----------
    X : (n, r) array of full column rank
    y : (n,) array
    family : Family with all its parameters known
    weights, offset : (n,) arrays, optional
        Prior weights, all above 0; an amount added to eta.
    start : (r,) array, optional
        Coefficients to start from; otherwise R's starting means.
    tol : float
        Relative change of the deviance below which the fit may be called converged. Steps continue below it until
        they are 1e-10 of a standard error or rounding stops them.

    Returns
    -------
    IrlsResult
        Never raises for a difficult fit: ``status`` says what happened.

    Notes
    -----
    A step that leaves the range of the link or raises the deviance is halved, up to 40 times. Where the deviance has
    settled but some eta still walks, separation is tested by linear programming (``solvers.separation``).
    """
    off = np.zeros(y.shape[0]) if offset is None else offset
    coef, eta = _first(X, y, family, weights, off, start)
    if eta is None:
        return IrlsResult(np.full(X.shape[1], np.nan), off, np.nan, 0, NO_START)
    deviance = _deviance(family, eta, y, weights)
    df = max(y.shape[0] - X.shape[1], 1)
    previous, tested, status, iteration = np.inf, False, NOT_CONVERGED, 0
    for iteration in range(1, max_iter + 1):
        step, decrement = fisher_step(X, y, eta, family, weights)
        phi = 1.0 if family.dispersion_known else max(deviance / df, np.finfo(float).tiny)
        coef_new, eta_new, dev_new, halved = _accept(X, y, family, weights, off, coef, step, deviance)
        if coef_new is None:
            # no point on the segment is better: rounding if the step was tiny, otherwise the edge of the range
            status = OK if decrement <= 1e-8 * phi else BOUNDARY
            break
        moved = float(np.max(np.abs(eta_new - eta), initial=0.0))
        settled = abs(dev_new - deviance) <= tol * (abs(dev_new) + 0.1)
        coef, eta, deviance = coef_new, eta_new, dev_new
        if decrement <= _DONE * phi or (settled and decrement <= _GOOD * phi and decrement > 0.25 * previous):
            status = OK
            break
        if check_separation and not tested and iteration >= 5 and decrement < 0.05 and moved > 0.3:
            from .separation import find_separation

            tested, found = True, find_separation(X, y, family)
            if found is not None:
                return IrlsResult(coef, eta, deviance, iteration, SEPARATED, found)
        if settled and decrement <= _GOOD * phi:
            status = OK  # stands if max_iter ends the polish
        previous = decrement
    return IrlsResult(coef, eta, deviance, iteration, status)


def fisher_step(X: Array, y: Array, eta: Array, family: Family, weights: Array | None) -> tuple[Array, float]:
    """The Fisher-scoring increment at eta (r,), and its squared length in the metric of the information."""
    s, w = family.score_weight(eta, y)
    if weights is not None:
        s, w = s * weights, w * weights
    w = np.where(np.isfinite(w) & np.isfinite(s), w, 0.0)
    R = cholesky_factor(X, w)
    if R is not None:
        g = np.where(w > 0, s, 0.0) @ X
        half = solve_triangular(R, g, trans="T", check_finite=False)
        return solve_triangular(R, half, check_finite=False), float(half @ half)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(w > 0, s / w, 0.0)
    solution = lstsq(X, z, w, tol=1e-11, leverage=False)  # R's glm: min(1e-7, epsilon / 1000)
    step = np.nan_to_num(solution.coef)
    half = solution.r_factor @ step[solution.kept]
    return step, float(half @ half)


def _deviance(family: Family, eta: Array, y: Array, weights: Array | None) -> float:
    rows = family.deviance_rows(eta, y)
    return float(np.sum(rows) if weights is None else weights @ rows)


def _accept(X, y, family, weights, off, coef, step, deviance):
    """The first of step, step/2, .. that stays valid and does not raise the deviance beyond rounding."""
    slack = 1e-12 * (abs(deviance) + 0.1)
    for halving in range(40):
        trial = coef + step * 0.5**halving
        eta = X @ trial + off
        if family.eta_valid(eta):
            value = _deviance(family, eta, y, weights)
            if value <= deviance + slack:
                return trial, eta, value, halving
    return None, None, np.nan, 40


def _first(X, y, family, weights, off, start):
    """Coefficients and eta to start from: the caller's, R's, or any point inside the range of eta."""
    if start is not None:
        eta = X @ start + off
        if family.eta_valid(eta):
            return np.array(start, dtype=float), eta
    eta0 = _starting_eta(y, family, weights)
    mu0 = family.link.inverse(eta0)
    with np.errstate(all="ignore"):
        slope = family.link.derivative(eta0)
        w = slope**2 / family.variance(mu0)
        z = eta0 - off + (y - mu0) / slope
    usable = np.isfinite(w) & np.isfinite(z) & (w > 0)
    w = np.where(usable, w if weights is None else w * weights, 0.0)
    coef = np.nan_to_num(lstsq(X, np.where(usable, z, 0.0), w, tol=1e-11, leverage=False).coef)
    eta = X @ coef + off
    if family.eta_valid(eta) and np.isfinite(_deviance(family, eta, y, weights)):
        return coef, eta
    return _inside(X, off, family, eta0)


def _starting_eta(y: Array, family: Family, weights: Array | None) -> Array:
    """R's starting means on the link scale; means the link cannot take are moved to where it can."""
    mu = np.asarray(family.initialize(y, weights), dtype=float)
    eta = family.link.link(mu)
    lo, hi = family.eta_bounds
    bad = ~(np.isfinite(eta) & (eta > lo) & (eta < hi))
    if np.any(bad):
        good = ~bad
        fill = np.median(eta[good]) if np.any(good) else family.link.link(np.array(0.5))
        eta = np.where(bad, fill, eta)
    return eta


def _inside(X: Array, off: Array, family: Family, eta0: Array):
    """A coefficient vector whose etas are all strictly inside the allowed range, found by linear programming."""
    lo, hi = family.eta_bounds
    if not (np.isfinite(lo) or np.isfinite(hi)):
        return None, None
    from scipy.optimize import linprog

    n, r = X.shape
    scale = np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
    Z, ones = X / scale, np.ones((n, 1))
    size = float(np.median(np.abs(eta0))) or 1.0
    rows, bounds = [], []
    if np.isfinite(lo):  # lo + t <= eta
        rows.append(np.hstack([-Z, ones]))
        bounds.append(off - lo)
    if np.isfinite(hi):  # eta <= hi - t
        rows.append(np.hstack([Z, ones]))
        bounds.append(hi - off)
    cost = np.r_[np.zeros(r), -1.0]
    answer = linprog(cost, np.vstack(rows), np.concatenate(bounds),
                     bounds=[(None, None)] * r + [(None, size)], method="highs")
    if answer.status != 0 or answer.x[-1] <= 0:
        return None, None
    coef = answer.x[:r] / scale
    eta = X @ coef + off
    return (coef, eta) if family.eta_valid(eta) else (None, None)


@dataclass(frozen=True, slots=True, eq=False)
class DefaultStop(Frozen):
    """Where R's ``glm`` stops with its default control."""

    coef: Array  # (r,) NaN where R drops the column
    eta: Array  # (n,)
    working_weights: Array  # (n,) of the last weighted problem: one iteration before ``coef``
    deviance: float
    n_iter: int
    converged: bool


def r_default_stop(X: Array, y: Array, family: Family, weights: Array | None, offset: Array | None) -> DefaultStop:
    """R's ``glm.fit`` with epsilon 1e-8 and 25 iterations, for fits that have no finite estimate.

    With separated data the coefficients say only where an iteration stopped; stopping where R does lets tables agree.
    The clamps are R's: |eta| <= 30 for the logit, means at least one rounding unit from their edge.
    """
    n = y.shape[0]
    off = np.zeros(n) if offset is None else offset
    w = np.ones(n) if weights is None else weights
    eta = _starting_eta(y, family, weights)
    mu, slope = _clamped(family, eta)
    before, converged, iteration = float(w @ family.unit_deviance(y, mu)), False, 0
    coef, working, deviance = np.full(X.shape[1], np.nan), w, before
    for iteration in range(1, 26):
        working = w * slope**2 / family.variance(mu)
        coef = lstsq(X, eta - off + (y - mu) / slope, working, tol=1e-11, leverage=False).coef
        eta = X @ np.nan_to_num(coef) + off
        mu, slope = _clamped(family, eta)
        deviance = float(w @ family.unit_deviance(y, mu))
        if abs(deviance - before) / (abs(deviance) + 0.1) < 1e-8:
            converged = True
            break
        before = deviance
    return DefaultStop(coef, eta, working, deviance, iteration, converged)


def _clamped(family: Family, eta: Array) -> tuple[Array, Array]:
    eps = np.finfo(float).eps
    mu, slope = family.link.inverse(eta), family.link.derivative(eta)
    if family.link.name == "logit":
        mu = np.where(eta > 30, 1.0 - eps, np.where(eta < -30, eps, mu))
        slope = np.where(np.abs(eta) > 30, eps, slope)
    return np.maximum(mu, eps), np.maximum(slope, eps)
