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


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """A linear model over all rows, in orthonormal coordinates: n rows, r estimable columns, V models."""

    basis: Array  # (n, r) x'R^-1, not weighted
    root: Array | None  # (n,) square root of the weights
    target: Array  # (n,) y less the offset
    residual: Array  # (n,) of the full model, not weighted
    scores: Array  # (r,) Q'y
    spaces: tuple[Array, ...]  # (r, d) each, what each model spans; the full one first

    @classmethod
    def of(cls, bundle: DataBundle, models: Sequence[Array]) -> LeastSquares:
        """From the columns (p,) bool of each model; the first has all."""
        weights = bundle.prior_weights
        target = bundle.y if bundle.offset is None else bundle.y - bundle.offset
        with one_blas_thread():
            found = lstsq(bundle.X, target, weights)
            kept, r = found.kept, found.kept.size
            X = bundle.X if r == bundle.p else bundle.X[:, kept]
            inverse = solve_triangular(found.r_factor, np.eye(r), check_finite=False) if r else np.zeros((0, 0))
            basis = X @ inverse
            root = None if weights is None else np.sqrt(weights)
            Q = basis if root is None else basis * root[:, None]
            gram = Q.T @ Q
            if r and np.abs(gram - np.eye(r)).max() > 1e-13:  # the factor came from cross-products
                basis = basis @ solve_triangular(cholesky(gram), np.eye(r), check_finite=False)
                Q = basis if root is None else basis * root[:, None]
            weighted = target if root is None else target * root
            scores = Q.T @ weighted
            image = Q.T @ (bundle.X if root is None else bundle.X * root[:, None]) if len(models) > 1 else None
            spaces = [np.eye(r)]
            for columns in models[1:]:
                assert image is not None
                spaces.append(_span(image[:, columns]))
            residual = target - basis @ scores
        return cls(basis, root, target, residual, scores, tuple(spaces))

    @property
    def weighted_basis(self) -> Array:
        """(n, r) Q."""
        return self.basis if self.root is None else self.basis * self.root[:, None]

    def leave_one_out(self) -> Array:
        """(V, n) prediction of each row by the others, the offset not added; NaN where the row alone knows a column."""
        with one_blas_thread():
            Q = self.weighted_basis
            out = np.empty((len(self.spaces), self.target.size))
            for v, U in enumerate(self.spaces):
                part = Q if v == 0 else Q @ U
                leverage = np.einsum("ij,ij->i", part, part)
                residual = self.residual
                if v:
                    residual = residual + self.basis @ (self.scores - U @ (U.T @ self.scores))
                spare = np.where(leverage < FULL_LEVERAGE, 1.0 - leverage, np.nan)
                out[v] = self.target - residual / spare
        return out

    def held_out(self, folds: Array, k: int, wanted: Sequence[int]) -> tuple[Array, list[int]]:
        """Predictions (V, n) of the rows of the folds ``wanted``, and the folds that their own rows must decide.

        NaN in all other rows.
        """
        out = np.full((len(self.spaces), self.target.size), np.nan)
        with one_blas_thread():
            order = np.argsort(folds, kind="stable")
            stops = np.searchsorted(folds[order], np.arange(k + 1))
            rows = [order[stops[j] : stops[j + 1]] for j in wanted]
            r = self.scores.size
            gram, rhs = np.empty((len(rows), r, r)), np.empty((len(rows), r))
            parts = []
            for i, held in enumerate(rows):
                B = self.basis[held]
                Q = B if self.root is None else B * self.root[held, None]
                y = self.target[held] if self.root is None else self.target[held] * self.root[held]
                gram[i], rhs[i] = Q.T @ Q, Q.T @ y
                parts.append(B)
            training = np.eye(r) - gram
            least = np.linalg.eigvalsh(training)[:, 0] if r else np.ones(len(rows))
            good = np.flatnonzero(least > SAFE_EIGENVALUE)
            coef = np.empty((good.size, len(self.spaces), r))
            for v, U in enumerate(self.spaces):
                M = training[good] if v == 0 else U.T @ training[good] @ U
                b = self.scores - rhs[good] if v == 0 else (self.scores - rhs[good]) @ U
                c = np.linalg.solve(M, b[:, :, None])[:, :, 0] if U.shape[1] else np.zeros((good.size, 0))
                coef[:, v] = c if v == 0 else c @ U.T
            for at, i in enumerate(good.tolist()):
                out[:, rows[i]] = (parts[i] @ coef[at].T).T
        return out, [j for j, low in zip(wanted, least, strict=True) if not low > SAFE_EIGENVALUE]


def _span(columns: Array) -> Array:
    """(r, d) orthonormal basis of the columns (r, m) that R's rule keeps."""
    if not columns.shape[1] or not columns.shape[0]:
        return np.zeros((columns.shape[0], 0))
    kept = independent_columns(np.asarray(np.linalg.qr(columns, mode="r")))
    return np.linalg.qr(columns[:, kept])[0]


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
    size = np.abs(X_test[:, lost]) + np.abs(X_test[:, kept]) @ np.abs(ties)
    return np.all(gap <= RANK_TOL * np.where(size > 0, size, 1.0), axis=1)
