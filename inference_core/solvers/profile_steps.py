"""Linear algebra of profile searches: steps of stacked systems, Hessians that are learnt, ways off a saddle."""

from __future__ import annotations

import numpy as np

from inference_core.states import Array

_SADDLE = 1e-6  # an eigenvalue below minus this share of the largest is a way down


def joined(z: Array, mu: Array) -> Array:
    """(B, d + 1) points with their multipliers."""
    return np.concatenate([z, mu[:, None]], axis=1)


def solve_each(J: Array, r: Array) -> Array:
    """Solutions (B, k, m) of J x = r; NaN where J is not finite or singular."""
    finite = np.all(np.isfinite(J), axis=(1, 2)) & np.all(np.isfinite(r), axis=(1, 2))
    if not finite.all():
        J = np.where(finite[:, None, None], J, np.eye(J.shape[1]))
    try:
        x = np.linalg.solve(J, r)
    except np.linalg.LinAlgError:  # an exactly singular lane spoils the stack; the least-squares step serves it
        x = np.stack([np.linalg.lstsq(a, b, rcond=1e-13)[0] for a, b in zip(J, np.nan_to_num(r), strict=True)])
    x[~finite] = np.nan
    return x


def learn(H: Array, i: Array, moved: Array, change: Array) -> None:
    """The symmetric rank-one update of H[i] by how the gradient changed over a step (Nocedal & Wright 2006, 6.2)."""
    gap = change - np.einsum("bij,bj->bi", H[i], moved)
    size = np.einsum("bi,bi->b", gap, moved)
    good = np.abs(size) > 1e-8 * np.linalg.norm(gap, axis=1) * np.linalg.norm(moved, axis=1)
    at = i[good]
    H[at] += gap[good, :, None] * gap[good, None, :] / size[good, None, None]


def descent(lagrangian: Array, gradient: Array) -> Array:
    """(B, d) unit direction along which D falls with the target held; zeros at a minimum."""
    out = np.zeros(gradient.shape)
    if not np.all(np.isfinite(lagrangian)):
        return out
    size = np.linalg.norm(gradient, axis=1)
    unit = gradient / np.maximum(size, 1e-300)[:, None]
    off = np.eye(gradient.shape[1]) - unit[:, :, None] * unit[:, None, :]
    w, U = np.linalg.eigh(off @ lagrangian @ off)
    down = w[:, 0] < -_SADDLE * np.abs(w).max(axis=1)
    out[down] = U[down, :, 0]
    return out
