"""A sparse symmetric positive definite matrix: factor, solutions, and its inverse where the matrix is not zero.

M = L D L' by fronts, L block unit lower triangular. The entries of the inverse within the fronts follow from the
parents down, without the rest of it. Sources: Duff & Reid (1983), ACM TOMS 9; Takahashi, Fagan & Chen (1973);
Erisman & Tinney (1975), CACM 18.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_lapack_funcs

from inference_core.states import Array

from .sparse_symbolic import Batch, Symbolic

_potrf, _potri = get_lapack_funcs(("potrf", "potri"), dtype=np.float64)
_ALONE = 48  # columns from which a front is better off by itself


class SparseFactor:
    """The factor of one matrix with the pattern of ``symbolic``; entries (P,) as its (i, j)."""

    def __init__(self, symbolic: Symbolic, entries: Array) -> None:
        self._symbolic = symbolic
        self._buffer = np.zeros(symbolic.length)
        self._buffer[symbolic.at] = entries
        self._buffer[symbolic.mirrored] = entries
        self.log_det = 0.0
        self.ok = True
        for batch in symbolic.batches:
            front = _view(self._buffer, batch)
            k = batch.k
            inverse, log = _inverse(front[:, :k, :k])
            self.log_det += log
            if not np.isfinite(log):
                self.ok = False
                return
            if batch.r:
                B = front[:, k:, :k] @ inverse
                update = front[:, k:, k:] - B @ front[:, :k, k:]
                _add(self._buffer, batch, update)
                front[:, k:, :k] = B
            front[:, :k, :k] = inverse

    def solve(self, F: Array) -> Array:
        """M^-1 F for F (q, c)."""
        x = F[self._symbolic.order]
        for batch in self._symbolic.batches:
            if batch.r:
                B = _view(self._buffer, batch)[:, batch.k :, : batch.k]
                np.subtract.at(x, batch.below, B @ x[batch.own])
        for batch in reversed(self._symbolic.batches):
            front = _view(self._buffer, batch)
            k = batch.k
            part = front[:, :k, :k] @ x[batch.own]
            if batch.r:
                part -= front[:, k:, :k].transpose(0, 2, 1) @ x[batch.below]
            x[batch.own] = part
        out = np.empty_like(x)
        out[self._symbolic.order] = x
        return out

    def inverse_entries(self) -> Array:
        """(P,) entries (i, j) of M^-1."""
        Z = np.empty(self._symbolic.length)
        for batch in reversed(self._symbolic.batches):
            front, own = _view(self._buffer, batch), _view(Z, batch)
            k = batch.k
            own[:, :k, :k] = front[:, :k, :k]
            if batch.r:
                B = front[:, k:, :k]
                low = _take(Z, batch)
                beside = -low @ B
                own[:, k:, k:] = low
                own[:, k:, :k] = beside
                own[:, :k, k:] = beside.transpose(0, 2, 1)
                own[:, :k, :k] -= B.transpose(0, 2, 1) @ beside
        return Z[self._symbolic.at]


def _view(buffer: Array, batch: Batch) -> Array:
    f = batch.k + batch.r
    return buffer[batch.block].reshape(batch.size, f, f)


def _inverse(D: Array) -> tuple[Array, float]:
    """Inverses of (b, k, k) and the sum of the logs of their determinants; not finite where one is not positive."""
    k = D.shape[1]
    if k == 1:
        return 1.0 / D, float(np.sum(np.log(D))) if np.all(D > 0) else float("nan")
    if k < _ALONE:
        sign, log = np.linalg.slogdet(D)
        return np.linalg.inv(D), float(np.sum(log)) if np.all(sign > 0) else float("nan")
    out, total = np.empty_like(D), 0.0
    for one, inverse in zip(D, out, strict=True):
        L, info = _potrf(one, lower=1)
        if info:
            return out, float("nan")
        total += 2.0 * float(np.sum(np.log(np.diagonal(L))))
        half, _ = _potri(L, lower=1)
        half = np.tril(half)
        inverse[:] = half + np.tril(half, -1).T
    return out, total


def _positions(batch: Batch) -> Array:
    """(b, r, r) where the rows below stand in the parents' fronts."""
    rows = batch.parent[:, None] + batch.place * batch.width[:, None]
    return rows[:, :, None] + batch.place[:, None, :]


def _parent_front(buffer: Array, batch: Batch) -> Array:
    f, start = int(batch.width[0]), int(batch.parent[0])
    return buffer[start : start + f * f].reshape(f, f)


def _add(buffer: Array, batch: Batch, update: Array) -> None:
    if batch.size == 1:
        place = batch.place[0]
        _parent_front(buffer, batch)[np.ix_(place, place)] += update[0]
    else:
        np.add.at(buffer, _positions(batch).ravel(), update.ravel())


def _take(buffer: Array, batch: Batch) -> Array:
    if batch.size == 1:
        place = batch.place[0]
        return _parent_front(buffer, batch)[np.ix_(place, place)][None]
    return buffer[_positions(batch)]
