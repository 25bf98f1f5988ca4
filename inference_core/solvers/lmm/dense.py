"""Any random terms, exactly and densely: q columns of Z together, up to some hundreds.

N = (I + A Sigma)^-1 A is formed as a full (q, q) matrix, A = Z'WZ; gradient and Hessian are exact. Slopes, nested,
crossed and mixed terms are the same to it, and it is the oracle of the faster kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.states import Array

from .newton import Evaluation
from .structure import Entries, canonical, free_entries, full_mask, to_matrix, to_theta, whitening

MAX_Q = 600  # columns of Z beyond which (q, q) matrices are too slow


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One grouping factor: the columns whose effects vary by its groups."""

    Z: Array  # (n, k)
    group: Array  # (n,)
    n_groups: int
    mask: Array  # (k, k) free entries of T

    @classmethod
    def of(cls, Z: Array, group: Array, n_groups: int | None = None, mask: Array | None = None) -> Term:
        """A term, by default with correlated effects."""
        J = int(group.max()) + 1 if n_groups is None else n_groups
        return cls(Z, group, J, full_mask(Z.shape[1]) if mask is None else np.asarray(mask, dtype=bool))

    @property
    def k(self) -> int:
        """Effects a group."""
        return self.Z.shape[1]

    @property
    def q(self) -> int:
        """Columns of Z."""
        return self.n_groups * self.k


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where a term stands among the q columns, and which of the m parameters are its own."""

    start: int
    J: int
    k: int
    entries: Entries
    first: int

    @property
    def columns(self) -> slice:
        """Its columns of Z."""
        return slice(self.start, self.start + self.J * self.k)

    @property
    def parameters(self) -> slice:
        """Its part of theta."""
        return slice(self.first, self.first + len(self.entries))


@dataclass(frozen=True, slots=True, eq=False)
class DenseDesign:
    """What does not hold y, with X orthonormal and the columns of Z whitened."""

    terms: tuple[Term, ...]
    slots: tuple[Slot, ...]
    X: Array  # (n, p)
    x_factor: Array  # (p, p)
    Z: Array  # (n, q)
    z_factors: tuple[Array, ...]  # (k_t, k_t)
    root_weights: Array | None
    A: Array  # (q, q)
    B: Array  # (q, p)
    log_weights: float
    log_det_x: float

    @classmethod
    def of(cls, X: Array, terms: Sequence[Term], weights: Array | None = None) -> DenseDesign:
        """Prepare X (n, p) of full rank and the random terms; ``weights`` (n,) > 0."""
        root = None if weights is None else np.sqrt(weights)
        Xw = X if root is None else X * root[:, None]
        n, p = Xw.shape
        Q, R = np.linalg.qr(Xw) if p else (np.zeros((n, 0)), np.zeros((0, 0)))
        slots, factors, parts = [], [], []
        start = first = 0
        for term in terms:
            Zw = term.Z if root is None else term.Z * root[:, None]
            Rz = whitening(Zw, term.mask)
            cube = np.zeros((n, term.n_groups, term.k))
            cube[np.arange(n), term.group] = solve_triangular(Rz, Zw.T, trans=1, check_finite=False).T
            entries = free_entries(term.mask)
            slots.append(Slot(start, term.n_groups, term.k, entries, first))
            start, first = start + term.q, first + len(entries)
            factors.append(Rz)
            parts.append(cube.reshape(n, -1))
        Z = np.concatenate(parts, axis=1)
        log_w = 0.0 if root is None else 2.0 * float(np.sum(np.log(root)))
        log_x = 2.0 * float(np.sum(np.log(np.abs(np.diagonal(R)))))
        return cls(
            tuple(terms), tuple(slots), Q, R, Z, tuple(factors), root, Z.T @ Z, Z.T @ Q, log_w, log_x
        )

    @property
    def q(self) -> int:
        """Columns of Z."""
        return self.Z.shape[1]

    @property
    def n_theta(self) -> int:
        """Covariance parameters."""
        return sum(len(slot.entries) for slot in self.slots)

    def lanes(self, Y: Array, *, reml: bool = True) -> DenseLanes:
        """One lane per response: Y (B, n), the offset already taken off."""
        Yw = np.atleast_2d(Y) if self.root_weights is None else np.atleast_2d(Y) * self.root_weights
        b0 = Yw @ self.X
        Yw = Yw - b0 @ self.X.T
        return DenseLanes(self, reml, Yw @ self.Z, np.einsum("bn,bn->b", Yw, Yw), b0)

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

    def unwhitened(self) -> DenseDesign:
        """The same design with Z in the units of the data, so that theta is lme4's."""
        factors = [R.T for R in self.z_factors]
        A = self.left(self.left(self.A[None], factors).transpose(0, 2, 1), factors)[0]
        return replace(
            self, A=A, B=self.left(self.B[None], factors)[0], z_factors=tuple(np.eye(slot.k) for slot in self.slots)
        )

    # ---- products with blockdiag(I x E_t) ------------------------------------------------------------------

    def right(self, M: Array, E: Sequence[Array]) -> Array:
        """M (B, r, q) times the block-diagonal matrix of E_t (B or 1, k, k)."""
        out = np.empty_like(M)
        for slot, e in zip(self.slots, E, strict=True):
            part = M[:, :, slot.columns].reshape(M.shape[0], -1, slot.k)
            out[:, :, slot.columns] = (part @ e).reshape(M.shape[0], M.shape[1], slot.J * slot.k)
        return out

    def left(self, M: Array, E: Sequence[Array]) -> Array:
        """The block-diagonal matrix of E_t (k, k) times M (B, q, r)."""
        return self.right(M.transpose(0, 2, 1), [e.T[None] for e in E]).transpose(0, 2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class DenseLanes:
    """B responses of one design."""

    design: DenseDesign
    reml: bool
    c: Array  # (B, q)
    yy: Array  # (B,)
    shift: Array  # (B, p)

    @property
    def size(self) -> int:
        """B."""
        return self.yy.shape[0]

    @property
    def dof(self) -> float:
        """Rows, less the columns of X for REML."""
        n, p = self.design.X.shape
        return float(n - p if self.reml else n)

    def take(self, lanes: Array) -> DenseLanes:
        """Some of the lanes."""
        return replace(self, c=self.c[lanes], yy=self.yy[lanes], shift=self.shift[lanes])

    def evaluate(self, theta: Array) -> Evaluation:
        """Deviance, gradient and exact Hessian at theta (B, m); not finite where doubles do not reach."""
        with np.errstate(all="ignore"):
            return self._evaluate(theta)

    def _evaluate(self, theta: Array) -> Evaluation:
        d, lanes, dof = self.design, theta.shape[0], self.dof
        p, m = d.B.shape[1], d.n_theta
        T = d.t_inside(theta)
        Sigma = [t @ t.transpose(0, 2, 1) for t in T]
        N, W, dc, logdet = self.solve(Sigma)
        SB = d.right(np.broadcast_to(d.B.T, (lanes, p, d.q)).copy(), Sigma)
        S = np.eye(p) - SB @ W
        Sc = d.right(self.c[:, None, :], Sigma)[:, 0]
        sign, log_S = np.linalg.slogdet(S)
        log_S = np.where(sign > 0, log_S, np.nan)
        Si = np.linalg.inv(np.where((sign > 0)[:, None, None], S, np.eye(p)))
        Xy = -np.einsum("bpq,bq->bp", SB, dc)
        beta = np.einsum("bpq,bq->bp", Si, Xy)
        r2 = self.yy - np.einsum("bq,bq->b", Sc, dc) - np.einsum("bp,bp->b", beta, Xy)
        ratio = dof / r2
        deviance = logdet + dof * (1.0 + np.log(2.0 * np.pi * r2 / dof)) - d.log_weights
        g = dc - np.einsum("bqp,bp->bq", W, beta)
        Nh = N - W @ Si @ W.transpose(0, 2, 1)
        if self.reml:
            deviance = deviance + log_S + d.log_det_x
        Nt = Nh if self.reml else N

        gradient, H = np.empty((lanes, m)), np.zeros((lanes, m, m))
        e, along = np.zeros((lanes, m, d.q)), np.empty((lanes, m))
        moved: dict[tuple[int, int], Array] = {}  # (parameter, other term): N[other, own] E
        for t, slot in enumerate(d.slots):
            gs = g[:, slot.columns].reshape(lanes, slot.J, slot.k)
            K = _diagonal_blocks(Nt, slot) - ratio[:, None, None] * (gs.transpose(0, 2, 1) @ gs)
            KT = 2.0 * (K @ T[t])
            for i, (a, b) in enumerate(slot.entries, start=slot.first):
                E = np.zeros((lanes, slot.k, slot.k))
                E[:, a, :] += T[t][:, :, b]
                E[:, :, a] += T[t][:, :, b]
                gradient[:, i] = KT[:, a, b]
                e[:, i, slot.columns] = (gs @ E).reshape(lanes, -1)
                along[:, i] = np.einsum("bq,bq->b", e[:, i], g)
                for s, other in enumerate(d.slots):
                    block = Nt[:, other.columns, slot.columns].reshape(lanes, -1, slot.k)
                    moved[i, s] = (block @ E).reshape(lanes, other.J * other.k, slot.J * slot.k)
                for j, (a2, b2) in enumerate(slot.entries, start=slot.first):
                    if b == b2:
                        H[:, i, j] += 2.0 * K[:, a, a2]
        owner = [t for t, slot in enumerate(d.slots) for _ in slot.entries]
        for i in range(m):
            for j in range(i + 1):
                pair = np.einsum("bxy,byx->b", moved[i, owner[j]], moved[j, owner[i]])
                H[:, i, j] -= pair
                if i != j:
                    H[:, j, i] -= pair
        H += 2.0 * ratio[:, None, None] * (e @ Nh @ e.transpose(0, 2, 1))
        H -= (ratio / r2)[:, None, None] * (along[:, :, None] * along[:, None, :])
        return Evaluation(deviance, gradient, H, beta, r2)

    def x_information(self, theta: Array) -> Array:
        """(B, p, p) X'V^-1 X in units of 1 / sigma^2, for the design's own X."""
        d = self.design
        with np.errstate(all="ignore"):
            Sigma = [t @ t.transpose(0, 2, 1) for t in d.t_inside(theta)]
            W = self.solve(Sigma)[1]
            SB = d.right(np.broadcast_to(d.B.T, (self.size, d.B.shape[1], d.q)).copy(), Sigma)
        return np.eye(d.B.shape[1]) - SB @ W

    def solve(self, Sigma: list[Array]) -> tuple[Array, Array, Array, Array]:
        """N (B, q, q), W = (I + A Sigma)^-1 B, (I + A Sigma)^-1 c and log|I + A Sigma|."""
        d, lanes, q = self.design, self.size, self.design.q
        M = d.right(np.broadcast_to(d.A, (lanes, q, q)).copy(), Sigma)
        M[:, np.arange(q), np.arange(q)] += 1.0
        sign, logdet = np.linalg.slogdet(M)
        bad = ~(sign > 0)
        if bad.any():
            M[bad] = np.eye(q)
            logdet = np.where(bad, np.nan, logdet)
        rhs = np.concatenate([np.broadcast_to(np.concatenate([d.A, d.B], axis=1), (lanes, q, q + d.B.shape[1])),
                              self.c[:, :, None]], axis=2)  # fmt: skip
        solved = np.linalg.solve(M, rhs)
        N = solved[:, :, :q]
        return 0.5 * (N + N.transpose(0, 2, 1)), solved[:, :, q:-1], solved[:, :, -1], logdet


def _diagonal_blocks(M: Array, slot: Slot) -> Array:
    """(B, k, k) sum of a term's diagonal blocks of M (B, q, q)."""
    own = M[:, slot.columns, slot.columns].reshape(M.shape[0], slot.J, slot.k, slot.J, slot.k)
    return np.einsum("bjajc->bac", own)
