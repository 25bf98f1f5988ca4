"""Sign flips of a generalized linear mixed model's scores, group by group, after one fit of the null model.

At the null fit the response is linearised: z = eta + (y - mu) dmu/deta / V(mu) / W has variance V_j = W_j^-1 + Z_j
Sigma Z_j' within group j. With everything whitened by V_j^-1/2, the effective direction a of the tested column and the
residual r = V^-1/2 (z - X0 b) are those of ``score``, and a sign is shared by the rows of a group:

    T(S) = a'S r / sqrt(a'S (I - H0) S a)

The variance matters for power alone: under the null the sum of each group has mean zero whatever it is, so a random
slope that is missing from the model, or spread beyond that of the family, does no harm.

Sources: Andreella et al. (2025) Psychometrika; Hemerik, Goeman & Finos (2020) J. R. Stat. Soc. B 82; De Santis et al.
(2025) JASA (standardised); Breslow & Clayton (1993) JASA 88 for the linearised model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inference_core.families import Family, get_family, with_params
from inference_core.fit.glmer_problem import GlmerProblem
from inference_core.infer.resample.whole_groups import WholeGroups
from inference_core.solvers.glmm.fit import THETA_MAX, Optimum, optimise
from inference_core.solvers.glmm.problem import Problem, RandomTerm
from inference_core.solvers.glmm.problem import pose as pose_glmm
from inference_core.solvers.glmm.refit import refit
from inference_core.solvers.glmm.rows import RowModel
from inference_core.states.base import Array, Frozen
from inference_core.states.inference import DRAW_OK

from .hypotheses import Hypothesis
from .score import NullScores

NEAR_TOL = 1e-10  # half g'Hg, deviance units, of a null fit that starts at its neighbour's
EXPLAINED = 1e-7  # of the length of a direction: the null model explains it


@dataclass(frozen=True, slots=True, eq=False)
class MixedNullScores(NullScores):
    """A null fit that others may start at."""

    optimum: Optimum
    fitted: Family  # whose scale, if any, was estimated


@dataclass(frozen=True, slots=True, eq=False)
class GroupScores(Frozen):
    """What null fits of a generalized linear mixed model start from: rows of positive weight, estimable columns."""

    glmer: GlmerProblem
    groups: WholeGroups
    X: Array  # (m, r)
    terms: tuple[RandomTerm, ...]

    @classmethod
    def of(cls, glmer: GlmerProblem, groups: WholeGroups) -> GroupScores:
        """From the solver's view of a fitted model and the groups that are flipped."""
        own = glmer.common
        X = np.ascontiguousarray(own.X[:, np.isin(own.kept, glmer.kept)])
        return cls(glmer, groups, X, glmer.solver.terms)

    @property
    def y(self) -> Array:
        """(m,) responses."""
        return self.glmer.common.y

    @property
    def family(self) -> Family:
        """Of the model."""
        return self.glmer.family

    def by_unit(self, columns: Array) -> Array:
        """(J, c) sums of columns (m, c) over the rows of each group."""
        return np.add.reduceat(columns[self.groups.order], self.groups.starts[:-1], axis=0)

    def null_scores(self, hypothesis: Hypothesis, near: NullScores | None = None) -> NullScores | str:
        """Fit the null model of one hypothesis; a reason instead where it has no estimate.

        ``near`` is the null fit of the same hypothesis at another value, from which the search starts.
        """
        own, glmer = self.glmer.common, self.glmer
        X0, along = np.ascontiguousarray(self.X @ hypothesis.null_basis()), self.X @ hypothesis.direction
        if not X0.shape[1]:
            return "a mixed model without a coefficient is not fitted"
        shift = along @ hypothesis.value
        offset = shift if own.offset is None else own.offset + shift
        weights = None if own.weights is None else np.asarray(own.weights, dtype=float)
        family = near.fitted if isinstance(near, MixedNullScores) else glmer.family
        solver = self._posed(X0, offset, weights, family)
        found = _nearby(solver, near.optimum) if isinstance(near, MixedNullScores) else optimise(solver)
        if solver.n_scale and family.name == "negative_binomial" and found.x[-1] > np.log(THETA_MAX) - 1e-6:
            # no spread beyond a Poisson's: theta is held far out, as in the fit of such a model
            family = get_family(f"negative_binomial(theta={THETA_MAX})", family.link)
            solver = self._posed(X0, offset, weights, family)
            found = optimise(solver)
        if not np.isfinite(found.deviance) or not found.converged or found.runaway:
            return "its null model has no estimate"
        linear = self._linearised(solver, found, weights, family)
        if linear is None:
            return "its null model gives impossible means"
        whitened = self._whitened(*linear, np.column_stack([X0, along]))
        r, x0, a = whitened[:, 0], whitened[:, 1 : 1 + X0.shape[1]], whitened[:, 1 + X0.shape[1] :]
        q0 = np.linalg.qr(x0)[0]
        length = np.linalg.norm(a, axis=0)
        for _ in range(2):
            a, r = a - q0 @ (q0.T @ a), r - q0 @ (q0.T @ r)
        if np.any(np.linalg.norm(a, axis=0) <= EXPLAINED * length):
            return "its column is explained by the others at the fit of the null model"
        return MixedNullScores(a, r, q0, np.zeros(0), found, family)

    def _posed(self, X0: Array, offset: Array, weights: Array | None, family: Family) -> Problem:
        model = RowModel(family, self.y[None], weights)
        return pose_glmm(X0, self.terms, model, offset, self.glmer.solver.n_agq)

    def _linearised(
        self, solver: Problem, found: Optimum, weights: Array | None, family: Family
    ) -> tuple[Array, Array, Array] | None:
        """sqrt(W) (m,), sqrt(W) (z - X0 b0) (m,) and theta; None where a mean is impossible."""
        point = solver.split((solver.to_data @ found.x)[None])
        phi = 1.0
        if point.scale is not None:
            value = float(np.exp(point.scale[0]))
            if self.glmer.relative:
                phi = value
            else:
                family = with_params(family, (value,))
        eta, fixed = solver.eta(found.x, found.u)
        if not family.eta_valid(eta):
            return None
        s, w = family.score_weight(eta, self.y)
        factor = (1.0 if weights is None else weights) / phi
        s, w = s * factor, w * factor
        usable = np.isfinite(s) & np.isfinite(w) & (w > 0)
        root = np.sqrt(np.where(usable, w, 0.0))
        working = np.divide(s, root, out=np.zeros_like(root), where=usable) + root * (eta - fixed)
        return root, working, point.theta[0]

    def _whitened(self, root: Array, working: Array, theta: Array, columns: Array) -> Array:
        """(m, 1 + c) V^-1/2 of the working residual and of columns (m, c); the root within each group is symmetric.

        With U = sqrt(W_j) Z_j T = P d Q', (I + U U')^-1/2 = I + P ((1 + d^2)^-1/2 - 1) P'.
        """
        out = np.column_stack([working, root[:, None] * columns])
        parts, at = [], 0
        for term in self.terms:
            k = term.Z.shape[1]
            T = np.zeros((k, k))
            for i, (a, b) in enumerate(term.entries):
                T[a, b] = theta[at + i]
            at += len(term.entries)
            parts.append(root[:, None] * (term.Z @ T))
        for j in range(self.groups.J):
            rows = self.groups.rows(j)
            U = np.hstack([_wide(part[rows], term.group[rows]) for part, term in zip(parts, self.terms, strict=True)])
            P, d, _ = np.linalg.svd(U, full_matrices=False)
            shrink = 1.0 / np.sqrt(1.0 + np.square(d)) - 1.0
            out[rows] += P @ (shrink[:, None] * (P.T @ out[rows]))
        return out


def _nearby(solver: Problem, start: Optimum) -> Optimum:
    """The fit that a search from another fit of the same columns finds."""
    found = refit(solver, start, tol=NEAR_TOL)
    scale = np.zeros((1, 0)) if found.scale is None else found.scale[:, None]
    x = np.linalg.solve(solver.to_data, np.concatenate([found.theta, found.beta, scale], axis=1)[0])
    fine = bool(found.status[0] == DRAW_OK)
    return replace(start, x=x, u=found.u[0], deviance=float(found.deviance[0]), converged=fine, runaway=False)


def _wide(effects: Array, level: Array) -> Array:
    """(n, levels k) of effects (n, k): each level has columns of its own."""
    levels, code = np.unique(level, return_inverse=True)
    if levels.size == 1:
        return effects
    n, k = effects.shape
    out = np.zeros((n, levels.size, k))
    out[np.arange(n), code.reshape(-1)] = effects
    return out.reshape(n, -1)
