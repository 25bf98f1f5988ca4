"""The rest of a crossed or nested model as a sparse matrix: what ``DenseRest`` does, on the entries of C alone.

M = I + T'C T has the pattern of C, and everything that the deviance and its gradient ask of M^-1 stands in that
pattern too, so a sparse factor and its selected inverse serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from inference_core.states import Array

from .crossed_map import PairMap
from .dense import Slot
from .sparse_factor import SparseFactor
from .sparse_symbolic import Symbolic


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Pairs of levels of two terms, s at or behind t: where their k_s x k_t entries stand among the P."""

    s: int
    t: int
    at: Array  # (cells, k_s, k_t)
    diagonal: Array  # (cells,) bool: one level with itself


@dataclass(frozen=True, eq=False)
class SparsePlan:
    """What every theta shares."""

    levels: PairMap
    symbolic: Symbolic
    slots: tuple[Slot, ...]

    @cached_property
    def cells(self) -> tuple[Cells, ...]:
        """The entries by pairs of terms and levels."""
        i, j, q = self.levels.i, self.levels.j, self.levels.q2
        keys = i * q + j
        edges = np.array([slot.start for slot in self.slots])
        term_i, term_j = np.searchsorted(edges, i, side="right") - 1, np.searchsorted(edges, j, side="right") - 1
        out = []
        for s, own in enumerate(self.slots):
            for t, other in enumerate(self.slots):
                here = np.flatnonzero((term_i == s) & (term_j == t))
                if not here.size:
                    continue
                level_i, level_j = (i[here] - own.start) // own.k, (j[here] - other.start) // other.k
                level = np.unique(level_i * other.J + level_j)
                level_i, level_j = level // other.J, level % other.J
                rows = own.start + level_i[:, None, None] * own.k + np.arange(own.k)[:, None]
                columns = other.start + level_j[:, None, None] * other.k + np.arange(other.k)
                wanted = np.maximum(rows, columns) * q + np.minimum(rows, columns)
                same = (level_i == level_j) & (s == t)
                out.append(Cells(s, t, np.searchsorted(keys, wanted), same))
        return tuple(out)

    @cached_property
    def _full(self) -> tuple[Array, Array, Array]:
        """Csr of both triangles: positions among the P, indices, indptr."""
        i, j, q = self.levels.i, self.levels.j, self.levels.q2
        off = np.flatnonzero(i != j)
        rows, columns = np.concatenate([i, j[off]]), np.concatenate([j, i[off]])
        order = np.lexsort((columns, rows))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=q))])
        return np.concatenate([np.arange(i.size), off])[order], columns[order], indptr

    def matrix(self, entries: Array) -> Any:
        """(q2, q2) symmetric scipy csr of entries (P,)."""
        import scipy.sparse as sp

        at, indices, indptr = self._full
        q = self.levels.q2
        return sp.csr_matrix((entries[at], indices, indptr), shape=(q, q))

    def turned(self, entries: Array, E: Sequence[Array]) -> Array:
        """(P,) entries of E C E', E block-diagonal with one (k, k) block a level."""
        out = np.empty_like(entries)
        for c in self.cells:
            out[c.at] = E[c.s] @ entries[c.at] @ E[c.t].T
        return out


class SparseRest:
    """C and M at one theta by their entries."""

    def __init__(self, plan: SparsePlan, Q: Array, T: Sequence[Array]) -> None:
        self._plan, self._T = plan, list(T)
        self._C = plan.levels.entries(Q)
        M = plan.turned(self._C, [t.T for t in self._T])
        M[plan.levels.i == plan.levels.j] += 1.0
        self._factor = SparseFactor(plan.symbolic, M)
        self.ok = self._factor.ok

    @cached_property
    def _matrix(self) -> Any:
        return self._plan.matrix(self._C)

    def times(self, F: Array) -> Array:
        """C F."""
        return self._matrix @ F

    def solve(self, F: Array) -> Array:
        """M^-1 F."""
        return self._factor.solve(F)

    def log_det(self) -> float:
        """log|M|."""
        return self._factor.log_det

    @cached_property
    def _inverse(self) -> Array:
        """(P,) entries of M^-1."""
        return self._factor.inverse_entries()

    @cached_property
    def _moved(self) -> Array:
        """(P,) entries of T M^-1 T'."""
        return self._plan.turned(self._inverse, self._T)

    def turned(self) -> list[Array]:
        """(k, k) sum over levels of the diagonal blocks of C T M^-1, one for each term."""
        out = [np.zeros_like(t) for t in self._T]
        for c in self._plan.cells:
            C, Z = self._C[c.at], self._inverse[c.at]
            out[c.s] += np.einsum("nab,bc,ndc->ad", C, self._T[c.t], Z, optimize=True)
            off = ~c.diagonal
            if off.any():
                out[c.t] += np.einsum("nba,bc,ncd->ad", C[off], self._T[c.s], Z[off], optimize=True)
        return out

    def lead_quads(self) -> Array:
        """(J1, k1, k1) a_r T M^-1 T' a_r' of each level of the leading term."""
        return self._plan.levels.quad_of_entries(self._moved)

    def variances(self) -> list[Array]:
        """(J, k, k) diagonal blocks of T M^-1 T', one for each term."""
        out = [np.empty(0)] * len(self._T)
        for c in self._plan.cells:
            if c.s == c.t:
                out[c.s] = self._moved[c.at[c.diagonal]]
        return out

    def _find(self, rows: Array, columns: Array) -> Array:
        i, j, q = self._plan.levels.i, self._plan.levels.j, self._plan.levels.q2
        return np.searchsorted(i * q + j, np.maximum(rows, columns) * q + np.minimum(rows, columns))

    def row_squares(self, columns: Array, z: Array) -> Array:
        """(n,) z_i' T M^-1 T' z_i of rows with the values z (n, c) in ``columns`` (n, c)."""
        out = np.zeros(len(z))
        for a in range(z.shape[1]):
            for b in range(z.shape[1]):
                out += z[:, a] * self._moved[self._find(columns[:, a], columns[:, b])] * z[:, b]
        return out

    def row_products(self, meeting: Any, level: Array, lead: Array, columns: Array, z: Array) -> Array:
        """(n,) v_i' a_r T M^-1 T' z_i, v_i = ``lead`` (n, k1) on level r = ``level`` (n,) of the leading term."""
        k, q = lead.shape[1], meeting.shape[1]
        reach = (meeting @ self._plan.matrix(self._moved)).tocsr()
        reach.sort_indices()
        keys = np.repeat(np.arange(reach.shape[0]), np.diff(reach.indptr)) * q + reach.indices
        out = np.zeros(len(z))
        for a in range(k):
            at = np.searchsorted(keys, (level * k + a)[:, None] * q + columns)
            out += lead[:, a] * (reach.data[at] * z).sum(axis=1)
        return out
