"""The terms that are left once the largest is eliminated: M = I + T'C T, its Cholesky factor and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy.linalg import get_lapack_funcs

from inference_core.states import Array

from .crossed_map import LevelMap
from .dense import Slot

_potrf, _potrs, _potri = get_lapack_funcs(("potrf", "potrs", "potri"), dtype=np.float64)
_CHUNK = 1 << 22  # numbers in one dense slice of levels
_TILE = 256  # rows of a square that stays in cache while it is mirrored

class Rest(Protocol):
    """C (q2, q2) at one theta, and M = I + T'C T factored; T is block-diagonal, one block a level."""

    ok: bool  # whether M is positive definite in doubles

    def times(self, F: Array) -> Array:
        """C F."""
        ...

    def solve(self, F: Array) -> Array:
        """M^-1 F."""
        ...

    def log_det(self) -> float:
        """log|M|."""
        ...

    def turned(self) -> list[Array]:
        """(k, k) sum over levels of the diagonal blocks of C T M^-1, one for each term."""
        ...

    def lead_quads(self) -> Array:
        """(J1, k1, k1) a_r T M^-1 T' a_r' of each level of the leading term."""
        ...

    def variances(self) -> list[Array]:
        """(J, k, k) diagonal blocks of T M^-1 T', one for each term."""
        ...

    def row_squares(self, columns: Array, z: Array) -> Array:
        """(n,) z_i' T M^-1 T' z_i of rows with the values z (n, c) in ``columns`` (n, c)."""
        ...

    def row_products(self, meeting: Any, level: Array, lead: Array, columns: Array, z: Array) -> Array:
        """(n,) v_i' a_r T M^-1 T' z_i, v_i = ``lead`` (n, k1) on level r = ``level`` (n,) of the leading term."""
        ...


class DenseRest:
    """Everything dense: some milliseconds up to q2 = 1,000, seconds at 5,000."""

    def __init__(self, levels: LevelMap, Q: Array, T: Sequence[Array], slots: Sequence[Slot]) -> None:
        self._levels, self._T, self._slots = levels, list(T), tuple(slots)
        self._scalar = all(slot.k == 1 for slot in slots)
        self._C = levels.form(Q)
        M = self._left(self._right(self._C))
        M[np.diag_indices_from(M)] += 1.0
        self._L, info = _potrf(M.T, lower=1, overwrite_a=1, clean=0)  # symmetric: the transpose is a view
        self.ok = info == 0

    @property
    def _diagonal(self) -> Array:
        return np.concatenate([np.full(s.J, t[0, 0]) for s, t in zip(self._slots, self._T, strict=True)])

    def _right(self, M: Array) -> Array:
        """M T, a new array."""
        if self._scalar:
            return M * self._diagonal
        out = np.empty_like(M)
        for slot, t in zip(self._slots, self._T, strict=True):
            part = M[:, slot.columns].reshape(M.shape[0], -1, slot.k)
            out[:, slot.columns] = (part @ t).reshape(M.shape[0], -1)
        return out

    def _left(self, M: Array) -> Array:
        """T'M."""
        return left(M, [t.T for t in self._T], self._slots)

    def times(self, F: Array) -> Array:
        """C F."""
        return self._C @ F

    def solve(self, F: Array) -> Array:
        """M^-1 F."""
        return _potrs(self._L, F, lower=1)[0]

    def log_det(self) -> float:
        """log|M|."""
        return 2.0 * float(np.sum(np.log(np.diagonal(self._L))))

    @cached_property
    def inverse(self) -> Array:
        """M^-1 (q2, q2)."""
        half, _ = _potri(self._L, lower=1)
        out = half.T  # C order: its upper triangle is the one that was computed
        for at in range(0, out.shape[0], _TILE):
            stop = at + _TILE
            out[stop:, at:stop] = out[at:stop, stop:].T
            own = out[at:stop, at:stop]
            lower = np.tril_indices(own.shape[0], -1)
            own[lower] = own.T[lower]
        return out

    def turned(self) -> list[Array]:
        """(k, k) sum over levels of the diagonal blocks of C T M^-1, one for each term."""
        inverse = self.inverse
        if self._scalar:
            sums = np.einsum("ij,ij->i", self._C, inverse * self._diagonal)
            return [np.array([[sums[slot.columns].sum()]]) for slot in self._slots]
        CT = self._right(self._C)
        out = []
        for slot in self._slots:
            shape = (slot.J, slot.k, -1)
            own, other = CT[slot.columns].reshape(shape), inverse[slot.columns].reshape(shape)
            out.append(np.array([[np.vdot(own[:, a], other[:, b]) for b in range(slot.k)] for a in range(slot.k)]))
        return out

    @cached_property
    def moved(self) -> Array:
        """T M^-1 T' (q2, q2)."""
        if self._scalar:
            d = self._diagonal
            out = self.inverse * d
            out *= d[:, None]
            return out
        return left(left(self.inverse, self._T, self._slots).T, self._T, self._slots)

    def lead_quads(self) -> Array:
        """(J1, k1, k1) a_r T M^-1 T' a_r' of each level of the leading term."""
        return self._levels.quad(self.moved)

    def variances(self) -> list[Array]:
        """(J, k, k) diagonal blocks of T M^-1 T', one for each term."""
        inverse, out = self.inverse, []
        for slot, t in zip(self._slots, self._T, strict=True):
            at = slot.start + np.arange(slot.J * slot.k).reshape(slot.J, slot.k)
            out.append(t @ inverse[at[:, :, None], at[:, None, :]] @ t.T)
        return out

    def row_squares(self, columns: Array, z: Array) -> Array:
        """(n,) z_i' T M^-1 T' z_i of rows with the values z (n, c) in ``columns`` (n, c)."""
        moved, out = self.moved, np.zeros(len(z))
        for a in range(z.shape[1]):
            for b in range(z.shape[1]):
                out += z[:, a] * moved[columns[:, a], columns[:, b]] * z[:, b]
        return out

    def row_products(self, meeting: Any, level: Array, lead: Array, columns: Array, z: Array) -> Array:
        """(n,) v_i' a_r T M^-1 T' z_i, v_i = ``lead`` (n, k1) on level r = ``level`` (n,) of the leading term."""
        moved, k = self.moved, lead.shape[1]
        order = np.argsort(level, kind="stable")
        J = meeting.shape[0] // k
        step = max(1, _CHUNK // (moved.shape[0] * k))
        edges = np.searchsorted(level[order], np.arange(0, J + step, step))
        out = np.empty(len(z))
        for at, begin, end in zip(range(0, J, step), edges[:-1], edges[1:], strict=True):
            rows = order[begin:end]
            reach = meeting[at * k : (at + step) * k] @ moved
            for a in range(k):
                values = reach[((level[rows] - at) * k + a)[:, None], columns[rows]]
                out[rows] = lead[rows, a] * (values * z[rows]).sum(axis=1) + (out[rows] if a else 0.0)
        return out


def left(F: Array, E: Sequence[Array], slots: Sequence[Slot]) -> Array:
    """The block-diagonal matrix of E_t (k, k), one block a level, times F (q2, r)."""
    out = np.empty_like(F)
    for slot, e in zip(slots, E, strict=True):
        part = F[slot.columns]
        if slot.k == 1:
            out[slot.columns] = part * e[0, 0]
        else:
            out[slot.columns] = (e @ part.reshape(slot.J, slot.k, -1)).reshape(part.shape)
    return out
