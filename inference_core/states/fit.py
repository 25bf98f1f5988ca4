"""A model at its estimate."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Array, Frozen


@dataclass(frozen=True, slots=True, eq=False)
class FitState(Frozen):
    """A fitted model: n rows, p design columns of which ``rank`` are estimable.

    ``coef`` and the rows and columns of ``vcov`` are NaN where R drops the column. ``residuals`` are on the response
    scale (y - fitted); ``working_weights`` are the weights of the last weighted least-squares problem, prior weights
    included (for an lm: the prior weights, or ones). ``deviance`` is the residual sum of squares for an lm.
    """

    coef: Array  # (p,) link units per unit of the column
    vcov: Array  # (p, p)
    fitted: Array  # (n,) response scale
    eta: Array  # (n,) link scale, offset included
    residuals: Array  # (n,) response scale
    working_weights: Array  # (n,)
    leverage: Array  # (n,)
    df_resid: float
    rank: int
    sigma: float  # residual standard deviation (sqrt of dispersion), y units
    dispersion: float
    deviance: float
    null_deviance: float
    df_null: float
    loglik: float  # at the ML dispersion, as R's logLik
    n_params: int  # what AIC counts: coefficients, and the dispersion where it is estimated
    converged: bool = True
    is_separated: bool = False  # some coefficients are infinite; the numbers are where a search stopped
    n_iter: int = 1
    messages: tuple[str, ...] = ()
    family_params: tuple[float, ...] = ()  # theta of negative_binomial, df of tdist
    # mixed models
    theta: Array | None = None
    u: Array | None = None
    b: Array | None = None
    cond_var: tuple[Array, ...] | None = None  # one (J, k, k) per block
    fitted_marginal: Array | None = None
    criterion: float | None = None
    is_singular: bool = False
    gradient: Array | None = None
    hessian: Array | None = None
    n_agq: int | None = None  # how a generalized mixed model integrated its random effects out
