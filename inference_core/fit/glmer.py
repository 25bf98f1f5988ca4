"""Generalized linear mixed models: checks, the integral's rule, and the fit in the words of lme4."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, get_family, with_params
from inference_core.solvers.glmm import rows as glmm_rows
from inference_core.solvers.glmm.fit import SINGULAR, THETA_MAX, Optimum, Refits, diagonal, optimise, refit
from inference_core.solvers.glmm.problem import Problem, RandomTerm, TooLargeError
from inference_core.solvers.glmm.problem import pose as pose_glmm
from inference_core.solvers.lstsq import expand_square, independent_columns
from inference_core.solvers.separation import Separation, find_separation
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo

from . import common
from .common import dropped_message, expand, has_intercept, refuse_saturated
from .glm_messages import fractional_message
from .lmer import singular_message

MAX_NODES = 100
_SUSPICIOUS = 10.0  # |X beta| from which separation is looked for


@dataclass(frozen=True, slots=True, eq=False)
class GlmerProblem:
    """A GLMM ready for its solver: m rows of positive weight, r estimable columns.

    ``solver`` works in coordinates of its own; ``levels`` are the levels of each block that have rows.
    """

    solver: Problem
    family: Family
    re: REInfo
    common: common.Problem
    kept: Array  # (r,) columns of the bundle
    levels: tuple[Array, ...]
    p: int  # columns of the bundle

    @property
    def n_theta(self) -> int:
        """Covariance parameters."""
        return self.re.n_theta

    @property
    def relative(self) -> bool:
        """Whether theta is relative to a residual SD that is estimated."""
        return self.family.name in ("gamma", "inverse_gaussian", "gaussian")

    def coordinates(self, fit: FitState) -> Array:
        """Working coordinates of a fit: theta, beta and the log of the scale."""
        assert fit.theta is not None
        parts = [fit.theta * (fit.sigma if self.relative else 1.0), fit.coef[self.kept]]
        if self.solver.n_scale:
            parts.append(np.array([np.log(fit.dispersion if self.relative else fit.family_params[0])]))
        return np.linalg.solve(self.solver.to_data, np.concatenate(parts))

    def optimum(self, fit: FitState) -> Optimum:
        """The solver's view of a fit, from which refits and profiles start."""
        assert fit.u is not None and fit.hessian is not None and fit.gradient is not None and fit.criterion is not None
        x = self.coordinates(fit)
        scale = fit.sigma if self.relative else 1.0
        blocks = self.re.split_effects(fit.u)
        u = np.concatenate([b[keep].ravel() for b, keep in zip(blocks, self.levels, strict=True)]) / scale
        J = self._to_reported(x)
        back = np.linalg.inv(J)
        H = back.T @ fit.hessian @ back
        return Optimum(x, u, fit.criterion, back.T @ fit.gradient, H, 0.0, fit.converged, fit.n_iter)

    def refit(self, fit: FitState, y: Array, **options: Any) -> Refits:
        """Estimates for other responses y (B, n), rows of the bundle, theta absolute; warm from the fit."""
        rows = self.common.rows
        with one_blas_thread():
            lanes = self.solver.with_responses(y if rows is None else y[:, rows])
            return refit(lanes, self.optimum(fit), **options)

    def _to_reported(self, x: Array) -> Array:
        """Derivatives of what is reported (theta, beta, log scale) in working coordinates, for what is searched."""
        K = self.solver.to_data
        if self.relative:
            data = K @ x
            log_sd = 0.5 * data[-1]
            back = np.eye(K.shape[0])
            m = self.n_theta
            back[:m, :m] *= np.exp(-log_sd)
            back[:m, -1] = -0.5 * data[:m] * np.exp(-log_sd)
            K = back @ K
        s = self.solver.searched
        return K[np.ix_(s, s)]


def fit_glmer(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    n_agq: int = 1,
    max_iter: int = 200,
    family: Family | None = None,
    start: FitState | None = None,
) -> FitState:
    """Fit a generalized linear mixed model by maximum likelihood.

    Parameters
    ----------
    n_agq : int
        How the random effects are integrated out: 1 the Laplace approximation, more that many nodes of adaptive
        Gauss-Hermite quadrature (one scalar term only), 0 a faster and rougher fit with the coefficients found beside
        the modes.
    max_iter : int
        Largest number of outer steps.
    family : Family, optional
        The family and link, where the names in ``spec`` do not say all (a fixed theta of the negative binomial).
    start : FitState, optional
        A fit of nearly the same data to begin at.

    Returns
    -------
    FitState
        ``theta`` relative to ``sigma``, which is 1 where the family has no dispersion; ``u``, ``b`` (q,) by block,
        level, effect; ``cond_var`` one (J, k, k) array per block; ``vcov`` from the Hessian in (theta, beta) as lme4's
        default, for ``n_agq=0`` from the penalised least-squares factor; ``criterion`` -2 log-likelihood, which for
        ``n_agq > 1`` is relative to the saturated model, as in lme4; ``deviance`` conditional on the random effects;
        ``gradient`` and ``hessian`` of the criterion in (theta, beta, log scale), for ``n_agq=0`` without beta;
        ``fitted`` conditional on the random effects, ``fitted_marginal`` with them at 0, both as means.

    Raises
    ------
    DataError
        A response the family cannot have produced; impossible weights or offset.
    FitError
        A family without a likelihood, quadrature for more than one scalar term, a model too large for the kernel, or
        no point at which every mean is possible.

    Notes
    -----
    Source: Bates, Maechler, Bolker & Walker (2015), J. Stat. Softw. 67(1); Skaug & Fournier (2006), CSDA 51, for the
    gradient; Pinheiro & Chao (2006), JCGS 15, for the quadrature.
    """
    family = get_family(spec.family, spec.link) if family is None else family
    with one_blas_thread():
        problem = glmer_problem(spec, bundle, n_agq=n_agq, family=family)
        first = None if start is None else problem.coordinates(start)
        found = optimise(problem.solver, max_iter=max_iter, start=first)
        if not np.isfinite(found.deviance):
            raise FitError(
                f"a mixed model of {bundle.y_name!r} with the {family.link.name} link",
                "no point was found at which every mean is possible",
                "use link='log' for positive responses, link='logit' for shares",
            )
        if _without_spread(problem, found):
            found = _at_poisson(spec, bundle, problem, found, max_iter)
        return _state(spec, bundle, problem, found)


def _without_spread(problem: GlmerProblem, found: Optimum) -> bool:
    """Whether theta of a negative binomial grew beyond every count."""
    grown = problem.family.name == "negative_binomial" and problem.solver.n_scale > 0
    return grown and bool(found.x[-1] > np.log(THETA_MAX) - 1e-6)


def _at_poisson(
    spec: ModelSpec, bundle: DataBundle, problem: GlmerProblem, found: Optimum, max_iter: int
) -> Optimum:
    """The other parameters where theta has no finite estimate: theta held far out, the deviance flat in it."""
    far = get_family(f"negative_binomial(theta={THETA_MAX})", problem.family.link)
    held = glmer_problem(spec, bundle, n_agq=problem.solver.n_agq, family=far)
    rest = optimise(held.solver, max_iter=max_iter, start=found.x[:-1])
    x = np.append(rest.x, np.log(THETA_MAX))
    s = problem.solver.searched.size
    H = np.zeros((s, s))
    H[:-1, :-1] = rest.hessian
    H[-1, -1] = 1e-6 * np.mean(np.diagonal(rest.hessian))
    deviance = problem.solver.evaluate(x[None], rest.u[None], gradient=False).deviance[0]
    return replace(rest, x=x, deviance=float(deviance), gradient=np.append(rest.gradient, 0.0), hessian=H)


def glmer_problem(
    spec: ModelSpec, bundle: DataBundle, *, n_agq: int = 1, family: Family | None = None
) -> GlmerProblem:
    """Check the model and hand it to the solver's coordinates; raises as :func:`fit_glmer` does."""
    family = get_family(spec.family, spec.link) if family is None else family
    re = bundle.re_metadata
    if re is None:
        raise FitError(
            f"a mixed model of {spec.formula!r}", "the formula has no random terms", "add one, as + (1 | group)"
        )
    _refuse_family(family)
    _refuse_nodes(n_agq, re)
    posed = common.pose(bundle, family)
    X, kept = posed.X, posed.kept
    if posed.rows is not None and X.shape[1]:
        still = independent_columns(np.asarray(np.linalg.qr(X, mode="r")))
        X, kept = np.ascontiguousarray(X[:, still]), kept[still]
    if not family.dispersion_known:
        refuse_saturated(posed.m, kept.size, bundle)
    terms, levels = [], []
    for block in re.blocks:
        Z, group = block.X_re, block.group_index
        if posed.rows is not None:
            Z, group = Z[posed.rows], group[posed.rows]
        present, codes = np.unique(group, return_inverse=True)
        if not family.dispersion_known and present.size >= posed.m:
            raise FitError(
                f"random effects of {block.group_name} for {bundle.y_name!r}",
                f"{present.size} levels of {block.group_name} in {posed.m} rows: the spread between groups and the "
                "noise cannot be told apart",
                "use a factor with several rows a level",
            )
        terms.append(RandomTerm(np.ascontiguousarray(Z), codes, present.size, np.asarray(block.mask)))
        levels.append(present)
    weights = posed.weights
    model = glmm_rows.RowModel(family, posed.y[None], None if weights is None else np.asarray(weights, dtype=float))
    try:
        solver = pose_glmm(X, tuple(terms), model, posed.offset, n_agq)
    except TooLargeError as error:
        raise FitError(
            f"a mixed model of {bundle.y_name!r} with several grouping factors",
            f"{error}: more than this version's dense factor takes",
            "leave one factor out, or enter the smaller ones as fixed effects",
        ) from None
    return GlmerProblem(solver, family, re, posed, kept, tuple(levels), bundle.p)


def _refuse_family(family: Family) -> None:
    if family.name == "gaussian" and family.link.name == "identity":
        raise FitError(
            "a generalized mixed model with family='gaussian' and link='identity'",
            "that is a linear mixed model",
            "fit it by method='reml' or 'ml'",
        )
    if family.name not in glmm_rows.FAMILIES:
        raise FitError(
            f"a mixed model with family={family.name!r}",
            f"families of mixed models are {', '.join(glmm_rows.FAMILIES)}",
            "use negative_binomial or an observation-level random effect for spread counts",
        )


def _refuse_nodes(n_agq: int, re: REInfo) -> None:
    if isinstance(n_agq, bool) or int(n_agq) != n_agq or not 0 <= n_agq <= MAX_NODES:
        raise FitError(f"n_agq={n_agq!r}", f"n_agq is a whole number from 0 to {MAX_NODES}", "n_agq=1 is Laplace")
    head, *rest = re.blocks
    if n_agq > 1 and (rest or head.k > 1):
        what = "several grouping factors" if rest else f"{head.k} effects a group"
        raise FitError(
            f"n_agq={n_agq}", f"quadrature needs one random effect a group; this model has {what}", "use n_agq=1"
        )


# ---- the state ---------------------------------------------------------------------------------------------


def _state(spec: ModelSpec, bundle: DataBundle, problem: GlmerProblem, found: Optimum) -> FitState:
    solver, re, posed = problem.solver, problem.re, problem.common
    data = solver.to_data @ found.x
    point = solver.split(data[None])
    theta, beta = point.theta[0], point.beta[0]
    scale = None if point.scale is None else float(point.scale[0])
    family, sigma, dispersion = _scaled_family(problem, scale)
    precision = solver.precision(found.x, found.u)
    u, b, cond_var = _effects(problem, theta, found, precision.b_blocks)
    coef = expand(beta, problem.kept, problem.p)
    fixed = bundle.X[:, problem.kept] @ beta + (0.0 if bundle.offset is None else bundle.offset)
    eta = fixed + re.random_part(b)
    mu = family.link.inverse(eta)
    deviance, loglik, working = _likelihood(problem, family, found, eta, scale, dispersion)
    J = problem._to_reported(found.x)
    back = np.linalg.inv(J)
    H = back.T @ found.hessian @ back
    vcov, vcov_message = _vcov(problem, found, H, precision.beta)
    leverage = np.empty(posed.m)
    leverage[solver.design.order] = precision.leverage
    rows = posed.rows
    if rows is not None:
        full_h, full_w = np.zeros(bundle.n), np.zeros(bundle.n)
        full_h[rows], full_w[rows] = leverage, working
        leverage, working = full_h, full_w
    relative = theta / sigma if problem.relative else theta
    singular = bool(np.any(np.abs(diagonal(solver, relative)) < SINGULAR))
    n_params = problem.kept.size + theta.size + solver.n_scale
    separation = _separation(problem, fixed if rows is None else fixed[rows])
    converged = found.converged and separation is None
    messages = [*dropped_message(bundle, problem.kept), *fractional_message(bundle, posed, family)]
    if separation is not None:
        messages.append(_separation_message(bundle, problem, separation))
    elif vcov_message and not singular:
        messages.append(vcov_message)
    if singular:
        messages.append(singular_message(re, re.t_matrices(relative)))
    if _without_spread(problem, found):
        messages.append(
            f'"{bundle.y_name}" spreads no more than a Poisson would beside these random effects: theta grows without '
            "end. family='poisson' says the same with one parameter less."
        )
    if not converged and separation is None:
        messages.append(f"the search for the optimum stopped after {found.n_iter} steps before it settled")
    return FitState(
        coef=coef,
        vcov=expand_square(vcov, problem.kept, problem.p),
        fitted=mu,
        eta=eta,
        residuals=bundle.y - mu,
        working_weights=working,
        leverage=leverage,
        df_resid=float(posed.m - n_params),
        rank=problem.kept.size,
        sigma=sigma,
        dispersion=dispersion,
        deviance=deviance,
        null_deviance=float("nan"),
        df_null=float(posed.m - has_intercept(bundle)),
        loglik=loglik,
        n_params=n_params,
        converged=converged,
        n_iter=found.n_iter,
        messages=tuple(messages),
        family_params=family.params,
        theta=relative,
        u=u,
        b=b,
        cond_var=cond_var,  # type: ignore[arg-type]
        fitted_marginal=family.link.inverse(fixed),
        criterion=-2.0 * loglik,
        is_singular=singular,
        gradient=back.T @ found.gradient,
        hessian=H,
    )


def _scaled_family(problem: GlmerProblem, scale: float | None) -> tuple[Family, float, float]:
    """The family at its parameters, the residual SD (1 where there is none) and the dispersion."""
    family = problem.family
    if scale is None:
        return family, 1.0, 1.0
    if problem.relative:
        return family, float(np.exp(0.5 * scale)), float(np.exp(scale))
    return with_params(family, (float(np.exp(scale)),)), 1.0, 1.0


def _effects(problem: GlmerProblem, theta: Array, found: Optimum, blocks: list[Array]):
    """u, b (q,) and the conditional covariances over all levels; levels without rows are at their prior."""
    sigma = 1.0
    if problem.relative:
        sigma = float(np.exp(0.5 * (problem.solver.to_data @ found.x)[-1]))
    us, bs, covs, first = [], [], [], 0
    for block, T, A, present, cond in zip(
        problem.re.blocks, problem.re.t_matrices(theta), problem.solver.maps, problem.levels, blocks, strict=True
    ):
        size = present.size * block.k
        own = found.u[first : first + size].reshape(present.size, block.k)
        first += size
        u = np.zeros((block.n_levels, block.k))
        u[present] = own
        cov = np.repeat((T @ T.T)[None], block.n_levels, axis=0)
        cov[present] = A @ cond @ A.T
        us.append(sigma * u.ravel())
        bs.append((u @ T.T).ravel())
        covs.append(cov)
    return np.concatenate(us), np.concatenate(bs), tuple(covs)


def _likelihood(problem: GlmerProblem, family: Family, found: Optimum, eta: Array, scale, dispersion):
    """Conditional deviance, the log-likelihood as lme4 counts it, and the working weights (m,)."""
    posed = problem.common
    eta = eta if posed.rows is None else eta[posed.rows]
    y, w = posed.y, posed.weights
    unit = family.deviance_rows(eta, y)
    deviance = float(np.sum(unit if w is None else unit * w))
    model = glmm_rows.RowModel(problem.family, y[None], None if w is None else np.asarray(w, dtype=float))
    rows = model(eta[None], None if scale is None else np.array([scale]))
    minus_two = found.deviance
    relative_to_saturated = problem.solver.n_agq > 1 and not problem.solver.n_scale
    if not relative_to_saturated:
        at_mode = family.loglik(y, family.link.inverse(eta), w, dispersion if problem.relative else None, posed.trials)
        minus_two += -2.0 * float(at_mode) - float(np.sum(rows.deviance))
    return deviance, -0.5 * minus_two, rows.fisher[0]


def _vcov(problem: GlmerProblem, found: Optimum, H: Array, information: Array) -> tuple[Array, str]:
    """Covariance of the coefficients (r, r): from the Hessian, or from the factor at the mode where it must."""
    m, p = problem.n_theta, problem.kept.size
    R = problem.solver.to_data[m : m + p, m : m + p]
    if problem.solver.n_agq > 0:
        size = np.where(np.diagonal(H) > 0, np.diagonal(H), 1.0)
        if np.all(np.isfinite(H)) and np.linalg.eigvalsh(H / np.sqrt(np.outer(size, size)))[0] > 1e-10:
            return 2.0 * np.linalg.inv(H)[m : m + p, m : m + p], ""
    try:
        rx = R @ np.linalg.inv(information) @ R.T
    except np.linalg.LinAlgError:
        rx = np.full((p, p), np.nan)
    message = (
        "the deviance is flat in some direction at the optimum, so standard errors take the random-effects SDs as known"
    )
    return rx, message if problem.solver.n_agq > 0 else ""


def _separation(problem: GlmerProblem, fixed: Array) -> Separation | None:
    """Separation by the fixed effects, looked for only where the linear predictor has run far."""
    posed = problem.common
    offset = 0.0 if posed.offset is None else posed.offset
    if problem.family.name not in ("binomial", "poisson", "negative_binomial"):
        return None
    if np.max(np.abs(fixed - offset)) < _SUSPICIOUS:
        return None
    return find_separation(posed.X[:, np.isin(posed.kept, problem.kept)], posed.y, problem.family)


def _separation_message(bundle: DataBundle, problem: GlmerProblem, found: Separation) -> str:
    infinite = [bundle.X_names[problem.kept[j]] for j in found.columns]
    slopes = [name for name in infinite if name != "(Intercept)"] or infinite
    listed = slopes[0] if len(slopes) == 1 else f"{', '.join(slopes[:-1])} and {slopes[-1]}"
    verb = "sort" if len(slopes) > 1 else "sorts"
    return (
        f'{found.kind} separation: {listed} {verb} "{bundle.y_name}" perfectly in {found.rows.size} of '
        f"{problem.common.m} rows, so the best slope is infinite whatever the random effects. Merge levels, or leave "
        "the column out; the numbers shown are where the search stopped."
    )
