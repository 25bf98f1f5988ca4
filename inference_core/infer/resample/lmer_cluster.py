"""Cluster draws of a linear mixed model: whole groups with replacement, each copy a new group; and groups left out.

With one grouping factor, or factors nested in it, a draw is a row of counts, for all cross-products are sums over
groups, and many draws are refitted at once. With crossed factors, and where an outer group has many inner ones, the
rows are put together and refitted one draw after the other. Source:
Davison & Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference_core.infer.outermost import is_within
from inference_core.rng import RNG
from inference_core.solvers.lmm.group_counts import SINGULAR, GroupSums
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.lanes import Lanes
from inference_core.solvers.lmm.nested import NestedDesign
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array
from inference_core.states.inference import DRAW_NOT_CONVERGED, DRAW_OK, DRAW_RANK_DEFICIENT

from .lmer_kernel import CHUNK_PATTERNS, MAX_CHUNK, LmerKernel, Refits, standard_errors
from .whole_groups import WholeGroups

CHUNK_COUNTS = 1 << 20  # counts of one chunk
MOST_COUNTS = 4_000_000  # counts of all groups left out one after the other
ONE_BY_ONE = 16  # draws of a chunk where each is refitted by itself

Parts = tuple[Array, Array, Array | None]  # samples (b, k), status (b,), se (b, k)


@dataclass(frozen=True, eq=False)
class ClusterKernel:
    """Refits of one fitted model to any choice of its J whole groups."""

    base: LmerKernel
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
    def chunk_rows(self) -> int:
        """Draws that one call brings, a power of two."""
        design = self._design
        if design is None:
            return ONE_BY_ONE
        most = min(MAX_CHUNK, CHUNK_COUNTS // self.groups.J, CHUNK_PATTERNS // design.patterns.U)
        return 1 << max(most, 1).bit_length() - 1

    def counts(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, J) how often each group occurs in draws ``start .. stop - 1``."""
        return rng.counts(start, stop, self.groups.J)

    def drawn_rows(self, rng: RNG, i: int) -> Array:
        """Rows of the data in draw ``i``, group by group in the order drawn; their number varies with the groups."""
        rows, _ = self.groups.drawn_rows(rng.indices(i, i + 1, self.groups.J)[0])
        return rows if self.base.problem.rows is None else self.base.problem.rows[rows]

    def refit(self, counts: Array) -> Parts:
        """Statistics (b, k), status (b,) and standard errors or None for counts (b, J)."""
        with one_blas_thread():
            if self._design is None:
                return _stacked([self._refit_counts(row) for row in counts])
            lanes = self._sums.lanes(self._over_levels(counts), reml=self.base.reml)
            if self._nested is None:
                return self.base.collected(self.base.fits_of_lanes(self._design, lanes))
            return self._refit_nested(self._nested, lanes, counts)

    def left_out(self, blocks: int | None = None) -> Parts:
        """Refits without each group, or without groups i, i + blocks, i + 2 blocks, .. for each i < blocks."""
        J, size = self.groups.J, self.chunk_rows
        blocks = J if blocks is None else blocks
        parts = []
        for at in range(0, blocks, size):
            absent = np.arange(at, min(at + size, blocks))[:, None] == np.arange(J) % blocks
            if self._design is not None:
                parts.append(self.refit(1.0 - absent))
            else:
                with one_blas_thread():  # rows go, levels of crossed factors keep their names
                    parts += [self._refit_rows(np.flatnonzero(~row[self.groups.codes]), None) for row in absent]
        return _stacked(parts)

    # ---- one grouping factor, and what is nested in it ----------------------------------------------------

    @cached_property
    def _nested(self) -> NestedDesign | None:
        """Several factors within these groups."""
        problem = self.base.problem
        codes = self.groups.codes
        if problem.is_one_factor or not all(is_within(term.group, codes) for term in problem.terms):
            return None
        return NestedDesign.of(problem.X, problem.terms, codes, self.groups.J, problem.weights)

    @cached_property
    def _design(self) -> GroupDesign | None:
        """Whose lanes a draw is; None where draws are refitted one by one."""
        if self._nested is not None:
            return self._nested.groups
        return self.base.design if isinstance(self.base.design, GroupDesign) else None

    @cached_property
    def _sums(self) -> GroupSums:
        assert self._design is not None
        return GroupSums.of(self._design, self.base.problem.y)

    def _refit_nested(self, design: NestedDesign, lanes: Lanes, counts: Array) -> Parts:
        base = self.base
        T, beta, sigma, found = design.fit_many(lanes, base.T, tol=base.tol, max_iter=base.max_iter)
        possible = np.isfinite(lanes.XX).all(axis=(1, 2)) if lanes.XX is not None else np.ones(lanes.size, bool)
        status = np.where(possible, np.where(found.converged, DRAW_OK, DRAW_NOT_CONVERGED), DRAW_RANK_DEFICIENT)
        se = None
        if base.want_se:
            information = lanes.x_information(found.theta[:, design.tie])
            se = standard_errors(information, design.groups.x_factor, sigma)
        samples, codes, errors = base.collected(Refits(T, beta, sigma, status, se))
        for i in np.flatnonzero(codes == DRAW_NOT_CONVERGED):  # again, from other starts
            one, code, error = self._refit_counts(counts[i])
            samples[i], codes[i] = one[0], code[0]
            if errors is not None and error is not None:
                errors[i] = error[0]
        return samples, codes, errors

    def _over_levels(self, counts: Array) -> Array:
        """(b, n_levels) counts, 0 for levels without rows."""
        J = self.base.problem.re.blocks[self.groups.block].n_levels
        if J == self.groups.J or self._nested is not None:
            return counts
        out = np.zeros((len(counts), J))
        out[:, self.groups.levels] = counts
        return out

    # ---- one draw after the other -------------------------------------------------------------------------

    @cached_property
    def _basis(self) -> Array:
        """(n, r) orthonormal columns that span those of X sqrt(w)."""
        problem = self.base.problem
        root = 1.0 if problem.weights is None else np.sqrt(problem.weights)[:, None]
        return np.linalg.qr(problem.X * root)[0]

    def _refit_counts(self, counts: Array) -> Parts:
        return self._refit_rows(*self.groups.drawn_rows(np.repeat(np.arange(self.groups.J), counts.astype(int))))

    def _refit_rows(self, rows: Array, copies: Array | None) -> Parts:
        """One refit to rows; levels of different copies are different levels."""
        base, problem = self.base, self.base.problem
        Q = self._basis[rows]
        if Q.shape[1] and np.linalg.eigvalsh(Q.T @ Q)[0] < SINGULAR:
            k = self.p + len(base.spread_names)
            nothing = np.full((1, k), np.nan)
            return nothing, np.array([DRAW_RANK_DEFICIENT], np.int8), nothing if base.want_se else None
        blocks = []
        for block, term in zip(problem.re.blocks, problem.terms, strict=True):
            level = term.group[rows]
            if copies is not None:
                level = level + term.n_groups * copies
            found, level = np.unique(level, return_inverse=True)
            names = tuple(str(name) for name in found)
            blocks.append(replace(block, levels=names, group_index=level.ravel(), X_re=term.Z[rows]))
        part = replace(
            problem, re=replace(problem.re, blocks=tuple(blocks)), X=np.ascontiguousarray(problem.X[rows]),
            y=problem.y[rows], rows=None, weights=None if problem.weights is None else problem.weights[rows],
        )  # fmt: skip
        return replace(base, problem=part).refit(part.y[None])


def _stacked(parts: list[Parts]) -> Parts:
    samples, status, se = zip(*parts, strict=True)
    return np.concatenate(samples), np.concatenate(status), None if se[0] is None else np.concatenate(se)


def without_groups(base: LmerKernel, most: int = MOST_COUNTS) -> Array:
    """(J, k) statistics without each group of the outermost factor, for an acceleration.

    Where J is large, without each of fewer blocks of groups: J refits of J groups each cost J^2, and the acceleration
    is a standardised third moment of sums over groups, whose expectation is the same for sums over blocks. At most
    ``most`` counts are formed, for at least 100 blocks.

    Raises
    ------
    InferenceError
        The factors are crossed.
    """
    asked = "BCa limits, whose acceleration comes from groups left out,"
    kernel = ClusterKernel(base, WholeGroups.outermost(base.problem, asked))
    J = kernel.groups.J
    return kernel.left_out(min(J, max(100, most // J)))[0]
