"""Several grouping factors, crossed or nested, each with any number of coefficients.

The effects of the first factor (the one with most levels) are independent given the others, so they are eliminated
group by group; what is left, R = [Z_2 T_2 .. Z_m T_m], is dense and small. M = (ZT)'W(ZT) + I is never formed:

    M = [D  M12; M12' M22]      S = M22 - M12' D^-1 M12      log|M| = sum log|D_j| + log|S|

The joint problem in (u, beta) borders R with X. Deviance and adjoint gradient are those of ``grouped``; lanes are
worked one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from scipy.linalg.lapack import dpotri  # type: ignore[attr-defined]

from inference_core.solvers.lmm.structure import Entries, to_matrix
from inference_core.states import Array

from .grouped import Evaluation, Point, Precision
from .rows import RowModel, Rows

DENSE_LIMIT = 4000  # effects beyond the first factor's: their dense Cholesky factor
CROSS_LIMIT = 2e8  # numbers of M12
_MODE_STEPS = 60
_HALVINGS = 16
_LAST_STEP, _SLOW_STEP = 1e-8, 1e-15


@dataclass(frozen=True, eq=False)
class Term:
    """One grouping factor: Z (n, k), codes (n,), J levels, free entries of T; effects start at ``first`` in u."""

    Z: Array
    group: Array
    J: int
    entries: Entries
    first: int

    @property
    def k(self) -> int:
        """Effects a level."""
        return self.Z.shape[1]

    @property
    def q(self) -> int:
        """Effects."""
        return self.J * self.k


@dataclass(slots=True)
class Factor:
    """The Hessian in (u, beta or nothing) with the first factor eliminated; Q dense columns, the last ones X."""

    D_inverse: Array  # (J1, k1, k1)
    M12: Array  # (q1, Q)
    H: Array  # (q1, Q) D^-1 M12
    L: Array  # (Q, Q) lower Cholesky factor of S
    log_det: float  # of M: the X columns left out

    def solve(self, right1: Array, right2: Array) -> tuple[Array, Array]:
        """Solve for the first factor's effects (q1,) and the dense part (Q,)."""
        J, k, _ = self.D_inverse.shape
        dense = linalg.cho_solve((self.L, True), right2 - self.H.T @ right1, check_finite=False)
        own = np.matmul(self.D_inverse, right1.reshape(J, k, 1)).ravel()
        return own - self.H @ dense, dense


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
            terms.append(Term(np.ascontiguousarray(Z, dtype=float), np.asarray(group), J, entries, first))
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

    # ---- one lane ------------------------------------------------------------------------------------------

    def rotated(self, theta: Array) -> tuple[list[Array], list[Array]]:
        """T (k, k) of each factor and the columns Z T (n, k) that carry u."""
        out, at = [], 0
        for t in self.terms:
            m = len(t.entries)
            out.append(to_matrix(theta[None, at : at + m], t.entries, t.k)[0])
            at += m
        return out, [t.Z @ T for t, T in zip(self.terms, out, strict=True)]

    def random_part(self, R: list[Array], u: Array) -> Array:
        """(n,) Z T u."""
        total = np.zeros(self.n)
        for t, r in zip(self.terms, R, strict=True):
            effects = u[t.first : t.first + t.q].reshape(t.J, t.k)
            for a in range(t.k):
                total += r[:, a] * effects[:, a][t.group]
        return total

    def into_u(self, R: list[Array], values: Array) -> Array:
        """(q,) T'Z'v."""
        out = np.empty(self.q)
        for t, r in zip(self.terms, R, strict=True):
            grid = np.stack([np.bincount(t.group, r[:, a] * values, t.J) for a in range(t.k)], axis=1)
            out[t.first : t.first + t.q] = grid.ravel()
        return out

    def codes(self, term: int, effect: int) -> Array:
        """Dense column of an effect of a later factor, row by row."""
        t = self.terms[term]
        return t.first - self.q1 + t.group * t.k + effect

    def factor(self, weights: Array, R: list[Array], *, with_x: bool = False) -> Factor:
        """Factor the Hessian with row weights (n,); raises LinAlgError where it is not positive definite."""
        head = self.terms[0]
        J, k, q2 = head.J, head.k, self.q - self.q1
        Q = q2 + (self.p if with_x else 0)
        D = np.empty((J, k, k))
        M12 = np.zeros((J, k, Q))
        M22 = np.zeros((Q, Q))
        wr = [r * weights[:, None] for r in R]
        for a in range(k):
            for b in range(a + 1):
                D[:, a, b] = D[:, b, a] = np.bincount(head.group, wr[0][:, a] * R[0][:, b], J)
            D[:, a, a] += 1.0
        later = [(t, b, self.codes(t, b)) for t in range(1, len(self.terms)) for b in range(self.terms[t].k)]
        for a in range(k):
            for t, b, columns in later:
                cells = np.bincount(head.group * q2 + columns, wr[0][:, a] * R[t][:, b], J * q2)
                M12[:, a, :q2] += cells.reshape(J, q2)
            if with_x:
                M12[:, a, q2:] = self._x_sums(head, wr[0][:, a])
        for i, (t, a, _) in enumerate(later):
            for s, b, _ in later[: i + 1]:
                values = wr[t][:, a] * R[s][:, b]
                if t == s:  # one level a row: only the cells of the level itself
                    level = np.arange(self.terms[t].J) * self.terms[t].k + self.terms[t].first - self.q1
                    M22[level + a, level + b] = np.bincount(self.terms[t].group, values, self.terms[t].J)
                else:
                    part, other = self.terms[t], self.terms[s]
                    cells = np.bincount(part.group * other.J + other.group, values, part.J * other.J)
                    down = np.arange(part.J) * part.k + part.first - self.q1 + a
                    across = np.arange(other.J) * other.k + other.first - self.q1 + b
                    M22[np.ix_(down, across)] = cells.reshape(part.J, other.J)
            if with_x:
                part = self.terms[t]
                down = np.arange(part.J) * part.k + part.first - self.q1 + a
                M22[q2:, down] = self._x_sums(part, wr[t][:, a]).T
        if with_x:
            M22[q2:, q2:] = (self.X.T * weights) @ self.X
        M22[np.arange(q2), np.arange(q2)] += 1.0
        return _eliminate(D, M12, M22, q2)

    def _x_sums(self, t: Term, values: Array) -> Array:
        return np.stack([np.bincount(t.group, values * self.X[:, j], t.J) for j in range(self.p)], axis=1)

    def inverse_rows(self, f: Factor, R: list[Array], *, with_x: bool = False) -> list[Array]:
        """For each row, M^-1 (ZT)' restricted to the row's own effects: one (n, k) a factor, (n, p) for X."""
        head = self.terms[0]
        J, k = head.J, head.k
        Q = f.L.shape[0]
        S_inverse = dpotri(f.L, lower=1)[0] if Q else np.zeros((0, 0))
        S_inverse = np.tril(S_inverse) + np.tril(S_inverse, -1).T
        G = f.H @ S_inverse
        H3, G3 = f.H.reshape(J, k, Q), G.reshape(J, k, Q)
        M11 = f.D_inverse + np.matmul(G3, np.swapaxes(H3, 1, 2))
        columns = [(t, b, self.codes(t, b)) for t in range(1, len(self.terms)) for b in range(self.terms[t].k)]
        out = [np.zeros((self.n, t.k)) for t in self.terms]
        for a in range(k):
            for b in range(k):
                out[0][:, a] += M11[:, a, b][head.group] * R[0][:, b]
            row = head.group * k + a
            for t, b, column in columns:
                cell = G[row, column]
                out[0][:, a] -= cell * R[t][:, b]
                out[t][:, b] -= cell * R[0][:, a]
        for t, a, down in columns:
            for s, b, across in columns:
                out[t][:, a] += S_inverse[down, across] * R[s][:, b]
        if with_x:
            q2 = Q - self.p
            x_part = self.X @ S_inverse[q2:, q2:]
            for a in range(k):
                cell = G[:, q2:][head.group * k + a]
                out[0][:, a] -= np.einsum("np,np->n", cell, self.X)
                x_part -= cell * R[0][:, a, None]
            for t, a, down in columns:
                cell = S_inverse[down, q2:]
                out[t][:, a] += np.einsum("np,np->n", cell, self.X)
                x_part += cell * R[t][:, a, None]
            out.append(x_part)
        return out

    def precision(self, model: RowModel, point: Point, u: Array) -> Precision:
        """Information about beta and the conditional covariances at the mode u (1, q) of one lane."""
        T, R = self.rotated(point.theta[0])
        eta = self.X @ point.beta[0] + self.offset + self.random_part(R, u[0])
        w = model(eta[None], point.scale).fisher[0]
        f = self.factor(w, R, with_x=True)
        q2 = self.q - self.q1
        # the last p pivots belong to X: their block of the inverse is the covariance of beta
        tail = f.L[q2:, q2:]
        rows = self.inverse_rows(f, R, with_x=True)
        columns = [*R, self.X]
        leverage = w * sum(np.einsum("nk,nk->n", r, x) for r, x in zip(columns, rows, strict=True))
        head = self.terms[0]
        inner = f.L[:q2, :q2]
        S_inverse = linalg.cho_solve((inner, True), np.eye(q2), check_finite=False) if q2 else np.zeros((0, 0))
        H3 = f.H[:, :q2].reshape(head.J, head.k, q2)
        blocks = [f.D_inverse + np.matmul(np.matmul(H3, S_inverse), np.swapaxes(H3, 1, 2))]
        for t in self.terms[1:]:
            at = t.first - self.q1 + np.arange(t.q).reshape(t.J, t.k)
            blocks.append(S_inverse[at[:, :, None], at[:, None, :]])
        return Precision(tail @ tail.T, [t @ block @ t.T for t, block in zip(T, blocks, strict=True)], leverage)

    def theta_gradient(self, u, direct: Array, score: Array, lam, weighted_rows: list[Array]) -> Array:
        """Sum over rows of z_r (direct u_c + score lambda_c + 2 w q_c) for each free entry (r, c)."""
        parts = []
        for t, wq in zip(self.terms, weighted_rows, strict=False):
            own = u[t.first : t.first + t.q].reshape(t.J, t.k)
            adjoint = lam[t.first : t.first + t.q].reshape(t.J, t.k)
            for r, c in t.entries:
                along = direct * own[:, c][t.group] + score * adjoint[:, c][t.group] + 2.0 * wq[:, c]
                parts.append(t.Z[:, r] @ along)
        return np.array(parts)

    # ---- lanes ---------------------------------------------------------------------------------------------

    def laplace(self, model: RowModel, point: Point, u: Array, *, gradient: bool = True) -> Evaluation:
        """The Laplace deviance of every lane, and its gradient."""
        lanes = [
            self._laplace(model.take(np.array([i])), theta, beta, _lane(point.scale, i), u[i], gradient)
            for i, (theta, beta) in enumerate(zip(point.theta, point.beta, strict=True))
        ]
        return _stacked(lanes)

    def joint_laplace(
        self, model: RowModel, theta: Array, scale: Array | None, beta: Array, u: Array, *, gradient: bool = True
    ) -> Evaluation:
        """The same at the joint mode of (u, beta)."""
        lanes = [
            self._laplace(model.take(np.array([i])), theta[i], beta[i], _lane(scale, i), u[i], gradient, joint=True)
            for i in range(len(theta))
        ]
        return _stacked(lanes)

    def _laplace(self, model, theta, beta, scale, u, gradient, joint=False) -> Evaluation:
        with np.errstate(all="ignore"):
            R = self.rotated(theta)[1]
            try:
                beta, u, eta, rows, value = self._mode(model, R, beta, scale, u, joint)
                f = self.factor(rows.fisher[0], R, with_x=joint)
                if not (gradient and np.isfinite(value)):
                    return Evaluation(np.array([value + f.log_det]), None, u[None], beta[None])
                score, w = rows.score[0], rows.fisher[0]
                # without beta: log|M| knows nothing of X, so its leverages come from M alone
                bare = self.factor(w, R) if joint else f
                q = self.inverse_rows(bare, R)
                lev = sum(np.einsum("nk,nk->n", r, x) for r, x in zip(R, q, strict=True))
                a = rows.slope[0] * lev
                observed = f if rows.observed is rows.fisher else self.factor(rows.observed[0], R, with_x=joint)
            except linalg.LinAlgError:
                nan = np.full((1, self.n_theta + (0 if joint else self.p) + (scale is not None)), np.nan)
                return Evaluation(np.array([np.nan]), nan, u[None], beta[None])
            lam, lam_beta = self._solve(observed, self.into_u(R, a), self.X.T @ a if joint else None)
            along = self.random_part(R, lam) + (self.X @ lam_beta if joint else 0.0)
            direct = a - rows.observed[0] * along - 2.0 * score
            out = [self.theta_gradient(u, direct, score, lam, [w[:, None] * x for x in q])]
            if not joint:
                out.append(self.X.T @ direct)
            if scale is not None:
                s = model.scale_rows(eta[None], scale, rows)
                out.append(np.array([np.sum(s.deviance[0] + lev * s.fisher[0] + along * s.score[0])]))
            return Evaluation(np.array([value + f.log_det]), np.concatenate(out)[None], u[None], beta[None])

    def _solve(self, f: Factor, right: Array, right_beta: Array | None) -> tuple[Array, Array | None]:
        dense = right[self.q1 :] if right_beta is None else np.concatenate([right[self.q1 :], right_beta])
        own, rest = f.solve(right[: self.q1], dense)
        if right_beta is None:
            return np.concatenate([own, rest]), None
        return np.concatenate([own, rest[: -self.p]]), rest[-self.p :]

    def _mode(self, model, R, beta, scale, u, joint):
        def state(beta, u) -> tuple[Array, Rows, float]:
            eta = self.X @ beta + self.offset + self.random_part(R, u)
            rows = model(eta[None], scale)
            return eta, rows, float(np.sum(rows.deviance) + u @ u)

        eta, rows, value = state(beta, u)
        if not np.isfinite(value):
            u = np.zeros_like(u)
            eta, rows, value = state(beta, u)
        decrement = np.inf
        for _ in range(_MODE_STEPS):
            right = self.into_u(R, rows.score[0]) - u
            right_beta = self.X.T @ rows.score[0] if joint else None
            step, step_beta, decrement, exact = self._newton(rows, R, right, right_beta)
            last = decrement < (_LAST_STEP if exact else _SLOW_STEP)
            size = 1.0
            for _ in range(_HALVINGS):
                trial_u = u + size * step
                trial_beta = beta + size * step_beta if joint else beta
                trial = state(trial_beta, trial_u)
                if trial[2] <= value + 1e-10 * (1.0 + abs(value)):
                    break
                size *= 0.5
            u, beta = trial_u, trial_beta
            eta, rows, value = trial
            if last:
                break
        return beta, u, eta, rows, value if decrement <= 1e-6 else np.nan

    def _newton(self, rows: Rows, R, right, right_beta) -> tuple[Array, Any, float, bool]:
        for weights, exact in ((rows.observed, True), (rows.fisher, False)):
            try:
                f = self.factor(weights[0], R, with_x=right_beta is not None)
            except linalg.LinAlgError:
                if not exact or weights is rows.fisher:
                    raise
                continue
            step, step_beta = self._solve(f, right, right_beta)
            decrement = float(right @ step) + (0.0 if right_beta is None else float(right_beta @ step_beta))
            if decrement >= 0 or not exact:
                return step, step_beta, decrement, exact
        raise linalg.LinAlgError("no descent direction")


def _eliminate(D: Array, M12: Array, M22: Array, q2: int) -> Factor:
    J, k, Q = M12.shape
    if k == 1:
        if not np.all(D > 0):
            raise linalg.LinAlgError("D is not positive definite")
        root = 1.0 / np.sqrt(D[:, :, 0])
        D_inverse, log_det = 1.0 / D, float(np.sum(np.log(D)))
        M12 = M12.reshape(J, Q)
        half = M12 * root
        H = half * root
        S = M22 - half.T @ half  # one array and its own transpose: half the work of a general product
    else:
        lower = np.linalg.cholesky(D)
        log_det = 2.0 * float(np.sum(np.log(np.diagonal(lower, axis1=1, axis2=2))))
        D_inverse = np.linalg.inv(D)
        H = np.matmul(D_inverse, M12).reshape(J * k, Q)
        M12 = M12.reshape(J * k, Q)
        S = M22 - H.T @ M12
    L = linalg.cholesky(S, lower=True, check_finite=False) if Q else S
    if not np.all(np.isfinite(L)):
        raise linalg.LinAlgError("not finite")
    log_det += 2.0 * float(np.sum(np.log(np.diagonal(L)[:q2])))
    return Factor(D_inverse, M12, H, L, log_det)


def _lane(scale: Array | None, i: int) -> Array | None:
    return None if scale is None else scale[i : i + 1]


def _stacked(lanes: list[Evaluation]) -> Evaluation:
    gradient = None if lanes[0].gradient is None else np.concatenate([x.gradient for x in lanes])  # type: ignore[misc]
    return Evaluation(
        np.concatenate([x.deviance for x in lanes]), gradient, np.concatenate([x.u for x in lanes]),
        np.concatenate([x.beta for x in lanes]),
    )  # fmt: skip
