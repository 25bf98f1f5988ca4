"""What a profile holds: SDs, relative SDs and correlations of random effects, sigma, and combinations of fixed effects.

With T in search coordinates, row a of the relative factor in the units of the data is v_a = r_a T, linear in theta:

    SD_a = sigma |v_a|     relative |v_a|     cor_ab = v_a'v_b / (|v_a| |v_b|)     sigma = exp(s)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference_core.states import Array

SD, COR, SIGMA, FIXED, RATIO = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """P targets of a model with m covariance parameters and p fixed effects; K the widest block."""

    kind: Array  # (P,) SD, COR, SIGMA, FIXED or RATIO
    first: Array  # (P, K, m) v_a = first @ theta; zeros for SIGMA and FIXED
    second: Array  # (P, K, m) v_b of a correlation
    held: Array  # (P, p) the row l of a FIXED target, in the kernel's coordinates and in standard errors
    unit: Array  # (P,) standard error of a FIXED target: its value is unit * l'b + origin
    origin: Array  # (P,)

    @property
    def size(self) -> int:
        """P."""
        return self.kind.shape[0]

    def derivatives(self, x: Array, which: Array) -> tuple[Array, Array, Array]:
        """Value (B,), gradient (B, q) and Hessian (B, q, q) in x = (theta, log sigma), q = m + 1, of targets ``which``.

        Zero for FIXED targets, which are a coordinate of their own. Not finite where an SD is 0.
        """
        B, q = x.shape
        value, gradient, H = np.zeros(B), np.zeros((B, q)), np.zeros((B, q, q))
        theta, sigma = x[:, :-1], np.exp(x[:, -1])
        kind = self.kind[which]
        with np.errstate(invalid="ignore", divide="ignore"):
            i = np.flatnonzero((kind == SD) | (kind == RATIO))
            if i.size:
                relative = kind[i] == RATIO
                scale = np.where(relative, 1.0, sigma[i])
                A = self.first[which[i]]
                v = np.einsum("bkm,bm->bk", A, theta[i])
                norm = np.sqrt(np.einsum("bk,bk->b", v, v))
                u = v / norm[:, None]
                d = np.einsum("bkm,bk->bm", A, u)
                value[i] = scale * norm
                gradient[i, :-1] = scale[:, None] * d
                gradient[i, -1] = np.where(relative, 0.0, value[i])
                inner = np.eye(v.shape[1]) - u[:, :, None] * u[:, None, :]
                H[i, :-1, :-1] = (scale / norm)[:, None, None] * (A.transpose(0, 2, 1) @ inner @ A)
                H[i, -1, :-1] = H[i, :-1, -1] = np.where(relative[:, None], 0.0, gradient[i, :-1])
                H[i, -1, -1] = gradient[i, -1]
            i = np.flatnonzero(kind == COR)
            if i.size:
                value[i], gradient[i, :-1], H[i, :-1, :-1] = correlation(
                    self.first[which[i]], self.second[which[i]], theta[i]
                )
        i = np.flatnonzero(kind == SIGMA)
        value[i] = gradient[i, -1] = H[i, -1, -1] = sigma[i]
        return value, gradient, H

    def values(self, x: Array, beta: Array) -> Array:
        """(B, P) every target at x (B, q) with fixed effects beta (B, p) in the kernel's coordinates."""
        out = np.empty((x.shape[0], self.size))
        for j in range(self.size):
            if self.kind[j] == FIXED:
                out[:, j] = self.unit[j] * (beta @ self.held[j]) + self.origin[j]
            else:
                out[:, j] = self.derivatives(x, np.full(x.shape[0], j))[0]
        return out


def correlation(A: Array, C: Array, theta: Array) -> tuple[Array, Array, Array]:
    """Value (B,), gradient (B, m) and Hessian (B, m, m) of the cosine of A theta and C theta, A and C (B, K, m)."""
    v, w = np.einsum("bkm,bm->bk", A, theta), np.einsum("bkm,bm->bk", C, theta)
    nv, nw = np.sqrt(np.einsum("bk,bk->b", v, v)), np.sqrt(np.einsum("bk,bk->b", w, w))
    a, c = v / nv[:, None], w / nw[:, None]
    rho = np.einsum("bk,bk->b", a, c)
    A, C = A / nv[:, None, None], C / nw[:, None, None]
    at, ct = A.transpose(0, 2, 1), C.transpose(0, 2, 1)
    eye = np.eye(v.shape[1])
    r = rho[:, None, None]
    aa, cc, ac = (x[:, :, None] * y[:, None, :] for x, y in ((a, a), (c, c), (a, c)))
    ca = ac.transpose(0, 2, 1)
    gradient = np.einsum("bkm,bk->bm", A, c - rho[:, None] * a) + np.einsum("bkm,bk->bm", C, a - rho[:, None] * c)
    mixed = at @ (eye - aa - cc + r * ac) @ C
    H = at @ (3.0 * r * aa - ca - ac - r * eye) @ A + ct @ (3.0 * r * cc - ca - ac - r * eye) @ C
    return rho, gradient, H + mixed + mixed.transpose(0, 2, 1)


def row_map(row: Array, entries: Sequence[tuple[int, int]], first: int, m: int, width: int) -> Array:
    """(width, m) matrix that takes theta to v = row T, T's free entries standing from ``first`` on in theta."""
    out = np.zeros((width, m))
    for i, (a, b) in enumerate(entries, start=first):
        out[b, i] += row[a]
    return out


def away_from_edge(
    targets: Targets, j: int, hessian: Array, theta: Array, value: Callable[[Array], float]
) -> Array:
    """(m,) direction of theta off the edge on which target j stands, along which the deviance rises slowest.

    With the Hessian (m, m) of the deviance, scaled so that D = D_min + zeta^2 at zeta times it.
    """
    A = targets.first[j]
    if targets.kind[j] == COR:  # either row may be the one that stands first in T, and has nothing to turn by
        A = np.concatenate([row / np.linalg.norm(row) for row in (A, targets.second[j])])
    _, s, Vt = np.linalg.svd(A)
    basis = Vt[: np.count_nonzero(s > 1e-12 * s[0])]
    w, U = np.linalg.eigh(basis @ hessian @ basis.T)
    directions = U.T @ basis
    pick = 0
    if targets.kind[j] == COR:  # only what moves the correlation at second order
        moves = [abs(value(theta + 1e-3 * d) - value(theta)) for d in directions]
        pick = int(np.argmax(np.array(moves) / np.maximum(w, 1e-12)))
    return directions[pick] * np.sqrt(2.0 / max(w[pick], 1e-6))
