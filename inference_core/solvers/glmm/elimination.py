"""The Hessian of (u, beta) with the first factor eliminated, for B lanes: factor, solve, rows of the inverse.

M = [D  M12; M12' M22] with D block-diagonal; S = M22 - M12' D^-1 M12 is dense and small. A lane whose matrix is not
positive definite is marked, never raised about: one bad lane must not stop the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs  # type: ignore[attr-defined]

from inference_core.states import Array


@dataclass(slots=True)
class Eliminated:
    """D^-1, D^-1 M12 and the Cholesky factor of S; Q dense columns, the first q2 of them effects, the rest X."""

    D_inverse: Array  # (B, J1, k1, k1)
    H: Array  # (B, q1, Q) D^-1 M12
    L: Array  # (B, Q, Q) lower, Fortran order within a lane
    log_det: Array  # (B,) of M, the X columns left out
    ok: Array  # (B,) whether the lane's matrix was positive definite

    def solve(self, right1: Array, right2: Array) -> tuple[Array, Array]:
        """Solve for the first factor's effects (B, q1) and the dense part (B, Q)."""
        B, J, k, _ = self.D_inverse.shape
        rest = right2 - np.matmul(right1[:, None, :], self.H)[:, 0]
        dense = np.empty_like(rest)
        for i in range(B):
            dense[i] = dpotrs(self.L[i], rest[i], lower=1)[0] if rest.shape[1] else rest[i]
        if k == 1:
            own = self.D_inverse[:, :, 0, 0] * right1
        else:
            own = np.matmul(self.D_inverse, right1.reshape(B, J, k, 1)).reshape(B, J * k)
        return own - np.matmul(self.H, dense[:, :, None])[:, :, 0], dense

    def inverse_of_s(self) -> Array:
        """(B, Q, Q) S^-1."""
        out = np.empty_like(self.L)
        for i, L in enumerate(self.L):
            lower = np.tril(dpotri(L, lower=1)[0]) if L.size else L
            out[i] = lower + np.tril(lower, -1).T
        return out

    def head_inverse(self, S_inverse: Array, GS: Array) -> Array:
        """(B, J1, k1, k1) diagonal blocks of M^-1 of the first factor, from S^-1 and H S^-1."""
        B, J, k, _ = self.D_inverse.shape
        Q = S_inverse.shape[1]
        H = self.H.reshape(B, J, k, Q)
        return self.D_inverse + np.matmul(GS.reshape(B, J, k, Q), np.swapaxes(H, 2, 3))


def eliminate(D: Array, M12: Array, M22: Array, q2: int) -> Eliminated:
    """Eliminate D (B, J, k, k) from M; M12 (B, J k, Q), M22 (B, Q, Q) with the identity of the prior in both."""
    B, J, k, _ = D.shape
    Q = M22.shape[1]
    ok = np.all(np.isfinite(D), axis=(1, 2, 3)) & np.all(np.isfinite(M22), axis=(1, 2))
    if k == 1:
        d = D[:, :, 0, 0]
        ok &= np.all(d > 0, axis=1)
        root = 1.0 / np.sqrt(np.where(d > 0, d, 1.0))
        log_det = -2.0 * np.sum(np.log(root), axis=1)
        half = M12 * root[:, :, None]
        H = half * root[:, :, None]
        D_inverse = np.square(root)[:, :, None, None]
        # one array and its own transpose: half the work of a general product
        S = M22 - (np.matmul(np.swapaxes(half, 1, 2), half) if B > 1 else (half[0].T @ half[0])[None])
    else:
        D = np.where(ok[:, None, None, None], D, np.eye(k))
        values = np.linalg.eigvalsh(D)
        ok &= np.all(values[..., 0] > 0, axis=1)
        safe = np.where(ok[:, None, None, None], D, np.eye(k))
        log_det = np.sum(np.log(np.where(ok[:, None, None], values, 1.0)), axis=(1, 2))
        D_inverse = np.linalg.inv(safe)
        H = np.matmul(D_inverse, M12.reshape(B, J, k, Q)).reshape(B, J * k, Q)
        S = M22 - np.matmul(np.swapaxes(H, 1, 2), M12)
    L = np.empty_like(S)
    for i in range(B):
        if not Q:
            break
        factor, info = dpotrf(S[i], lower=1)
        if info != 0 or not ok[i]:
            ok[i] = False
            factor = np.eye(Q)
        L[i] = factor
    log_det = log_det + 2.0 * np.sum(np.log(np.diagonal(L, axis1=1, axis2=2)[:, :q2]), axis=1)
    return Eliminated(D_inverse, H, L, log_det, ok)
