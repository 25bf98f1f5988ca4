"""Refits without one row: closed form for an lm."""

from __future__ import annotations

import numpy as np

from ...states.base import Array
from ...states.bundle import DataBundle

# Leverage 1: the row alone carries a coefficient, which does not exist without it.
FULL_LEVERAGE = 1.0 - 1e-10


def leave_one_out_lm(bundle: DataBundle) -> Array:
    """(n, p) least-squares coefficients without row i, from one factorisation.

    With X sqrt(w) = QR, residual e and leverage h_i = |q_i|^2:

        b_(-i) = b - R^-1 q_i e_i / (1 - h_i)

    NaN where the row alone carries a coefficient (h_i = 1), and in columns that the full fit drops.
    Source: Cook & Weisberg (1982), Residuals and Influence in Regression, ch. 2.
    """
    from .lm_operators import LmKernel

    kernel = LmKernel.from_bundle(bundle)
    leverage = (kernel.basis**2).sum(0)
    spare = np.where(leverage < FULL_LEVERAGE, 1.0 - leverage, np.nan)
    coef = kernel.coef - (kernel.r_inverse @ (kernel.basis * (kernel.residual / spare))).T
    return kernel.widen(coef)
