"""Damped Newton for the lanes of one grouping factor by JAX: the step of ``newton``, until the last lane has settled.

Patterns, columns of X and lanes are padded to a few sizes with what changes nothing: patterns of no group, columns
without an effect, lanes without a deviance, which never run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inference_core.backends.jax_runtime import compiled, pad, padded_columns, padded_lanes
from inference_core.states import Array

from .lanes import Lanes, Patterns
from .newton import Evaluation, NewtonResult, advance, usable, where_lanes

LEAST_PATTERNS = 16
CHUNK = 512  # lanes that a batch of draws usually brings


def newton_jax(lanes: Lanes, start: Array, *, tol: float, max_iter: int = 60) -> NewtonResult:
    """The same as :func:`newton.newton`, to 1e-9.

    Parameters
    ----------
    lanes : Lanes
        B lanes.
    start : (B, m)
    tol, max_iter
        As there.
    """
    d, b = lanes.patterns, lanes.size
    U, P, B = _padded_patterns(d.U), padded_columns(d.p) if d.p else 0, padded_lanes(b, CHUNK)
    extra = P - d.p
    dof = np.broadcast_to(np.asarray(lanes.dof, float), (b,))
    log_weights = d.log_weights if lanes.log_weights is None else lanes.log_weights
    XX = None
    if lanes.XX is not None:
        XX = pad(lanes.XX, B, P, P)
        XX[:b, range(d.p, P), range(d.p, P)] = 1.0
    arrays = {
        "A": pad(d.A, U, None, None), "B": pad(d.B, U, None, P), "m": None if d.count is None else pad(d.count, U),
        "log_det_x": np.asarray(float(d.log_det_x)), "c": tuple(pad(part, B, U) for part in lanes.c),
        "C": None if lanes.C is None else tuple(tuple(pad(part, B, U) for part in row) for row in lanes.C),
        "yy": pad(lanes.yy, B), "Xy": None if lanes.Xy is None else pad(lanes.Xy, B, P), "XX": XX,
        "count": None if lanes.count is None else pad(np.asarray(lanes.count, float), B, U),
        # Rows, so that less the padded columns they leave the degrees of freedom there are.
        "n": pad(dof + (P if lanes.reml else 0), B, fill=P + 1.0),
        "log_weights": pad(np.broadcast_to(np.asarray(log_weights, float), (b,)), B),
    }  # fmt: skip
    run = compiled(_run, entries=d.entries, reml=lanes.reml)
    theta, at, n_iter, converged, decrement = run(arrays, pad(np.asarray(start, float), B, None), tol, max_iter)
    found = Evaluation(*at)
    return NewtonResult(
        theta[:b].copy(), found.deviance[:b].copy(), found.beta[:b, : P - extra].copy(), found.r2[:b].copy(),
        found.gradient[:b].copy(), found.hessian[:b].copy(), n_iter[:b].copy(), converged[:b].copy(),
        decrement[:b].copy(),
    )  # fmt: skip


def _padded_patterns(U: int) -> int:
    """1 where all groups are alike, else a power of two."""
    return 1 if U == 1 else max(LEAST_PATTERNS, 1 << (U - 1).bit_length())


def _run(arrays: dict[str, Any], theta: Any, tol: Any, max_iter: Any, *, entries: Any, reml: bool) -> Any:
    import jax.numpy as jnp
    from jax import lax

    a = arrays
    patterns = Patterns(a["A"], a["B"], a["m"], entries, 0, 0.0, a["log_det_x"])
    problem = Lanes(patterns, reml, a["c"], a["C"], a["yy"], a["yy"], a["Xy"], a["XX"], a["count"], a["n"],
                    a["log_weights"])  # fmt: skip
    at = problem.evaluate(theta)
    lanes = theta.shape[0]

    def body(state: Any) -> Any:
        turn, on, theta, at, lam, escape, n_iter, converged, decrement = state
        new = advance(problem, theta, Evaluation(*at), lam, escape, tol)

        def here(after: Any, before: Any) -> Any:
            return where_lanes(on, after, before)

        theta, lam, escape = here(new[0], theta), here(new[2], lam), here(new[3], escape)
        at = tuple(here(x, y) for x, y in zip(new[1], at, strict=True))
        n_iter, decrement = jnp.where(on, turn, n_iter), here(new[4], decrement)
        return turn + 1, on & ~new[5], theta, at, lam, escape, n_iter, converged | (on & new[5]), decrement

    start = (1, usable(at), theta, tuple(at), jnp.zeros(lanes), jnp.full(lanes, 0.3), jnp.zeros(lanes, int),
             jnp.zeros(lanes, bool), jnp.full(lanes, jnp.inf))  # fmt: skip
    end = lax.while_loop(lambda s: s[1].any() & (s[0] <= max_iter), body, start)
    return end[2], end[3], end[6], end[7], end[8]
