"""Linear models by least squares, counted as R's ``lm`` counts."""

from __future__ import annotations

import numpy as np

from inference_core.errors import DataError
from inference_core.families import get_family
from inference_core.solvers.lstsq import expand_square, inverse_gram, lstsq
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .common import Problem, dropped_message, expand, has_intercept, pose, refuse_saturated

_TINY = 1e-140


def fit_lm(spec: ModelSpec, bundle: DataBundle) -> FitState:
    """Least squares, weighted and with offset, by QR with R's rank rule.

    Rows of weight 0 take no part (they count neither in n nor in df) but get fitted values, as in R.

    Raises
    ------
    DataError
        Impossible values of y, weights or offset; a constant response.
    FitError
        No more rows than coefficients.
    """
    with one_blas_thread():
        return _fit(bundle, pose(bundle, get_family("gaussian")))


def _fit(bundle: DataBundle, problem: Problem) -> FitState:
    target = problem.y if problem.offset is None else problem.y - problem.offset
    _check_size(target, bundle)
    solution = lstsq(problem.X, target, problem.weights)
    kept = problem.kept[solution.kept]
    rank, m = kept.size, problem.m
    refuse_saturated(m, rank, bundle)
    sigma2 = solution.rss / (m - rank)
    coef = expand(solution.coef[solution.kept], kept, bundle.p)
    eta, leverage, working = _all_rows(bundle, problem, solution, coef[kept], kept)
    return FitState(
        coef=coef,
        vcov=expand_square(sigma2 * inverse_gram(solution.r_factor), kept, bundle.p),
        fitted=eta,
        eta=eta,
        residuals=bundle.y - eta,
        working_weights=working,
        leverage=leverage,
        df_resid=float(m - rank),
        rank=rank,
        sigma=float(np.sqrt(sigma2)),
        dispersion=sigma2,
        deviance=solution.rss,
        null_deviance=_null_deviance(problem, target, has_intercept(bundle)),
        df_null=float(m - has_intercept(bundle)),
        loglik=lm_loglik(solution.rss, m, problem.weights),
        n_params=rank + 1,
        messages=dropped_message(bundle, kept) + _perfect_fit(sigma2, eta),
    )


def _check_size(y: Array, bundle: DataBundle) -> None:
    """Refuse numbers whose squares are too small for a computer: their sum would be 0, or keep a few digits only."""
    largest = max(float(y.max()), -float(y.min()))
    if 0.0 < largest < _TINY:
        raise DataError(
            f'a model of "{bundle.y_name}"',
            f'"{bundle.y_name}" holds numbers near {largest:.3g}, whose squares a computer cannot hold',
            "rescale the response",
        )


def lm_loglik(rss: float, m: int, weights: Array | None) -> float:
    """Gaussian log-likelihood at the ML variance: (sum log w - m (log 2 pi + 1 - log m + log rss)) / 2."""
    log_w = 0.0 if weights is None else float(np.sum(np.log(weights)))
    if rss <= 0:
        return float("inf")
    return 0.5 * (log_w - m * (np.log(2.0 * np.pi) + 1.0 - np.log(m) + np.log(rss)))


def _all_rows(bundle: DataBundle, problem: Problem, solution, b: Array, kept: Array):
    """Linear predictor, leverage and weights over the bundle's rows, those of weight 0 included."""
    weights = bundle.prior_weights
    working = np.ones(bundle.n) if weights is None else np.asarray(weights, dtype=float)
    if problem.rows is None:
        eta, leverage = solution.fitted, solution.leverage
    else:
        eta, leverage = bundle.X[:, kept] @ b, np.zeros(bundle.n)
        leverage[problem.rows] = solution.leverage
    return (eta if bundle.offset is None else eta + bundle.offset), leverage, working


def _null_deviance(problem: Problem, target: Array, intercept: bool) -> float:
    """Sum of squares about the (weighted) mean of y - offset, or about 0 without an intercept."""
    w = problem.weights
    if intercept:
        target = target - (target.mean() if w is None else float(w @ target) / float(np.sum(w)))
    return float(target @ target if w is None else w @ np.square(target))


def _perfect_fit(sigma2: float, fitted: Array) -> tuple[str, ...]:
    # R's threshold in summary.lm
    if sigma2 <= (np.mean(fitted) ** 2 + np.var(fitted)) * 1e-30:
        return ("essentially perfect fit: what is left is rounding, so standard errors and tests mean nothing",)
    return ()
