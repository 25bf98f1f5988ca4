"""Cluster draws of a generalized linear mixed model: whole groups with replacement, each copy a new group.

With one grouping factor a draw is a row of counts: its deviance counts every group's as often as the group was drawn,
and many draws are refitted at once. With several factors the rows are put together and refitted one draw after the
other. Source: Davison & Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference_core.infer.outermost import Blocks
from inference_core.rng import RNG
from inference_core.solvers.glmm.fit import Optimum
from inference_core.solvers.glmm.grouped import Grouped
from inference_core.solvers.glmm.problem import Problem, RandomTerm, TooLargeError, pose
from inference_core.solvers.glmm.refit import refit
from inference_core.solvers.glmm.rows import RowModel
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array
from inference_core.states.inference import DRAW_FAILED, DRAW_RANK_DEFICIENT

from .glmer_draws import block_of
from .glmer_kernel import GlmerKernel
from .whole_groups import WholeGroups

ONE_BY_ONE = 8  # draws of a chunk where each is refitted by itself, some 10 ms each
DEPENDENT = 1e-10  # smallest eigenvalue of Q'Q of the rows drawn at which a column has lost its variation

Parts = tuple[Array, Array, None]  # samples (b, k), status (b,), no standard errors


@dataclass(frozen=True, eq=False)
class GlmerClusterKernel:
    """Refits of one fitted model to any choice of its J whole groups."""

    base: GlmerKernel
    groups: WholeGroups

    @property
    def n(self) -> int:
        """Rows."""
        return self.base.n

    @property
    def p(self) -> int:
        """Columns of the whole design."""
        return self.base.p

    @property
    def one_factor(self) -> bool:
        """Whether a draw is a row of counts."""
        return isinstance(self.base.problem.solver.design, Grouped)

    @property
    def chunk_rows(self) -> int:
        """Draws that one call brings, a power of two."""
        return block_of(self.n + self.groups.J) if self.one_factor else ONE_BY_ONE

    def counts(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, J) how often each group occurs in draws ``start .. stop - 1``."""
        return rng.counts(start, stop, self.groups.J)

    def drawn_rows(self, rng: RNG, i: int) -> Array:
        """Rows of the data in draw ``i``, group by group in the order drawn; their number varies with the groups."""
        rows, _ = self.groups.drawn_rows(rng.indices(i, i + 1, self.groups.J)[0])
        own = self.base.problem.common.rows
        return rows if own is None else own[rows]

    def refit(self, counts: Array) -> Parts:
        """Statistics (b, k) and status (b,) for counts (b, J) of the groups."""
        if not self.one_factor:
            every = np.arange(self.groups.J)
            return self._one_by_one(self.groups.drawn_rows(np.repeat(every, row.astype(int))) for row in counts)
        samples = np.full((len(counts), self.base.observed.size), np.nan)
        status = np.full(len(counts), DRAW_RANK_DEFICIENT, np.int8)
        whole = self._full_rank(counts)
        if np.any(whole):
            with one_blas_thread():
                lanes = self.base.problem.solver.with_multiplicity(counts[whole])
                found = refit(lanes, self.base.optimum, tol=self.base.tol, max_iter=self.base.max_iter)
            samples[whole], status[whole] = self.base.read(found)
        return samples, status, None

    def left_out(self) -> Array:
        """(J, k) statistics without each group in turn."""
        J = self.groups.J
        if self.one_factor:
            size = self.chunk_rows
            keep = 1.0 - np.eye(J)
            return np.concatenate([self.refit(keep[at : at + size])[0] for at in range(0, J, size)])
        rows = (np.flatnonzero(self.groups.codes != j) for j in range(J))
        return self._one_by_one((kept, np.zeros(kept.size, dtype=int)) for kept in rows)[0]

    def singular(self, samples: Array) -> Array:
        """(B,) whether the covariance of a block is singular in a draw (B, k)."""
        return self.base.singular(samples)

    # ---- one grouping factor ------------------------------------------------------------------------------

    @cached_property
    def _basis(self) -> Array:
        """(n, r) orthonormal columns that span the design's."""
        return np.linalg.qr(self._design)[0]

    @cached_property
    def _design(self) -> Array:
        posed = self.base.problem.common
        return posed.X[:, np.isin(posed.kept, self.base.problem.kept)]

    def _full_rank(self, counts: Array) -> Array:
        """(b,) whether every column still varies in the groups drawn."""
        Q = self._basis
        if not Q.shape[1]:
            return np.ones(len(counts), dtype=bool)
        grams = np.stack([Q[rows].T @ Q[rows] for rows in map(self.groups.rows, range(self.groups.J))])
        with one_blas_thread():
            total = np.tensordot((counts > 0).astype(float), grams, axes=1)
        return np.linalg.eigvalsh(total)[:, 0] > DEPENDENT

    # ---- several grouping factors -------------------------------------------------------------------------

    def _one_by_one(self, chosen: Iterable[tuple[Array, Array]]) -> Parts:
        with one_blas_thread():
            parts = [self._refit_rows(rows, copies) for rows, copies in chosen]
        samples, status = zip(*parts, strict=True)
        return np.concatenate(samples), np.concatenate(status), None

    def _refit_rows(self, rows: Array, copies: Array) -> tuple[Array, Array]:
        """One refit to rows of the data; levels of different copies are different levels."""
        nothing = np.full((1, self.base.observed.size), np.nan)
        Q = self._basis[rows]
        if Q.shape[1] and np.linalg.eigvalsh(Q.T @ Q)[0] <= DEPENDENT:
            return nothing, np.array([DRAW_RANK_DEFICIENT], np.int8)
        terms, effects = [], []
        own = self.base.problem.solver
        first = 0
        for term in own.terms:
            found, level = np.unique(term.group[rows] + term.J * copies, return_inverse=True)
            terms.append(RandomTerm(np.ascontiguousarray(term.Z[rows]), level.ravel(), found.size, term.mask))
            k = term.Z.shape[1]
            u = self.base.optimum.u[first : first + term.J * k].reshape(term.J, k)
            effects.append(u[found % term.J].ravel())
            first += term.J * k
        posed = self.base.problem.common
        w = None if posed.weights is None else np.asarray(posed.weights, dtype=float)[rows]
        model = RowModel(self.base.problem.family, posed.y[rows][None], w)
        offset = None if posed.offset is None else posed.offset[rows]
        try:
            solver = pose(np.ascontiguousarray(self._design[rows]), tuple(terms), model, offset, own.n_agq)
        except TooLargeError:
            return nothing, np.array([DRAW_FAILED], np.int8)
        start = _carried(self.base.optimum, own, solver, np.concatenate(effects))
        return self.base.read(refit(solver, start, tol=self.base.tol, max_iter=self.base.max_iter))


def whole_groups(kernel: GlmerKernel, asked: str, fewest: int = 0) -> WholeGroups:
    """The levels of the outermost factor; raises where there is none, or fewer than ``fewest``."""
    return WholeGroups.outermost(Blocks(kernel.re, kernel.problem.common.rows), asked, fewest)


def without_groups(kernel: GlmerKernel) -> Array:
    """(J, k) statistics without each group of the outermost factor."""
    asked = "BCa limits, whose acceleration comes from groups left out,"
    return GlmerClusterKernel(kernel, whole_groups(kernel, asked)).left_out()


def _carried(optimum: Optimum, old: Problem, new: Problem, u: Array) -> Optimum:
    """The same point and curvature in the working coordinates of another problem with effects u."""
    step = np.linalg.solve(old.to_data, new.to_data)
    s = old.searched
    J = step[np.ix_(s, s)]
    x = np.linalg.solve(new.to_data, old.to_data @ optimum.x)
    return replace(optimum, x=x, u=u, gradient=J.T @ optimum.gradient, hessian=J.T @ optimum.hessian @ J)
