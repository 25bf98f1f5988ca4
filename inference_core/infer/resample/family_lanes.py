"""Parameters that a family brings along, one set a resample: theta of the negative binomial, the scale of Student's t.

Given the means these are one-dimensional likelihood equations; all resamples take their Newton steps together.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, zeta

from inference_core.families import Family
from inference_core.fit.family_params import THETA_MAX
from inference_core.states.base import Array


def update_params(family: Family, y: Array, mu: Array, weights: Array, params: Array) -> tuple[Array, Array]:
    """Maximum-likelihood parameters (b, k) at given means (b, n), and which lanes have one (b,) bool.

    ``y`` is (n,), or (b, n) with one response a lane; ``weights`` (b, n) are counts times prior weights, ``params``
    (b, k) where to start.
    """
    if family.name == "negative_binomial":
        theta, usable = _theta(y, mu, weights, params[:, 0])
        return theta[:, None], usable
    scale, usable = _scale(y - mu, weights, params[:, 0], params[:, 1])
    return np.column_stack([params[:, 0], scale]), usable


def _theta(y: Array, mu: Array, w: Array, start: Array) -> tuple[Array, Array]:
    """Root in log theta of sum w [psi(theta + y) - psi(theta) - log(1 + mu/theta) - (y - mu)/(mu + theta)].

    Newton with steps of at most 2 in log theta. Counts that vary less than a Poisson's have no finite root:
    ``THETA_MAX``.
    """
    theta = np.clip(start, 1e-6, 0.1 * THETA_MAX)
    values, which = np.unique(y, return_inverse=True)  # counts repeat, and digamma is the dear part
    which = which.reshape(y.shape)
    if y.ndim == 1:
        tally = w @ np.eye(len(values))[which]
    else:
        tally = np.stack([np.bincount(row, weight, len(values)) for row, weight in zip(which, w, strict=True)])
    active = np.arange(len(theta))
    for _ in range(60):
        own = y if y.ndim == 1 else y[active]
        step = _theta_step(theta[active], own, mu[active], w[active], values, tally[active])
        theta[active] = np.clip(theta[active] * np.exp(step), 1e-6, THETA_MAX)
        active = active[(np.abs(step) > 1e-13) & (theta[active] < THETA_MAX)]
        if not active.size:
            break
    return theta, np.isfinite(theta) & (theta > 1e-6)


def _theta_step(theta: Array, y: Array, mu: Array, w: Array, values: Array, tally: Array) -> Array:
    """Newton step in log theta: gradient theta s, curvature theta s + theta^2 s', with s the score in theta."""
    t = theta[:, None]
    score = (tally * (digamma(t + values) - digamma(t))).sum(1)
    slope = (tally * (zeta(2.0, t + values) - zeta(2.0, t))).sum(1)  # zeta(2, x) is the trigamma function
    score -= (w * (np.log1p(mu / t) + (y - mu) / (mu + t))).sum(1)
    slope += (w * (mu / (t * (mu + t)) + (y - mu) / (mu + t) ** 2)).sum(1)
    gradient = theta * score
    curvature = gradient + theta**2 * slope
    step = np.where(curvature < 0, -gradient / np.where(curvature < 0, curvature, 1.0), np.sign(gradient))
    return np.clip(np.nan_to_num(step), -2.0, 2.0)


def _scale(residual: Array, w: Array, df: Array, start: Array) -> tuple[Array, Array]:
    """The scale at which sum w (df + 1) r^2 / (df s^2 + r^2) = sum w: Newton in log s, the left side falls with s."""
    squares, total, scale = residual**2, w.sum(1), start.copy()
    d = df[:, None]
    for _ in range(100):
        below = d * (scale**2)[:, None] + squares
        excess = (w * (d + 1.0) * squares / below).sum(1) - total
        slope = -(w * (d + 1.0) * squares * 2.0 * d * (scale**2)[:, None] / below**2).sum(1)
        step = np.clip(np.nan_to_num(-excess / np.where(slope < 0, slope, -1.0)), -1.0, 1.0)
        scale = scale * np.exp(step)
        if np.all(np.abs(step) < 1e-14):
            break
    fits = (w * (squares > 1e-24 * squares.max(1, keepdims=True))).sum(1) * (df + 1.0) > total
    return scale, fits & np.isfinite(scale) & (scale > 0)
