"""The ML deviance with sigma and, where asked for, one combination of the fixed effects held: profiles are made of it.

Per lane, with l'b held at a value and b_h the constrained estimate,

    D(T, s, value) = n log 2 pi + 2 n s + log|I + A Sigma| + r2 e^(-2 s) - sum log w,    s = log sigma
    b_h = b + S^-1 l (value - l'b) / l'S^-1 l        r2_h = r2 + (value - l'b)^2 / l'S^-1 l

so no model is refitted with a column removed: holding l'b replaces S^-1 by S^-1 - S^-1 l l'S^-1 / l'S^-1 l.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Protocol

import numpy as np

from inference_core.states import Array

from . import planes as pl
from .dense import DenseDesign, DenseLanes
from .groups import GroupDesign
from .lanes import Lanes
from .structure import to_matrix

_CHUNK = 2_000_000  # numbers in one stack of q x q matrices


class Pieces(NamedTuple):
    """What the deviance is made of at B points of m covariance parameters, p columns."""

    log_det: Array  # (B,)
    d_log_det: Array  # (B, m)
    dd_log_det: Array  # (B, m, m)
    r2: Array  # (B,)
    d_r2: Array  # (B, m)
    dd_r2: Array  # (B, m, m)
    beta: Array  # (B, p) held where asked for
    gap: Array  # (B,) value - l'b
    spread: Array  # (B,) l'S^-1 l; 1 where nothing is held
    d_gap: Array  # (B, m) half of d2 r2 / dT dvalue


class Kernel(Protocol):
    """One response and one design, at any number of points."""

    @property
    def rows(self) -> int:
        """Rows of the data."""
        ...

    @property
    def log_w(self) -> float:
        """Sum of the logs of the weights."""
        ...

    def pieces(self, theta: Array, held: Array, value: Array) -> Pieces:
        """At theta (B, m), with held (B, p) rows l (zeros: nothing held) and values (B,)."""
        ...


class _Constrained(NamedTuple):
    """Generalised least squares with or without a combination held."""

    beta: Array
    r2: Array
    inverse: Array
    gap: Array
    spread: Array
    along: Array  # (B, p) d beta / d value


def _constrained(S: Array, Xy: Array, r2: Array, held: Array, value: Array) -> _Constrained:
    inverse = np.linalg.inv(S)
    beta = np.einsum("bpq,bq->bp", inverse, Xy)
    any_held = np.any(held != 0.0, axis=1)
    e = np.einsum("bpq,bq->bp", inverse, held)
    spread = np.where(any_held, np.einsum("bp,bp->b", held, e), 1.0)
    gap = np.where(any_held, value - np.einsum("bp,bp->b", held, beta), 0.0)
    r2 = r2 - np.einsum("bp,bp->b", beta, Xy) + gap**2 / spread
    along = e / spread[:, None]
    return _Constrained(
        beta + along * gap[:, None], r2, inverse - along[:, :, None] * e[:, None, :], gap, spread, along
    )


@dataclass(frozen=True, eq=False)
class HeldGroups(Lanes):
    """One grouping factor."""

    @classmethod
    def of(cls, design: GroupDesign, y: Array) -> HeldGroups:
        """From a design and its response (n,), the offset taken off."""
        lanes = design.lanes(y[None], reml=False)
        return cls(**{f.name: getattr(lanes, f.name) for f in fields(lanes)})

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return self.patterns.n

    @property
    def log_w(self) -> float:
        """Sum of the logs of the weights."""
        return self.patterns.log_weights

    def pieces(self, theta: Array, held: Array, value: Array) -> Pieces:
        """See ``Kernel``."""
        with np.errstate(all="ignore"):
            return self._copies(theta.shape[0])._pieces(theta, held, value)

    def _copies(self, B: int) -> HeldGroups:
        C = None if self.C is None else [[np.repeat(entry, B, axis=0) for entry in row] for row in self.C]
        c = [np.repeat(part, B, axis=0) for part in self.c]
        return replace(self, c=c, C=C, yy=np.repeat(self.yy, B), shift=np.repeat(self.shift, B, axis=0))

    def _pieces(self, theta: Array, held: Array, value: Array) -> Pieces:
        d, B, m = self.patterns, theta.shape[0], self.patterns.count
        k, p = d.k, d.p
        T = to_matrix(theta, d.entries, k)
        Sigma = pl.of_lanes(T @ T.transpose(0, 2, 1))
        pencil = pl.product(d.A_planes, Sigma)
        for a in range(k):
            pencil[a][a] = pencil[a][a] + 1.0
        D, logdet = pl.invert(pencil)
        N = pl.symmetric_product(D, d.A_planes)
        Q = pl.symmetric_product(Sigma, D)
        stacked = pl.stack_symmetric(Q)
        S = np.eye(p) - d.quadratic(stacked if m is None else stacked * np.tile(m, stacked.shape[1] // m.size))
        v = np.concatenate(pl.times_vector(Q, self.c), axis=1)
        gls = _constrained(S, -(v @ d.B_stacked), self.yy - self._quadratic_in_y(v, Q), held, value)
        g, G = self._residual_products(D, gls.beta, m)

        Nf, Gf = pl.stack_full(N), pl.stack_full(G)  # (B, k^2, U)
        Nm = Nf if m is None else Nf * m
        N_sum, G_sum = Nm.sum(axis=2).reshape(B, k, k), Gf.sum(axis=2).reshape(B, k, k)
        E = _moves(T, d.entries)
        flat = E.reshape(B, -1, k * k)
        same = d.same_column
        rows, columns = d.rows_and_columns
        h = flat @ self._mixed_terms(D, g).reshape(B, k * k, p)
        return Pieces(
            log_det=logdet.sum(axis=1) if m is None else logdet @ m,
            d_log_det=2.0 * (N_sum @ T)[:, rows, columns],
            dd_log_det=2.0 * same * N_sum[:, rows[:, None], rows] - _quartic(Nf, Nm, flat, k),
            r2=gls.r2,
            d_r2=-2.0 * (G_sum @ T)[:, rows, columns],
            dd_r2=2.0 * (_quartic(Nf, Gf, flat, k) - h @ gls.inverse @ h.transpose(0, 2, 1))
            - 2.0 * same * G_sum[:, rows[:, None], rows],
            beta=gls.beta,
            gap=gls.gap,
            spread=gls.spread,
            d_gap=np.einsum("bip,bp->bi", h, gls.along),
        )


def _quartic(left: Array, right: Array, flat: Array, k: int) -> Array:
    """Sum over patterns of tr(L E_i R E_j), symmetrised: (B, m, m) from planes (B, k^2, U)."""
    B = flat.shape[0]
    M = (left @ right.transpose(0, 2, 1)).reshape(B, k, k, k, k).transpose(0, 2, 3, 1, 4).reshape(B, k * k, k * k)
    H = flat @ M @ flat.transpose(0, 2, 1)
    return 0.5 * (H + H.transpose(0, 2, 1))


def _moves(T: Array, entries: tuple[tuple[int, int], ...]) -> Array:
    """(B, m, k, k) d (T T') / dT_ab = e_a t_b' + t_b e_a'."""
    E = np.zeros((T.shape[0], len(entries), *T.shape[1:]))
    for i, (a, b) in enumerate(entries):
        E[:, i, a, :] += T[:, :, b]
        E[:, i, :, a] += T[:, :, b]
    return E


@dataclass(frozen=True, eq=False)
class HeldTerms:
    """Any terms, dense."""

    design: DenseDesign
    one: DenseLanes

    @classmethod
    def of(cls, design: DenseDesign, y: Array) -> HeldTerms:
        """From a design and its response (n,), the offset taken off."""
        return cls(design, design.lanes(y[None], reml=False))

    @property
    def rows(self) -> int:
        """Rows of the data."""
        return self.design.X.shape[0]

    @property
    def log_w(self) -> float:
        """Sum of the logs of the weights."""
        return self.design.log_weights

    def pieces(self, theta: Array, held: Array, value: Array) -> Pieces:
        """See ``Kernel``."""
        step = max(1, int(_CHUNK / self.design.q**2))
        with np.errstate(all="ignore"):
            parts = [
                self._pieces(theta[i : i + step], held[i : i + step], value[i : i + step])
                for i in range(0, theta.shape[0], step)
            ]
        return parts[0] if len(parts) == 1 else Pieces(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _pieces(self, theta: Array, held: Array, value: Array) -> Pieces:
        d, B, q = self.design, theta.shape[0], self.design.q
        p, m = d.B.shape[1], d.n_theta
        T = d.t_inside(theta)
        Sigma = [t @ t.transpose(0, 2, 1) for t in T]
        M = d.right(np.broadcast_to(d.A, (B, q, q)).copy(), Sigma)
        M[:, np.arange(q), np.arange(q)] += 1.0
        logdet = np.linalg.slogdet(M)[1]
        right = np.concatenate([d.A, d.B, self.one.c.T], axis=1)
        solved = np.linalg.solve(M, np.broadcast_to(right, (B, *right.shape)))
        N, W, dc = solved[:, :, :q], solved[:, :, q:-1], solved[:, :, -1]
        N = 0.5 * (N + N.transpose(0, 2, 1))
        SB = d.right(np.broadcast_to(d.B.T, (B, p, q)).copy(), Sigma)
        Sc = d.right(np.broadcast_to(self.one.c[:, None, :], (B, 1, q)).copy(), Sigma)[:, 0]
        gls = _constrained(
            np.eye(p) - SB @ W, -np.einsum("bpq,bq->bp", SB, dc), self.one.yy - np.einsum("bq,bq->b", Sc, dc),
            held, value,
        )  # fmt: skip
        g = dc - np.einsum("bqp,bp->bq", W, gls.beta)
        d_log, dd_log = np.empty((B, m)), np.zeros((B, m, m))
        d_r2, dd_r2 = np.empty((B, m)), np.zeros((B, m, m))
        e = np.zeros((B, m, q))
        moved: list[list[Array]] = []  # per parameter, per term s: N[s, own] E
        for t, slot in enumerate(d.slots):
            gs = g[:, slot.columns].reshape(B, slot.J, slot.k)
            own = N[:, slot.columns, slot.columns].reshape(B, slot.J, slot.k, slot.J, slot.k)
            N_sum, G_sum = np.einsum("bjajc->bac", own), gs.transpose(0, 2, 1) @ gs
            E = _moves(T[t], slot.entries)
            for i, (a, b) in enumerate(slot.entries):
                at = slot.first + i
                d_log[:, at] = 2.0 * (N_sum @ T[t])[:, a, b]
                d_r2[:, at] = -2.0 * (G_sum @ T[t])[:, a, b]
                e[:, at, slot.columns] = (gs @ E[:, i]).reshape(B, -1)
                moved.append(
                    [
                        (N[:, other.columns, slot.columns].reshape(B, -1, slot.k) @ E[:, i]).reshape(
                            B, other.J * other.k, slot.J * slot.k
                        )
                        for other in d.slots
                    ]
                )
                for j, (a2, b2) in enumerate(slot.entries):
                    if b == b2:
                        dd_log[:, at, slot.first + j] += 2.0 * N_sum[:, a, a2]
                        dd_r2[:, at, slot.first + j] -= 2.0 * G_sum[:, a, a2]
        owner = [t for t, slot in enumerate(d.slots) for _ in slot.entries]
        for i in range(m):
            for j in range(i + 1):
                pair = np.einsum("bxy,byx->b", moved[i][owner[j]], moved[j][owner[i]])
                dd_log[:, i, j] -= pair
                if i != j:
                    dd_log[:, j, i] -= pair
        h = e @ W
        dd_r2 += 2.0 * (e @ N @ e.transpose(0, 2, 1) - h @ gls.inverse @ h.transpose(0, 2, 1))
        return Pieces(
            logdet, d_log, dd_log, gls.r2, d_r2, dd_r2, gls.beta, gls.gap, gls.spread,
            np.einsum("bip,bp->bi", h, gls.along),
        )  # fmt: skip


class Held(NamedTuple):
    """The deviance D at B points x = (T, log sigma) and values of l'b, and its derivatives."""

    deviance: Array  # (B,)
    gradient: Array  # (B, m + 1)
    hessian: Array  # (B, m + 1, m + 1)
    d_value: Array  # (B,) dD / dvalue, 0 where nothing is held
    dd_value: Array  # (B,) d2 D / dvalue2, 1 where nothing is held
    d_value_x: Array  # (B, m + 1)
    beta: Array  # (B, p)


def held_deviance(kernel: Kernel, x: Array, held: Array, value: Array) -> Held:
    """D at x (B, m + 1) = (T, log sigma), with held (B, p) and value (B,)."""
    n, s = kernel.rows, x[:, -1]
    with np.errstate(over="ignore", invalid="ignore"):
        part = kernel.pieces(x[:, :-1], held, value)
        i2 = np.exp(-2.0 * s)
        f = n * np.log(2.0 * np.pi) + 2.0 * n * s + part.log_det + part.r2 * i2 - kernel.log_w
        gradient = np.column_stack([part.d_log_det + part.d_r2 * i2[:, None], 2.0 * n - 2.0 * part.r2 * i2])
        H = np.empty((x.shape[0], x.shape[1], x.shape[1]))
        H[:, :-1, :-1] = part.dd_log_det + part.dd_r2 * i2[:, None, None]
        H[:, -1, :-1] = H[:, :-1, -1] = -2.0 * i2[:, None] * part.d_r2
        H[:, -1, -1] = 4.0 * part.r2 * i2
        any_held = np.any(held != 0.0, axis=1)
        d_value = 2.0 * part.gap / part.spread * i2
        dd_value = np.where(any_held, 2.0 / part.spread * i2, 1.0)
        d_value_x = np.column_stack([2.0 * i2[:, None] * part.d_gap, -2.0 * d_value])
    return Held(f, gradient, H, d_value, dd_value, np.where(any_held[:, None], d_value_x, 0.0), part.beta)
