"""Algebra of many small k x k matrices at once: one array (B, U) per entry, so that every operation is a sweep.

A matrix of planes is a list of rows of arrays; entries of a symmetric one may be the same object twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.backends.namespace import is_numpy, namespace
from inference_core.states import Array

Planes = list[list[Array]]
Rows = Sequence[Sequence[Array]]


def product(left: Rows, right: Rows) -> Planes:
    """Left times right, entry by entry."""
    return [[_dot(row, right, b) for b in range(len(right[0]))] for row in left]


def symmetric_product(left: Rows, right: Rows) -> Planes:
    """Left times right where that is known to be symmetric: the lower half is the upper half itself."""
    k = len(left)
    out: Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
    for a in range(k):
        for b in range(a, k):
            out[a][b] = out[b][a] = _dot(left[a], right, b)
    return out


def sandwich(left: Rows, middle: Rows) -> Planes:
    """L M L' for symmetric M."""
    k = len(left)
    half = product(left, middle)
    return symmetric_product(half, [[left[b][a] for b in range(k)] for a in range(k)])


def times_vector(matrix: Rows, vector: Sequence[Array]) -> list[Array]:
    """Matrix times a vector of planes."""
    return [_sum_of_products(row, vector) for row in matrix]


def stack_symmetric(planes: Rows) -> Array:
    """(B, qs U): the upper half side by side, row by row; ``qs = k (k + 1) / 2``."""
    k = len(planes)
    parts = [planes[a][b] for a in range(k) for b in range(a, k)]
    return parts[0] if len(parts) == 1 else namespace(parts[0]).concatenate(parts, axis=1)


def stack_full(planes: Rows) -> Array:
    """(B, k^2, U): every entry."""
    return namespace(planes[0][0]).stack([entry for row in planes for entry in row], axis=1)


def of_lanes(matrices: Array) -> Planes:
    """(B, k, k) as planes of shape (B, 1), the same for every pattern."""
    k = matrices.shape[-1]
    return [[matrices[:, a, b, None] for b in range(k)] for a in range(k)]


def invert(planes: Rows) -> tuple[Planes, Array]:
    """Inverse and log-determinant (B, U) of matrices with a positive determinant, not symmetric in general.

    Up to k = 3 by the adjugate; beyond by LAPACK. Entries that are not finite stay so.
    """
    k = len(planes)
    if k == 1:
        x = planes[0][0]
        return [[1.0 / x]], namespace(x).log(x)
    if k == 2:
        (a, b), (c, d) = planes
        det = a * d - b * c
        i = 1.0 / det
        return [[d * i, -b * i], [-c * i, a * i]], namespace(det).log(det)
    if k == 3:
        return _invert_three(planes)
    xp = namespace(planes[0][0])
    full = xp.stack([xp.stack(xp.broadcast_arrays(*row), axis=-1) for row in planes], axis=-2)
    finite = xp.all(xp.isfinite(full), axis=(-1, -2))
    full = xp.where(finite[..., None, None], full, xp.eye(k))
    sign, logdet = xp.linalg.slogdet(full)
    bad = ~finite | (sign <= 0)  # a trial point beyond what doubles can hold: NaN, and the step is rejected
    inverse = xp.linalg.inv(xp.where(bad[..., None, None], xp.eye(k), full))
    logdet = xp.where(bad, xp.nan, logdet)
    return [[contiguous(inverse[..., a, b]) for b in range(k)] for a in range(k)], logdet


def contiguous(x: Array) -> Array:
    """The same values side by side in memory; JAX lays its arrays out itself."""
    return np.ascontiguousarray(x) if is_numpy(x) else x


def _invert_three(x: Rows) -> tuple[Planes, Array]:
    def minor(a: int, b: int) -> Array:
        r, s, c, d = (b + 1) % 3, (b + 2) % 3, (a + 1) % 3, (a + 2) % 3
        return x[r][c] * x[s][d] - x[r][d] * x[s][c]

    adjugate = [[minor(a, b) for b in range(3)] for a in range(3)]
    det = x[0][0] * adjugate[0][0] + x[0][1] * adjugate[1][0] + x[0][2] * adjugate[2][0]
    i = 1.0 / det
    return [[entry * i for entry in row] for row in adjugate], namespace(det).log(det)


def _dot(row: Sequence[Array], right: Rows, b: int) -> Array:
    return _sum_of_products(row, [r[b] for r in right])


def _sum_of_products(left: Sequence[Array], right: Sequence[Array]) -> Array:
    total = left[0] * right[0]
    for x, y in zip(left[1:], right[1:], strict=True):
        total += x * y
    return total
