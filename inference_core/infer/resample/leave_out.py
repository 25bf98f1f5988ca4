"""Refits without one row: closed form for an lm, a few batched steps for a glm."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from inference_core.states.base import Array

from .glm_operators import GlmKernel
from .lm_operators import LmKernel
from .rank import widen

# Leverage 1: the row alone carries a coefficient, which does not exist without it.
FULL_LEVERAGE = 1.0 - 1e-10


@singledispatch
def leave_one_out(kernel: Any) -> Array:
    """(n, p) coefficients without each row in turn.

    NaN in rows where the refit fails (the row alone carries a coefficient, or holds apart what separates), and in
    columns that the full fit drops.
    """
    raise TypeError(f"no leave-one-out form for {type(kernel).__name__}")


@leave_one_out.register
def leave_one_out_lm(kernel: LmKernel) -> Array:
    """(n, p) least-squares coefficients without row i, from the one factorisation.

    With X sqrt(w) = QR, residual e and leverage h_i = |q_i|^2:

        b_(-i) = b - R^-1 q_i e_i / (1 - h_i)

    Source: Cook & Weisberg (1982), Residuals and Influence in Regression, ch. 2.
    """
    leverage = (kernel.basis**2).sum(0)
    spare = np.where(leverage < FULL_LEVERAGE, 1.0 - leverage, np.nan)
    coef = kernel.coef - (kernel.r_inverse @ (kernel.basis * (kernel.residual / spare))).T
    return widen(coef, kernel.kept, kernel.p)


@leave_one_out.register
def leave_one_out_glm(kernel: GlmKernel) -> Array:
    """(n, p) maximum-likelihood coefficients without row i: the batched refit, with all counts 1 but one."""
    n, step = kernel.n, kernel.chunk_rows
    coef = []
    for at in range(0, n, step):
        counts = np.ones((min(step, n - at), n))
        counts[np.arange(len(counts)), np.arange(at, at + len(counts))] = 0.0
        coef.append(kernel.refit(counts)[0])
    return np.concatenate(coef)


# Exact refits of a glm cost n^2: half a second at this size.
EXACT_ROWS = 2_000


def leave_one_out_for_bca(kernel: LmKernel | GlmKernel) -> Array:
    """(n, p) leave-one-out coefficients, good enough for an acceleration: one step of a glm with many rows.

    One Fisher step from the full fit, b - I^-1 x_i s_i / (1 - h_i), is off by a hundredth of the row's own move, and
    with more than 2,000 rows the moves are small.
    Source: Pregibon (1981), Ann. Statist. 9.
    """
    if isinstance(kernel, LmKernel) or kernel.n <= EXACT_ROWS:
        return leave_one_out(kernel)
    score = kernel.basis * kernel.score
    leverage = (kernel.basis**2).sum(0) * kernel.working
    spare = np.where(leverage < FULL_LEVERAGE, 1.0 - leverage, np.nan)
    return widen(kernel.coef - (kernel.r_inverse @ (score / spare)).T, kernel.kept, kernel.p)
