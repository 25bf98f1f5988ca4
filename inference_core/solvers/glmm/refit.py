"""Refits of one model to many responses, or to groups counted more or less often: lanes that start at the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import DRAW_NOT_CONVERGED, DRAW_OK, DRAW_SEPARATED, Array

from .bfgs import REPLICATE_TOL, BfgsResult, bfgs
from .fit import RUNAWAY, THETA_MAX, Objective, Optimum, canonical
from .problem import Problem

STEP = 1e-3  # of central differences of the gradient, in standard errors
FLAT = 1e-10  # share of the largest curvature below which the deviance says nothing
_LANE_NUMBERS = 2.5e5  # rows times lanes worked at once


@dataclass(slots=True)
class Refits:
    """Estimates of B refits, in the units of the data."""

    theta: Array  # (B, m)
    beta: Array  # (B, p)
    scale: Array | None  # (B,) log of the scale parameter
    deviance: Array  # (B,)
    u: Array  # (B, q)
    status: Array  # (B,) int8, see states.DRAW_REASONS
    n_iter: Array  # (B,)


def refit(problem: Problem, optimum: Optimum, *, tol: float = REPLICATE_TOL, max_iter: int = 60) -> Refits:
    """Fit the lanes of ``problem`` (``with_responses``, ``with_multiplicity``), starting at the original's optimum.

    Lanes that do not settle are tried once more from a cold start; what is left carries a reason code.
    """
    B = _lanes_of(problem)
    chunk = max(1, int(_LANE_NUMBERS // max(problem.design.n, 1)))
    parts = []
    for start in range(0, B, chunk):
        lanes = np.arange(start, min(start + chunk, B))
        part = problem if lanes.size == B else problem.lanes(lanes)
        parts.append(_refit(part, lanes.size, optimum, tol, max_iter))

    def joined(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    scale = None if parts[0].scale is None else joined("scale")
    return Refits(
        joined("theta"), joined("beta"), scale, joined("deviance"), joined("u"), joined("status"), joined("n_iter")
    )


def standard_errors(problem: Problem, optimum: Optimum, found: Refits) -> Array:
    """(B, p) standard errors of the coefficients of each refit, from the Hessian of its deviance in (theta, beta, ...).

    By central differences of the gradient, all lanes at once, as for a single fit; nAGQ > 0. NaN where the deviance is
    flat or the Hessian not positive.
    """
    s, m, p = problem.searched, problem.n_theta, problem.design.p
    B = len(found.beta)
    reported = [found.theta, found.beta] + ([] if found.scale is None else [found.scale[:, None]])
    x = np.linalg.solve(problem.to_data, np.concatenate(reported, axis=1).T).T
    step = np.clip(STEP * np.sqrt(2.0 * np.clip(np.diagonal(_safe_inverse(optimum.hessian)), 1e-12, 1e6)), 1e-6, 1e-2)
    H = np.empty((B, s.size, s.size))
    chunk = max(1, int(_LANE_NUMBERS // max(problem.design.n, 1)))
    for start in range(0, B, chunk):
        lanes = np.arange(start, min(start + chunk, B))
        part = problem if lanes.size == B else problem.lanes(lanes)
        for j, h in enumerate(step):
            ends = []
            for sign in (1.0, -1.0):
                at = x[lanes]
                at[:, s[j]] += sign * h
                ends.append(part.evaluate(at, found.u[lanes]).gradient)
            H[lanes, j] = (ends[0] - ends[1]) / (2.0 * h)
    H = 0.5 * (H + H.transpose(0, 2, 1))
    size = np.sqrt(np.where(np.diagonal(H, axis1=1, axis2=2) > 0, np.diagonal(H, axis1=1, axis2=2), 1.0))
    scaled = H / (size[:, :, None] * size[:, None, :])
    finite = np.isfinite(scaled).all(axis=(1, 2)) & (found.status == DRAW_OK)
    safe = np.where(finite[:, None, None], scaled, np.eye(s.size))
    good = finite & (np.linalg.eigvalsh(safe)[:, 0] > FLAT)
    inverse = np.linalg.inv(np.where(good[:, None, None], safe, np.eye(s.size))) / (size[:, :, None] * size[:, None, :])
    K = problem.to_data[np.ix_(s, s)][m : m + p]
    variance = 2.0 * np.einsum("ij,bjk,ik->bi", K, inverse, K)
    return np.where(good[:, None], np.sqrt(np.maximum(variance, 0.0)), np.nan)


def _lanes_of(problem: Problem) -> int:
    times = problem.design.multiplicity
    return max(problem.model.y.shape[0], 1 if times is None else times.shape[0])


def _refit(problem: Problem, B: int, optimum: Optimum, tol: float, max_iter: int) -> Refits:
    s = problem.searched
    x = np.repeat(optimum.x[None], B, axis=0)
    # an exact zero on the diagonal of T is a stationary point of every lane: start beside it
    at_zero = np.abs(optimum.x) < 1e-3
    at_zero[problem.n_theta :] = False
    x[:, at_zero] += 0.05
    reach = np.max(np.abs(problem.design.X @ problem.split(optimum.x[None]).beta[0]), initial=0.0)
    limit = max(RUNAWAY, 2.0 * float(reach))
    objective = Objective(problem, x, np.repeat(optimum.u[None], B, axis=0), limit)
    H0 = _safe_inverse(optimum.hessian)
    result = bfgs(objective, x[:, s], H0, tol=tol, max_iter=max_iter, runaway=objective.runaway)
    gone = objective.runaway(result.x, np.arange(B))
    lost = np.flatnonzero(~result.converged & ~gone)
    if lost.size:
        _second_chance(problem, objective, result, lost, optimum, tol, max_iter)
    full = objective.x
    full[:, s] = result.x
    full, u = canonical(problem, full, objective.u)
    status = np.where(result.converged, DRAW_OK, DRAW_NOT_CONVERGED).astype(np.int8)
    poisson = np.zeros(B, dtype=bool)
    if problem.model.family.name == "negative_binomial" and problem.n_scale:
        poisson = full[:, -1] > np.log(THETA_MAX)  # no spread beyond a Poisson's is an answer, not a failure
    status[objective.runaway(result.x, np.arange(B)) & ~poisson] = DRAW_SEPARATED
    status[poisson] = DRAW_OK
    data = full @ problem.to_data.T
    out = problem.split(data)
    return Refits(out.theta, out.beta, out.scale, result.deviance, u, status, result.n_iter)


def _second_chance(problem, objective, result: BfgsResult, lost: Array, optimum: Optimum, tol, max_iter) -> None:
    """Cold starts for lanes that failed: T = I / 2 and no effects, curvature of the diagonal alone."""
    s = problem.searched
    x = np.repeat(optimum.x[None], lost.size, axis=0)
    at = 0
    for t in problem.terms:
        for i, (a, b) in enumerate(t.entries):
            x[:, at + i] = 0.5 if a == b else 0.0
        at += len(t.entries)
    part = problem.lanes(lost)
    again = Objective(part, x, np.zeros((lost.size, problem.design.q)), objective.limit)
    H0 = np.diag(np.diagonal(_safe_inverse(optimum.hessian)))
    second = bfgs(again, x[:, s], H0, tol=tol, max_iter=2 * max_iter, runaway=again.runaway)
    better = second.converged | (second.deviance < result.deviance[lost])
    at_lanes = lost[better]
    for name in ("x", "deviance", "gradient", "converged"):
        getattr(result, name)[at_lanes] = getattr(second, name)[better]
    result.n_iter[lost] += second.n_iter
    objective.x[at_lanes] = again.x[better]
    objective.u[at_lanes] = again.u[better]


def _safe_inverse(H: Array) -> Array:
    """Inverse of the Hessian with eigenvalues kept above a share of the largest; I / 100 where there is none."""
    if not np.all(np.isfinite(H)):
        return np.eye(len(H)) / 100.0
    values, vectors = np.linalg.eigh(H)
    values = np.maximum(np.abs(values), 1e-4 * np.max(np.abs(values)))
    return (vectors / values) @ vectors.T
