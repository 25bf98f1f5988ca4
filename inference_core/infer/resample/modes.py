"""How far the random effects of a parametric draw lie from what its refit says of them.

A draw has effects b*, known because they were drawn, and its refit predicts them by b-hat*; the distribution of
b* - b-hat* over draws stands for that of b - b-hat. Of a linear model, with S the covariance of one level,

    b-hat_j = S (I + A_j S / sigma^2)^-1 Z_j'W (y_j - X_j beta) / sigma^2,      A_j = Z_j'W Z_j

at each draw's own estimates; a generalized one has the modes at which its refit ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from inference_core.rng import RNG, Purpose
from inference_core.solvers.glmm.refit import Refits
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, REInfo

from .glmer_kernel import GlmerKernel
from .lmer_kernel import LmerKernel, standard_normals

_CELLS = 1 << 22  # doubles of one batch of matrices
_DENSE = 400  # random effects of several factors up to which draws are solved together


def lmer_mode_errors(kernel: LmerKernel, rng: RNG, samples: Array) -> Array:
    """(B, q) b* - b-hat* of draws 0, 1, .. with statistics ``samples`` (B, s); NaN rows where a refit failed."""
    B, q = len(samples), kernel.re.q
    out = np.full((B, q), np.nan)
    size = kernel.chunk_rows
    beta = samples[:, kernel.problem.kept]
    covariances = covariances_of_draws(kernel.re, samples[:, kernel.p :])
    sigma = samples[:, -1]
    with one_blas_thread():
        for first in range(0, B, size):
            Y = kernel.simulate(rng, first, first + size)
            u, _ = standard_normals(rng, first, first + size, q, kernel.n)
            rows = np.flatnonzero(np.isfinite(sigma[first : first + size])) + first
            residual = Y[rows - first] - beta[rows] @ kernel.problem.X.T
            if kernel.problem.weights is not None:
                residual = residual * kernel.problem.weights
            found = _modes(kernel, residual, [S[rows] for S in covariances], sigma[rows])
            out[rows] = effects_of(kernel.re, kernel.T, kernel.sigma * u[rows - first]) - found
    return out


def effects_of(re: REInfo, T: Sequence[Array], u: Array) -> Array:
    """(B, q) effects T u of every level, for u (B, q) and T (k, k) of each block."""
    parts = [part @ t.T for part, t in zip(re.split_effects(u), T, strict=True)]
    return np.concatenate([part.reshape(len(u), -1) for part in parts], axis=1)


def covariances_of_draws(re: REInfo, spread: Array) -> list[Array]:
    """(B, k, k) of each block from SDs and correlations (B, s) as ``lmer_kernel.spread_statistics`` orders them."""
    out, at = [], 0
    for block in re.blocks:
        k = block.k
        sd = spread[:, at : at + k]
        at += k
        R = np.broadcast_to(np.eye(k), (len(spread), k, k)).copy()
        for a, b in block.entries:
            if a != b:
                R[:, a, b] = R[:, b, a] = np.nan_to_num(spread[:, at])  # an SD of 0 has no correlation
                at += 1
        out.append(R * sd[:, :, None] * sd[:, None, :])
    return out


def _modes(kernel: LmerKernel, weighted: Array, covariances: list[Array], sigma: Array) -> Array:
    """(b, q) predicted effects from weighted residuals (b, n)."""
    re, problem = kernel.re, kernel.problem
    if not len(weighted):
        return np.empty((0, re.q))
    right = (_z(kernel).T @ weighted.T).T / np.square(sigma)[:, None]  # (b, q)
    if problem.is_one_factor:
        (block,), (S,) = re.blocks, covariances
        term = problem.terms[0]
        wz = term.Z if problem.weights is None else term.Z * problem.weights[:, None]
        A = np.empty((block.n_levels, block.k, block.k))
        for a in range(block.k):
            for c in range(block.k):
                A[:, a, c] = np.bincount(term.group, weights=wz[:, a] * term.Z[:, c], minlength=block.n_levels)
        out = np.empty_like(right)
        step = max(1, _CELLS // A.size)
        for at in range(0, len(right), step):
            rows = slice(at, at + step)
            AS = np.einsum("jab,dbc->djac", A, S[rows] / np.square(sigma[rows])[:, None, None])
            own = right[rows].reshape(-1, block.n_levels, block.k, 1)
            solved = np.linalg.solve(AS + np.eye(block.k), own)[..., 0]
            out[rows] = np.einsum("dab,djb->dja", S[rows], solved).reshape(-1, block.q)
        return out
    return _several(kernel, right, covariances, sigma)


def _several(kernel: LmerKernel, right: Array, covariances: list[Array], sigma: Array) -> Array:
    """Several factors: one system of all effects a draw, dense where it is small."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import spsolve

    re = kernel.re
    Z = _z(kernel)
    w = kernel.problem.weights
    A = (Z.T @ (Z if w is None else sp.diags(w) @ Z)).tocsc()
    out = np.empty_like(right)
    dense = A.toarray() if re.q <= _DENSE else None
    for i in range(len(right)):
        blocks = [sp.kron(sp.eye(b.n_levels), S[i]) for b, S in zip(re.blocks, covariances, strict=True)]
        S = sp.block_diag(blocks, format="csc")
        if dense is not None:
            system = (S.T @ dense).T / sigma[i] ** 2 + np.eye(re.q)
            out[i] = S @ np.linalg.solve(system, right[i])
        else:
            out[i] = S @ spsolve((A @ S / sigma[i] ** 2 + sp.eye(re.q)).tocsc(), right[i])
    return out


def _z(kernel: LmerKernel) -> Any:
    """(n, q) sparse Z of the rows that count."""
    import scipy.sparse as sp

    parts = []
    for term in kernel.problem.terms:
        n, k = term.Z.shape
        columns = term.group[:, None] * k + np.arange(k)
        indptr = np.arange(0, n * k + 1, k)
        parts.append(sp.csr_matrix((term.Z.ravel(), columns.ravel(), indptr), shape=(n, term.q)))
    return sp.hstack(parts, format="csr")


@dataclass(frozen=True, eq=False)
class GlmerModesKernel(GlmerKernel):
    """The refits of ``GlmerKernel`` with the modes b-hat* (q) of each after its statistics."""

    @classmethod
    def around(cls, kernel: GlmerKernel) -> GlmerModesKernel:
        """The same draws, with their modes; levels without rows, and draws that failed, are NaN."""
        given: dict[str, Any] = {f.name: getattr(kernel, f.name) for f in fields(kernel)}
        given["observed"] = np.concatenate([kernel.observed, np.zeros(kernel.re.q)])
        return cls(**given)

    def read(self, found: Refits) -> tuple[Array, Array]:
        """Statistics and modes (b, k + q), and status (b,)."""
        samples, status = super().read(found)
        modes, first = [], 0
        for block, T, present in zip(self.re.blocks, self.re.t_matrices(found.theta), self.problem.levels, strict=True):
            size = present.size * block.k
            u = found.u[:, first : first + size].reshape(-1, present.size, block.k)
            first += size
            b = np.zeros((len(u), block.n_levels, block.k))
            b[:, present] = np.einsum("dab,djb->dja", T, u)
            modes.append(b.reshape(len(u), -1))
        both = np.concatenate([samples, *modes], axis=1)
        both[status != 0] = np.nan
        return both, status

    def drawn_effects(self, rng: RNG, B: int) -> Array:
        """(B, q) effects b* of draws 0 .. B - 1."""
        K = self.draws.rows_at_once
        u = np.concatenate([
            rng.stream(block, Purpose.NORMAL).standard_normal((K, self.draws.q)) for block in range(-(-B // K))
        ])  # fmt: skip
        return effects_of(self.re, self.draws.T, u[:B])
