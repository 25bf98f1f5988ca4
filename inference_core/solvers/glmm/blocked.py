"""Several grouping factors, crossed or nested, each with any number of coefficients.

The effects of the first factor (the one with most levels) are independent given the others, so they are eliminated
group by group; what is left, R = [Z_2 T_2 .. Z_m T_m], is dense and small. M = (ZT)'W(ZT) + I is never formed:

    M = [D  M12; M12' M22]      S = M22 - M12' D^-1 M12      log|M| = sum log|D_j| + log|S|

The joint problem in (u, beta) borders R with X. Deviance and adjoint gradient are those of ``grouped``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.solvers.lmm.structure import Entries, to_matrix
from inference_core.states import Array

from .elimination import Eliminated, eliminate
from .grouped import Evaluation, Point, Precision
from .rows import RowModel, Rows

DENSE_LIMIT = 4000  # effects beyond the first factor's: their dense Cholesky factor
CROSS_LIMIT = 5e7  # numbers of M12, 400 MB; three such arrays live at once
_LANE_NUMBERS = 6e4  # rows (or cells of M12) times lanes worked at once: arrays that stay in the cache
_MODE_STEPS = 60
_HALVINGS = 16
_LAST_STEP, _SLOW_STEP = 1e-8, 1e-15

Columns = list[list[Array]]  # for each factor, for each of its effects


@dataclass(frozen=True, eq=False)
class Term:
    """One grouping factor: Z (n, k), codes (n,), J levels, free entries of T; effects start at ``first`` in u."""

    Z: Array
    group: Array
    J: int
    entries: Entries
    first: int
    level: float | None  # the value of a single column that is the same in every row

    @property
    def k(self) -> int:
        """Effects a level."""
        return self.Z.shape[1]

    @property
    def q(self) -> int:
        """Effects."""
        return self.J * self.k


@dataclass(eq=False)
class Blocked:
    """The design of several grouping factors, the one with most levels first."""

    X: Array  # (n, p)
    offset: Array  # (n,)
    terms: tuple[Term, ...]
    order: Array  # (n,) rows of the data in this order: as they are
    multiplicity: None = None

    @classmethod
    def make(
        cls, X: Array, blocks: list[tuple[Array, Array, int, Entries]], offset: Array | None = None
    ) -> Blocked:
        """From (Z (n, k), codes (n,), J, entries) of each factor."""
        terms, first = [], 0
        for Z, group, J, entries in blocks:
            alike = float(Z[0, 0]) if Z.shape[1] == 1 and np.ptp(Z) == 0 else None
            terms.append(Term(np.ascontiguousarray(Z, dtype=float), np.asarray(group), J, entries, first, alike))
            first += J * Z.shape[1]
        n = X.shape[0]
        return cls(
            np.ascontiguousarray(X), np.zeros(n) if offset is None else np.asarray(offset, dtype=float),
            tuple(terms), np.arange(n),
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
    def q(self) -> int:
        """Random effects."""
        return sum(t.q for t in self.terms)

    @property
    def q1(self) -> int:
        """Effects of the first factor."""
        return self.terms[0].q

    @property
    def n_theta(self) -> int:
        """Free entries of all T."""
        return sum(len(t.entries) for t in self.terms)

    def take(self, lanes: Array) -> Blocked:
        """The same for some of the lanes: nothing here differs by lane."""
        return self

    # ---- sums and products ---------------------------------------------------------------------------------

    def rotated(self, theta: Array) -> tuple[list[Array], Columns]:
        """T (B, k, k) of each factor and the columns Z T that carry u, each (B, n) or, all rows alike, (B, 1)."""
        out, columns, at = [], [], 0
        for t in self.terms:
            m = len(t.entries)
            T = to_matrix(theta[:, at : at + m], t.entries, t.k)
            at += m
            out.append(T)
            columns.append([self._column(t, T, a) for a in range(t.k)])
        return out, columns

    def _column(self, t: Term, T: Array, a: int) -> Array:
        if t.k == 1 and t.level is not None:
            return t.level * T[:, 0, 0, None]
        return T[:, a:, a] @ t.Z[:, a:].T

    def random_part(self, R: Columns, u: Array) -> Array:
        """(B, n) Z T u."""
        total: Any = 0.0
        for t, columns in zip(self.terms, R, strict=True):
            effects = u[:, t.first : t.first + t.q].reshape(-1, t.J, t.k)
            for a, r in enumerate(columns):
                total = total + r * np.take(effects[:, :, a], t.group, axis=1)
        return total

    def into_u(self, R: Columns, values: Array) -> Array:
        """(B, q) T'Z'v."""
        out = np.empty((values.shape[0], self.q))
        for t, columns in zip(self.terms, R, strict=True):
            for a, r in enumerate(columns):
                out[:, t.first + a : t.first + t.q : t.k] = _sums(r * values, t.group, t.J)
        return out

    def later(self) -> list[tuple[int, int, Array]]:
        """(factor, effect, dense column row by row) of everything behind the first factor."""
        return [
            (s, b, t.first - self.q1 + t.group * t.k + b)
            for s, t in enumerate(self.terms)
            if s > 0
            for b in range(t.k)
        ]

    def factor(self, weights: Array, R: Columns, *, with_x: bool = False) -> Eliminated:
        """Factor the Hessian with row weights (B, n), bordered with X for the joint problem."""
        head, B = self.terms[0], weights.shape[0]
        J, k, q2 = head.J, head.k, self.q - self.q1
        Q = q2 + (self.p if with_x else 0)
        D = np.empty((B, J, k, k))
        M12 = np.zeros((B, J, k, Q))
        M22 = np.zeros((B, Q, Q))
        wr = [[r * weights for r in columns] for columns in R]
        later = self.later()
        for a in range(k):
            for b in range(a + 1):
                D[:, :, a, b] = D[:, :, b, a] = _sums(wr[0][a] * R[0][b], head.group, J)
            D[:, :, a, a] += 1.0
            for s, b, columns in later:
                cells = _sums(wr[0][a] * R[s][b], head.group * q2 + columns, J * q2)
                M12[:, :, a, :q2] += cells.reshape(B, J, q2)
            if with_x:
                M12[:, :, a, q2:] = self._x_sums(head, wr[0][a])
        for i, (s, a, _) in enumerate(later):
            part = self.terms[s]
            down = np.arange(part.J) * part.k + part.first - self.q1 + a
            for r, b, _ in later[: i + 1]:
                other = self.terms[r]
                across = np.arange(other.J) * other.k + other.first - self.q1 + b
                if r == s:  # one level a row: only the cells of the level itself
                    M22[:, down, across] = M22[:, across, down] = _sums(wr[s][a] * R[r][b], part.group, part.J)
                    continue
                codes = part.group * other.J + other.group
                cells = _sums(wr[s][a] * R[r][b], codes, part.J * other.J).reshape(B, part.J, other.J)
                M22[:, down[:, None], across[None, :]] = cells
                M22[:, across[:, None], down[None, :]] = np.swapaxes(cells, 1, 2)
            if with_x:
                sums = self._x_sums(part, wr[s][a])
                M22[:, down, q2:] = sums
                M22[:, q2:, down] = np.swapaxes(sums, 1, 2)
        if with_x:
            M22[:, q2:, q2:] = np.matmul(self.X.T * weights[:, None, :], self.X)
        M22[:, np.arange(q2), np.arange(q2)] += 1.0
        return eliminate(D, M12.reshape(B, J * k, Q), M22, q2)

    def _x_sums(self, t: Term, values: Array) -> Array:
        return np.stack([_sums(values * self.X[:, j], t.group, t.J) for j in range(self.p)], axis=2)

    def inverse_rows(self, f: Eliminated, R: Columns, *, with_x: bool = False) -> Columns:
        """For each row, M^-1 (ZT)' restricted to the row's own effects: a list a factor, and one for X."""
        head, B = self.terms[0], f.L.shape[0]
        k = head.k
        S_inverse = f.inverse_of_s()
        G = np.matmul(f.H, S_inverse)
        M11 = f.head_inverse(S_inverse, G)
        later = self.later()
        out = [[np.zeros((B, self.n)) for _ in range(t.k)] for t in self.terms]
        for a in range(k):
            for b in range(k):
                out[0][a] += np.take(M11[:, :, a, b], head.group, axis=1) * R[0][b]
            row = head.group * k + a
            for s, b, column in later:
                cell = G[:, row, column]
                out[0][a] -= cell * R[s][b]
                out[s][b] -= cell * R[0][a]
        for s, a, down in later:
            for r, b, across in later:
                out[s][a] += S_inverse[:, down, across] * R[r][b]
        if with_x:
            q2 = self.q - self.q1
            beta = np.matmul(self.X, S_inverse[:, q2:, q2:])  # (B, n, p)
            for a in range(k):
                cell = G[:, head.group * k + a, q2:]
                out[0][a] -= np.einsum("bnp,np->bn", cell, self.X)
                beta -= cell * np.broadcast_to(R[0][a], (B, self.n))[:, :, None]
            for s, a, down in later:
                cell = S_inverse[:, down, q2:]
                out[s][a] += np.einsum("bnp,np->bn", cell, self.X)
                beta += cell * np.broadcast_to(R[s][a], (B, self.n))[:, :, None]
            out.append([beta[:, :, j] for j in range(self.p)])
        return out

    def theta_gradient(self, u: Array, direct: Array, score: Array, lam: Array, w: Array, q: Columns) -> Array:
        """(B, m) sum over rows of z_r (direct u_c + score lambda_c + 2 w q_c) for each free entry (r, c)."""
        parts = []
        for t, own in zip(self.terms, q, strict=False):
            effects = u[:, t.first : t.first + t.q].reshape(-1, t.J, t.k)
            adjoint = lam[:, t.first : t.first + t.q].reshape(-1, t.J, t.k)
            along = [
                direct * np.take(effects[:, :, c], t.group, axis=1)
                + score * np.take(adjoint[:, :, c], t.group, axis=1)
                + 2.0 * w * own[c]
                for c in range(t.k)
            ]
            parts += [along[c] @ t.Z[:, r] for r, c in t.entries]
        return np.stack(parts, axis=1)

    # ---- deviances -----------------------------------------------------------------------------------------

    def laplace(self, model: RowModel, point: Point, u: Array, *, gradient: bool = True) -> Evaluation:
        """The Laplace deviance of every lane, and its gradient."""
        return self._in_chunks(model, point, u, gradient, joint=False)

    def joint_laplace(
        self, model: RowModel, theta: Array, scale: Array | None, beta: Array, u: Array, *, gradient: bool = True
    ) -> Evaluation:
        """The same at the joint mode of (u, beta)."""
        return self._in_chunks(model, Point(theta, beta, scale), u, gradient, joint=True)

    def _in_chunks(self, model: RowModel, point: Point, u: Array, gradient: bool, joint: bool) -> Evaluation:
        B = len(point.theta)
        size = max(1, int(_LANE_NUMBERS // max(self.n, self.q1 * (self.q - self.q1 + self.p))))
        parts = []
        with np.errstate(all="ignore"):
            for start in range(0, B, size):
                lanes = np.arange(start, min(start + size, B))
                scale = None if point.scale is None else point.scale[lanes]
                some = Point(point.theta[lanes], point.beta[lanes], scale)
                parts.append(self._laplace(model.take(lanes), some, u[lanes], gradient, joint))
        if len(parts) == 1:
            return parts[0]
        g = np.concatenate([x.gradient for x in parts if x.gradient is not None]) if gradient else None
        return Evaluation(
            np.concatenate([x.deviance for x in parts]), g, np.concatenate([x.u for x in parts]),
            np.concatenate([x.beta for x in parts]),
        )  # fmt: skip

    def _laplace(self, model: RowModel, point: Point, u: Array, gradient: bool, joint: bool) -> Evaluation:
        _, R = self.rotated(point.theta)
        beta, u, eta, rows, value, ok = self._mode(model, R, point, u, joint)
        # |M| knows nothing of X, so its leverages come from M alone
        bare = self.factor(rows.fisher, R)
        deviance = np.where(ok & bare.ok, value + bare.log_det, np.nan)
        if not gradient:
            return Evaluation(deviance, None, u, beta)
        q = self.inverse_rows(bare, R)
        lev = _row_dot(R, q)
        a = rows.slope * lev
        f = bare
        if joint or rows.observed is not rows.fisher:
            f = self.factor(rows.observed, R, with_x=joint)
        lam, lam_beta = self._solve(f, self.into_u(R, a), a @ self.X if joint else None)
        along = self.random_part(R, lam)
        if lam_beta is not None:
            along = along + lam_beta @ self.X.T
        direct = a - rows.observed * along - 2.0 * rows.score
        out = [self.theta_gradient(u, direct, rows.score, lam, rows.fisher, q)]
        if not joint:
            out.append(direct @ self.X)
        if point.scale is not None:
            s = model.scale_rows(eta, point.scale, rows)
            out.append(np.sum(s.deviance + lev * s.fisher + along * s.score, axis=1)[:, None])
        return Evaluation(np.where(f.ok, deviance, np.nan), np.concatenate(out, axis=1), u, beta)

    def precision(self, model: RowModel, point: Point, u: Array) -> Precision:
        """Information about beta and the conditional covariances at the mode u (1, q) of one lane."""
        T, R = self.rotated(point.theta)
        eta = point.beta @ self.X.T + self.offset + self.random_part(R, u)
        w = model(eta, point.scale).fisher
        f = self.factor(w, R, with_x=True)
        q2 = self.q - self.q1
        # the last p pivots belong to X: their square is the information about beta
        tail = np.tril(f.L[0])[q2:, q2:]
        border = [*R, [self.X[None, :, j] for j in range(self.p)]]
        leverage = (w * _row_dot(border, self.inverse_rows(f, R, with_x=True)))[0]
        bare = self.factor(w, R)
        S_inverse = bare.inverse_of_s()
        blocks = [bare.head_inverse(S_inverse, np.matmul(bare.H, S_inverse))[0]]
        for t in self.terms[1:]:
            at = t.first - self.q1 + np.arange(t.q).reshape(t.J, t.k)
            blocks.append(S_inverse[0][at[:, :, None], at[:, None, :]])
        return Precision(tail @ tail.T, [t[0] @ block @ t[0].T for t, block in zip(T, blocks, strict=True)], leverage)

    # ---- modes ---------------------------------------------------------------------------------------------

    def _solve(self, f: Eliminated, right: Array, right_beta: Array | None) -> tuple[Array, Array | None]:
        dense = right[:, self.q1 :]
        if right_beta is not None:
            dense = np.concatenate([dense, right_beta], axis=1)
        own, rest = f.solve(right[:, : self.q1], dense)
        if right_beta is None:
            return np.concatenate([own, rest], axis=1), None
        q2 = self.q - self.q1
        return np.concatenate([own, rest[:, :q2]], axis=1), rest[:, q2:]

    def _mode(self, model: RowModel, R: Columns, point: Point, u: Array, joint: bool):
        """Newton for (u) or (u, beta), damped a lane; (beta, u, eta, rows, penalised deviance, settled)."""
        beta = point.beta

        def state(beta: Array, u: Array) -> tuple[Array, Rows, Array]:
            eta = beta @ self.X.T + self.offset + self.random_part(R, u)
            rows = model(eta, point.scale)
            return eta, rows, np.sum(rows.deviance, axis=1) + np.sum(u * u, axis=1)

        eta, rows, value = state(beta, u)
        lost = ~np.isfinite(value)
        if np.any(lost):
            u = np.where(lost[:, None], 0.0, u)
            eta, rows, value = state(beta, u)
        decrement = np.full(value.shape, np.inf)
        for _ in range(_MODE_STEPS):
            right = self.into_u(R, rows.score) - u
            right_beta = rows.score @ self.X if joint else None
            step, step_beta, decrement, exact = self._newton(rows, R, right, right_beta)
            last = not np.any(decrement > np.where(exact, _LAST_STEP, _SLOW_STEP))
            before = value
            size = np.ones_like(value)
            for attempt in range(_HALVINGS):
                trial_u = u + size[:, None] * step
                trial_beta = beta if step_beta is None else beta + size[:, None] * step_beta
                trial = state(trial_beta, trial_u)
                bad = ~(trial[2] <= value + 1e-10 * (1.0 + np.abs(value)))
                if not np.any(bad):
                    break
                size = np.where(bad, 0.5 * size if attempt < _HALVINGS - 2 else 0.0, size)
            u, beta = trial_u, trial_beta
            eta, rows, value = trial
            if last or not np.any((decrement > _LAST_STEP) & (before - value > 1e-13 * (1.0 + np.abs(value)))):
                break
        return beta, u, eta, rows, value, (decrement <= 1e-6) & np.isfinite(value)

    def _newton(self, rows: Rows, R: Columns, right: Array, right_beta: Array | None):
        """Newton direction, its decrement, and whether it used the exact Hessian, a lane."""
        joint = right_beta is not None
        f = self.factor(rows.observed, R, with_x=joint)
        step, step_beta, decrement = self._direction(f, right, right_beta)
        exact = np.ones(decrement.shape, dtype=bool)
        if rows.observed is not rows.fisher:
            exact = f.ok & (decrement >= 0)
            if not np.all(exact):
                safe = self._direction(self.factor(rows.fisher, R, with_x=joint), right, right_beta)
                step = np.where(exact[:, None], step, safe[0])
                if step_beta is not None and safe[1] is not None:
                    step_beta = np.where(exact[:, None], step_beta, safe[1])
                decrement = np.where(exact, decrement, safe[2])
        return step, step_beta, decrement, exact

    def _direction(self, f: Eliminated, right: Array, right_beta: Array | None):
        step, step_beta = self._solve(f, right, right_beta)
        decrement = np.sum(right * step, axis=1)
        if right_beta is not None and step_beta is not None:
            decrement = decrement + np.sum(right_beta * step_beta, axis=1)
        return step, step_beta, decrement


def _row_dot(left: Columns, right: Columns) -> Array:
    """(B, n) sum over factors and effects of the products."""
    total: Any = 0.0
    for some, others in zip(left, right, strict=False):
        for x, y in zip(some, others, strict=True):
            total = total + x * y
    return total


def _sums(values: Array, codes: Array, size: int) -> Array:
    """(B, size) sums of (B, n) by code."""
    B = values.shape[0]
    if B == 1:
        return np.bincount(codes, values[0], size)[None]
    flat = codes + size * np.arange(B)[:, None]
    return np.bincount(flat.ravel(), values.ravel(), size * B).reshape(B, size)
