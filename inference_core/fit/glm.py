"""Generalized linear models by IRLS, counted as R's ``glm`` (and ``MASS::glm.nb``) count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, get_family
from inference_core.solvers import irls as solver
from inference_core.solvers.lstsq import expand_square, inverse_gram, lstsq, rank_of_design
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .common import Problem, dropped_message, expand, has_intercept, pose, refuse_saturated
from .family_params import THETA_MAX, fit_with_params
from .glm_messages import (
    fractional_message,
    no_extra_spread_message,
    runaway_message,
    separation_message,
    slow_message,
    start_error,
)


def fit_glm(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    tol: float = 1e-12,
    max_iter: int = 100,
    start: Array | None = None,
    family: Family | None = None,
) -> FitState:
    """Maximum likelihood (or quasi-likelihood) for any family and link.

    Parameters
    ----------
    tol : float
        Relative change of the deviance below which the fit counts as converged; the steps go on to rounding.
    max_iter : int
        Largest number of IRLS steps.
    start : (p,) array, optional
        Coefficients to start from (NaN where a column is dropped), e.g. those of a fit of nearly the same
        data.
    family : Family, optional
        The family and link, where the names in ``spec`` do not say all (a fixed theta, another df).

    Raises
    ------
    DataError
        A response the family cannot have produced, impossible weights or offset, a constant response.
    FitError
        Too few rows for an estimated dispersion; no coefficients give possible means.

    Notes
    -----
    Separated data and fits that did not settle return with ``messages`` that say so, and where the estimate
    is infinite the numbers are those of R's default ``glm``.
    """
    family = get_family(spec.family, spec.link) if family is None else family
    with one_blas_thread():
        return _fit(bundle, family, start, tol, max_iter)


def _fit(bundle: DataBundle, family: Family, start: Array | None, tol: float, max_iter: int) -> FitState:
    problem = _full_rank(pose(bundle, family))
    rank, m = problem.kept.size, problem.m
    if not family.dispersion_known or m < 2:
        refuse_saturated(m, rank, bundle)
    first = None if start is None else np.asarray(start, dtype=float)[problem.kept]
    family, result = _solve(problem, family, first, tol, max_iter)
    messages = [*dropped_message(bundle, problem.kept), *fractional_message(bundle, problem, family)]
    if m == rank:
        messages.append(f"saturated: {rank} coefficients fit {m} rows exactly, so nothing is left to judge the fit by")
    if "theta" in family.estimated and family.params[0] >= THETA_MAX:
        messages.append(no_extra_spread_message(bundle))
    if result.status == solver.NO_START:
        raise start_error(bundle, family)
    return _state(bundle, problem, family, result, messages)


def _full_rank(problem: Problem) -> Problem:
    """Rows of weight 0 may have carried a column: judge the rank again without them."""
    if problem.rows is None:
        return problem
    info = rank_of_design(problem.X)
    return replace(problem, X=np.ascontiguousarray(problem.X[:, info.kept]), kept=problem.kept[info.kept])


def _solve(problem: Problem, family: Family, start: Array | None, tol: float, max_iter: int):
    """The fit, and the family at the parameters it found."""
    p = problem
    if family.name == "tdist" or (family.estimated and not family.params):
        return fit_with_params(p.X, p.y, family, p.weights, p.offset, start=start, tol=tol, max_iter=max_iter)
    result = solver.maximise(p.X, p.y, family, p.weights, p.offset, start=start, tol=tol, max_iter=max_iter)
    return family, result


def _state(bundle: DataBundle, problem: Problem, family: Family, result, messages: list[str]) -> FitState:
    X, y, w = problem.X, problem.y, problem.weights
    coef, eta, working = result.coef, result.eta, None
    deviance, n_iter, converged = result.deviance, result.n_iter, result.converged
    if result.status == solver.SEPARATED:
        stop = solver.r_default_stop(X, y, family, w, problem.offset)
        coef, eta, working = stop.coef, stop.eta, stop.working_weights
        deviance, n_iter, converged = stop.deviance, stop.n_iter, stop.converged
        messages.append(separation_message(bundle, problem, result.separation))
    elif result.status != solver.OK:
        messages.append(slow_message(bundle, problem, family, result))
    if working is None:
        unit = family.score_weight(eta, y)[1]
        working = unit if w is None else unit * w
    factor = lstsq(X, np.zeros(problem.m), working, tol=1e-11)
    kept = problem.kept[factor.kept]
    rank, m = kept.size, problem.m
    if result.status != solver.SEPARATED and (rank < problem.kept.size or solver.runs_away(family, eta)):
        converged = False
        messages.append(runaway_message(family))
    df = float(m - rank)
    estimate = np.nan_to_num(coef[factor.kept])
    mu = family.link.inverse(eta)
    dispersion = _dispersion(family, y, mu, eta, w, df)
    loglik = float(family.loglik(y, mu, w, None, problem.trials))
    full_eta, full_mu, full_w, full_h = eta, mu, working, factor.leverage
    if problem.rows is not None:
        full_eta = bundle.X[:, kept] @ estimate + (0.0 if bundle.offset is None else bundle.offset)
        full_mu = family.link.inverse(full_eta)
        full_w, full_h = np.zeros(bundle.n), np.zeros(bundle.n)
        full_w[problem.rows], full_h[problem.rows] = working, factor.leverage
    return FitState(
        coef=expand(estimate, kept, bundle.p),
        vcov=expand_square(dispersion * inverse_gram(factor.r_factor), kept, bundle.p),
        fitted=full_mu,
        eta=full_eta,
        residuals=bundle.y - full_mu,
        working_weights=full_w,
        leverage=full_h,
        df_resid=df,
        rank=rank,
        sigma=float(np.sqrt(dispersion)),
        dispersion=dispersion,
        deviance=deviance,
        null_deviance=null_deviance(problem, family, has_intercept(bundle)),
        df_null=float(m - has_intercept(bundle)),
        loglik=loglik,
        n_params=rank + int(family.counts_dispersion) + int("theta" in family.estimated),
        converged=converged,
        n_iter=n_iter,
        is_separated=result.status == solver.SEPARATED,
        messages=tuple(messages),
        family_params=family.params,
    )


def _dispersion(family: Family, y: Array, mu: Array, eta: Array, w: Array | None, df: float) -> float:
    if family.name == "tdist":
        return float(family.params[1] ** 2)
    if family.dispersion_known:
        return 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        pearson = np.square(y - mu) / family.variance(mu)
    return float(np.sum(pearson) if w is None else w @ pearson) / df


def null_deviance(problem: Problem, family: Family, intercept: bool) -> float:
    """Deviance of the model with the intercept alone, same weights and offset; without an intercept, of eta =
    offset.

    As in R: Inf where eta = 0 is no possible linear predictor.
    """
    y, w, off = problem.y, problem.weights, problem.offset
    if not intercept:
        eta = np.zeros_like(y) if off is None else off
        value = family.deviance_rows(eta, y)
        total = float(np.sum(value) if w is None else w @ value)
        return total if np.isfinite(total) else float("inf")
    if (off is None or np.ptp(off) == 0) and family.name != "tdist":
        mean = float(np.mean(y)) if w is None else float(w @ y) / float(np.sum(w))
        rows = family.unit_deviance(y, np.full_like(y, mean))
        return float(np.sum(rows) if w is None else w @ rows)
    result = solver.maximise(np.ones((problem.m, 1)), y, family, w, off)
    if result.status == solver.NO_START:
        raise FitError(
            "the deviance of the model with the intercept alone",
            f"no intercept gives possible means under link='{family.link.name}' with this offset",
            "leave out the offset, or use link='log'",
        )
    return result.deviance
