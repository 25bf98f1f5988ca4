"""Least squares with the accuracy and the rank rule of R's pivoted QR, never forming anything n x n.

Two ways to the same factor: Householder QR, and for tall designs CholeskyQR2 (Yamamoto, Nakatsukasa,
Yanagisawa & Fukaya 2015, ETNA 44), which reads the rows in blocks and is left for Householder whenever its
own checks fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_lapack_funcs, solve_triangular

from inference_core.errors import DataError
from inference_core.states import Array, RankInfo
from inference_core.states.base import Frozen

from .tall import is_tall, solve_tall, well_conditioned
from .threads import one_blas_thread

_geqrf, _ormqr, _orgqr = get_lapack_funcs(("geqrf", "ormqr", "orgqr"), dtype=np.float64)

RANK_TOL = 1e-7  # R's lm: a column goes when what is left of it falls below this share of its norm

_HUGE = 1e140  # squares and their sums over any number of rows stay finite below it


@dataclass(frozen=True, slots=True, eq=False)
class LstsqResult(Frozen):
    """The solution of min sum w_i (y_i - x_i'b)^2: n rows, p columns, r of them kept."""

    coef: Array  # (p,) NaN where the column was dropped
    kept: Array  # (r,) int
    dropped: Array  # (p - r,) int
    r_factor: Array  # (r, r) upper triangular, R'R = X'WX of the kept columns
    fitted: Array  # (n,)
    residuals: Array  # (n,) y - fitted, unweighted
    leverage: Array  # (n,) diagonal of the hat matrix; 0 where the weight is 0
    rss: float  # weighted residual sum of squares
    method: str  # "cholesky" or "householder"

    @property
    def rank(self) -> int:
        """Columns that could be estimated."""
        return self.kept.shape[0]

    def unscaled_vcov(self) -> Array:
        """(p, p) inverse of X'WX, NaN rows and columns where a column was dropped."""
        return expand_square(inverse_gram(self.r_factor), self.kept, self.coef.shape[0])


def lstsq(
    X: Array, y: Array, weights: Array | None = None, *, tol: float = RANK_TOL, leverage: bool = True
) -> LstsqResult:
    """Weighted least squares by QR.

    Parameters
    ----------
    X : (n, p) array
    y : (n,) array
    weights : (n,) array, optional
        Prior weights w >= 0; the sum of w (y - Xb)^2 is minimised.
    tol : float
        R's rank rule: going from left to right, a column whose part orthogonal to the columns kept so far is
        shorter than ``tol`` times the column is dropped, so it is always the *later* column that goes.
    leverage : bool
        False leaves ``leverage`` empty and saves a pass.

    Raises
    ------
    DataError
        A column of ``X`` (or ``y``) holds something that is not a finite number.

    Notes
    -----
    Householder QR costs 4 n p^2 flops; CholeskyQR2 costs 6 n p^2 in products that run at the speed of X'X.
    """
    X = np.ascontiguousarray(X, dtype=float)
    root = None if weights is None else np.sqrt(weights)
    if not np.all(np.isfinite(y)):
        _refuse_nonfinite(X, y, root)
    if is_tall(X):
        tall = solve_tall(X, y, root, leverage)
        if tall is not None:
            kept = np.arange(X.shape[1])
            return _result(X, y, root, tall.coef, kept, tall.r_factor, tall.fitted, tall.leverage, "cholesky")
    return _householder(X, y, root, tol, leverage)


def rank_of_design(X: Array, tol: float = RANK_TOL, names: tuple[str, ...] = ()) -> RankInfo:
    """Which columns of a design R's ``lm`` would keep: (n, p) -> :class:`RankInfo`; the later column goes."""
    X = np.ascontiguousarray(X, dtype=float)
    p = X.shape[1]
    with one_blas_thread():
        easy = is_tall(X) and well_conditioned(X)
        kept = np.arange(p) if easy else independent_columns(_r_factor(X), tol)
    dropped = np.setdiff1d(np.arange(p), kept)
    return RankInfo(kept.size, kept, dropped, tuple(names[j] for j in dropped) if names else ())


def independent_columns(R: Array, tol: float = RANK_TOL) -> Array:
    """Positions of the columns that R's ``dqrdc2`` keeps, from any factor R with R'R = X'X.

    Limited column pivoting: reflections from left to right, skipping every column whose remainder is shorter
    than ``tol`` times the column. Working on the (p, p) factor gives the same remainders as working on X.
    """
    p = R.shape[1]
    size = np.abs(R).max(axis=0, initial=0.0)
    odd = (size > _HUGE) | ((size > 0) & (size < 1.0 / _HUGE))
    if np.any(odd):
        j = int(np.argmax(odd))
        raise DataError(
            "a least-squares fit",
            f"column {j} of the design holds numbers near {size[j]:.3g}, whose squares a computer cannot hold",
            "rescale the column",
        )
    norms = np.linalg.norm(R, axis=0)
    if R.shape[0] >= p and np.all(np.abs(np.diagonal(R)) >= tol * np.where(norms > 0, norms, np.inf)):
        return np.arange(p)
    A, kept = R.copy(), []
    for j in range(p):
        row = len(kept)
        if row >= A.shape[0]:
            break
        v = A[row:, j].copy()
        length = np.linalg.norm(v)
        if norms[j] == 0 or length < tol * norms[j]:
            continue
        kept.append(j)
        v[0] += np.copysign(length, v[0])
        vv = v @ v
        A[row:, j + 1 :] -= np.outer(v * (2.0 / vv), v @ A[row:, j + 1 :])
    return np.array(kept, dtype=np.intp)


def inverse_gram(R: Array) -> Array:
    """(R'R)^-1 of an upper-triangular factor (r, r), exactly symmetric."""
    if R.shape[0] == 0:
        return np.zeros((0, 0))
    inverse = solve_triangular(R, np.eye(R.shape[0]), check_finite=False)
    return inverse @ inverse.T


def expand_square(small: Array, kept: Array, p: int) -> Array:
    """A (r, r) matrix put into (p, p) at ``kept``, NaN elsewhere."""
    if kept.size == p:
        return small
    out = np.full((p, p), np.nan)
    out[np.ix_(kept, kept)] = small
    return out


def _householder(X: Array, y: Array, root: Array | None, tol: float, want: bool) -> LstsqResult:
    n, p = X.shape
    Xw = X if root is None else X * root[:, None]
    yw = y if root is None else y * root
    qr, tau = _qr(Xw) if p else (Xw, np.zeros(0))
    kept = independent_columns(_upper(qr), tol)
    if kept.size < p:
        qr, tau = _qr(Xw[:, kept])
    r = kept.size
    R = np.ascontiguousarray(np.triu(qr[:r, :r]))
    if r:
        qty = _ormqr("L", "T", qr, tau, yw[:, None], 64)[0]
        b = solve_triangular(R, qty[:r, 0], check_finite=False)
    else:
        b = np.zeros(0)
    leverage = np.zeros(n if want else 0)
    if r and want:
        q = _orgqr(qr[:, :r], tau, lwork=64 * r)[0]
        leverage = np.einsum("ij,ij->i", q, q)
    fitted = (X if r == p else X[:, kept]) @ b
    return _result(X, y, root, b, kept, R, fitted, leverage, "householder")


def _result(
    X: Array, y: Array, root: Array | None, b: Array, kept: Array, R: Array, fitted: Array, leverage: Array,
    method: str,
) -> LstsqResult:  # fmt: skip
    p = X.shape[1]
    residuals = y - fitted
    weighted = residuals if root is None else residuals * root
    rss = float(weighted @ weighted)
    if not np.isfinite(rss):
        _refuse_nonfinite(X, y, root)
    coef = np.full(p, np.nan)
    coef[kept] = b
    dropped = np.setdiff1d(np.arange(p), kept)
    return LstsqResult(coef, kept, dropped, R, fitted, residuals, np.minimum(leverage, 1.0), rss, method)


def _qr(A: Array) -> tuple[Array, Array]:
    qr, tau, _, _ = _geqrf(A, lwork=max(1, 64 * A.shape[1]))
    return qr, tau


def _upper(qr: Array) -> Array:
    return np.triu(qr[: min(qr.shape), :])


def _r_factor(X: Array) -> Array:
    if X.shape[1] == 0:
        return np.zeros((0, 0))
    R = _upper(_qr(X)[0])
    if not np.all(np.isfinite(R)):
        _refuse_nonfinite(X, None, None)
    return R


def _refuse_nonfinite(X: Array, y: Array | None, root: Array | None) -> None:
    """Name the first value that is not a finite number; finite numbers that overflow are named as such."""
    for label, values in (("the response", y), ("the square roots of the weights", root)):
        if values is not None and not np.all(np.isfinite(values)):
            row = int(np.argmin(np.isfinite(values)))
            raise DataError(
                "a least-squares fit",
                f"{label} has no finite number in row {row} counting from 0",
                "remove the row, or check the transform that made it",
            )
    bad = ~np.isfinite(X)
    if np.any(bad):
        row, column = np.argwhere(bad)[0]
        raise DataError(
            "a least-squares fit",
            f"column {column} of the design has no finite number in row {row} counting from 0",
            "remove the row, or check the transform that made the column",
        )
    raise DataError(
        "a least-squares fit",
        f"numbers as large as {np.max(np.abs(X)):.3g} overflow when squared",
        "rescale the predictors",
    )
