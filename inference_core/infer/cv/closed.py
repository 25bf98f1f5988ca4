"""Held-out predictions of a linear model and of the same model without each term, with no refit.

With X sqrt(w) = Q R over all rows, the training rows of fold F have the cross-products I - Q_F'Q_F in the coordinates
of Q. A model with fewer columns spans Q U with U (r, d) orthonormal, so every model and every fold is a system of d
equations once the fold's r x r matrix is known:

    U'(I - G_F) U c = U'(s - Q_F'y_F),    s = Q'y,    prediction = (x'R^-1) U c

Leaving out single rows is closed: with leverage h = |U'q|^2 the held-out residual is e / (1 - h).
Source: Cook & Weisberg (1982), Residuals and Influence in Regression, ch. 2; Woodbury's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from inference_core.solvers.lstsq import RANK_TOL, independent_columns, lstsq
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle

# Least eigenvalue of I - G_F: below it some direction of the design all but lies in the fold, and the fold is solved on
# its own training rows, where that direction is judged by the rank rule.
SAFE_EIGENVALUE = 1e-6
FULL_LEVERAGE = 1.0 - 1e-9
# A design of so many cells is not factorised: its cross-products, scaled, have a condition below the limit or it is.
TALL_CELLS = 1 << 17
TALL_CONDITION = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """A linear model over all rows, in nearly orthonormal coordinates: n rows, r estimable columns, V models.

    The coordinates are those of A W; all that is not exactly orthonormal about them is in ``gram``.
    """

    rows: Array  # (n, r) A, not weighted
    into: Array  # (r, r) W
    root: Array | None  # (n,) square root of the weights
    target: Array  # (n,) y less the offset
    gram: Array  # (r, r) W'A'A W over all rows, weighted: I but for rounding
    scores: Array  # (r,) W'A'y
    spaces: tuple[Array, ...]  # (r, d) what each model spans, the full one first
    removed: tuple[Array, ...]  # (r, r - d) and what it has given up

    @classmethod
    def of(cls, bundle: DataBundle, models: Sequence[Array]) -> LeastSquares:
        """From the columns (p,) bool of each model; the first has all."""
        weights = bundle.prior_weights
        root = None if weights is None else np.sqrt(weights)
        target = bundle.y if bundle.offset is None else bundle.y - bundle.offset
        with one_blas_thread():
            rows, into, gram = _coordinates(bundle, root)
            r = into.shape[0]
            A = rows if root is None else rows * root[:, None]
            products = A.T @ A if gram is None else gram
            gram = into.T @ products @ into
            scores = into.T @ (A.T @ (target if root is None else target * root))
            spaces, removed = [np.eye(r)], [np.zeros((r, 0))]
            if len(models) > 1:
                if rows is bundle.X:
                    image = into.T @ products
                else:
                    image = into.T @ (A.T @ (bundle.X if root is None else bundle.X * root[:, None]))
                for columns in models[1:]:
                    stays, goes = _span(image[:, columns])
                    spaces.append(stays)
                    removed.append(goes)
        return cls(rows, into, root, target, gram, scores, tuple(spaces), tuple(removed))

    def leave_one_out(self) -> Array:
        """(V, n) prediction of each row by the others, the offset not added; NaN where the row alone knows a column."""
        with one_blas_thread():
            # Exactly orthonormal here: a leverage is a length in these coordinates.
            half = solve_triangular(cholesky(self.gram), np.eye(self.scores.size), check_finite=False)
            basis = self.rows @ (self.into @ half)
            Q = basis if self.root is None else basis * self.root[:, None]
            scores = half.T @ self.scores
            gone = np.concatenate(self.removed, axis=1)
            stops = np.cumsum([goes.shape[1] for goes in self.removed])
            parts, lost = Q @ gone, basis @ gone * (gone.T @ scores)
            leverage, residual = np.einsum("ij,ij->i", Q, Q), self.target - basis @ scores
            out = np.empty((len(self.spaces), self.target.size))
            for v, (goes, stop) in enumerate(zip(self.removed, stops, strict=True)):
                here = slice(stop - goes.shape[1], stop)
                h = leverage - np.einsum("ij,ij->i", parts[:, here], parts[:, here])
                out[v] = by_leverage(self.target, residual + lost[:, here].sum(1), h)
        return out

    def held_out(self, folds: Array, k: int, wanted: Sequence[int]) -> tuple[Array, list[int]]:
        """Predictions (V, n) of the rows of the folds ``wanted``, and the folds that their own rows must decide.

        NaN in all other rows.
        """
        out = np.full((len(self.spaces), self.target.size), np.nan)
        with one_blas_thread():
            # A sort of 16-bit numbers takes one pass over the rows.
            order = np.argsort(folds.astype(np.int16) if k < 1 << 15 else folds, kind="stable")
            stops = np.cumsum(np.bincount(folds, minlength=k))
            held = [order[(stops[j - 1] if j else 0) : stops[j]] for j in wanted]
            r = self.scores.size
            gram, rhs = np.empty((len(held), r, r)), np.empty((len(held), r))
            # One buffer: fresh pages for every fold would cost more than the arithmetic.
            buffer = np.empty((max((rows.size for rows in held), default=0), r))
            for i, rows in enumerate(held):
                A, y = self._take(rows, buffer), self.target[rows]
                if self.root is not None:
                    A *= self.root[rows, None]
                    y *= self.root[rows]
                gram[i], rhs[i] = A.T @ A, A.T @ y
            training = self.gram - self.into.T @ gram @ self.into
            moments = self.scores - rhs @ self.into
            least = np.linalg.eigvalsh(training)[:, 0] if r else np.ones(len(held))
            good = np.flatnonzero(least > SAFE_EIGENVALUE)
            coef = np.empty((good.size, len(self.spaces), r))
            for v, U in enumerate(self.spaces):
                M = training[good] if v == 0 else U.T @ training[good] @ U
                b = moments[good] if v == 0 else moments[good] @ U
                c = np.linalg.solve(M, b[:, :, None])[:, :, 0] if U.shape[1] else np.zeros((good.size, 0))
                coef[:, v] = c if v == 0 else c @ U.T
            coef = coef @ self.into.T
            for at, i in enumerate(good.tolist()):
                out[:, held[i]] = coef[at] @ self._take(held[i], buffer).T
        return out, [j for j, low in zip(wanted, least, strict=True) if not low > SAFE_EIGENVALUE]

    def _take(self, rows: Array, buffer: Array) -> Array:
        """(m, r) these rows of A, in the buffer."""
        return np.take(self.rows, rows, axis=0, out=buffer[: rows.size], mode="clip")


def by_leverage(target: Array, residual: Array, leverage: Array) -> Array:
    """(n,) prediction of each row by the others; NaN where the leverage is 1."""
    return target - residual / np.where(leverage < FULL_LEVERAGE, 1.0 - leverage, np.nan)


def _coordinates(bundle: DataBundle, root: Array | None) -> tuple[Array, Array, Array | None]:
    """A (n, r) and W (r, r) with nearly orthonormal columns of A W, weights counted; A'A where it is known."""
    kept = np.asarray(bundle.rank_info.kept)
    X = bundle.X_estimable
    if X.size >= TALL_CELLS and (root is None or np.all(root > 0)):
        A = X if root is None else X * root[:, None]
        gram = A.T @ A
        size = np.sqrt(np.diagonal(gram))
        scaled = gram / np.outer(size, size)
        if np.all(size > 0) and np.linalg.cond(scaled) < TALL_CONDITION:
            inverse = solve_triangular(cholesky(scaled), np.eye(kept.size), check_finite=False)
            return X, inverse / size[:, None], gram
    found = lstsq(bundle.X, np.asarray(bundle.y, float), None if root is None else root**2)
    r = found.kept.size
    inverse = solve_triangular(found.r_factor, np.eye(r), check_finite=False) if r else np.zeros((0, 0))
    return bundle.X[:, found.kept] @ inverse, np.eye(r), None


def _span(columns: Array) -> tuple[Array, Array]:
    """Orthonormal bases (r, d) of the columns (r, m) that R's rule keeps, and (r, r - d) of what is at right angles."""
    r = columns.shape[0]
    if not columns.shape[1] or not r:
        return np.zeros((r, 0)), np.eye(r)
    kept = independent_columns(np.asarray(np.linalg.qr(columns, mode="r")))
    full = np.linalg.qr(columns[:, kept], mode="complete")[0]
    return full[:, : kept.size], full[:, kept.size :]


def estimable_rows(X_train: Array, X_test: Array, weights: Array | None = None) -> Array:
    """(m,) whether the training rows determine the prediction of each test row, whatever columns they leave open."""
    train = X_train if weights is None else X_train[weights > 0]
    p = train.shape[1]
    if not p:
        return np.ones(len(X_test), bool)
    R = np.asarray(np.linalg.qr(train, mode="r"))
    kept = independent_columns(R)
    if kept.size == p:
        return np.ones(len(X_test), bool)
    lost = np.setdiff1d(np.arange(p), kept)
    ties = np.linalg.lstsq(R[:, kept], R[:, lost], rcond=None)[0] if kept.size else np.zeros((0, lost.size))
    gap = np.abs(X_test[:, lost] - X_test[:, kept] @ ties)
    # In the column's own units: where a row and its tie are both 0, what is left is the rounding of the tie.
    size = np.abs(X_test[:, lost]) + np.abs(X_test[:, kept]) @ np.abs(ties) + np.linalg.norm(R[:, lost], axis=0)
    return np.all(gap <= RANK_TOL * size, axis=1)
