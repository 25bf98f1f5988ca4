"""BFGS for B small problems at once: inverse Hessians a lane, backtracking a lane, finished lanes leave the batch.

Source: Nocedal & Wright (2006), Numerical Optimization, ch. 6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.states import Array

FIT_TOL = 1e-9  # half g'Hg (deviance units) at which Newton steps with the Hessian take over from one fit's search
REPLICATE_TOL = 1e-8  # the same for replicates: within 1e-4 of a standard error
_LONGEST_STEP = 2.0  # in working coordinates, where columns have root mean square 1
_ROUNDING = 1e-11  # of the deviance
_TRUST_GRADIENT = 1e-6  # predicted decrease below which a failed line search is rounding, not failure

Objective = Callable[[Array, Array], tuple[Array, Array]]
Runaway = Callable[[Array, Array], Array]


@dataclass(slots=True)
class BfgsResult:
    """Where each lane ended."""

    x: Array  # (B, m)
    deviance: Array  # (B,)
    gradient: Array  # (B, m)
    inverse_hessian: Array  # (B, m, m)
    converged: Array  # (B,) bool
    n_iter: Array  # (B,)
    n_evaluations: int


def bfgs(
    objective: Objective,
    start: Array,
    inverse_hessian: Array,
    *,
    tol: float,
    max_iter: int = 100,
    runaway: Runaway | None = None,
) -> BfgsResult:
    """Minimise every lane.

    Parameters
    ----------
    objective : (x (b, m), lanes (b,)) -> (deviance (b,), gradient (b, m))
        Called with the lanes still open; a deviance that is not finite rejects the point.
    start : (B, m) array
    inverse_hessian : (m, m) or (B, m, m) array
        Of the deviance; positive definite.
    tol : float
        Half g'Hg at which a lane is done.
    runaway : (x (b, m), lanes (b,)) -> (b,) bool, optional
        Lanes that have left every sensible range end there, not converged.
    """
    B, m = start.shape
    H0 = np.broadcast_to(inverse_hessian, (B, m, m))
    lanes = np.arange(B)
    x = start.copy()
    f, g = objective(x, lanes)
    out = BfgsResult(
        x.copy(), f.copy(), g.copy(), H0.copy(), np.zeros(B, dtype=bool), np.zeros(B, dtype=int), B
    )
    alive = np.isfinite(f)
    lanes, x, f, g, H = lanes[alive], x[alive], f[alive], g[alive], H0[alive].copy()
    fresh = np.ones(lanes.size, dtype=bool)  # whether H is still the first guess
    while lanes.size and max_iter > 0:
        max_iter -= 1
        step = -_times(H, g)
        slope = np.sum(g * step, axis=1)
        uphill = ~(slope < 0)
        if np.any(uphill):
            H[uphill] = H0[lanes[uphill]]
            step[uphill] = -_times(H[uphill], g[uphill])
            slope[uphill] = np.sum(g[uphill] * step[uphill], axis=1)
        new_x, new_f, new_g, moved = _line_search(objective, lanes, x, f, g, step, slope, out)
        with np.errstate(invalid="ignore"):
            H = _update(H, new_x - x, new_g - g, moved)
        decrement = 0.5 * np.abs(np.sum(new_g * _times(H, new_g), axis=1))
        stuck = ~moved
        settled = np.where(stuck, -slope < _TRUST_GRADIENT, decrement < tol)
        # a direction that led nowhere: once more from the first guess of the Hessian, then give up
        again = stuck & ~settled & ~fresh
        H[again] = H0[lanes[again]]
        fresh = again | (fresh & stuck)
        x, f, g = new_x, new_f, new_g
        out.x[lanes], out.deviance[lanes], out.gradient[lanes], out.inverse_hessian[lanes] = x, f, g, H
        out.n_iter[lanes] += 1
        out.converged[lanes] = settled
        keep = ~settled & (moved | again)
        if runaway is not None:
            gone = runaway(x, lanes)
            out.converged[lanes[gone]] = False
            keep &= ~gone
        lanes, x, f, g, H, fresh = lanes[keep], x[keep], f[keep], g[keep], H[keep], fresh[keep]
    return out


def _line_search(objective, lanes, x, f, g, step, slope, out):
    """Backtracking for each lane; lanes that find no decrease keep their point."""
    size = np.minimum(1.0, _LONGEST_STEP / np.maximum(np.max(np.abs(step), axis=1), 1e-300))
    new_x, new_f, new_g = x.copy(), f.copy(), g.copy()
    moved = np.zeros(lanes.size, dtype=bool)
    open_ = np.arange(lanes.size)
    for _ in range(18):
        trial = x[open_] + size[open_, None] * step[open_]
        value, gradient = objective(trial, lanes[open_])
        out.n_evaluations += open_.size
        bound = f[open_] + 1e-4 * size[open_] * slope[open_] + _ROUNDING * (1.0 + np.abs(f[open_]))
        good = np.isfinite(value) & (value <= bound) & np.all(np.isfinite(gradient), axis=1)
        at = open_[good]
        new_x[at], new_f[at], new_g[at], moved[at] = trial[good], value[good], gradient[good], True
        open_ = open_[~good]
        if not open_.size:
            break
        size[open_] *= 0.3
    return new_x, new_f, new_g, moved


def _update(H: Array, s: Array, y: Array, moved: Array) -> Array:
    """The BFGS update of inverse Hessians, where curvature along the step is positive."""
    sy = np.sum(s * y, axis=1)
    good = moved & (sy > 1e-14)
    rho = np.where(good, 1.0 / np.where(good, sy, 1.0), 0.0)
    Hy = _times(H, y)
    yHy = np.sum(y * Hy, axis=1)
    cross = Hy[:, :, None] * s[:, None, :]
    outer = s[:, :, None] * s[:, None, :]
    cross = cross + np.swapaxes(cross, 1, 2)
    return H + ((1.0 + yHy * rho) * rho)[:, None, None] * outer - rho[:, None, None] * cross


def _times(H: Array, v: Array) -> Array:
    return np.matmul(H, v[:, :, None])[:, :, 0]
