"""Several grouping factors with many levels: what does not hold y, in sums over levels.

The term with the most columns leads: its levels do not meet each other, so it is eliminated block by block. What is
left, the columns of all other terms, is small or sparse. Nothing of size n x q is formed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.states import Array

from .crossed_map import Meetings
from .dense import Slot, Term
from .structure import canonical, free_entries, to_matrix, to_theta, whitening


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Products of Z and X with B responses: F = [X, y]."""

    lead: Array  # (B, J1, k1) Z1'y
    rest: Array  # (B, q2) Z2'y
    xy: Array  # (B, p)
    yy: Array  # (B,)
    shift: Array  # (B, p) coefficients of the least-squares fit that was taken off

    def take(self, lanes: Array) -> Sums:
        """Some of the responses."""
        return Sums(self.lead[lanes], self.rest[lanes], self.xy[lanes], self.yy[lanes], self.shift[lanes])


@dataclass(frozen=True, slots=True, eq=False)
class CrossedDesign:
    """n rows, p columns of X made orthonormal, terms whitened; ``slots`` in the order of the terms as given.

    A slot's ``start`` counts the columns of the rest; the leading term has a slot of its own columns.
    """

    terms: tuple[Term, ...]
    slots: tuple[Slot, ...]
    lead: int  # position of the leading term
    X: Array  # (n, p)
    x_factor: Array  # (p, p)
    z: tuple[Array, ...]  # (n, k_t) whitened columns, times root weights
    z_factors: tuple[Array, ...]  # (k_t, k_t)
    root_weights: Array | None
    A: Array  # (J1, k1, k1) Z1'Z1 by level
    lead_X: Array  # (J1, k1, p) Z1'X
    rest_X: Array  # (q2, p) Z2'X
    meetings: Meetings
    meeting: Any  # (J1 k1, q2) scipy csr Z1'Z2
    meeting_T: Any  # the same, transposed
    cross: Any  # (q2, q2) scipy csr Z2'Z2
    log_weights: float
    log_det_x: float

    @classmethod
    def of(cls, X: Array, terms: Sequence[Term], weights: Array | None = None) -> CrossedDesign:
        """Prepare X (n, p) of full rank and the random terms; ``weights`` (n,) > 0."""
        root = None if weights is None else np.sqrt(weights)
        Xw = X if root is None else X * root[:, None]
        n, p = Xw.shape
        Q, R = np.linalg.qr(Xw) if p else (np.zeros((n, 0)), np.zeros((0, 0)))
        lead = int(np.argmax([term.q for term in terms]))
        factors, z, slots = [], [], []
        start = first = 0
        for t, term in enumerate(terms):
            Zw = term.Z if root is None else term.Z * root[:, None]
            Rz = whitening(Zw, term.mask)
            factors.append(Rz)
            z.append(np.ascontiguousarray(solve_triangular(Rz, Zw.T, trans=1, check_finite=False).T))
            entries = free_entries(term.mask)
            slots.append(Slot(0 if t == lead else start, term.n_groups, term.k, entries, first))
            first += len(entries)
            start += 0 if t == lead else term.q
        group = [term.group for term in terms]
        J = [term.n_groups for term in terms]
        others = [t for t in range(len(terms)) if t != lead]
        meetings = _meetings(z[lead], group[lead], J[lead], [(z[t], group[t], slots[t]) for t in others])
        meeting = meetings.matrix(start)
        log_w = 0.0 if root is None else 2.0 * float(np.sum(np.log(root)))
        log_x = 2.0 * float(np.sum(np.log(np.abs(np.diagonal(R)))))
        return cls(
            terms=tuple(terms), slots=tuple(slots), lead=lead, X=Q, x_factor=R, z=tuple(z), z_factors=tuple(factors),
            root_weights=root, A=_own(z[lead], group[lead], J[lead]), lead_X=_down(z[lead], group[lead], J[lead], Q),
            rest_X=np.concatenate([_down(z[t], group[t], J[t], Q).reshape(terms[t].q, p) for t in others]),
            meetings=meetings, meeting=meeting, meeting_T=meeting.T,
            cross=_cross([(z[t], group[t], slots[t]) for t in others], start), log_weights=log_w, log_det_x=log_x,
        )  # fmt: skip

    @property
    def n(self) -> int:
        """Rows."""
        return self.X.shape[0]

    @property
    def p(self) -> int:
        """Columns of X."""
        return self.X.shape[1]

    @property
    def q2(self) -> int:
        """Columns of all terms but the leading one."""
        return self.rest_X.shape[0]

    @property
    def others(self) -> tuple[int, ...]:
        """Positions of the terms that do not lead."""
        return tuple(t for t in range(len(self.terms)) if t != self.lead)

    @property
    def n_theta(self) -> int:
        """Covariance parameters."""
        return sum(len(slot.entries) for slot in self.slots)

    def sums(self, Y: Array) -> Sums:
        """Products with Y (B, n), the offset already taken off."""
        each = [self._sums(y) for y in np.atleast_2d(Y)]  # one by one: to the last bit the same in any batch
        return Sums(*(np.stack(values) for values in zip(*each, strict=True)))

    def _sums(self, y: Array) -> tuple[Array, ...]:
        y = y if self.root_weights is None else y * self.root_weights
        shift = y @ self.X
        y = y - self.X @ shift
        parts = [
            _down(z, term.group, term.n_groups, y[:, None])[:, :, 0]
            for z, term in zip(self.z, self.terms, strict=True)
        ]
        rest = np.concatenate([parts[t].ravel() for t in self.others])
        return parts[self.lead], rest, y @ self.X, np.asarray(y @ y), shift

    # ---- coordinates ---------------------------------------------------------------------------------------

    def t_inside(self, theta: Array) -> list[Array]:
        """T (B, k, k) of each term in search coordinates."""
        return [to_matrix(theta[:, slot.parameters], slot.entries, slot.k) for slot in self.slots]

    def theta_inside(self, T: Sequence[Array]) -> Array:
        """(B, m) search coordinates of T_t (B, k, k) given in the units of the data."""
        parts = [
            to_theta(canonical(R @ np.asarray(t, dtype=float), term.mask), slot.entries)
            for t, R, term, slot in zip(T, self.z_factors, self.terms, self.slots, strict=True)
        ]
        return np.concatenate(parts, axis=1)

    def t_outside(self, theta: Array) -> list[Array]:
        """Canonical T (B, k, k) of each term in the units of the data."""
        return [
            canonical(np.linalg.solve(R, T), term.mask)
            for T, R, term in zip(self.t_inside(theta), self.z_factors, self.terms, strict=True)
        ]

    def beta_outside(self, beta: Array, shift: Array) -> Array:
        """(B, p) coefficients of X as given."""
        if not self.x_factor.size:
            return np.zeros((beta.shape[0], 0))
        return solve_triangular(self.x_factor, (beta + shift).T, check_finite=False).T


# ---- sums over levels --------------------------------------------------------------------------------------


def _down(z: Array, group: Array, J: int, F: Array) -> Array:
    """(J, k, r) Z'F for F (n, r)."""
    k, r = z.shape[1], F.shape[1]
    out = np.empty((J, k, r))
    for a in range(k):
        for c in range(r):
            out[:, a, c] = np.bincount(group, z[:, a] * F[:, c], J)
    return out


def _own(z: Array, group: Array, J: int) -> Array:
    """(J, k, k) Z'Z by level."""
    k = z.shape[1]
    out = np.empty((J, k, k))
    for a in range(k):
        for b in range(a, k):
            out[:, a, b] = out[:, b, a] = np.bincount(group, z[:, a] * z[:, b], J)
    return out


def _table(z1: Array, g1: Array, z2: Array, g2: Array, J2: int) -> tuple[Array, Array, Array]:
    """Levels (r, s) of two factors that share rows, in order, and the products (cells, k1, k2) there."""
    key = g1.astype(np.int64) * J2 + g2
    order = np.argsort(key, kind="stable")
    key = key[order]
    begin = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    values = np.empty((begin.size, z1.shape[1], z2.shape[1]))
    left, right = z1[order], z2[order]
    for a in range(z1.shape[1]):
        for b in range(z2.shape[1]):
            values[:, a, b] = np.add.reduceat(left[:, a] * right[:, b], begin)
    return key[begin] // J2, key[begin] % J2, values


def _meetings(z1: Array, g1: Array, J1: int, others: Sequence[tuple[Array, Array, Slot]]) -> Meetings:
    levels, columns, values = [], [], []
    for z2, g2, slot in others:
        r, s, v = _table(z1, g1, z2, g2, slot.J)
        levels.append(np.repeat(r, slot.k))
        columns.append((slot.start + s[:, None] * slot.k + np.arange(slot.k)).ravel())
        values.append(v.transpose(0, 2, 1).reshape(-1, z1.shape[1]))
    level = np.concatenate(levels)
    order = np.argsort(level, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(level, minlength=J1))])
    return Meetings(indptr, np.concatenate(columns)[order].astype(np.int32), np.concatenate(values)[order])


def _cross(others: Sequence[tuple[Array, Array, Slot]], q2: int) -> Any:
    """Z2'Z2 as scipy csr."""
    import scipy.sparse as sp

    n = others[0][1].size
    parts = []
    for z, g, slot in others:
        columns = g[:, None] * slot.k + np.arange(slot.k)
        shape = (n, slot.J * slot.k)
        parts.append(sp.csr_matrix((z.ravel(), columns.ravel(), np.arange(0, n * slot.k + 1, slot.k)), shape=shape))
    Z = sp.hstack(parts, format="csr")
    product = (Z.T @ Z).tocsr()
    product.sort_indices()
    return product
