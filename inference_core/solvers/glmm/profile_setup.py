"""From a fitted GLMM to a profile: order of the effects, targets, and the fits on the boundaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference_core.solvers.lmm.information import covariance_entries
from inference_core.solvers.lmm.profile_setup import Label, column_sizes, falling
from inference_core.solvers.lmm.profile_targets import COR, FIXED, RATIO, SD, SIGMA, Targets, row_map
from inference_core.solvers.lmm.structure import canonical, to_matrix
from inference_core.states import Array

from .bfgs import bfgs
from .fit import SINGULAR, optimise
from .problem import Problem, RandomTerm
from .profile import GlmmSurface

_TOL = 1e-10  # half g'Hg (deviance units) at which a fit on a boundary stops

Pose = Callable[[tuple[RandomTerm, ...]], Problem]


@dataclass(frozen=True, slots=True, eq=False)
class GlmmProfileSetup:
    """A GLMM at its optimum, ready to be profiled."""

    problem: Problem
    pose: Pose  # the same model with its terms written otherwise
    orders: tuple[Array, ...]  # per term: the columns of the model, those that add most first
    x: Array  # (m,) working coordinates of the optimum
    u: Array  # (q,)
    converged: bool
    has_theta: bool  # the scale parameter is the theta of a negative binomial

    @classmethod
    def of(
        cls, pose: Pose, terms: Sequence[RandomTerm], T: Sequence[Array], beta: Array, scale: Array
    ) -> GlmmProfileSetup:
        """From the estimates in the units of the data: T_t (k, k) on the link scale, beta (p,), log scale (0 or 1,).

        Effects are taken in falling order of what they add, so that zeros come last, where T has no seam.
        """
        orders, ordered, factors = [], [], []
        for term, t in zip(terms, T, strict=True):
            order = falling(term.Z, term.mask, t)
            orders.append(order)
            ordered.append(_reordered(term, order))
            factors.append(canonical(t[np.ix_(order, order)], term.mask))
        problem = pose(tuple(ordered))
        data = np.concatenate([*(_entries_of(t, term) for t, term in zip(factors, ordered, strict=True)), beta, scale])
        found = optimise(problem, start=_snapped(problem, np.linalg.solve(problem.to_data, data)))
        x = _snapped(problem, found.x)
        return cls(
            problem, pose, tuple(orders), x, found.u, found.converged,
            problem.model.family.name == "negative_binomial",
        )  # fmt: skip

    def surface(self) -> tuple[GlmmSurface, tuple[Label, ...]]:
        """The deviance and what its targets are: SDs and correlations term by term, the scale, fixed effects."""
        problem, m = self.problem, self.problem.n_theta
        labels = self._labels()
        P, width = len(labels), max(t.Z.shape[1] for t in problem.terms)
        first, second = np.zeros((P, width, m)), np.zeros((P, width, m))
        rows = np.zeros((P, problem.searched.size))
        for j, label in enumerate(labels):
            if label.kind in (RATIO, COR):
                first[j] = self._row(label.term, label.first, width)
                if label.kind == COR:
                    second[j] = self._row(label.term, label.second, width)
            elif label.kind == FIXED:
                rows[j] = problem.to_data[m + label.column, problem.searched]
        targets = Targets(
            np.array([label.kind for label in labels]), first, second, np.zeros((P, 0)), np.ones(P), np.zeros(P)
        )

        def boundary(target: int, side: int) -> float:
            label = labels[target]
            if label.kind == RATIO:
                return self.deviance_without(surface, first[target])
            return self.deviance_tied(surface, label, first[target], second[target], side)

        surface = GlmmSurface(
            problem, targets, rows, 1.0 if self.has_theta else 0.5, self.x, self.u, boundary
        )
        return surface, tuple(replace(x, kind=SD) if x.kind == RATIO else x for x in labels)

    def _labels(self) -> tuple[Label, ...]:
        out = []
        for t, (term, order) in enumerate(zip(self.problem.terms, self.orders, strict=True)):
            place = np.argsort(order)
            mask = _symmetric(term.mask)[np.ix_(place, place)]
            for a, b in covariance_entries(np.tril(mask)):
                out.append(Label(RATIO, t, a) if a == b else Label(COR, t, a, b))
        if self.problem.n_scale:
            out.append(Label(SIGMA))
        if self.problem.n_agq:
            out += [Label(FIXED, column=j) for j in range(self.problem.design.p)]
        return tuple(out)

    def _row(self, t: int, a: int, width: int) -> Array:
        """(width, m) map from theta to the row of T that belongs to effect a (a column of the model) of term t."""
        at = int(np.flatnonzero(self.orders[t] == a)[0])
        terms = self.problem.terms
        start = sum(len(term.entries) for term in terms[:t])
        return row_map(self.problem.maps[t][at], terms[t].entries, start, self.problem.n_theta, width)

    # ---- boundaries ----------------------------------------------------------------------------------------

    def deviance_without(self, surface: GlmmSurface, row: Array) -> float:
        """Deviance of the best fit with a row of T, (width, m) @ theta, at 0."""
        return min(_restricted(surface, row, start)[0] for start in self._starts(surface.optimum[0]))

    def deviance_tied(self, surface: GlmmSurface, label: Label, first: Array, second: Array, side: int) -> float:
        """Deviance of the best fit with the correlation of two effects at ``side``.

        With the two effects first in the order, rows (t_a, 0, ..) and (+-t_b, 0, ..). If the best fit of that form has
        the other sign, the way there leads through an SD of 0, and the best of those fits stands for the boundary.
        """
        setup = self._with_first(label)
        t, m, width = label.term, setup.problem.n_theta, first.shape[0]
        rows = [setup._row(t, effect, width) for effect in (label.first, label.second)]
        none = Targets(np.array([RATIO]), rows[0][None], rows[1][None], np.zeros((1, 0)), np.ones(1), np.zeros(1))
        own = GlmmSurface(
            setup.problem, none, np.zeros((1, setup.problem.searched.size)), surface.scale_power, setup.x, setup.u,
            lambda j, s: np.inf,
        )  # fmt: skip
        own.between = surface.between
        start = own.optimum[0].copy()
        a, b = rows[0] @ start[:m], rows[1] @ start[:m]
        size = column_sizes(setup.problem.terms[t].Z)[:2] / setup.problem.unit
        least = max(0.1 * float(np.linalg.norm(a)) * size[0], 1e-2)
        wanted = side * max(float(np.linalg.norm(b)), least / size[1])
        turn = rows[1][:2]  # the first two entries of row b, linear in theta
        start[:m] += np.linalg.pinv(turn) @ (np.array([wanted, 0.0]) - turn @ start[:m])
        deviance, found = _restricted(own, rows[1][[1]], start)
        a, b = rows[0] @ found[:m], rows[1] @ found[:m]
        if a[0] * b[0] * side > 0:
            return deviance
        return min(self.deviance_without(surface, row) for row in (first, second))

    def _with_first(self, label: Label) -> GlmmProfileSetup:
        """The same with the two effects of a correlation first in the order of their term."""
        t = label.term
        term, order = self.problem.terms[t], self.orders[t]
        place = np.argsort(order)
        pair = [int(place[label.first]), int(place[label.second])]
        again = np.array([*pair, *(c for c in range(term.Z.shape[1]) if c not in pair)])
        terms = list(self.problem.terms)
        terms[t] = _reordered(term, again)
        problem = self.pose(tuple(terms))
        data = self.problem.to_data @ self.x
        start = sum(len(other.entries) for other in self.problem.terms[:t])
        count = len(term.entries)
        T = to_matrix(data[None, start : start + count], term.entries, term.Z.shape[1])[0]
        data[start : start + count] = _entries_of(canonical(T[np.ix_(again, again)], terms[t].mask), terms[t])
        x = np.linalg.solve(problem.to_data, data)
        orders = (*self.orders[:t], order[again], *self.orders[t + 1 :])
        return replace(self, problem=problem, orders=orders, x=x, u=np.zeros_like(self.u))

    def _starts(self, z: Array) -> list[Array]:
        """The optimum, and the same with every variance lifted: a zero is a stationary point of the search."""
        lifted, at = z.copy(), 0
        for term in self.problem.terms:
            for i, (a, b) in enumerate(term.entries, start=at):
                lifted[i] += 0.3 * (a == b)
            at += len(term.entries)
        return [z, lifted]


def _restricted(surface: GlmmSurface, row: Array, start: Array) -> tuple[float, Array]:
    """Deviance and place of the best fit with row (c, m) @ theta = 0."""
    m, d = surface.problem.n_theta, start.size
    _, size, Vt = np.linalg.svd(row)
    free = Vt[np.count_nonzero(size > 1e-12 * max(size[0], 1e-300)) :]
    N = np.zeros((d, free.shape[0] + d - m))
    N[:m, : free.shape[0]], N[m:, free.shape[0] :] = free.T, np.eye(d - m)
    if not N.shape[1]:
        return float(surface.evaluate(np.zeros((1, d)), np.zeros(1, dtype=int)).deviance[0]), np.zeros(d)
    H = N.T @ surface.curvature[0] @ N
    w, V = np.linalg.eigh(H)
    H0 = (V / np.maximum(np.abs(w), 1e-3 * max(float(np.abs(w).max()), 1e-300))) @ V.T

    def objective(y: Array, lanes: Array) -> tuple[Array, Array]:
        surface.between()
        at = surface.evaluate(y @ N.T, lanes)
        return np.where(np.isfinite(at.deviance), at.deviance, np.inf), at.gradient @ N

    found = bfgs(objective, (N.T @ start)[None], H0, tol=_TOL)
    return float(found.deviance[0]), N @ found.x[0]


def _reordered(term: RandomTerm, order: Array) -> RandomTerm:
    mask = np.tril(_symmetric(term.mask)[np.ix_(order, order)])
    return RandomTerm(np.ascontiguousarray(term.Z[:, order]), term.group, term.J, mask)


def _symmetric(mask: Array) -> Array:
    return mask | mask.T


def _entries_of(T: Array, term: RandomTerm) -> Array:
    rows, columns = zip(*term.entries, strict=True)
    return T[list(rows), list(columns)]


def _snapped(problem: Problem, x: Array) -> Array:
    """Working coordinates with effects that add nothing at 0 itself, not where the search stopped beside it."""
    data, at = problem.to_data @ x, 0
    for term in problem.terms:
        k, places = term.Z.shape[1], slice(at, at + len(term.entries))
        at = places.stop
        T = to_matrix(data[None, places], term.entries, k)[0]
        size = column_sizes(term.Z) / problem.unit
        T[size * np.linalg.norm(T, axis=1) < SINGULAR] = 0.0
        tied = np.abs(np.diagonal(canonical(size[:, None] * T, term.mask))) < SINGULAR
        T[tied, tied] = 0.0
        data[places] = _entries_of(T, term)
    return np.linalg.solve(problem.to_data, data)
