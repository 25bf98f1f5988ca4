"""The profiled deviance of one grouping factor, its gradient and exact Hessian, for B lanes at once.

With D = (I + A Sigma)^-1, N = D A, Q = Sigma D for each pattern of groups, Sigma = T T':

    S = X'X - sum B'Q B        beta = S^-1 (X'y - sum B'Q c)        r2 = y'y - sum c'Q c - beta'(X'y - sum B'Q c)
    d = sum log|I + A Sigma| + [REML: log|S|] + dof (1 + log(2 pi r2 / dof)) - sum log w

D is formed directly, so nothing cancels where A is large, and Sigma may be singular. See Bates, Maechler, Bolker &
Walker (2015), J. Stat. Softw. 67(1), for the deviance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from inference_core.backends.namespace import is_numpy, namespace
from inference_core.states import Array

from . import planes as pl
from .newton import Evaluation
from .structure import Entries, directions, to_matrix

_STORED = 1.5e7  # numbers of the products B B' that are kept; above, they are made block by block


@dataclass(frozen=True, eq=False)
class Patterns:
    """Cross-products of U patterns of groups, each standing for ``count`` groups (None: one)."""

    A: Array  # (U, k, k) Z'Z
    B: Array  # (U, k, p) Z'X
    count: Array | None  # (U,)
    entries: Entries
    n: int
    log_weights: float
    log_det_x: float  # log |X'WX| in the units of the data, X'WX being I here

    @property
    def U(self) -> int:
        """Patterns."""
        return self.A.shape[0]

    @property
    def k(self) -> int:
        """Effects a group."""
        return self.A.shape[1]

    @property
    def p(self) -> int:
        """Columns of X."""
        return self.B.shape[2]

    @cached_property
    def rows_and_columns(self) -> tuple[Array, Array]:
        """Of the free entries of T."""
        rows, columns = (np.array(x) for x in zip(*self.entries, strict=True))
        return rows, columns

    @cached_property
    def same_column(self) -> Array:
        """(m, m) 1 where two free entries of T stand in one column, else 0."""
        columns = self.rows_and_columns[1]
        return (columns[:, None] == columns).astype(float)

    @cached_property
    def A_planes(self) -> pl.Planes:
        """A as planes (U,)."""
        return [[pl.contiguous(self.A[:, a, b]) for b in range(self.k)] for a in range(self.k)]

    @cached_property
    def B_stacked(self) -> Array:
        """(k U, p), by effect and then by pattern."""
        return pl.contiguous(self.B.transpose(1, 0, 2)).reshape(self.k * self.U, self.p)

    @cached_property
    def _products(self) -> Array | None:
        """(qs U, p^2) of B_a B_b' + B_b B_a' (a < b) and B_a B_a', unless they would fill the memory."""
        size = self.k * (self.k + 1) // 2 * self.U * self.p**2
        return self._products_of(slice(None)).reshape(-1, self.p**2) if size <= _STORED else None

    def _products_of(self, part: slice) -> Array:
        B = self.B[part]
        out = []
        for a in range(self.k):
            for b in range(a, self.k):
                block = B[:, a, :, None] * B[:, b, None, :]
                out.append(block if a == b else block + block.transpose(0, 2, 1))
        return namespace(B).stack(out).reshape(len(out), -1, self.p**2)

    def _blocks(self) -> list[slice]:
        step = max(1, int(_STORED / 4 / max(1, self.k * (self.k + 1) // 2 * self.p**2)))
        return [slice(start, min(start + step, self.U)) for start in range(0, self.U, step)]

    def quadratic(self, stacked: Array) -> Array:
        """Sum of B'M B (B, p, p) for symmetric planes M, stacked (B, qs U)."""
        lanes, p = stacked.shape[0], self.p
        if p == 0:
            return namespace(stacked).zeros((lanes, 0, 0))
        if self._products is not None:
            return (stacked @ self._products).reshape(lanes, p, p)
        xp = namespace(stacked)
        total = xp.zeros((lanes, p * p))
        cube = stacked.reshape(lanes, -1, self.U)
        for part in self._blocks():
            total += xp.tensordot(cube[:, :, part], self._products_of(part), axes=2)
        return total.reshape(lanes, p, p)

    def spread(self, M: Array) -> pl.Planes:
        """B M B' as planes (lanes, U) for symmetric M (lanes, p, p)."""
        lanes, k = M.shape[0], self.k
        flat = M.reshape(lanes, -1)
        if self._products is not None:
            cube = (flat @ self._products.T).reshape(lanes, -1, self.U)
        else:
            xp = namespace(flat)
            parts = [xp.tensordot(flat, self._products_of(part), axes=([1], [2])) for part in self._blocks()]
            cube = xp.concatenate(parts, axis=2)
        out: pl.Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
        at = 0
        for a in range(k):
            for b in range(a, k):
                out[a][b] = out[b][a] = cube[:, at] if a == b else 0.5 * cube[:, at]
                at += 1
        return out

    def rebased(self, L: Array, entries: Entries | None = None) -> Patterns:
        """The same groups with Z replaced by Z L."""
        A, B = L.T @ self.A @ L, L.T @ self.B
        return replace(self, A=A, B=B, entries=self.entries if entries is None else entries)


@dataclass(frozen=True, eq=False)
class Lanes:
    """B lanes: their cross-products with y, in the design's coordinates."""

    patterns: Patterns
    reml: bool
    c: Sequence[Array]  # k arrays (B, U): sum of Z'y over the groups of a pattern
    C: pl.Planes | None  # (k, k) planes (B, U): sum of Z'y y'Z; None where each pattern is one group
    yy: Array  # (B,)
    shift: Array  # (B, p) coefficients of the least-squares fit that was taken off y
    # where whole groups take part a different number of times in each lane:
    Xy: Array | None = None  # (B, p); None: zero
    XX: Array | None = None  # (B, p, p); None: the identity
    count: Array | None = None  # (B, U) in place of the patterns' own
    n: Array | None = None  # (B,) rows
    log_weights: Array | None = None  # (B,)

    @property
    def size(self) -> int:
        """B."""
        return self.yy.shape[0]

    @property
    def dof(self) -> Array | float:
        """Rows, less the columns of X for REML."""
        n = float(self.patterns.n) if self.n is None else self.n
        return n - self.patterns.p if self.reml else n

    def take(self, lanes: Array) -> Lanes:
        """Some of the lanes: positions or a boolean mask."""

        def some(value: Array | None) -> Array | None:
            return None if value is None else value[lanes]

        C = self.C
        if C is not None:
            k = len(C)
            upper = {(a, b): C[a][b][lanes] for a in range(k) for b in range(a, k)}
            C = [[upper[min(a, b), max(a, b)] for b in range(k)] for a in range(k)]
        return Lanes(
            self.patterns, self.reml, [part[lanes] for part in self.c], C, self.yy[lanes], self.shift[lanes],
            some(self.Xy), some(self.XX), some(self.count), some(self.n), some(self.log_weights),
        )  # fmt: skip

    def repeated(self, times: int) -> Lanes:
        """Every lane ``times`` times over, the whole set after itself: room for several starts."""
        return self.take(np.tile(np.arange(self.size), times))

    def rebased(self, L: Array, entries: Entries | None = None) -> Lanes:
        """The same lanes with Z replaced by Z L; ``entries`` names the free entries of the new T."""
        k = self.patterns.k
        c = [sum(L[d, a] * self.c[d] for d in range(k)) for a in range(k)]
        C = self.C
        if C is not None:
            half = [[sum(L[d, a] * C[d][b] for d in range(k)) for b in range(k)] for a in range(k)]
            C = [[sum(half[a][d] * L[d, b] for d in range(k)) for b in range(k)] for a in range(k)]
        return replace(self, patterns=self.patterns.rebased(L, entries), c=c, C=C)  # type: ignore[arg-type]

    # ---- the deviance -------------------------------------------------------------------------------------

    def evaluate(self, theta: Array) -> Evaluation:
        """Deviance, gradient and exact Hessian in the free entries of T, theta (B, m).

        Not finite where T is beyond what doubles can hold, or X has lost rank; nothing is raised.
        """
        with np.errstate(all="ignore"):
            return self._evaluate(theta)

    def _evaluate(self, theta: Array) -> Evaluation:
        d, lanes, xp = self.patterns, theta.shape[0], namespace(theta)
        k, p, c = d.k, d.p, self.c
        m = self.count if self.count is not None else d.count  # (U,), (B, U) or None for ones
        T = to_matrix(theta, d.entries, k)
        Sigma = pl.of_lanes(T @ T.transpose(0, 2, 1))
        pencil = pl.product(d.A_planes, Sigma)
        for a in range(k):
            pencil[a][a] = pencil[a][a] + 1.0
        D, logdet = pl.invert(pencil)
        N = pl.symmetric_product(D, d.A_planes)
        Q = pl.symmetric_product(Sigma, D)

        S = (np.eye(p) if self.XX is None else self.XX) - d.quadratic(pl.stack_symmetric(_scaled(Q, m)))
        v = xp.concatenate(pl.times_vector(Q, c), axis=1)
        Xy = -(v @ d.B_stacked)
        if self.Xy is not None:
            Xy += self.Xy
        Si, log_S = _inverse(S)
        beta = xp.einsum("bij,bj->bi", Si, Xy)
        r2 = self.yy - self._quadratic_in_y(v, Q) - xp.einsum("bp,bp->b", beta, Xy)
        dof, ratio = self.dof, self.dof / r2
        log_w = d.log_weights if self.log_weights is None else self.log_weights
        deviance = _summed(logdet, m) + dof * (1.0 + xp.log(2.0 * np.pi * r2 / dof)) - log_w
        if self.reml:
            deviance = deviance + log_S + d.log_det_x

        g, G = self._residual_products(D, beta, m)
        G_sum = _collect(G, None, lanes)
        P = pl.sandwich(D, d.spread(Si)) if self.reml and p else None
        slope = N if P is None else [[N[a][b] - P[a][b] for b in range(k)] for a in range(k)]
        K = _collect(slope, m, lanes) - ratio[:, None, None] * G_sum
        rows, columns = d.rows_and_columns
        gradient = 2.0 * (K @ T)[:, rows, columns]

        # Exact Hessian: directions E_i = e_a t_b' + t_b e_a' of Sigma, t_b the columns of T
        flat = (T.reshape(lanes, k * k) @ directions(d.entries, k)).reshape(lanes, -1, k * k)
        curve = pl.stack_full(_curvature(N, G, P, ratio, m))
        quartic = _stacked(N, curve) @ curve.transpose(0, 2, 1)
        quartic = quartic.reshape(lanes, k, k, k, k).transpose(0, 2, 3, 1, 4).reshape(lanes, k * k, k * k)
        H = flat @ quartic @ flat.transpose(0, 2, 1)
        H = 0.5 * (H + H.transpose(0, 2, 1))
        H += 2.0 * K[:, rows[:, None], rows] * d.same_column
        along = flat @ G_sum.reshape(lanes, k * k, 1)
        H -= (ratio / r2)[:, None, None] * (along @ along.transpose(0, 2, 1))
        if p:
            h = flat @ self._mixed_terms(D, g).reshape(lanes, k * k, p)
            H -= 2.0 * ratio[:, None, None] * (h @ Si @ h.transpose(0, 2, 1))
            if self.reml:
                RS = xp.stack([M @ Si for M in self._x_directions(D, T, m)], axis=1)
                left = RS.reshape(lanes, -1, p * p)
                H -= left @ RS.transpose(0, 1, 3, 2).reshape(lanes, -1, p * p).transpose(0, 2, 1)
        return Evaluation(deviance, gradient, H, beta, r2)

    def x_information(self, theta: Array) -> Array:
        """(B, p, p) X'V^-1 X in units of 1 / sigma^2, for the design's own X; not finite where a lane has none."""
        d = self.patterns
        m = self.count if self.count is not None else d.count
        with np.errstate(all="ignore"):
            T = to_matrix(theta, d.entries, d.k)
            Sigma = pl.of_lanes(T @ T.transpose(0, 2, 1))
            pencil = pl.product(d.A_planes, Sigma)
            for a in range(d.k):
                pencil[a][a] = pencil[a][a] + 1.0
            Q = pl.symmetric_product(Sigma, pl.invert(pencil)[0])
            S = -d.quadratic(pl.stack_symmetric(_scaled(Q, m)))
        return S + (np.eye(d.p) if self.XX is None else self.XX)

    # ---- pieces -------------------------------------------------------------------------------------------

    def _quadratic_in_y(self, v: Array, Q: pl.Planes) -> Array:
        """Sum of c'Q c (B,)."""
        C, k, xp = self.C, self.patterns.k, namespace(v)
        if C is None:
            return xp.einsum("bi,bi->b", v, xp.concatenate(list(self.c), axis=1))
        total = xp.zeros(self.size)
        for a in range(k):
            for b in range(a, k):
                total += (1.0 if a == b else 2.0) * xp.einsum("bu,bu->b", Q[a][b], C[a][b])
        return total

    def _residual_products(self, D: pl.Planes, beta: Array, m: Array | None) -> tuple[list[Array], pl.Planes]:
        """Sums over groups of g = D (c - B beta) and of g g'."""
        d, c, C = self.patterns, self.c, self.C
        k = d.k
        fitted = (beta @ d.B_stacked.T).reshape(-1, k, d.U)
        f = [fitted[:, a] for a in range(k)]
        if C is None:
            g = pl.times_vector(D, [c[a] - f[a] for a in range(k)])
            return g, [[g[a] * g[b] for b in range(k)] for a in range(k)]
        mf = [x if m is None else m * x for x in f]
        g = pl.times_vector(D, [c[a] - mf[a] for a in range(k)])
        E: pl.Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
        for a in range(k):
            for b in range(a, k):
                E[a][b] = E[b][a] = C[a][b] - f[a] * c[b] - c[a] * f[b] + mf[a] * f[b]
        return g, pl.sandwich(D, E)

    def _mixed_terms(self, D: pl.Planes, g: list[Array]) -> Array:
        """(B, k, k, p) sum over groups of (D B)_a g_b."""
        d = self.patterns
        lanes, k = g[0].shape[0], d.k
        xp = namespace(g[0])
        parts = [
            xp.concatenate([D[a][e] * g[b] for e in range(k)], axis=1) @ d.B_stacked for a in range(k) for b in range(k)
        ]
        return xp.stack(parts, axis=1).reshape(lanes, k, k, d.p)

    def _x_directions(self, D: pl.Planes, T: Array, m: Array | None) -> list[Array]:
        """For each free entry (a, b) the matrix W'E W (B, p, p), W = D B."""
        d = self.patterns
        k = d.k
        Tp = pl.of_lanes(T)
        turned = [[D[e][x] for e in range(k)] for x in range(k)]
        tau = pl.product(turned, Tp)  # tau[x][b] = sum_e D[e][x] T[e, b]
        out = []
        for a, b in d.entries:
            M: pl.Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
            for x in range(k):
                for y in range(x, k):
                    M[x][y] = M[y][x] = D[a][x] * tau[y][b] + tau[x][b] * D[a][y]
            out.append(d.quadratic(pl.stack_symmetric(_scaled(M, m))))
        return out


def _scaled(planes: pl.Planes, m: Array | None) -> pl.Planes:
    if m is None:
        return planes
    k = len(planes)
    out: pl.Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
    for a in range(k):
        for b in range(a, k):
            out[a][b] = out[b][a] = planes[a][b] * m
    return out


def _summed(plane: Array, m: Array | None) -> Array:
    """Sum over patterns, each as often as it counts."""
    if m is None:
        return plane.sum(axis=1)
    return plane @ m if m.ndim == 1 else namespace(plane).einsum("bu,bu->b", plane, m)


def _collect(planes: pl.Planes, m: Array | None, lanes: int) -> Array:
    """(B, k, k) sums over patterns of symmetric planes."""
    k = len(planes)
    if not is_numpy(planes[0][0]):
        xp = namespace(planes[0][0])
        return xp.stack([xp.stack([_summed(entry, m) for entry in row], axis=-1) for row in planes], axis=-2)
    out = np.empty((lanes, k, k))
    for a in range(k):
        for b in range(a, k):
            out[:, a, b] = out[:, b, a] = _summed(planes[a][b], m)
    return out


def _curvature(N: pl.Planes, G: pl.Planes, P: pl.Planes | None, ratio: Array, m: Array | None) -> pl.Planes:
    """Planes of 2 P + 2 (dof / r2) G - N, summed over the groups of each pattern."""
    k, twice = len(N), 2.0 * ratio[:, None]
    out: pl.Planes = [[None] * k for _ in range(k)]  # type: ignore[list-item]
    for a in range(k):
        for b in range(a, k):
            fixed = -N[a][b] if P is None else 2.0 * P[a][b] - N[a][b]
            out[a][b] = out[b][a] = twice * G[a][b] + (fixed if m is None else m * fixed)
    return out


def _stacked(planes: pl.Planes, like: Array) -> Array:
    """(B, k^2, U) every entry, of planes that may have one lane for all."""
    if not is_numpy(like):
        xp = namespace(like)
        return xp.stack([xp.broadcast_to(entry, like[:, 0].shape) for row in planes for entry in row], axis=1)
    out = np.empty_like(like)
    for i, entry in enumerate(entry for row in planes for entry in row):
        out[:, i] = entry
    return out


def _inverse(S: Array) -> tuple[Array, Array]:
    """Inverse and log-determinant of X'V^-1 X (B, p, p); NaN where it is not positive."""
    xp = namespace(S)
    sign, logdet = xp.linalg.slogdet(S)
    bad = ~(sign > 0)
    if not is_numpy(S) or bad.any():
        S = xp.where(bad[:, None, None], xp.eye(S.shape[1]), S)
        logdet = xp.where(bad, xp.nan, logdet)
    return xp.linalg.inv(S), logdet
