"""Least squares of tall, well-conditioned designs: a few passes over the rows at the speed of X'X.

CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa & Fukaya 2015, ETNA 44) without storing Q, and one step of
iterative refinement. Every function returns None where its own checks say that Householder QR is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_lapack_funcs, solve_triangular

from inference_core.states import Array

(_potrf,) = get_lapack_funcs(("potrf",), dtype=np.float64)

_ROWS = 4096  # from here on blocks pay for their Python overhead
_COND_LIMIT = 1e5  # of the column-scaled design; above it the Cholesky factor of X'X has lost too many digits
_COND_EASY = 100.0  # below it they are all there (error about cond^2 eps = 1e-12), and no second pass is needed
_BLOCK = 1 << 16  # doubles in a block of rows: half a MiB stays in cache between the products that use it


@dataclass(frozen=True, slots=True, eq=False)
class TallSolution:
    """Solution of a weighted least-squares problem of full rank: n rows, p columns."""

    coef: Array  # (p,)
    r_factor: Array  # (p, p) upper, R'R = X'WX
    fitted: Array  # (n,)
    leverage: Array  # (n,), or empty


def is_tall(X: Array) -> bool:
    """Whether blocks of rows are worth trying."""
    return X.shape[0] >= _ROWS and X.shape[0] >= 10 * X.shape[1] > 0


def well_conditioned(X: Array) -> bool:
    """Whether the column-scaled design has a condition number so small that no column can be in doubt."""
    return _scaled_cholesky(_gram(X, None)) is not None


def cholesky_factor(X: Array, weights: Array) -> Array | None:
    """Upper R with R'R = X'WX, or None unless that matrix is safely well conditioned: a step of a Newton
    loop.

    A loop that solves for increments corrects the lost digits in its next step.
    """
    factor = _scaled_cholesky((X * weights[:, None]).T @ X)
    return None if factor is None else factor[0]


def solve_tall(X: Array, y: Array, root: Array | None, want_leverage: bool) -> TallSolution | None:
    """Minimise the sum of root_i^2 (y_i - x_i'b)^2; None where conditioning or overflow call for Householder
    QR.

    X (n, p) C-contiguous, y (n,), root (n,) square roots of the weights.
    """
    factor = _scaled_cholesky(_gram(X, root))
    if factor is None:
        return None
    R, cond = factor
    if cond > _COND_EASY:
        R = _second_pass(X, root, R)
        if R is None:
            return None
    return _finish(X, y, root, R, want_leverage)


def _blocks(n: int, p: int) -> Iterator[slice]:
    step = max(512, _BLOCK // max(p, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _gram(X: Array, root: Array | None) -> Array:
    G = np.zeros((X.shape[1], X.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the caller
        for rows in _blocks(*X.shape):
            A = X[rows] if root is None else X[rows] * root[rows, None]
            G += A.T @ A
    return G


def _scaled_cholesky(G: Array) -> tuple[Array, float] | None:
    """Upper factor of G and the condition number of the column-scaled factor."""
    diagonal = np.diagonal(G)
    if not np.all(np.isfinite(G)) or np.any(diagonal <= 0):
        return None
    scale = np.sqrt(diagonal)
    R, info = _potrf(G / np.outer(scale, scale), lower=0, clean=1)
    if info != 0:
        return None
    cond = float(np.linalg.cond(R))
    return (R * scale, cond) if cond <= _COND_LIMIT else None


def _second_pass(X: Array, root: Array | None, R: Array) -> Array | None:
    """The factor of X from the Gram matrix of X R^-1, which is nearly orthonormal."""
    p = X.shape[1]
    W = solve_triangular(R, np.eye(p), check_finite=False)
    G = np.zeros((p, p))
    for rows in _blocks(*X.shape):
        Q = X[rows] @ W
        if root is not None:
            Q *= root[rows, None]
        G += Q.T @ Q
    if not np.all(np.abs(G - np.eye(p)) < 1e-3):  # the first factor was too poor for one correction to repair
        return None
    return _potrf(G, lower=0, clean=1)[0] @ R


def _finish(X: Array, y: Array, root: Array | None, R: Array, want_leverage: bool) -> TallSolution:
    """Coefficients from R'R b = X'Wy, refined once with the true residuals; leverages |x_i'R^-1|^2 w_i."""
    n, p = X.shape
    w = None if root is None else root * root
    W = solve_triangular(R, np.eye(p), check_finite=False)
    b = W @ (W.T @ ((y if w is None else y * w) @ X))
    leverage, gradient = np.empty(n if want_leverage else 0), np.zeros(p)
    for rows in _blocks(n, p):
        A = X[rows]
        e = y[rows] - A @ b
        gradient += (e if w is None else e * w[rows]) @ A
        if want_leverage:
            Q = A @ W
            leverage[rows] = np.einsum("ij,ij->i", Q, Q)
    if want_leverage and w is not None:
        leverage *= w
    b = b + W @ (W.T @ gradient)
    return TallSolution(b, R, X @ b, leverage)
