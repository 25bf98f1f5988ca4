"""Many small symmetric systems at once: the batch lies along the last, contiguous axis of every array.

A loop over the p columns then does long vector operations, instead of a loop over the batch doing tiny ones: for
p = 4 and 2,000 systems some ten times as fast as ``numpy.linalg.solve``. Arrays of JAX are served by ``planes_jax``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from inference_core.backends.namespace import is_numpy
from inference_core.states.base import Array, Frozen


@lru_cache(maxsize=64)
def triangle(p: int) -> tuple[Array, Array]:
    """Rows and columns of the packed upper triangle of a p x p matrix, (p (p + 1) / 2,) each."""
    return np.triu_indices(p)


@lru_cache(maxsize=64)
def unpacking(p: int) -> Array:
    """(p, p) positions in the packed triangle, so that ``packed[unpacking(p)]`` is the full symmetric matrix."""
    rows, cols = triangle(p)
    where = np.empty((p, p), np.intp)
    where[rows, cols] = where[cols, rows] = np.arange(rows.size)
    return where


def column_products(columns: Array) -> Array:
    """(q, n) products of all pairs of the p rows of ``columns`` (p, n), packed; q = p (p + 1) / 2."""
    rows, cols = triangle(columns.shape[0])
    return columns[rows] * columns[cols]


# Doubles of a table of products that is kept: 64 MiB. Above it a block at a time is made anew where it is needed.
TABLE_VALUES = 1 << 23
BLOCK_VALUES = 1 << 17


@dataclass(frozen=True, slots=True, eq=False)
class Products(Frozen):
    """The (q, n) products of all pairs of r columns, and of what further rows are put below them.

    Kept as a table while it is small. A table for 50 columns and 200,000 rows would take 2 GiB, and making a block of
    it costs little beside what the block is multiplied with.
    """

    columns: Array  # (r, n)
    extra: Array | None = None  # (e, n)
    table: Array | None = None  # (q + e, n)

    @classmethod
    def of(cls, columns: Array, extra: Array | None = None) -> Products:
        """The products of ``columns`` (r, n), with ``extra`` rows (e, n) below."""
        made = cls(columns, extra)
        if len(made) * columns.shape[1] <= TABLE_VALUES:
            return cls(columns, extra, made._rows(slice(None)))
        return made

    def __len__(self) -> int:
        r = self.columns.shape[0]
        return r * (r + 1) // 2 + (0 if self.extra is None else len(self.extra))

    def times(self, weights: Array) -> Array:
        """(q + e, b) sums over rows weighted by ``weights`` (b, n): one matrix product."""
        if not is_numpy(weights):
            from . import planes_jax

            return planes_jax.times(self.columns, self.table, self.extra, weights)
        if self.table is not None:
            return self.table @ weights.T
        total = np.zeros((len(self), weights.shape[0]))
        for rows in self._blocks():
            total += self._rows(rows) @ weights[:, rows].T
        return total

    def combine(self, packed: Array) -> Array:
        """(b, n) combinations of the pairs alone by ``packed`` (q, b): quadratic forms of every row."""
        if not is_numpy(packed):
            from . import planes_jax

            return planes_jax.combine(self.columns, self.table, packed)
        q = packed.shape[0]
        if self.table is not None:
            return packed.T @ self.table[:q]
        out = np.empty((packed.shape[1], self.columns.shape[1]))
        for rows in self._blocks():
            out[:, rows] = packed.T @ column_products(self.columns[:, rows])
        return out

    def _rows(self, rows: slice) -> Array:
        pairs = column_products(self.columns[:, rows])
        return pairs if self.extra is None else np.concatenate([pairs, self.extra[:, rows]])

    def _blocks(self) -> Iterator[slice]:
        n = self.columns.shape[1]
        step = max(64, BLOCK_VALUES // len(self))
        return (slice(start, min(start + step, n)) for start in range(0, n, step))


def unpack(packed: Array, p: int, spare: Array | None = None, symmetric: bool = False) -> Array:
    """(p, p, b) matrices from (>= q, b) packed triangles; the lower triangle is filled, or both.

    ``spare`` (p,) is added to the diagonals: 1 in columns that only fill a shape.
    """
    if not is_numpy(packed):
        from . import planes_jax

        return planes_jax.symmetric(packed, p, spare)
    full = np.empty((p, p, packed.shape[1]))
    where = unpacking(p)
    for j in range(p):
        full[0 if symmetric else j : p, j] = packed[where[0 if symmetric else j :, j]]
    return full if spare is None else _with_spare(full, p, spare)


def bordered(packed: Array, p: int, spare: Array | None = None) -> Array:
    """(p + 1, p + 1, b) matrices whose last row is a right-hand side, the lower triangle filled.

    ``packed`` (q + p, b) or (q + p + 1, b) holds triangles, then right-hand sides, then the corner, which is 0 if left
    out. ``spare`` as in :func:`unpack`.
    """
    if not is_numpy(packed):
        from . import planes_jax

        return planes_jax.bordered(packed, p, spare)
    q = p * (p + 1) // 2
    full = np.empty((p + 1, p + 1, packed.shape[1]))
    where = unpacking(p)
    for j in range(p):
        full[j:p, j] = packed[where[j:, j]]
    full[p, :p] = packed[q : q + p]
    full[p, p] = packed[q + p] if len(packed) > q + p else 0.0
    return full if spare is None else _with_spare(full, p, spare)


def _with_spare(full: Array, p: int, spare: Array) -> Array:
    full[range(p), range(p)] += spare[:, None]
    return full


def cholesky(gram: Array, n_pivots: int) -> tuple[Array, Array]:
    """Lower Cholesky factor of ``gram`` (p, p, b), in place if it is NumPy's, stopping after ``n_pivots`` columns.

    The trailing block then holds the Schur complement: with a right-hand side r as the last row and column and y'y in
    the corner, row p - 1 becomes L^-1 r and the corner the residual sum of squares, for nothing.

    Returns
    -------
    factor : (p, p, b)
        Lower triangle valid; the upper one is rubbish.
    worst : (b,)
        The smallest pivot relative to its diagonal entry: 1 - R^2 of the column that the earlier ones explain best.
        Near 0, or NaN, the system is ill-conditioned and the factor worth nothing.
    """
    if not is_numpy(gram):
        from . import planes_jax

        return planes_jax.cholesky(gram, n_pivots)
    worst = np.full(gram.shape[2], np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):  # judged by `worst`
        diagonal = [gram[j, j].copy() for j in range(n_pivots)]
        for j in range(n_pivots):
            np.minimum(worst, gram[j, j] / diagonal[j], out=worst)
            root = np.sqrt(gram[j, j])
            gram[j, j] = root
            column = gram[j + 1 :, j]
            column /= root
            for k in range(column.shape[0]):
                gram[j + 1 + k :, j + 1 + k] -= column[k:] * column[k]
    return gram, worst


def back_substitute(factor: Array, rhs: Array) -> Array:
    """Solve for x in L'x = rhs for every system: factor (>= p, >= p, b), rhs (p, b) which is overwritten."""
    if not is_numpy(rhs):
        from . import planes_jax

        return planes_jax.back_substitute(factor, rhs)
    with np.errstate(divide="ignore", invalid="ignore"):
        for j in range(rhs.shape[0] - 1, -1, -1):
            rhs[j] /= factor[j, j]
            if j:
                rhs[:j] -= factor[j, :j] * rhs[j]
    return rhs


def inverse_root(factor: Array, p: int) -> Array:
    """M = L^-T for every system, (p, p, b), so that M M' is the inverse of the Gram matrix."""
    if not is_numpy(factor):
        from . import planes_jax

        return planes_jax.inverse_root(factor, p)
    root = np.zeros((p, p, factor.shape[2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for j in range(p):  # column j of L^-1 is row j of L^-T
            root[j, j] = 1.0 / factor[j, j]
            for i in range(j + 1, p):
                root[j, i] = -(factor[i, j:i] * root[j, j:i]).sum(0) / factor[i, i]
    return root
