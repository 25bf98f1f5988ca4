"""Satterthwaite's degrees of freedom of the coefficients for B fits of one grouping factor at once.

The same quantities as ``information`` and ``denominator`` have for one fit, with a leading axis of lanes.
"""

from __future__ import annotations

import numpy as np

from inference_core.states import Array

from .denominator import FLAT
from .groups import GroupDesign
from .lanes import Lanes
from .structure import to_matrix

_NUMBERS = 1 << 21  # of one array over lanes and patterns


def satterthwaite_lanes(design: GroupDesign, lanes: Lanes, T: Array) -> tuple[Array, Array]:
    """Standard errors and degrees of freedom, both (B, p), of the coefficients of X as given.

    Parameters
    ----------
    design : GroupDesign
        n rows, p columns, U patterns of groups with k effects.
    lanes : Lanes
        B responses, with ``reml`` true.
    T : (B, k, k)
        Relative factors at each lane's REML optimum, in the units of the data.

    Returns
    -------
    se, df : (B, p)
        NaN in lanes where X'V^-1X is not positive.

    Notes
    -----
    df = 2 v^2 / (g'A g) with v the variance of a coefficient, g its derivatives in (T, log sigma) and A their
    asymptotic covariance; see ``denominator.Satterthwaite``.
    """
    d = design.patterns
    step = max(1, _NUMBERS // max(d.U * d.k * max(d.p, d.k), 1))
    parts = [
        _some(design, lanes.take(np.arange(at, min(at + step, lanes.size))), T[at : at + step])
        for at in range(0, lanes.size, step)
    ]
    se, df = zip(*parts, strict=True)
    return np.concatenate(se), np.concatenate(df)


def _some(design: GroupDesign, lanes: Lanes, T: Array) -> tuple[Array, Array]:
    d = design.patterns
    B, k, p = lanes.size, d.k, d.p
    theta = design.theta_inside(T)
    found = lanes.evaluate(theta)
    Ts = to_matrix(theta, d.entries, k)
    Sigma = Ts @ Ts.transpose(0, 2, 1)
    m = np.ones(d.U) if d.count is None else d.count
    D = np.linalg.inv(np.eye(k) + d.A[None] @ Sigma[:, None])  # (B, U, k, k)
    N, W = D @ d.A, D @ d.B
    N = 0.5 * (N + N.transpose(0, 1, 3, 2))
    weighted = W * m[:, None, None]
    S = np.eye(p) - np.einsum("buap,bac,ucq->bpq", weighted, Sigma, d.B, optimize=True)
    S = 0.5 * (S + S.transpose(0, 2, 1))
    good = np.isfinite(S).all(axis=(1, 2)) & np.isfinite(found.r2)
    Si = np.linalg.inv(np.where(good[:, None, None], S, np.eye(p)))
    P = np.einsum("buap,bpq,bucq->bac", weighted, Si, W, optimize=True)
    slope = (np.einsum("u,buac->bac", m, N) - P) @ Ts
    sigma2 = found.r2 / (d.n - p)
    rows = np.linalg.solve(design.x_factor.T, np.eye(p)).T  # contrast rows of single coefficients, inside
    lines = rows @ Si  # (B, p, p)
    v = np.einsum("bij,ij->bi", lines, rows)
    g = np.empty((B, p, len(d.entries) + 1))
    along = np.empty((B, len(d.entries)))
    for i, (a, b) in enumerate(d.entries):
        E = np.zeros((B, k, k))
        E[:, a, :] += Ts[:, :, b]
        E[:, :, a] += Ts[:, :, b]
        turn = np.einsum("buap,bac,bucq->bpq", weighted, E, W, optimize=True)
        g[:, :, i] = np.einsum("bip,bpq,biq->bi", lines, turn, lines, optimize=True)
        along[:, i] = (2.0 * slope[:, a, b] - found.gradient[:, i]) * sigma2
    g[:, :, -1] = 2.0 * v
    varpar = _varpar(found.hessian, along, found.r2, d.n - p)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = 2.0 * v**2 / np.einsum("bik,bkl,bil->bi", g, varpar, g, optimize=True)
        se = np.sqrt(sigma2[:, None] * v)
    return np.where(good[:, None], se, np.nan), np.where(good[:, None], df, np.nan)


def _varpar(hessian: Array, along: Array, r2: Array, dof: int) -> Array:
    """(B, m + 1, m + 1) twice the inverse of the joint Hessian in (T, log sigma), flat directions left out."""
    B, m = along.shape
    H = np.empty((B, m + 1, m + 1))
    H[:, :m, :m] = hessian + (dof / r2**2)[:, None, None] * along[:, :, None] * along[:, None, :]
    H[:, m, :m] = H[:, :m, m] = 2.0 * (dof / r2)[:, None] * along
    H[:, m, m] = 4.0 * dof
    w, U = np.linalg.eigh(np.where(np.isfinite(H), H, 0.0))
    inverse = np.where(w > FLAT * w[:, -1:], 1.0 / np.where(w > 0, w, 1.0), 0.0)
    return 2.0 * (U * inverse[:, None, :]) @ U.transpose(0, 2, 1)
