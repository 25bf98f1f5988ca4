"""Damped Newton with exact Hessians for B independent small problems at once.

T enters the deviance through T T' only, so no bound is needed: a zero on its diagonal is an ordinary stationary
point. Every lane has its own damping; lanes that are done leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np

from inference_core.backends.namespace import is_numpy, namespace
from inference_core.states import Array

FIT_TOL = 1e-12  # decrement (deviance units) at which one fit stops
REPLICATE_TOL = 1e-8  # the same for replicates: T then is within 1e-6 of its spread

_FLOOR = 1e-7  # smallest curvature, as a share of the largest
_SADDLE = 1e-6  # an eigenvalue below minus this share of the largest is a way down
_ROUNDING = 3e-13  # of the deviance, relative
_TRUST_GRADIENT = 1e-8  # decrement below which the deviance is too noisy to judge a step


class Evaluation(NamedTuple):
    """Deviance and its derivatives at one point a lane; beta and r2 in the solver's own basis."""

    deviance: Array  # (B,)
    gradient: Array  # (B, m)
    hessian: Array  # (B, m, m)
    beta: Array  # (B, p)
    r2: Array  # (B,) penalised residual sum of squares


class Problem(Protocol):
    """B lanes of one optimisation."""

    def evaluate(self, theta: Array) -> Evaluation:
        """Deviance, gradient and Hessian at theta (B, m)."""
        ...

    def take(self, lanes: Array) -> Problem:
        """The same problem for some of the lanes: positions or a boolean mask."""
        ...


@dataclass(slots=True, eq=False)
class NewtonResult:
    """Where each lane ended. Lanes that failed have ``converged`` false and hold their best point."""

    theta: Array  # (B, m)
    deviance: Array  # (B,)
    beta: Array  # (B, p)
    r2: Array  # (B,)
    gradient: Array  # (B, m)
    hessian: Array  # (B, m, m)
    n_iter: Array  # (B,)
    converged: Array  # (B,) bool
    decrement: Array  # (B,) last undamped Newton decrement, deviance units

    def put(self, lanes: Array, other: NewtonResult, which: Array | slice = slice(None)) -> None:
        """Take over lanes ``which`` of another result at positions ``lanes`` of this one."""
        for name in ("theta", "deviance", "beta", "r2", "gradient", "hessian", "converged", "decrement"):
            getattr(self, name)[lanes] = getattr(other, name)[which]
        self.n_iter[lanes] += other.n_iter[which]

    def join(self, others: Sequence[NewtonResult]) -> NewtonResult:
        """All lanes, these first."""
        return NewtonResult(
            *(np.concatenate([getattr(r, f.name) for r in (self, *others)]) for f in fields(NewtonResult))
        )

    def pick(self, lanes: Array) -> NewtonResult:
        """Some of the lanes."""
        return NewtonResult(
            self.theta[lanes], self.deviance[lanes], self.beta[lanes], self.r2[lanes], self.gradient[lanes],
            self.hessian[lanes], self.n_iter[lanes], self.converged[lanes], self.decrement[lanes],
        )  # fmt: skip


def newton(
    problem: Problem, start: Array, *, tol: float = FIT_TOL, max_iter: int = 60, at: Evaluation | None = None
) -> NewtonResult:
    """Minimise the deviance of every lane.

    Parameters
    ----------
    problem : Problem
        B lanes.
    start : (B, m) array
        Starting points.
    tol : float
        A lane stops after the accepted step whose undamped Newton decrement 1/2 g'|H|^-1 g was below ``tol`` (in
        deviance units, hence free of the scale of the data), with no negative curvature left.
    max_iter : int
        Evaluations after the first.
    at : Evaluation, optional
        What the problem is at ``start``, where that is known already.

    Returns
    -------
    NewtonResult

    Notes
    -----
    The step is -V diag(1 / (|w| + lambda)) V'g for H = V diag(w) V', at most 1 + max |theta| long. It is accepted if
    the deviance falls by a twentieth of what the quadratic predicts, up to rounding; below a decrement of 1e-8 the
    deviance is noise and the gradient decides. A lane at a saddle leaves along the eigenvector of the lowest
    eigenvalue. See Nocedal & Wright (2006), chapters 3 and 6.
    """
    theta = np.array(start, dtype=float)
    with np.errstate(all="ignore"):  # a trial point may overflow: it is not finite, so it is rejected
        at = Evaluation(*(np.array(value) for value in problem.evaluate(theta))) if at is None else at
        B = theta.shape[0]
        out = NewtonResult(
            theta.copy(), at.deviance.copy(), at.beta.copy(), at.r2.copy(), at.gradient.copy(), at.hessian.copy(),
            np.zeros(B, dtype=int), np.zeros(B, dtype=bool), np.full(B, np.inf),
        )  # fmt: skip
        active = np.flatnonzero(usable(at))
        if active.size < B:
            theta, at, problem = theta[active], _take(at, active), problem.take(active)
        lam, escape = np.zeros(active.size), np.full(active.size, 0.3)
        for iteration in range(1, max_iter + 1):
            if not active.size:
                break
            theta, at, lam, escape, decrement, done = advance(problem, theta, at, lam, escape, tol)
            out.n_iter[active], out.decrement[active] = iteration, decrement
            out.converged[active[done]] = True
            last = iteration == max_iter
            leave = done | last
            if leave.any():
                gone = active[leave]
                out.theta[gone] = theta[leave]
                for name in Evaluation._fields:
                    getattr(out, name)[gone] = getattr(at, name)[leave]
                keep = ~leave
                active, theta, at, lam, escape = active[keep], theta[keep], _take(at, keep), lam[keep], escape[keep]
                if active.size:
                    problem = problem.take(keep)
    return out


def advance(
    problem: Problem, theta: Array, at: Evaluation, lam: Array, escape: Array, tol: float
) -> tuple[Array, Evaluation, Array, Array, Array, Array]:
    """One proposed step of every lane, taken where it is accepted; for arrays of NumPy or of JAX.

    Parameters
    ----------
    theta, at
        Where the lanes are.
    lam, escape : (B,)
        Damping, and how far a lane at a saddle tries to leave it.

    Returns
    -------
    theta, at, lam, escape
        The same afterwards.
    decrement : (B,)
        Undamped, of the step.
    done : (B,) bool
    """
    xp = namespace(theta)
    step = _Step.of(theta, at, lam, escape, tol)
    trial = theta - step.move
    new = problem.evaluate(trial)
    ok = step.accepts(at.deviance, new) & usable(new)
    escape = xp.where(step.saddle & ~ok, 0.3 * escape, escape)
    done = step.small & ~step.saddle & (ok | (step.decrement < 1e-12)) | (step.saddle & (escape < 1e-4))
    lam = step.next_damping(lam, ok, at.deviance - new.deviance)
    theta = xp.where(ok[:, None], trial, theta)
    at = Evaluation(*(where_lanes(ok, a, b) for a, b in zip(new, at, strict=True)))
    return theta, at, lam, escape, step.decrement, done


class _Step(NamedTuple):
    """One proposed step a lane, and what the quadratic model says of it."""

    move: Array  # (B, m), to be subtracted
    decrement: Array  # (B,) undamped
    predicted: Array  # (B,) fall of the deviance
    small: Array  # (B,) bool
    saddle: Array  # (B,) bool: stationary, but with a way down
    convex: Array  # (B,) bool
    scale: Array  # (B,) largest |eigenvalue|

    @classmethod
    def of(cls, theta: Array, at: Evaluation, lam: Array, escape: Array, tol: float) -> _Step:
        xp = namespace(theta)
        w, V = xp.linalg.eigh(at.hessian)
        scale = xp.maximum(xp.abs(w).max(axis=1), 1e-300)
        size = xp.maximum(xp.abs(w), _FLOOR * scale[:, None])
        g = xp.einsum("bji,bj->bi", V, at.gradient)
        p = g / (size + lam[:, None])
        cap = 1.0 + xp.abs(theta).max(axis=1)
        p *= xp.minimum(1.0, cap / xp.maximum(xp.sqrt(xp.square(p).sum(axis=1)), 1e-300))[:, None]
        decrement = 0.5 * (xp.square(g) / size).sum(axis=1)
        small = decrement < tol
        convex = w[:, 0] >= -_SADDLE * scale
        saddle = small & ~convex
        if not is_numpy(p) or saddle.any():
            away = escape * cap * xp.where(g[:, 0] < 0, -1.0, 1.0)
            p = xp.where(saddle[:, None], xp.where(np.arange(p.shape[1]) == 0, away[:, None], 0.0), p)
        predicted = (g * p).sum(axis=1) - 0.5 * (w * xp.square(p)).sum(axis=1)
        return cls(xp.einsum("bij,bj->bi", V, p), decrement, predicted, small, saddle, convex, scale)

    def accepts(self, deviance: Array, new: Evaluation) -> Array:
        xp = namespace(deviance)
        slack = _ROUNDING * (1.0 + xp.abs(deviance))
        ok = new.deviance <= deviance - 0.05 * xp.maximum(self.predicted, 0.0) + slack
        # close to the optimum the deviance is rounding: the gradient knows better
        ok |= (self.decrement < _TRUST_GRADIENT) & self.convex & (new.deviance <= deviance + 1e-6)
        return xp.where(self.saddle, new.deviance < deviance - slack, ok)

    def next_damping(self, lam: Array, ok: Array, fall: Array) -> Array:
        xp = namespace(lam)
        eased = xp.where(fall > 0.7 * self.predicted, 0.1 * lam, lam)
        eased = xp.where(lam < 1e-6 * self.scale, 0.0, eased)
        raised = xp.maximum(5.0 * lam, 3e-2 * self.scale)
        return xp.where(self.saddle, 0.0, xp.where(ok, eased, raised))


def usable(at: Evaluation) -> Array:
    """(B,) lanes in which everything is finite."""
    xp = namespace(at.deviance)
    finite = xp.isfinite(at.deviance) & xp.all(xp.isfinite(at.gradient), axis=1)
    return finite & xp.all(xp.isfinite(at.hessian), axis=(1, 2))


def _take(at: Evaluation, lanes: Array) -> Evaluation:
    return Evaluation(*(value[lanes] for value in at))


def where_lanes(ok: Array, new: Array, old: Array) -> Array:
    """``new`` in the lanes flagged in ``ok`` (B,), else ``old``; whatever their further axes."""
    return namespace(old).where(ok.reshape(-1, *([1] * (old.ndim - 1))), new, old)


def best_of(results: Sequence[NewtonResult]) -> NewtonResult:
    """Lane by lane the result with the lowest deviance; one that converged beats an equal one that did not."""
    best = results[0].pick(np.arange(results[0].deviance.size))
    for other in results[1:]:
        slack = 1e-9 * (1.0 + np.abs(best.deviance))
        lower = other.deviance < best.deviance - slack
        equal = (other.deviance <= best.deviance + slack) & other.converged & ~best.converged
        better = np.flatnonzero(np.isfinite(other.deviance) & (lower | equal | ~np.isfinite(best.deviance)))
        best.put(better, other, better)
    return best
