"""What every kernel hands to the fit: a linear mixed model at its optimum, in the units of the data."""

from __future__ import annotations

from dataclasses import dataclass

from inference_core.states import Array


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """One fit: n rows, p estimable columns, blocks t with J_t groups of k_t effects, m covariance parameters."""

    T: tuple[Array, ...]  # (k_t, k_t) canonical relative factors
    beta: Array  # (p,)
    sigma: float
    deviance: float  # the REML criterion, or -2 log L
    vcov_unscaled: Array  # (p, p) (X'V^-1 X)^-1, V in units of sigma^2
    u: tuple[Array, ...]  # (J_t, k_t) spherical random effects
    b: tuple[Array, ...]  # (J_t, k_t)
    cond_var: tuple[Array, ...]  # (J_t, k_t, k_t) variance of b given y and the parameters
    leverage: Array  # (n,)
    gradient: Array  # (m,) of the deviance in theta
    hessian: Array  # (m, m)
    singular: bool
    converged: bool
    n_iter: int
    messages: tuple[str, ...] = ()
