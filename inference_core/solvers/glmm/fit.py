"""The fit of one GLMM: the outer search, Newton steps at its end, the Hessian there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.states import Array

from .bfgs import FIT_TOL, bfgs
from .problem import Problem
from .start import first_guess

SINGULAR = 1e-4  # diagonal of T below which a fit is singular, as lme4 has it
RUNAWAY = 30.0  # |X beta| of a replicate beyond which a fitted probability or rate is at its edge
_RUNAWAY_FIT = 100.0  # the same for a first fit, where nothing tells yet how far an outlying row may lie
THETA_MAX = 1e6  # of a negative binomial: beyond, the counts are a Poisson's
_ENDLESS = ("logit", "probit", "cloglog", "log")  # links that reach the edge of the means only at infinity
_STEP = 1e-3  # of central differences of the gradient, in standard errors
_HESSIAN_NUMBERS = 5e5  # rows times points worked at once
_STARTS = (0.5, 0.1, 2.0)  # first T as multiples of I; the later ones where the first end looks doubtful


@dataclass(slots=True)
class Optimum:
    """Where one fit ended, in working coordinates."""

    x: Array  # (m,) theta, beta, log scale
    u: Array  # (q,)
    deviance: float  # as the rule of integration defines it, data-only constants left out
    gradient: Array  # in what is searched
    hessian: Array  # (s, s) of the deviance in what is searched
    decrement: float  # half g'H^-1 g, deviance units
    converged: bool
    n_iter: int
    runaway: bool = False  # whether the fixed part left every sensible range: separated data


class Objective:
    """The deviance as a function of what is searched; keeps modes (and beta for nAGQ = 0) as warm starts."""

    def __init__(self, problem: Problem, x: Array, u: Array, limit: float) -> None:
        self.limit = limit
        self.problem, self.x, self.u = problem, x.copy(), u.copy()
        self._lanes: Array | None = None
        self._part: Problem = problem

    def __call__(self, searched: Array, lanes: Array) -> tuple[Array, Array]:
        """Deviance (b,), inf where there is none, and gradient (b, s) of these lanes."""
        p = self.problem
        part = self._problem_of(lanes)
        x = self.x[lanes]
        x[:, p.searched] = searched
        found = part.evaluate(x, self.u[lanes])
        assert found.gradient is not None
        good = np.isfinite(found.deviance)
        at = lanes[good]
        self.u[at] = found.u[good]
        if p.n_agq == 0:
            self.x[at, p.n_theta : p.n_theta + p.design.p] = found.beta[good]
        return np.where(good, found.deviance, np.inf), found.gradient

    def runaway(self, searched: Array, lanes: Array) -> Array:
        """Lanes whose fixed part has left the range of probabilities and rates that data can tell from their edge."""
        p = self.problem
        x = self.x[lanes]
        x[:, p.searched] = searched
        point = p.split(x)
        gone = np.zeros(lanes.size, dtype=bool)
        if p.model.family.name == "negative_binomial" and point.scale is not None:
            gone |= point.scale > np.log(THETA_MAX)
        if p.model.family.link.name in _ENDLESS:
            gone |= np.max(np.abs(point.beta @ p.design.X.T), axis=1, initial=0.0) > self.limit
        return gone

    def _problem_of(self, lanes: Array) -> Problem:
        """The problem of these lanes; lanes repeat from one evaluation to the next, so the last one is kept."""
        if self._lanes is None or lanes.size != self._lanes.size or not np.array_equal(lanes, self._lanes):
            self._lanes = lanes.copy()
            self._part = self.problem
            if lanes.size < self.u.shape[0]:
                self._part = self.problem.lanes(lanes)
        return self._part


def optimise(problem: Problem, *, max_iter: int = 200, start: Array | None = None) -> Optimum:
    """Fit one model: BFGS, the exact-difference Hessian at its end, and Newton steps with it.

    Parameters
    ----------
    problem : Problem
        With responses of one lane.
    max_iter : int
        Largest number of outer steps.
    start : (m,) array, optional
        Working coordinates to begin at.

    Notes
    -----
    Where the end is singular, not settled, or no minimum, the search is repeated from other T and the best end taken.
    """
    best = None
    for attempt, height in enumerate(_STARTS):
        x0, H0 = first_guess(problem, height)
        if start is not None and attempt == 0:
            x0 = start
        found = _search(problem, x0, H0, max_iter)
        if best is None or (np.isfinite(found.deviance) and not found.deviance >= best.deviance - 1e-7):
            best = found
        if (best.converged and not _doubtful(problem, best)) or best.runaway:
            break
    assert best is not None
    return best


def optimum_at(problem: Problem, x: Array) -> Optimum:
    """The view of a fit that ended at working coordinates x (m,), from which refits start: modes and Hessian there."""
    found = problem.evaluate(x[None], np.zeros((1, problem.design.q)))
    assert found.gradient is not None
    if problem.n_agq == 0:
        x = x.copy()
        x[problem.n_theta : problem.n_theta + problem.design.p] = found.beta[0]
    H = hessian(problem, x, found.u[0], np.eye(problem.searched.size) / 100.0)
    return Optimum(x, found.u[0], float(found.deviance[0]), found.gradient[0], H, np.inf, False, 0)


def _search(problem: Problem, x0: Array, H0: Array, max_iter: int) -> Optimum:
    objective = Objective(problem, x0[None], np.zeros((1, problem.design.q)), _RUNAWAY_FIT)
    lane = np.zeros(1, dtype=int)
    result = bfgs(objective, x0[None, problem.searched], H0, tol=FIT_TOL, max_iter=max_iter, runaway=objective.runaway)
    value, g = objective(result.x, lane)
    x = objective.x[0].copy()
    x[problem.searched] = result.x[0]
    u = objective.u[0]
    flipped, _ = canonical(problem, x, u)
    if not np.array_equal(flipped, x):
        x, u = canonical(problem, x, u)
        again = problem.evaluate(x[None], u[None])
        assert again.gradient is not None
        value, g = again.deviance, again.gradient
    end = Optimum(
        x, u, float(value[0]), g[0], np.full(H0.shape, np.nan), np.inf, bool(result.converged[0]),
        int(result.n_iter[0]), bool(objective.runaway(result.x, lane)[0]),
    )  # fmt: skip
    return _polish(problem, end, result.inverse_hessian[0])


def _polish(problem: Problem, end: Optimum, inverse_hessian: Array) -> Optimum:
    """Newton steps with the Hessian by differences until the gradient is gone to rounding.

    The Hessian is computed again only after a step that moved far enough to change it.
    """
    guess, H = inverse_hessian, None
    for _ in range(6):
        if not np.isfinite(end.deviance):
            return end
        if H is None:
            H = hessian(problem, end.x, end.u, guess)
        positive, step, decrement = _newton_step(H, end.gradient)
        end = replace(end, hessian=H, decrement=decrement)
        if not positive:
            return replace(end, converged=False)
        if decrement < 1e-13:
            return replace(end, converged=True)
        if decrement > 1e-2 or float(np.max(np.abs(step))) > 1.0:
            return replace(end, converged=end.converged and decrement < 1e-6)
        trial = end.x.copy()
        trial[problem.searched] += step
        found = problem.evaluate(trial[None], end.u[None])
        assert found.gradient is not None
        if not found.deviance[0] <= end.deviance + 1e-9 * (1.0 + abs(end.deviance)):
            return replace(end, converged=decrement < 1e-6)
        if problem.n_agq == 0:
            trial[problem.n_theta : problem.n_theta + problem.design.p] = found.beta[0]
        end = replace(
            end, x=trial, u=found.u[0], deviance=float(found.deviance[0]), gradient=found.gradient[0],
            converged=decrement < 1e-6,
        )  # fmt: skip
        if decrement > 1e-8:  # more than 1e-4 of a standard error
            guess, H = np.linalg.inv(H), None
    return end


def _newton_step(H: Array, gradient: Array) -> tuple[bool, Array, float]:
    values, vectors = np.linalg.eigh(H) if np.all(np.isfinite(H)) else (np.array([-1.0]), np.eye(1))
    if values[0] <= 1e-9 * max(values[-1], 1e-300):
        return False, np.zeros_like(gradient), np.inf
    along = vectors.T @ gradient
    return True, -vectors @ (along / values), 0.5 * float(np.sum(along**2 / values))


def _doubtful(problem: Problem, end: Optimum) -> bool:
    """Whether another start might end lower: at or near a boundary of Sigma."""
    return bool(np.any(np.abs(diagonal(problem, end.x)) < 0.01))


def hessian(problem: Problem, x: Array, u: Array, inverse_hessian: Array) -> Array:
    """Second derivatives in what is searched, by central differences of the exact gradient; all points are lanes."""
    s = problem.searched
    spread = np.sqrt(2.0 * np.clip(np.diagonal(inverse_hessian), 1e-12, 1e6))
    h = np.clip(_STEP * spread, 1e-6, 1e-2)
    points = np.repeat(x[None], 2 * s.size, axis=0)
    points[np.arange(s.size), s] += h
    points[s.size + np.arange(s.size), s] -= h
    chunk = max(1, int(_HESSIAN_NUMBERS // max(problem.design.n, 1)))
    pieces = []
    for start in range(0, 2 * s.size, chunk):
        some = points[start : start + chunk]
        lanes = np.zeros(len(some), dtype=int) if _by_lane(problem) else slice(None)
        found = problem.evaluate(some, np.repeat(u[None], len(some), axis=0), lanes)
        assert found.gradient is not None
        pieces.append(found.gradient)
    gradients = np.concatenate(pieces)
    H = (gradients[: s.size] - gradients[s.size :]) / (2.0 * h[:, None])
    return 0.5 * (H + H.T)


def _by_lane(problem: Problem) -> bool:
    """Whether something differs by lane, so that one lane must be named for every point."""
    design = problem.design
    return problem.model.y.shape[0] > 1 or design.multiplicity is not None


def diagonal(problem: Problem, x: Array) -> Array:
    """Diagonal entries of all T in x (..., m)."""
    places, at = [], 0
    for t in problem.terms:
        places += [at + i for i, (a, b) in enumerate(t.entries) if a == b]
        at += len(t.entries)
    return x[..., places]


def canonical(problem: Problem, x: Array, u: Array) -> tuple[Array, Array]:
    """Columns of T turned so that the diagonal is >= 0, and u with them: x (..., m), u (..., q)."""
    x, u = x.copy(), u.copy()
    at, first = 0, 0
    for t in problem.terms:
        k = t.Z.shape[1]
        effects = u[..., first : first + t.J * k].reshape(*u.shape[:-1], t.J, k)
        for i, (a, b) in enumerate(t.entries):
            if a != b:
                continue
            sign = np.where(x[..., at + i] < 0, -1.0, 1.0)
            for j, (_, column) in enumerate(t.entries):
                if column == b:
                    x[..., at + j] = x[..., at + j] * sign
            effects[..., b] *= sign[..., None]
        u[..., first : first + t.J * k] = effects.reshape(*u.shape[:-1], t.J * k)
        at += len(t.entries)
        first += t.J * k
    return x, u
