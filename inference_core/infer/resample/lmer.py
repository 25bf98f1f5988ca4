"""The parametric bootstrap of a linear mixed model from its bare arrays: X, Z, theta, beta, sigma.

Columns of Z run by grouping factor, within it by level, within that by effect. Draws, refits and limits are those of
:class:`~inference_core.infer.resample.lmer_kernel.LmerKernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.infer.intervals import check_interval_request
from inference_core.rng import RNG
from inference_core.solvers.lmm.newton import REPLICATE_TOL
from inference_core.solvers.lstsq import independent_columns
from inference_core.states import Array, REInfo

from .bare_results import bare_spread_names, bootstrap_result, check_names, check_which, columns_of, refuse_boot_type
from .common import warn_on_failures
from .lmer_cluster import without_groups
from .lmer_kernel import LmerKernel
from .mixed_limits import refuse_interval
from .random_arrays import random_effects_of
from .results import BootstrapResult
from .stream import DrawStream

__all__ = ["lmer_bootstrap", "lmer_bootstrap_single_iteration", "simulate_from_lmer"]

MAX_STEPS = 60  # Newton settles in 3 to 15; one that has not by then is searched from other starts


def simulate_from_lmer(
    rng: RNG,
    X: np.ndarray,
    Z: Any,
    beta: np.ndarray,
    theta: np.ndarray,
    sigma: float,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict | None = None,
) -> np.ndarray:
    """One new response: y* = X beta + Z b* + e*, b* ~ N(0, sigma^2 L L'), e* ~ N(0, sigma^2 I).

    Parameters
    ----------
    rng : RNG
        Its replicate 0 is drawn: q normals for the effects, then n for the noise.
    X : (n, p)
        Fixed-effects design.
    Z : (n, q) sparse or dense
        Random-effects design, columns by factor, level, effect.
    beta : (p,)
    theta : (m,)
        Relative covariance parameters in lme4's order.
    sigma : float
        Residual standard deviation.
    n_groups_list : list of int
        Levels of each grouping factor.
    re_structure : str
        "intercept", "slope", "diagonal", "nested", "crossed" or "mixed".
    metadata : dict, optional
        "masks": for each factor the (k, k) lower triangle of free entries of T, where the structure leaves that open.

    Returns
    -------
    (n,)

    Raises
    ------
    InferenceError
        Z, theta and the structure do not belong together.
    """
    re = random_effects_of(Z, theta, n_groups_list, re_structure, metadata)
    return _kernel(X, np.zeros(len(X)), re, theta, beta, sigma, None, reml=True).simulate(rng, 0, 1)[0]


def lmer_bootstrap_single_iteration(
    rng: RNG,
    X_np: np.ndarray,
    Z_sparse: Any,
    beta_np: np.ndarray,
    theta_np: np.ndarray,
    sigma: float,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict | None,
    method: str,
    lower_bounds: list[float],
    upper_bounds: list[float],
    max_iter: int,
    lambda_template: object | None,
    X_arr: np.ndarray,
    XtX: np.ndarray,
    n: int,
    p: int,
    n_params: int,
    which: str,
    group_names: list[str] | None,
    random_names: list[str] | None,
) -> np.ndarray:
    """One draw and its refit: replicate 0 of ``rng``, hence draw 0 of :func:`lmer_bootstrap` with the same seed.

    Parameters
    ----------
    rng, X_np, Z_sparse, beta_np, theta_np, sigma, n_groups_list, re_structure, metadata
        As in :func:`simulate_from_lmer`.
    method : {"REML", "ML"}
    lower_bounds, upper_bounds
        Bounds of theta; see :func:`lmer_bootstrap`.
    max_iter : int
        Largest number of steps.
    lambda_template, X_arr, XtX
        Not needed here: the kernel prepares its own cross-products.
    n, p : int
        Rows and columns of X.
    n_params : int
        Statistics to return.
    which : {"fixef", "ranef", "all"}
    group_names, random_names
        As in :func:`lmer_bootstrap`.

    Returns
    -------
    (n_params,)
        NaN if the refit did not settle.

    Raises
    ------
    InferenceError
        Arguments that contradict each other.
    """
    _check_bounds(lower_bounds, upper_bounds)
    re = random_effects_of(Z_sparse, theta_np, n_groups_list, re_structure, metadata, group_names, random_names)
    kernel = _kernel(X_np, np.zeros(n), re, theta_np, beta_np, sigma, None, reml=_is_reml(method), max_iter=max_iter)
    samples, _, _ = kernel.refit(kernel.simulate(rng, 0, 1))
    found = samples[0, columns_of(check_which(which), p, samples.shape[1])]
    if found.size != n_params:
        raise InferenceError(
            f"n_params={n_params} statistics of which={which!r}",
            f"there are {found.size}",
            f"n_params={found.size}",
        )
    return found


def lmer_bootstrap(
    X: Array,
    Z: Any,
    y: Array,
    X_names: list[str],
    theta: Array,
    beta: Array,
    sigma: float,
    n_groups_list: list[int],
    re_structure: str,
    metadata: dict | None = None,
    lower_bounds: list[float] | None = None,
    n_boot: int = 999,
    seed: int | None = None,
    boot_type: Literal["parametric"] = "parametric",
    ci_type: Literal["percentile", "basic", "bca"] = "percentile",
    level: float = 0.95,
    method: Literal["REML", "ML"] = "REML",
    max_iter: int = 10000,
    tol: float = 1e-08,
    verbose: bool = False,
    which: Literal["fixef", "ranef", "all"] = "fixef",
    group_names: list[str] | None = None,
    random_names: list[str] | None = None,
    n_jobs: int = 1,
) -> BootstrapResult:
    """Parametric bootstrap of a linear mixed model: draws from the fit, refits of all draws, limits.

    Parameters
    ----------
    X, Z, beta, theta, sigma, n_groups_list, re_structure, metadata
        The fitted model, as in :func:`simulate_from_lmer`.
    y : (n,)
        The response that was fitted; draws depend on it through the estimates only, BCa limits directly.
    X_names : list of str
        Columns of X.
    lower_bounds : list of float, optional
        Bounds of theta: 0 (or minus infinity) each. T is searched without bounds and reported with a diagonal of 0 or
        more, which is the same model.
    n_boot : int
        Draws; draw i is a function of (seed, i), so a larger number keeps the earlier ones.
    seed : int, optional
    boot_type : {"parametric"}
    ci_type : {"percentile", "basic", "bca"}
        "bca" takes its acceleration from refits of ``y`` without each group of the outermost factor. SDs and
        correlations have no "basic" limits.
    level : float
        Confidence level.
    method : {"REML", "ML"}
        Of the refits.
    max_iter, tol
        Steps, and the Newton decrement in deviance units, at which a refit stops.
    verbose : bool
        Show a progress bar.
    which : {"fixef", "ranef", "all"}
        Coefficients, SDs with correlations, or both in this order.
    group_names : list of str, optional
        Grouping factors; needed for "ranef" and "all".
    random_names : list of str, or one such list for each factor, optional
        Effects; needed for "ranef" and "all".
    n_jobs : int
        Workers; the draws do not depend on it.

    Returns
    -------
    BootstrapResult
        Names of spread: ``Subject:Intercept_sd``, ``Subject:corr_Intercept:Days``, ``Residual_sd``. NaN rows are
        refits that did not settle; singular ones are kept.

    Raises
    ------
    InferenceError
        Before any draw: arguments that contradict each other, limits that there are not.

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
            f"ci_type={ci_type!r} in lmer_bootstrap",
            "bare arrays bring no degrees of freedom and no standard errors",
            "ci_type='percentile', 'basic' or 'bca'; model(...).fit().infer(how='boot') has the others",
        )
    refuse_interval(ci_type, spread=part != "fixef", linear=True)
    check_interval_request(ci_type, n_boot, level)
    _check_bounds(lower_bounds, None)
    re = random_effects_of(Z, theta, n_groups_list, re_structure, metadata, group_names, random_names)
    kernel = _kernel(X, y, re, theta, beta, sigma, X_names, reml=_is_reml(method), max_iter=max_iter, tol=tol)
    stream = DrawStream(
        kernel=kernel, rng=RNG.from_seed(seed), names=(*X_names, *bare_spread_names(re)), observed=kernel.observed,
        scheme="parametric", drawn=kernel.simulate, leave_one_out=partial(without_groups, kernel),
    )  # fmt: skip
    jackknife = stream.jackknife() if ci_type == "bca" else None  # refused now where there is none
    draws = stream.collect(n_boot, n_jobs=n_jobs, verbose=verbose)
    warn_on_failures(draws.n_failed, n_boot, "lmer_bootstrap")
    return bootstrap_result(draws, part, len(X_names), ci_type, level, jackknife)


# ---- parts -------------------------------------------------------------------------------------------------


def _kernel(
    X: Array, y: Array, re: REInfo, theta: Array, beta: Array, sigma: float, names: Sequence[str] | None, *,
    reml: bool, max_iter: int = MAX_STEPS, tol: float = REPLICATE_TOL,
) -> LmerKernel:  # fmt: skip
    X, beta = np.ascontiguousarray(X, dtype=float), np.asarray(beta, dtype=float)
    n, p = X.shape
    names = tuple(f"x{j}" for j in range(p)) if names is None else tuple(names)
    for what, size, wanted in (("y", len(y), n), ("Z", re.n, n), ("beta", beta.size, p), ("X_names", len(names), p)):
        if size != wanted:
            raise InferenceError(f"X of {n} rows and {p} columns", f"{what} has {size}", f"{what} of length {wanted}")
    kept = independent_columns(np.asarray(np.linalg.qr(X, mode="r"))) if p else np.arange(0)
    if len(kept) < p:
        lost = ", ".join(names[j] for j in np.setdiff1d(np.arange(p), kept))
        raise InferenceError(f"X with {p} columns", f"{lost} repeat the others", "leave them out of X and of beta")
    problem = MixedProblem(re, X, np.asarray(y, dtype=float), None, np.arange(p), None, p, names)
    T = tuple(re.t_matrices(np.asarray(theta, dtype=float)))
    return LmerKernel(problem, T, beta, float(sigma), reml, tol=tol, max_iter=min(max_iter, MAX_STEPS))


def _is_reml(method: str) -> bool:
    if method.upper() not in ("REML", "ML"):
        raise InferenceError(f"method={method!r}", "refits are by REML or ML", "method='REML'")
    return method.upper() == "REML"


def _check_bounds(lower: Sequence[float] | None, upper: Sequence[float] | None) -> None:
    if any(value not in (0.0, -np.inf) for value in lower or ()) or any(value != np.inf for value in upper or ()):
        raise InferenceError(
            f"theta between {lower} and {upper}",
            "refits search every covariance: bounds other than 0 on the diagonal are not taken",
            "leave the bounds out",
        )
