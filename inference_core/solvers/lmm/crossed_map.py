"""What eliminating the largest grouping factor does to the others: C = Z2'Z2 - sum_r a_r'Q_r a_r, and back.

a_r (k1, q2) are the products of the effects of level r of that factor with the columns of all the others. C is linear
in the blocks Q_r, so where the levels meet few others a sparse map from them to the entries of C, built once, gives C
by one product, and its transpose the sums a_r L a_r' of any L. Where they meet many, dense products over some levels at
a time do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from inference_core.states import Array

MAX_PAIRS = 30_000_000  # entries of the sparse map: 12 bytes each for scalar effects
_DENSE = 0.08  # of J1 q2^2 that the pairs may reach before dense products are the faster ones
_TABLE = 40_000_000  # entries of a dense (q2, q2) table of positions, of 4 bytes
_CHUNK = 1 << 22  # numbers in one dense slice of levels


@dataclass(frozen=True, slots=True, eq=False)
class Meetings:
    """Levels of the eliminated factor, row by row: which of the other columns they meet, and the products."""

    indptr: Array  # (J1 + 1,) int
    columns: Array  # (nnz,) int, rising within a level
    values: Array  # (nnz, k1)

    @property
    def n_levels(self) -> int:
        """J1."""
        return self.indptr.size - 1

    @property
    def k(self) -> int:
        """Effects a level."""
        return self.values.shape[1]

    @property
    def n_pairs(self) -> int:
        """Pairs of columns, i >= j, that meet in a level, over all levels."""
        count = np.diff(self.indptr).astype(np.int64)
        return int(np.sum(count * (count + 1) // 2))

    @property
    def fits(self) -> bool:
        """Whether a sparse map of them stays within ``MAX_PAIRS``."""
        return self.n_pairs * (self.k * (self.k + 1) // 2) <= MAX_PAIRS

    def matrix(self, q2: int) -> Any:
        """(J1 k1, q2) scipy csr."""
        import scipy.sparse as sp

        J, k = self.n_levels, self.k
        count = np.diff(self.indptr)
        indptr = np.concatenate([[0], np.cumsum(np.repeat(count, k))])
        if k == 1:
            return sp.csr_matrix((self.values[:, 0], self.columns, self.indptr), shape=(J, q2))
        level = np.repeat(np.arange(J), count)
        rank = np.arange(level.size) - self.indptr[level]
        data, indices = np.empty(level.size * k), np.empty(level.size * k, dtype=self.columns.dtype)
        for a in range(k):
            at = indptr[level * k + a] + rank
            data[at], indices[at] = self.values[:, a], self.columns
        return sp.csr_matrix((data, indices, indptr), shape=(J * k, q2))


class LevelMap(Protocol):
    """From the blocks Q (J1, k1, k1) to C, and from L (q2, q2) to a_r L a_r'."""

    def form(self, Q: Array) -> Array:
        """C (q2, q2), symmetric and dense."""
        ...

    def quad(self, L: Array) -> Array:
        """(J1, k1, k1) a_r L a_r' for symmetric L (q2, q2)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PairMap:
    """Entries (i, j) of C, i >= j, and for each plane (a, b) of Q the products that carry it there."""

    q2: int
    k: int
    i: Array  # (P,)
    j: Array  # (P,)
    own: Array  # (P,) entries of Z2'Z2
    planes: tuple[Any, ...]  # scipy csr (J1, P) for (a, b), a <= b, with one pattern
    turned: tuple[Any, ...]  # the same, transposed
    twice: Array  # (P,) 1 on the diagonal, 2 off it

    @classmethod
    def of(cls, meetings: Meetings, q2: int, cross: Any) -> PairMap:
        """From the meetings and Z2'Z2 (scipy csr, both triangles)."""
        import scipy.sparse as sp

        count = np.diff(meetings.indptr).astype(np.int64)
        level = np.repeat(np.arange(meetings.n_levels), count)
        rank = np.arange(level.size) - meetings.indptr[level]
        reach = rank + 1  # a column pairs with itself and those before it
        ends = np.cumsum(reach)
        first = np.repeat(np.arange(level.size), reach)
        second = np.arange(first.size) - np.repeat(ends - reach - meetings.indptr[level], reach)
        key = meetings.columns[first].astype(np.int64) * q2 + meetings.columns[second]
        if q2 * q2 <= _TABLE:
            keys = np.flatnonzero(np.bincount(key, minlength=q2 * q2))
            table = np.empty(q2 * q2, dtype=np.int32)
            table[keys] = np.arange(keys.size)
            position = table[key]
        else:
            keys, position = np.unique(key, return_inverse=True)
        small = np.int32 if first.size < np.iinfo(np.int32).max else np.int64
        indptr = np.concatenate([[0], np.cumsum(count * (count + 1) // 2)]).astype(small)
        position = position.astype(small, copy=False)  # shared by the planes
        x, planes, shape = meetings.values, [], (meetings.n_levels, keys.size)
        for a in range(meetings.k):
            for b in range(a, meetings.k):
                data = x[first, a] * x[second, b]
                if a != b:
                    data += x[first, b] * x[second, a]
                planes.append(sp.csr_matrix((data, position, indptr), shape=shape, copy=False))
        i, j = keys // q2, keys % q2
        lower = sp.tril(cross, format="coo")
        where = np.searchsorted(keys, lower.row.astype(np.int64) * q2 + lower.col)
        own = np.zeros(keys.size)
        own[where] = lower.data
        turned = tuple(plane.T for plane in planes)
        return cls(q2, meetings.k, i, j, own, tuple(planes), turned, np.where(i == j, 1.0, 2.0))

    def entries(self, Q: Array) -> Array:
        """(P,) entries of C."""
        out = self.own.copy()
        for plane, (a, b) in zip(self.turned, _upper(self.k), strict=True):
            out -= plane @ Q[:, a, b]
        return out

    def form(self, Q: Array) -> Array:
        """C (q2, q2), symmetric and dense."""
        values = self.entries(Q)
        C = np.zeros((self.q2, self.q2))
        C[self.i, self.j] = values
        C[self.j, self.i] = values
        return C

    def quad(self, L: Array) -> Array:
        """(J1, k1, k1) a_r L a_r' for symmetric L (q2, q2)."""
        return self.quad_of_entries(L[self.i, self.j])

    def quad_of_entries(self, entries: Array) -> Array:
        """The same from the entries (P,) of L alone."""
        values = entries * self.twice
        J = self.planes[0].shape[0]
        out = np.empty((J, self.k, self.k))
        for plane, (a, b) in zip(self.planes, _upper(self.k), strict=True):
            out[:, a, b] = plane @ values
            if a != b:
                out[:, a, b] *= 0.5
                out[:, b, a] = out[:, a, b]
        return out


@dataclass(frozen=True, slots=True, eq=False)
class ProductMap:
    """Dense products, over so many levels at a time that a slice stays small."""

    matrix: Any  # scipy csr (J1 k1, q2)
    k: int
    own: Array  # (q2, q2) Z2'Z2

    @classmethod
    def of(cls, meetings: Meetings, q2: int, cross: Any) -> ProductMap:
        """From the meetings and Z2'Z2 (scipy csr)."""
        return cls(meetings.matrix(q2), meetings.k, cross.toarray())

    def _slices(self) -> list[tuple[slice, slice]]:
        rows, q2 = self.matrix.shape
        J = rows // self.k
        step = max(1, _CHUNK // (q2 * self.k))
        return [(slice(at, min(at + step, J)), slice(at * self.k, min(at + step, J) * self.k))
                for at in range(0, J, step)]  # fmt: skip

    def form(self, Q: Array) -> Array:
        """C (q2, q2), symmetric and dense."""
        C = self.own.copy()
        for levels, rows in self._slices():
            a = self.matrix[rows].toarray()
            C -= a.T @ (Q[levels] @ a.reshape(-1, self.k, a.shape[1])).reshape(a.shape)
        return 0.5 * (C + C.T)

    def quad(self, L: Array) -> Array:
        """(J1, k1, k1) a_r L a_r' for symmetric L (q2, q2)."""
        parts = []
        for _, rows in self._slices():
            a = self.matrix[rows].toarray()
            shape = (-1, self.k, a.shape[1])
            parts.append((a @ L).reshape(shape) @ a.reshape(shape).transpose(0, 2, 1))
        return np.concatenate(parts)


def level_map(meetings: Meetings, q2: int, cross: Any) -> LevelMap:
    """The map for these meetings: sparse where they are few."""
    few = meetings.fits and meetings.n_pairs <= _DENSE * meetings.n_levels * q2**2
    return (PairMap if few else ProductMap).of(meetings, q2, cross)


def _upper(k: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(k) for b in range(a, k)]
