"""Iteratively reweighted least squares: Fisher scoring with step halving, run until rounding stops it.

The step is the solution for the *increment*, so every iteration corrects the error of the one before, and the
standard errors are taken at the estimate (R takes them from one iteration earlier).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.families import Family
from inference_core.states import Array
from inference_core.states.base import Frozen

from .lstsq import lstsq
from .tall import cholesky_factor

OK, NOT_CONVERGED, BOUNDARY, SEPARATED, NO_START = "ok", "not converged", "boundary", "separated", "no start"
_DONE = 1e-20  # squared step in units of the squared standard error: 1e-10 of a standard error
_GOOD = 1e-12  # good enough to be called converged when rounding or slow Fisher scoring ends the polish
_FAR = 1e3  # a probability link has settled on 0 or 1 long before
_AT_EDGE = 1e-9  # share of the largest distance to the edge of the range of eta


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
        """Whether the deviance has settled, at an ordinary maximum or at the edge of what eta may be."""
        return self.status in (OK, BOUNDARY)


def irls(
    X: Array,
    y: Array,
    family: Family,
    weights: Array | None = None,
    offset: Array | None = None,
    *,
    start: Array | None = None,
    tol: float = 1e-12,
    max_iter: int = 100,
    check_separation: bool = True,
) -> IrlsResult:
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
        Relative change of the deviance below which the fit may be called converged. Steps continue below it
        until they are 1e-10 of a standard error or rounding stops them.

    Returns
    -------
    IrlsResult
        Never raises for a difficult fit: ``status`` says what happened.

    Notes
    -----
    A step that leaves the range of the link or raises the deviance is halved, up to 40 times. Where the
    deviance has settled but some eta still walks, separation is tested by linear programming
    (``solvers.separation``).
    """
    off = np.zeros(y.shape[0]) if offset is None else offset
    first = _first(X, y, family, weights, off, start)
    if first is None:
        return IrlsResult(np.full(X.shape[1], np.nan), off, np.nan, 0, NO_START)
    coef, eta = first
    deviance = _deviance(family, eta, y, weights)
    df = max(y.shape[0] - X.shape[1], 1)
    previous, tested, status, iteration, blocked = np.inf, False, NOT_CONVERGED, 0, 0
    for iteration in range(1, max_iter + 1):
        step, decrement = fisher_step(X, y, eta, family, weights)
        if iteration > 4 and decrement > 0.01 * previous:  # Fisher scoring is slow, or swings around the maximum
            step, decrement = _newton_step(X, y, eta, family, weights) or (step, decrement)
        phi = 1.0 if family.dispersion_known else max(deviance / df, np.finfo(float).tiny)
        accepted, cut = _accept(X, y, family, weights, off, coef, step, deviance)
        blocked = blocked + 1 if cut else 0
        if accepted is None or blocked == 8:
            # no point on the segment is better: rounding if the step was tiny, otherwise the edge of the
            # range
            status = OK if decrement <= 1e-8 * phi else BOUNDARY if blocked else NOT_CONVERGED
            break
        coef_new, eta_new, dev_new = accepted
        moved = float(np.max(np.abs(eta_new - eta), initial=0.0))
        settled = abs(dev_new - deviance) <= tol * (abs(dev_new) + 0.1)
        coef, eta, deviance = coef_new, eta_new, dev_new
        # an ordinary row that still moves this much would need a weight below 1e-3
        if check_separation and not tested and decrement < 1e-6 and moved > 0.03:
            from .separation import find_separation

            tested, found = True, find_separation(X, y, family)
            if found is not None:
                return IrlsResult(coef, eta, deviance, iteration, SEPARATED, found)
        if decrement <= _DONE * phi or (settled and decrement <= _GOOD * phi and decrement > 0.25 * previous):
            status = OK
            break
        if settled and decrement <= _GOOD * phi:
            status = OK  # stands if max_iter ends the polish
        previous = decrement
    if status == OK and touches_edge(family, eta):
        status = BOUNDARY  # the weights blow up there, so that steps die out although the score does not
    return IrlsResult(coef, eta, deviance, iteration, status)


def touches_edge(family: Family, eta: Array) -> bool:
    """Whether some eta lies within rounding of where the link or the family ends."""
    return bool(np.any(edge_rows(family, eta)))


def edge_rows(family: Family, eta: Array) -> Array:
    """Which eta (.., n) lie within rounding of an edge, against the reach of all of them; same shape."""
    close = np.zeros(np.shape(eta), dtype=bool)
    for edge in family.eta_bounds:
        if np.isfinite(edge):
            gap = np.abs(eta - edge)
            close |= gap <= _AT_EDGE * gap.max(axis=-1, keepdims=True)
    return close


def maximise(
    X: Array,
    y: Array,
    family: Family,
    weights: Array | None = None,
    offset: Array | None = None,
    *,
    start: Array | None = None,
    tol: float = 1e-12,
    max_iter: int = 100,
) -> IrlsResult:
    """:func:`irls`, and where the range of eta blocks it the constrained maximum; same arguments and
    result.
    """
    result = irls(X, y, family, weights, offset, start=start, tol=tol, max_iter=max_iter)
    if result.status == BOUNDARY:
        return _at_edge(X, y, family, weights, offset, result.coef, tol, max_iter)
    return result


def _at_edge(
    X: Array,
    y: Array,
    family: Family,
    weights: Array | None,
    offset: Array | None,
    start: Array,
    tol: float,
    max_iter: int,
) -> IrlsResult:
    """The maximum of the likelihood where the range of eta gets in the way of :func:`irls`.

    A logarithmic barrier keeps eta inside its range; its height falls from 1e-1 to 1e-12 of the dispersion,
    each fit starting from the one before. Status OK if the last fit, without barrier, ends in the interior;
    otherwise BOUNDARY, and the coefficients are those of the constrained maximum.
    """
    df = max(y.shape[0] - X.shape[1], 1)
    coef, total = start, 0
    off = np.zeros(y.shape[0]) if offset is None else offset
    phi = 1.0 if family.dispersion_known else _deviance(family, X @ coef + off, y, weights) / df
    for exponent in range(1, 13):
        fenced = _with_barrier(family, max(phi, np.finfo(float).tiny) * 10.0**-exponent)
        result = irls(X, y, fenced, weights, offset, start=coef, tol=1e-10, max_iter=50, check_separation=False)
        coef, total = result.coef, total + result.n_iter
    last = irls(X, y, family, weights, offset, start=coef, tol=tol, max_iter=max_iter)
    if last.status == OK:
        return replace(last, n_iter=total + last.n_iter)
    eta = X @ coef + off
    return IrlsResult(coef, eta, _deviance(family, eta, y, weights), total, BOUNDARY)


def _with_barrier(family: Family, height: float) -> Family:
    """The family with ``height * log(distance to each edge of eta)`` added to the log-likelihood of a row."""
    lo, hi = family.eta_bounds

    def score_weight(eta: Array, y: Array) -> tuple[Array, Array]:
        s, w = family.score_weight(eta, y)
        with np.errstate(divide="ignore", over="ignore"):
            below, above = 1.0 / (eta - lo), 1.0 / (hi - eta)  # 0 for an edge at infinity
            return s + height * (below - above), w + height * (below**2 + above**2)

    def deviance(eta: Array, y: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            room = sum(np.log(gap) for gap in (eta - lo, hi - eta) if np.all(np.isfinite(gap)))
            return family.deviance_rows(eta, y) - 2.0 * height * room

    return replace(family, score_weight_rule=score_weight, deviance_rule=deviance)


def can_run_away(family: Family) -> bool:
    """Whether means of a family other than the binomial go through a link that squeezes them between edges."""
    squeezed = family.link.log_tails is not None and family.link.name not in ("identity", "log")
    return squeezed and family.name not in ("binomial", "quasibinomial")


def runs_away(family: Family, eta: Array) -> Array:
    """Whether eta (.., n) has left for an edge that the link never reaches."""
    if not can_run_away(family):
        return np.zeros(np.shape(eta)[:-1], dtype=bool)
    return np.abs(eta).max(axis=-1) > _FAR


def fisher_step(X: Array, y: Array, eta: Array, family: Family, weights: Array | None) -> tuple[Array, float]:
    """The Fisher-scoring increment at eta (r,), and its squared length in the metric of the information."""
    s, w = family.score_weight(eta, y)
    if weights is not None:
        s, w = s * weights, w * weights
    w = np.where(np.isfinite(w) & np.isfinite(s), w, 0.0)
    R = cholesky_factor(X, w)
    if R is not None:
        g = np.where(w > 0, s, 0.0) @ X
        half = solve_triangular(R, g, trans=1, check_finite=False)
        return solve_triangular(R, half, check_finite=False), float(half @ half)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(w > 0, s / w, 0.0)
    solution = lstsq(X, z, w, tol=1e-11, leverage=False)  # R's glm: min(1e-7, epsilon / 1000)
    step = np.nan_to_num(solution.coef)
    half = solution.r_factor @ step[solution.kept]
    return step, float(half @ half)


def _newton_step(X: Array, y: Array, eta: Array, family: Family, weights: Array | None):
    """The step with the observed information, or None where that is not positive definite."""
    h = 1e-5 * np.maximum(1e-3, np.abs(eta))  # the score is smooth: error about h^2, rounding about eps / h
    s, w = family.score_weight(eta, y)
    with np.errstate(all="ignore"):
        observed = (family.score_weight(eta - h, y)[0] - family.score_weight(eta + h, y)[0]) / (2.0 * h)
    w = np.where(np.isfinite(observed), observed, w)
    if weights is not None:
        s, w = s * weights, w * weights
    R = cholesky_factor(X, w) if np.all(np.isfinite(w)) and np.all(np.isfinite(s)) else None
    if R is None:
        return None
    half = solve_triangular(R, s @ X, trans=1, check_finite=False)
    return solve_triangular(R, half, check_finite=False), float(half @ half)


def _deviance(family: Family, eta: Array, y: Array, weights: Array | None) -> float:
    rows = family.deviance_rows(eta, y)
    return float(np.sum(rows) if weights is None else weights @ rows)


def _accept(X, y, family, weights, off, coef, step, deviance):
    """The first of step, step/2, .. that stays valid and does not raise the deviance beyond rounding.

    None where no such step exists; beside it, whether the range of eta cut the full step.
    """
    slack = 1e-12 * (abs(deviance) + 0.1)
    cut = False
    for halving in range(40):
        trial = coef + step * 0.5**halving
        eta = X @ trial + off
        if family.eta_valid(eta):
            value = _deviance(family, eta, y, weights)
            if value <= deviance + slack:
                return (trial, eta, value), cut
        else:
            cut = True
    return None, cut


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
    """A coefficient vector whose etas are all strictly inside the allowed range, found by linear
    programming.
    """
    lo, hi = family.eta_bounds
    if not (np.isfinite(lo) or np.isfinite(hi)):
        return None
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
    answer = linprog(
        cost,
        np.vstack(rows),
        np.concatenate(bounds),
        bounds=[(None, None)] * r + [(None, size)],
        method="highs",
    )
    if answer.status != 0 or answer.x[-1] <= 0:
        return None
    coef = answer.x[:r] / scale
    eta = X @ coef + off
    return (coef, eta) if family.eta_valid(eta) else None


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

    With separated data the coefficients say only where an iteration stopped; stopping where R does lets
    tables agree. The clamps are R's: |eta| <= 30 for the logit, means at least one rounding unit from their
    edge.
    """
    n = y.shape[0]
    off = np.zeros(n) if offset is None else offset
    w = np.ones(n) if weights is None else weights
    eta = _starting_eta(y, family, weights)
    mu, slope = _clamped(family, eta)
    before, converged, n_iter = float(w @ family.unit_deviance(y, mu)), False, 25
    coef, working, deviance = np.full(X.shape[1], np.nan), w, before
    for iteration in range(1, 26):
        working = w * slope**2 / family.variance(mu)
        coef = lstsq(X, eta - off + (y - mu) / slope, working, tol=1e-11, leverage=False).coef
        eta = X @ np.nan_to_num(coef) + off
        mu, slope = _clamped(family, eta)
        deviance = float(w @ family.unit_deviance(y, mu))
        if abs(deviance - before) / (abs(deviance) + 0.1) < 1e-8:
            converged, n_iter = True, iteration
            break
        before = deviance
    return DefaultStop(coef, eta, working, deviance, n_iter, converged)


def _clamped(family: Family, eta: Array) -> tuple[Array, Array]:
    eps = np.finfo(float).eps
    mu, slope = family.link.inverse(eta), family.link.derivative(eta)
    if family.link.name == "logit":
        mu = np.where(eta > 30, 1.0 - eps, np.where(eta < -30, eps, mu))
        slope = np.where(np.abs(eta) > 30, eps, slope)
    return np.maximum(mu, eps), np.maximum(slope, eps)
