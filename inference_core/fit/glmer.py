"""Generalized linear mixed models: checks, the integral's rule, and the fit in the words of lme4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference_core.errors import FitError
from inference_core.families import Family, get_family, with_params
from inference_core.solvers.glmm import rows as glmm_rows
from inference_core.solvers.glmm.fit import SINGULAR, THETA_MAX, Optimum, diagonal, optimise
from inference_core.solvers.lstsq import expand_square
from inference_core.solvers.separation import Separation, find_separation
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .common import dropped_message, expand, has_intercept
from .glm_messages import fractional_message
from .glmer_problem import GlmerProblem, glmer_problem
from .lmer import overlap_messages, singular_message

_SUSPICIOUS = 10.0  # |X beta| from which separation is looked for


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
    Where a dispersion is estimated (gamma, inverse Gaussian) it is a parameter of the likelihood like the others. lme4
    leaves it out of the integral and takes the mean squared residual for it, so its estimates and log-likelihood there
    are others. Theta of the negative binomial counts in the standard errors; in ``glmer.nb`` it is held.

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
    J = problem.reported_by_working(found.x)
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
    singular = bool(np.any(np.abs(diagonal(solver, found.x)) < SINGULAR))  # in units of the columns and of eta
    n_params = problem.kept.size + theta.size + solver.n_scale
    separation = _separation(problem, fixed if rows is None else fixed[rows])
    converged = found.converged and separation is None
    messages = [*dropped_message(bundle, problem.kept), *fractional_message(bundle, posed, family)]
    messages += overlap_messages(re, posed)
    if separation is not None:
        messages.append(_separation_message(bundle, problem, separation))
    elif vcov_message and not singular:
        messages.append(vcov_message)
    if singular:
        messages.append(singular_message(re, re.t_matrices(theta / solver.unit)))
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
        is_separated=separation is not None,
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
        n_agq=problem.solver.n_agq,
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
