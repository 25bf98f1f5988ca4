"""Many small symmetric systems at once: the batch lies along the last, contiguous axis of every array.

A loop over the p columns then does long vector operations, instead of a loop over the batch doing tiny ones: for
p = 4 and 2,000 systems some ten times as fast as ``numpy.linalg.solve``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inference_core.states.base import Array


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


def unpack(packed: Array, p: int, extra: int = 0, symmetric: bool = False) -> Array:
    """(p + extra, p + extra, b) matrices from (>= q, b) packed triangles; the lower triangle is filled, or both."""
    full = np.empty((p + extra, p + extra, packed.shape[1]))
    where = unpacking(p)
    for j in range(p):
        full[0 if symmetric else j : p, j] = packed[where[0 if symmetric else j :, j]]
    return full


def cholesky(gram: Array, n_pivots: int) -> tuple[Array, Array]:
    """Lower Cholesky factor of ``gram`` (p, p, b), in place, stopping after ``n_pivots`` columns.

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
    with np.errstate(divide="ignore", invalid="ignore"):
        for j in range(rhs.shape[0] - 1, -1, -1):
            rhs[j] /= factor[j, j]
            if j:
                rhs[:j] -= factor[j, :j] * rhs[j]
    return rhs


def inverse_root(factor: Array, p: int) -> Array:
    """M = L^-T for every system, (p, p, b), so that M M' is the inverse of the Gram matrix."""
    root = np.zeros((p, p, factor.shape[2]))
    with np.errstate(divide="ignore", invalid="ignore"):
        for j in range(p):  # column j of L^-1 is row j of L^-T
            root[j, j] = 1.0 / factor[j, j]
            for i in range(j + 1, p):
                root[j, i] = -(factor[i, j:i] * root[j, j:i]).sum(0) / factor[i, i]
    return root
