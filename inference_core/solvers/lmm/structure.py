"""Which entries of T are free, in which coordinates the search runs, and the one T that stands for a covariance."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from inference_core.backends.namespace import is_numpy
from inference_core.states import Array

Entries = tuple[tuple[int, int], ...]


def free_entries(mask: Array) -> Entries:
    """Free entries (row, column) of T, column by column, of a (k, k) mask."""
    k = mask.shape[0]
    return tuple((a, b) for b in range(k) for a in range(b, k) if mask[a, b])


def full_mask(k: int) -> Array:
    """The mask of correlated effects: the whole lower triangle."""
    return np.tril(np.ones((k, k), dtype=bool))


def components(mask: Array) -> tuple[Array, ...]:
    """Effects that covary, directly or through others, as sorted positions; together they are 0 .. k - 1."""
    return tuple(members for members, _ in _parts(mask))


def is_full(mask: Array, members: Array) -> bool:
    """Whether the whole lower triangle of these effects is free."""
    part = mask[np.ix_(members, members)]
    return bool(np.all(part[np.tril_indices(members.size)]))


def _parts(mask: Array) -> tuple[tuple[Array, bool], ...]:
    """The components of a mask, and whether each is full: looked up, because small fits ask dozens of times."""
    return _parts_of(np.asarray(mask, dtype=bool).tobytes(), mask.shape[0])


@lru_cache(maxsize=256)
def _parts_of(packed: bytes, k: int) -> tuple[tuple[Array, bool], ...]:
    mask = np.frombuffer(packed, dtype=bool).reshape(k, k)
    linked = mask | mask.T | np.eye(k, dtype=bool)
    for _ in range(k):
        linked = linked @ linked
    found = [np.flatnonzero(row) for j, row in enumerate(linked) if np.argmax(row) == j]
    for members in found:
        members.flags.writeable = False
    return tuple((members, is_full(mask, members)) for members in found)


def whitening(Z: Array, mask: Array) -> Array:
    """(k, k) upper-triangular R such that Z R^-1 has mean cross-products I, as far as the structure of T allows.

    Any basis serves a component whose T is full, because Sigma* = R Sigma R' is as free as Sigma. Elsewhere the
    columns are scaled and no more.
    """
    n, k = Z.shape
    R = np.zeros((k, k))
    for members, full in _parts(mask):
        part = Z[:, members]
        if full and n >= members.size:
            R[np.ix_(members, members)] = np.linalg.qr(part, mode="r") / np.sqrt(n)
        else:
            R[members, members] = np.sqrt(np.mean(np.square(part), axis=0))
    size = np.abs(np.diagonal(R)).copy()
    norms = np.sqrt(np.mean(np.square(Z), axis=0))
    weak = size <= 1e-10 * np.where(norms > 0, norms, 1.0)
    if np.any(weak):  # a column that repeats others, or is zero: no basis to be had, so leave the columns as they are
        R = np.diag(np.where(norms > 0, norms, 1.0))
    return R


def canonical(T: Array, mask: Array) -> Array:
    """The T (..., k, k) with the same T T' and a diagonal >= 0, lower triangular where the structure is full.

    By QR of T', never by Cholesky of T T', which may be singular.
    """
    out = np.array(T, dtype=float)
    for members, full in _parts(mask):
        if members.size == len(mask) > 1 and full:
            out = _lower_of(out)
        elif members.size > 1 and full:
            grid = np.ix_(members, members)
            out[(..., *grid)] = _lower_of(out[(..., *grid)])
    signs = np.where(np.diagonal(out, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return np.where(mask, out * signs[..., None, :], 0.0)


def _lower_of(T: Array) -> Array:
    return np.swapaxes(np.linalg.qr(np.swapaxes(T, -1, -2), mode="r"), -1, -2)


def to_matrix(theta: Array, entries: Entries, k: int) -> Array:
    """(B, k, k) T from its free entries (B, m)."""
    if not is_numpy(theta):
        return (theta @ _places(entries, k)).reshape(-1, k, k)
    T = np.zeros((theta.shape[0], k, k))
    for i, (a, b) in enumerate(entries):
        T[:, a, b] = theta[:, i]
    return T


@lru_cache(maxsize=64)
def _places(entries: Entries, k: int) -> Array:
    """(m, k^2) where each free entry stands in T."""
    out = np.zeros((len(entries), k, k))
    for i, (a, b) in enumerate(entries):
        out[i, a, b] = 1.0
    return out.reshape(len(entries), k * k)


@lru_cache(maxsize=64)
def directions(entries: Entries, k: int) -> Array:
    """(k^2, m k^2) that maps T to the derivatives e_a t_b' + t_b e_a' of T T', t_b the columns of T."""
    out = np.zeros((k, k, len(entries), k, k))
    for i, (a, b) in enumerate(entries):
        for x in range(k):
            out[x, b, i, a, x] += 1.0
            out[x, b, i, x, a] += 1.0
    return out.reshape(k * k, -1)


def to_theta(T: Array, entries: Entries) -> Array:
    """(B, m) free entries of T (B, k, k)."""
    return np.stack([T[:, a, b] for a, b in entries], axis=1)
