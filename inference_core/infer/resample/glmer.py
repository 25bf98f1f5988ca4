"""The parametric bootstrap of a generalized linear mixed model from its bare arrays: X, Z, theta, beta, family.

Columns of Z run by grouping factor, within it by level, within that by effect. Draws and refits are those of
:class:`~inference_core.infer.resample.glmer_kernel.GlmerKernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families import Family
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.infer.intervals import check_interval_request
from inference_core.rng import RNG
from inference_core.solvers.glmm.fit import optimum_at
from inference_core.solvers.lmm.dense import Term
from inference_core.solvers.lstsq import rank_of_design
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, ModelSpec, REInfo

from .bare_results import bare_spread_names, bootstrap_result, check_names, check_which, refuse_boot_type
from .common import warn_on_failures
from .glmer_cluster import without_groups
from .glmer_draws import GlmerDraws, block_of
from .glmer_kernel import REFIT_TOL, GlmerKernel, rows_at_once, statistics, terms_of
from .mixed_limits import refuse_interval
from .random_arrays import random_effects_of
from .results import BootstrapResult
from .stream import DrawStream

__all__ = ["glmer_bootstrap", "glmer_bootstrap_single_iteration", "simulate_from_glmer"]

MAX_STEPS = 60  # a warm refit takes 6 to 15; one that has not settled by then is tried from a cold start


def simulate_from_glmer(
    rng: RNG,
    X: np.ndarray,
    Z: Any,
    beta: np.ndarray,
    theta: np.ndarray,
    family: Family,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict,
    weights: np.ndarray | None = None,
) -> Array:
    """One new response: b* ~ N(0, T T'), mu* = g^-1(X beta + Z b*), y* from the family around mu*.

    Parameters
    ----------
    rng : RNG
        Its replicate 0 is drawn.
    X : (n, p)
        Fixed-effects design.
    Z : (n, q) sparse or dense
        Random-effects design, columns by factor, level, effect.
    beta : (p,)
        Link units.
    theta : (m,)
        Entries of T in lme4's order, link units.
    family : Family
        binomial, poisson, or negative_binomial at its theta: families without a dispersion of their own.
    n_groups_list : list of int
        Levels of each grouping factor.
    re_structure : str
        "intercept", "slope", "diagonal", "nested", "crossed" or "mixed"; a list ``[{"type": "intercept"}]``, one a
        factor, means the same.
    metadata : dict
        "masks": for each factor the (k, k) lower triangle of free entries of T, where the structure leaves that open.
    weights : (n,), optional
        Trials of the binomial.

    Returns
    -------
    (n,)
        Proportions for the binomial; NaN where a mean is none of the family's.

    Raises
    ------
    InferenceError
        Arguments that do not belong together, or a family with a dispersion.
    """
    re = random_effects_of(Z, theta, n_groups_list, _structure(re_structure), metadata)
    X, beta, weights = _checked(X, beta, weights, re, family)
    terms = tuple(Term(b.X_re, b.group_index, b.n_levels, b.mask) for b in re.blocks)
    T = tuple(re.t_matrices(np.asarray(theta, dtype=float)))
    draws = GlmerDraws(X @ beta, terms, T, family, 1.0, weights, block_of(len(X) + re.q, len(terms) == 1))
    return draws.simulate(rng, 0, 1)[0]


def glmer_bootstrap_single_iteration(
    rng: RNG,
    X_np: np.ndarray,
    Z_sparse: Any,
    beta_np: np.ndarray,
    theta_np: np.ndarray,
    family: Family,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict,
    weights_np: np.ndarray | None,
    boot_type: str,
    max_iter: int,
    tol: float,
    max_outer_iter: int,
    nAGQ: int,
    p: int,
    lambda_template: object | None = None,
) -> np.ndarray:
    """One draw and its refit: replicate 0 of ``rng``, hence draw 0 of :func:`glmer_bootstrap` with the same seed.

    Parameters
    ----------
    rng, X_np, Z_sparse, beta_np, theta_np, family, n_groups_list, re_structure, metadata, weights_np
        As in :func:`simulate_from_glmer`.
    boot_type : {"parametric"}
    max_iter, tol, max_outer_iter, nAGQ
        As in :func:`glmer_bootstrap`.
    p : int
        Number of coefficients.
    lambda_template
        Not needed here: T comes from theta.

    Returns
    -------
    (p,)
        NaN if the refit failed. Equal to draw 0 of the bootstrap within the tolerance of a refit, which starts there
        with what the data say of the curvature.

    Raises
    ------
    InferenceError
        Arguments that contradict each other.
    """
    refuse_boot_type(boot_type)
    y = simulate_from_glmer(
        rng, X_np, Z_sparse, beta_np, theta_np, family, n_groups_list, re_structure, metadata, weights_np
    )
    beta = np.asarray(beta_np, dtype=float)
    if beta.size != p:
        raise InferenceError(f"p={p} coefficients", f"beta_np has {beta.size}", f"p={beta.size}")
    if not np.all(np.isfinite(y)):
        return np.full(p, np.nan)
    re = random_effects_of(Z_sparse, theta_np, n_groups_list, _structure(re_structure), metadata)
    kernel = _kernel(X_np, y, re, theta_np, beta, family, weights_np, None, nAGQ, tol, max_outer_iter)
    return kernel.refit(y[None])[0][0, :p]


def glmer_bootstrap(
    X: Array,
    Z: Any,
    y: Array,
    X_names: list[str],
    theta: Array,
    beta: Array,
    family: Family,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict,
    weights: Array | None = None,
    n_boot: int = 999,
    seed: int | None = None,
    boot_type: Literal["parametric"] = "parametric",
    ci_type: Literal["percentile", "basic", "bca"] = "percentile",
    level: float = 0.95,
    max_iter: int = 25,
    tol: float = 1e-08,
    max_outer_iter: int = 10000,
    nAGQ: int = 0,
    verbose: bool = False,
    n_jobs: int = 1,
    *,
    which: Literal["fixef", "ranef", "all"] = "fixef",
    group_names: list[str] | None = None,
    random_names: list[str] | None = None,
) -> BootstrapResult:
    """Parametric bootstrap of a generalized linear mixed model: draws from the fit, refits of all draws, limits.

    Parameters
    ----------
    X, Z, theta, beta, family, n_groups_list, re_structure, metadata, weights
        The fitted model, as in :func:`simulate_from_glmer`.
    y : (n,)
        The response that was fitted, proportions where there are trials; draws depend on it through the estimates
        only, refits take their first curvature from it.
    X_names : list of str
        Columns of X.
    n_boot : int
        Draws; draw i is a function of (seed, i), so a larger number keeps the earlier ones.
    seed : int, optional
    boot_type : {"parametric"}
    ci_type : {"percentile", "basic", "bca"}
        "basic" of coefficients only. "bca" takes its acceleration from refits without each group of the outermost
        factor.
    level : float
        Confidence level.
    max_iter
        Not needed here: the inner Newton steps run to the rounding of the deviance.
    tol : float
        Half g'H^-1 g in deviance units at which a refit stops; never looser than 1e-12.
    max_outer_iter : int
        Largest number of outer steps of one refit; more than 60 are never taken.
    nAGQ : int
        0: coefficients with the modes, fast and rough; 1: Laplace, lme4's default; k: so many nodes, one scalar random
        effect only. Take what the fit took.
    verbose : bool
        Show a progress bar.
    n_jobs : int
        Workers; the draws do not depend on it.
    which : {"fixef", "ranef", "all"}
        Coefficients, SDs with correlations, or both in this order.
    group_names, random_names : list of str, optional
        Grouping factors and effects; needed for "ranef" and "all".

    Returns
    -------
    BootstrapResult
        NaN rows are refits that failed; singular ones are kept.

    Raises
    ------
    InferenceError
        Before any draw: arguments that contradict each other, limits that there are not, a family with a dispersion.

    Warns
    -----
    RuntimeWarning
        More than 10 % of the refits failed.
    """
    part = check_which(which)
    refuse_boot_type(boot_type)
    check_names(part, group_names, random_names)
    if ci_type in ("expanded", "studentized"):
        raise InferenceError(
            f"ci_type={ci_type!r} in glmer_bootstrap",
            "bare arrays bring no degrees of freedom and no standard errors",
            "ci_type='percentile', 'basic' or 'bca'",
        )
    refuse_interval(ci_type, spread=part != "fixef")
    check_interval_request(ci_type, n_boot, level)
    re = random_effects_of(Z, theta, n_groups_list, _structure(re_structure), metadata, group_names, random_names)
    kernel = _kernel(X, y, re, theta, beta, family, weights, X_names, nAGQ, tol, max_outer_iter)
    stream = DrawStream(
        kernel=kernel, rng=RNG.from_seed(seed), names=(*X_names, *bare_spread_names(re)[:-1]),
        observed=kernel.observed, scheme="parametric", drawn=kernel.simulate,
        leave_one_out=partial(without_groups, kernel),
    )  # fmt: skip
    jackknife = stream.jackknife() if ci_type == "bca" else None  # refused now where there is none
    draws = stream.collect(n_boot, n_jobs=n_jobs, verbose=verbose)
    warn_on_failures(draws.n_failed, n_boot, "glmer_bootstrap")
    return bootstrap_result(draws, part, len(X_names), ci_type, level, jackknife)


# ---- parts -------------------------------------------------------------------------------------------------


def _structure(given: Any) -> str:
    """The word for a structure, also of a list with one description a factor."""
    if isinstance(given, str):
        return given
    types = [item.get("type") if isinstance(item, dict) else item for item in given]
    if len(types) == 1:
        return str(types[0])
    return "crossed" if all(kind == "intercept" for kind in types) else "mixed"


def _checked(X: Array, beta: Array, weights: Array | None, re: REInfo, family: Family):
    X, beta = np.ascontiguousarray(X, dtype=float), np.asarray(beta, dtype=float)
    n, p = X.shape
    sizes = [("Z", re.n, n), ("beta", beta.size, p)]
    if weights is not None:
        weights = np.asarray(weights, dtype=float)
        sizes.append(("weights", weights.size, n))
    for what, size, wanted in sizes:
        if size != wanted:
            raise InferenceError(f"X of {n} rows and {p} columns", f"{what} has {size}", f"{what} of length {wanted}")
    if not family.dispersion_known or (family.param_names and not family.params):
        raise InferenceError(
            f"a bootstrap of a mixed model of family {family.name} from bare arrays",
            "beta and theta do not say its dispersion",
            "model(...).fit().infer(how='boot') knows it; here binomial, poisson or negative_binomial(theta=...)",
        )
    return X, beta, weights


def _kernel(
    X: Array, y: Array, re: REInfo, theta: Array, beta: Array, family: Family, weights: Array | None,
    names: Sequence[str] | None, n_agq: int, tol: float, max_iter: int,
) -> GlmerKernel:  # fmt: skip
    X, beta, weights = _checked(X, beta, weights, re, family)
    n, p = X.shape
    y = np.asarray(y, dtype=float)
    names = tuple(f"x{j}" for j in range(p)) if names is None else tuple(names)
    for what, size, wanted in (("y", len(y), n), ("X_names", len(names), p)):
        if size != wanted:
            raise InferenceError(f"X of {n} rows and {p} columns", f"{what} has {size}", f"{what} of length {wanted}")
    rank = rank_of_design(X, names=names)
    if rank.rank < p:
        raise InferenceError(
            f"X with {p} columns", f"{', '.join(rank.dropped_names)} repeat the others", "leave them out of X and beta"
        )
    spec = ModelSpec("y ~ X + Z", "y", family=family.label, link=family.link.name, method="ml", has_random_effects=True)
    trials = weights if family.name == "binomial" else None
    bundle = DataBundle(
        y=y, X=X, X_names=names, term_of_column=np.arange(p), source_terms=names, y_name="y",
        valid_mask=np.ones(n, dtype=bool), n_total=n, rank_info=rank, re_metadata=re,
        weights=None if trials is not None else weights, trials=trials,
    )  # fmt: skip
    with one_blas_thread():
        problem = glmer_problem(spec, bundle, n_agq=n_agq, family=family)
        given = [np.asarray(theta, dtype=float), beta]
        if problem.solver.n_scale:
            given.append(np.log(family.params[:1]))
        optimum = optimum_at(problem.solver, np.linalg.solve(problem.solver.to_data, np.concatenate(given)))
    T = tuple(re.t_matrices(np.asarray(theta, dtype=float)))
    posed = problem.common
    draws = GlmerDraws(posed.X @ beta, terms_of(problem), T, family, 1.0, posed.weights, rows_at_once(problem))
    observed = statistics(problem, beta[None], [t[None] for t in T], None)[0]
    return GlmerKernel(problem, optimum, draws, observed, min(tol, REFIT_TOL), min(max_iter, MAX_STEPS))
