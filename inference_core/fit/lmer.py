"""Linear mixed models: checks, the right kernel, and the fit in the words of lme4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.errors import FitError
from inference_core.families import get_family
from inference_core.solvers.lmm.crossed_fit import fit_crossed
from inference_core.solvers.lmm.dense import Term
from inference_core.solvers.lmm.dense_fit import DENSE_UP_TO, fit_dense
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.newton import FIT_TOL
from inference_core.solvers.lmm.one_factor import (
    conditional_modes,
    fit_one,
    leverage,
    on_boundary,
    vcov_unscaled,
)
from inference_core.solvers.lmm.solution import Solution
from inference_core.solvers.lmm.structure import canonical, components, to_matrix, to_theta
from inference_core.solvers.lstsq import expand_square, independent_columns
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, RandomBlock, REInfo

from .common import Problem, dropped_message, expand, has_intercept, pose, refuse_saturated

_PERFECT = 1e-20  # share of y'y below which what the fixed effects leave is rounding


def fit_lmer(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    tol: float = FIT_TOL,
    max_iter: int = 60,
    start: Sequence[Array] | None = None,
) -> FitState:
    """Fit a linear mixed model by REML (``spec.method`` "reml", the default) or ML ("ml").

    The profiled deviance is minimised over theta by Newton's method with exact derivatives, the relative factors T
    unconstrained; a variance at zero is a boundary fit, flagged, not a failure.

    The deviance of a mixed model can have several minima, so one start is not enough. The search begins at the lowest
    of a moment estimate and a few multiples of the identity (several factors: at each of 0.3, 1 and 3 times it).
    Where it ends at a boundary, does not settle, or slopes rest on few groups, it is repeated from all of those points,
    from strong correlations of either sign, and from the best point with each variance at zero and lifted off zero.
    Models of many groups lift what is at zero and no more; large crossed ones begin at two points, or one. The lowest
    deviance wins, and ``messages`` say so where starts ended apart. Refits of a bootstrap begin at the fit.

    Parameters
    ----------
    tol : float
        Newton decrement, in deviance units, at which the search stops.
    max_iter : int
        Largest number of steps.
    start : sequence of (k, k) arrays, optional
        A further starting point: T of each block in the units of the data.

    Returns
    -------
    FitState
        ``theta`` and its names as in lme4; ``u``, ``b`` (q,) by block, level, effect; ``cond_var`` one (J, k, k) array
        per block; ``criterion`` the REML criterion or -2 log L; ``gradient`` and ``hessian`` of it in theta (of
        several factors with more than 150 effects the average information);
        ``fitted`` conditional on the random effects, ``fitted_marginal`` with them at 0; ``df_resid`` n less every
        parameter.

    Raises
    ------
    DataError
        Impossible values of y, weights or offset; a constant response.
    FitError
        As many groups as rows, or as many random effects of one factor as rows; fixed effects that fit y exactly; a
        model too large for the kernels there are.
    """
    re = _random_effects(spec, bundle)
    with one_blas_thread():
        problem = pose(bundle, get_family("gaussian"))
        X, kept = _estimable(problem)
        refuse_saturated(problem.m, kept.size, bundle)
        _refuse_unidentified(re, problem, bundle)
        y = problem.y if problem.offset is None else problem.y - problem.offset
        _refuse_perfect(X, y, problem.weights, bundle)
        reml = spec.method != "ml"
        solution = _solve(re, problem, X, y, reml, tol, max_iter, start, bundle)
        return _state(solution, re, bundle, problem, kept, X)


def _random_effects(spec: ModelSpec, bundle: DataBundle) -> REInfo:
    if spec.family != "gaussian" or spec.link != "identity":
        raise FitError(
            f"a linear mixed model with family={spec.family!r} and link={spec.link!r}",
            "a linear mixed model is gaussian with the identity link",
            "use fit_glmer for other families and links",
        )
    if bundle.re_metadata is None:
        raise FitError(
            f"a mixed model of {spec.formula!r}", "the formula has no random terms", "add one, as + (1 | group)"
        )
    return bundle.re_metadata


def _estimable(problem: Problem) -> tuple[Array, Array]:
    """Columns of full rank over the rows that count; rows of weight 0 may have held a column up."""
    X, kept = problem.X, problem.kept
    if problem.rows is not None and X.shape[1]:
        R = np.asarray(np.linalg.qr(X, mode="r"))
        still = independent_columns(R)
        X, kept = np.ascontiguousarray(X[:, still]), kept[still]
    return X, kept


def _rows(values: Array, problem: Problem) -> Array:
    return values if problem.rows is None else values[problem.rows]


def _refuse_unidentified(re: REInfo, problem: Problem, bundle: DataBundle) -> None:
    """As many levels as rows leave nothing to tell the groups from the noise."""
    for block in re.blocks:
        name, J, n = block.group_name, block.n_levels, problem.m
        if block.k == 1 and n <= J and block.column_names == ("(Intercept)",):
            raise FitError(
                f"random intercepts of {name} for {bundle.y_name!r}",
                f"{J} levels of {name} in {n} rows: the spread between groups and the noise cannot be told apart",
                "use a factor with several rows a level, or a linear model",
            )
        if n <= block.q:
            raise FitError(
                f"the random effects of {name} for {bundle.y_name!r}",
                f"{block.q} random effects ({J} levels times {block.k}) for {n} rows; there must be fewer than rows",
                f"use fewer effects, as (1 | {name}), or a factor with fewer levels",
            )
        _refuse_repeated(block, problem, bundle)


def _refuse_repeated(block: RandomBlock, problem: Problem, bundle: DataBundle) -> None:
    """Effects that may covary and are combinations of each other have no covariance of their own.

    Effects that may not covary can be: ``(f || g)`` is ``(1 | g) + (0 + f | g)``, as in R.
    """
    lost = []
    for members in components(block.mask):
        columns = _rows(block.X_re, problem)[:, members]
        kept = independent_columns(np.asarray(np.linalg.qr(columns, mode="r")))
        lost += [block.column_names[a] for i, a in enumerate(members.tolist()) if i not in set(kept.tolist())]
    if lost:
        raise FitError(
            f"the random effects of {block.group_name} for {bundle.y_name!r}",
            f"{', '.join(lost)}: zero in every row, or a combination of the other effects of {block.group_name}",
            "leave it out to the left of the bar",
        )


def overlap_messages(re: REInfo, problem: Problem) -> tuple[str, ...]:
    """Effects that may not covary and are combinations of each other: a factor beside an intercept."""
    found = []
    for block in re.blocks:
        if len(list(components(block.mask))) > 1:
            R = np.asarray(np.linalg.qr(_rows(block.X_re, problem), mode="r"))
            if independent_columns(R).size < block.k:
                found.append(
                    f"the effects {', '.join(block.column_names)} of {block.group_name} overlap, as a factor does with "
                    "an intercept: the data tell their variances together, not each. One term with all of them fits "
                    "as well"
                )
    return tuple(found)


def _refuse_perfect(X: Array, y: Array, weights: Array | None, bundle: DataBundle) -> None:
    root = 1.0 if weights is None else np.sqrt(weights)
    target = y * root
    rest = target
    if X.shape[1]:
        Q = np.linalg.qr((X.T * root).T)[0]
        rest = target - Q @ (Q.T @ target)
        rest = rest - Q @ (Q.T @ rest)
    if float(rest @ rest) <= _PERFECT * float(target @ target):
        raise FitError(
            f'a mixed model of "{bundle.y_name}"',
            "the fixed effects fit every row exactly, so there is no spread to share out",
            "look at the response: it may be computed from a predictor",
        )


# ---- kernels -----------------------------------------------------------------------------------------------


def _solve(
    re: REInfo, problem: Problem, X: Array, y: Array, reml: bool, tol: float, max_iter: int,
    start: Sequence[Array] | None, bundle: DataBundle,
) -> Solution:  # fmt: skip
    if len(re.blocks) == 1:
        block = re.blocks[0]
        return _one_factor(block, problem, X, y, reml, tol, max_iter, None if start is None else start[0])
    terms = [
        Term(_rows(block.X_re, problem), _rows(block.group_index, problem), block.n_levels, block.mask)
        for block in re.blocks
    ]
    kernel = fit_dense if re.q <= DENSE_UP_TO else fit_crossed
    return kernel(X, terms, y, weights=problem.weights, reml=reml, tol=tol, max_iter=max_iter, start=start)


def _one_factor(
    block: RandomBlock, problem: Problem, X: Array, y: Array, reml: bool, tol: float, max_iter: int,
    start: Array | None,
) -> Solution:  # fmt: skip
    design = GroupDesign.of(
        X, _rows(block.X_re, problem), _rows(block.group_index, problem), n_groups=block.n_levels, mask=block.mask,
        weights=problem.weights,
    )  # fmt: skip
    lanes = design.lanes(y, reml=reml)
    fits, messages = fit_one(design, y, reml=reml, tol=tol, max_iter=max_iter, start=start, lanes=lanes)
    T, beta, sigma = fits.T[0], fits.beta[0], float(fits.sigma[0])
    modes = conditional_modes(design, y, T, beta, sigma, X)
    at = design.unwhitened(lanes).evaluate(to_theta(T[None], design.entries))
    inside = canonical(to_matrix(fits.inside.theta, design.entries, design.k), design.mask)[0]
    return Solution(
        T=(T,), beta=beta, sigma=sigma, deviance=float(fits.deviance[0]), vcov_unscaled=vcov_unscaled(design, T),
        u=(modes.u,), b=(modes.b,), cond_var=(modes.cond_var,), leverage=leverage(design, T),
        gradient=at.gradient[0], hessian=at.hessian[0], singular=on_boundary(inside),
        converged=bool(fits.converged[0]), n_iter=int(fits.n_iter[0]), messages=messages,
    )  # fmt: skip


# ---- the state ---------------------------------------------------------------------------------------------


def _state(
    s: Solution, re: REInfo, bundle: DataBundle, problem: Problem, kept: Array, X: Array
) -> FitState:
    coef = expand(s.beta, kept, bundle.p)
    theta = np.concatenate([block.theta_of(T) for block, T in zip(re.blocks, s.T, strict=True)])
    b = np.concatenate([part.ravel() for part in s.b])
    marginal = bundle.X[:, kept] @ s.beta
    if bundle.offset is not None:
        marginal = marginal + bundle.offset
    fitted = marginal + re.random_part(b)
    hat = s.leverage
    if problem.rows is not None:
        hat = np.zeros(bundle.n)
        hat[problem.rows] = s.leverage
    weights = bundle.prior_weights
    n_params = kept.size + theta.size + 1
    messages = dropped_message(bundle, kept) + s.messages
    messages += overlap_messages(re, problem)
    if s.singular:
        messages += (singular_message(re, s.T),)
    if not s.converged:
        messages += (f"the search for the optimum stopped after {s.n_iter} steps before it settled",)
    return FitState(
        coef=coef,
        vcov=expand_square(s.sigma**2 * s.vcov_unscaled, kept, bundle.p),
        fitted=fitted,
        eta=fitted,
        residuals=bundle.y - fitted,
        working_weights=np.ones(bundle.n) if weights is None else np.asarray(weights, dtype=float),
        leverage=hat,
        df_resid=float(problem.m - n_params),
        rank=kept.size,
        sigma=s.sigma,
        dispersion=s.sigma**2,
        deviance=s.deviance,
        null_deviance=float("nan"),
        df_null=float(problem.m - has_intercept(bundle)),
        loglik=-0.5 * s.deviance,
        n_params=n_params,
        converged=s.converged,
        n_iter=s.n_iter,
        messages=messages,
        theta=theta,
        u=np.concatenate([part.ravel() for part in s.u]),
        b=b,
        cond_var=s.cond_var,
        fitted_marginal=marginal,
        criterion=s.deviance,
        is_singular=s.singular,
        gradient=s.gradient,
        hessian=s.hessian,
    )


def singular_message(re: REInfo, T: Sequence[Array]) -> str:
    """Which effects are at the boundary of what a covariance may be."""
    found = []
    for block, t in zip(re.blocks, T, strict=True):
        size = np.sqrt(np.mean(np.square(block.X_re), axis=0))
        rows = size * np.linalg.norm(t, axis=1)
        zero = [block.column_names[a] for a in range(block.k) if rows[a] < 1e-4]
        found += [f"the SD of {name} by {block.group_name} is 0" for name in zero]
        scaled = canonical(size[:, None] * t, block.mask)
        if len(zero) < int(np.count_nonzero(np.diagonal(scaled) < 1e-4)):
            found.append(f"effects of {block.group_name} are tied to each other exactly (a correlation at its limit)")
    what = "; ".join(found) or "a covariance is at its limit"
    return f"singular fit: {what}. The data do not ask for that much structure; a simpler random part fits as well"
