"""``Information`` for many levels of several factors, one effect each: no q x q matrix.

The factor with the most levels is eliminated: with M = I + Lambda Z'Z Lambda = [[D, B], [B', C]], D diagonal, only
P = C - B'D^-1 B is dense. Traces and norms of the blocks of Z'V^-1 Z = Lambda^-1 (I - M^-1) Lambda^-1 come from P^-1,
and products with V^-1 go by rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_core.states import Array

from .dense import Term
from .information import Information

GONE = 1e-6  # theta in units of its column below which a factor has no variance: it does not move V


def terms_left(terms: Sequence[Term], theta: Array, weights: Array | None) -> list[int]:
    """Terms (k = 1) whose variance is not 0, the one with the most levels first."""
    root = 1.0 if weights is None else np.sqrt(weights)
    size = np.array([np.sqrt(np.mean(np.square(root * term.Z[:, 0]))) for term in terms])
    order = np.argsort([-term.n_groups for term in terms], kind="stable")
    return [int(i) for i in order if abs(theta[i]) * size[i] > GONE]


class _Blocks:
    """M of scalar factors with theta > 0, the largest factor first."""

    def __init__(self, columns: Sequence[Array], groups: Sequence[Array], sizes: Sequence[int], theta: Array) -> None:
        import scipy.sparse as sp

        n = groups[0].size
        rows = np.arange(n)
        self.q = np.array(sizes)
        Z = [
            sp.csr_matrix((t * z, (rows, g)), shape=(n, J))
            for t, z, g, J in zip(theta, columns, groups, sizes, strict=True)
        ]  # Z_t theta_t
        self.first, self.rest = Z[0], sp.hstack(Z[1:], format="csr")
        self.D = 1.0 + np.asarray(self.first.multiply(self.first).sum(axis=0)).ravel()
        self.B = (self.first.T @ self.rest).tocsr()
        C = (self.rest.T @ self.rest).toarray()
        C[np.diag_indices_from(C)] += 1.0
        P = C - (self.B.T @ self.B.multiply(1.0 / self.D[:, None]).tocsr()).toarray()
        self.P_inverse = np.linalg.inv(0.5 * (P + P.T))
        ends = np.cumsum(self.q[1:])
        self.slices = [slice(int(e - k), int(e)) for e, k in zip(ends, self.q[1:], strict=True)]

    def solve_rows(self, F: Array) -> Array:
        """V^-1 F for F (n, r), V = I + Z Lambda^2 Z'."""
        a, b = self.first.T @ F, self.rest.T @ F
        u2 = self.P_inverse @ (b - self.B.T @ (a / self.D[:, None]))
        u1 = (a - self.B @ u2) / self.D[:, None]
        return F - self.first @ u1 - self.rest @ u2

    def traces(self) -> Array:
        """Tr(M^-1_tt) of each factor."""
        inner = np.diagonal(self.P_inverse)
        K = self._weighted_cross(1)
        return np.array([np.sum(1.0 / self.D) + np.sum(K * self.P_inverse), *(inner[s].sum() for s in self.slices)])

    def norms(self) -> Array:
        """(t, t) squared Frobenius norms of the blocks of M^-1."""
        count = self.q.size
        out = np.empty((count, count))
        K2 = self._weighted_cross(1)
        K3 = self._weighted_cross(2)
        PK = self.P_inverse @ K2
        out[0, 0] = np.sum(self.D**-2.0) + 2.0 * np.sum(K3 * self.P_inverse) + np.sum(PK * PK.T)
        for i, s in enumerate(self.slices, start=1):
            out[0, i] = out[i, 0] = np.sum(self.P_inverse[:, s] * (K2 @ self.P_inverse[:, s]))
            for j, r in enumerate(self.slices, start=1):
                out[i, j] = np.sum(np.square(self.P_inverse[s, r]))
        return out

    def _weighted_cross(self, power: int) -> Any:
        """B'D^-(power + 1) B, dense."""
        return (self.B.T @ self.B.multiply(self.D[:, None] ** -(power + 1.0)).tocsr()).toarray()


def information_of_scalars(
    X: Array, terms: Sequence[Term], y: Array, theta: Array, weights: Array | None = None
) -> Information:
    """Several factors with one effect each.

    Parameters
    ----------
    X : (n, p) array of full rank
    terms : sequence of Term
        k = 1.
    y : (n,) array
        The offset taken off.
    theta : (t,) array
        Relative SD of each term, in the units of the data; two at least are not 0. Terms at 0 are left out: V does not
        move with them.
    weights : (n,) array > 0, optional

    Returns
    -------
    Information
        Of the terms that are left; ``traces`` and the like serve Kenward-Roger only where all are.
    """
    root = np.ones(y.size) if weights is None else np.sqrt(weights)
    Q, R = np.linalg.qr(X * root[:, None])
    e = y * root
    e = e - Q @ (Q.T @ e)
    n, p = Q.shape
    left = terms_left(terms, theta, weights)
    th = np.abs(np.asarray(theta, dtype=float))[left]
    groups, sizes = [terms[i].group for i in left], [terms[i].n_groups for i in left]
    z = [root * terms[i].Z[:, 0] for i in left]
    blocks = _Blocks(z, groups, sizes, th)

    def down(t: int, F: Array) -> Array:
        """Z_t'F."""
        return np.stack([np.bincount(groups[t], z[t] * f, sizes[t]) for f in F.T], axis=1)

    def up(t: int, F: Array) -> Array:
        """Z_t F."""
        return z[t][:, None] * F[groups[t]]

    count = len(left)
    VX = blocks.solve_rows(Q)
    S = Q.T @ VX
    S = 0.5 * (S + S.T)
    Si = np.linalg.inv(S)
    Ve = blocks.solve_rows(e[:, None])[:, 0]
    beta = Si @ (Q.T @ Ve)
    Py = Ve - VX @ beta
    dof = n - p
    sigma2 = float(e @ Py) / dof
    W = [down(t, VX) for t in range(count)]
    g = [down(t, Py[:, None]) for t in range(count)]
    spans = np.array([w.T @ w for w in W])
    moved = [blocks.solve_rows(np.column_stack([up(t, W[t]), up(t, g[t])])) for t in range(count)]
    crossed, gNg = np.empty((count, count, p, p)), np.empty((count, count))
    for t in range(count):
        for s in range(count):
            Nt = down(s, moved[t])  # N_st [W_t, g_t]
            crossed[s, t] = W[s].T @ Nt[:, :p]
            gNg[s, t] = g[s][:, 0] @ Nt[:, p]
    gW = np.array([w.T @ v[:, 0] for w, v in zip(W, g, strict=True)])
    gNg = gNg - gW @ Si @ gW.T
    norms, inverse_traces = blocks.norms(), blocks.traces()
    q = blocks.q.astype(float)
    traces = (q - inverse_traces) / th**2
    pairs = (norms + np.diag(q - 2.0 * inverse_traces)) / np.outer(th**2, th**2)
    RS = spans @ Si
    shared = np.einsum("pq,stqp->st", Si, crossed)
    hat = pairs - 2.0 * shared + np.einsum("spq,tqp->st", RS, RS)  # squared norms of N - W S^-1 W'
    gg = np.array([float(v[:, 0] @ v[:, 0]) for v in g])
    K = traces - np.einsum("spp->s", RS) - gg / sigma2
    H = np.empty((count + 1, count + 1))
    H[:-1, :-1] = 4.0 * np.outer(th, th) * (2.0 * gNg / sigma2 - hat) + 2.0 * np.diag(K)
    H[-1, :-1] = H[:-1, -1] = 4.0 * th * gg / sigma2
    H[-1, -1] = 4.0 * dof
    return Information(
        n=n, sigma2=sigma2, S=S, x_factor=R, hessian=0.5 * (H + H.T), turns=2.0 * th[:, None, None] * spans,
        spans=spans, crossed=crossed, traces=traces, trace_pairs=pairs,
    )  # fmt: skip
