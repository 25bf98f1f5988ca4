"""Bootstrap inference for the coefficients of a model, and for the variance components of a mixed one."""

from __future__ import annotations

from functools import partial

import numpy as np

from inference_core.progress import Cancel, Progress
from inference_core.rng import RNG
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import InferenceState, ResamplesState
from inference_core.states.spec import ModelSpec

from .bootstrap_mixed import compute_params_bootstrap_mixed, mixed_inference
from .failures import judge_failures
from .intervals import check_interval_request, summarise
from .intervals.requirements import check_alternative
from .mee_bootstrap import build_emm_reference_grid, compute_mee_bootstrap
from .prediction_bootstrap import compute_prediction_bootstrap
from .resample.leave_out import leave_one_out
from .resample.stream import case_bootstrap_stream, case_indices, open_stream, refit_kernel

__all__ = [
    "build_emm_reference_grid", "compute_bootstrap_params", "compute_bootstrap_pvalue", "compute_jackknife_coefs",
    "compute_mee_bootstrap", "compute_params_bootstrap", "compute_params_bootstrap_mixed",
    "compute_prediction_bootstrap", "mixed_inference", "resamples_of",
]  # fmt: skip


def compute_bootstrap_params(
    spec: ModelSpec, bundle: DataBundle, n_boot: int = 1000, seed: int | None = None, n_jobs: int = 1
) -> np.ndarray:
    """Case-bootstrap draws of the coefficients.

    Parameters
    ----------
    spec, bundle
        The model; it is fitted here.
    n_boot : int
        Number of draws.
    seed : int, optional
        Draw i is a function of (seed, i), so a larger ``n_boot`` keeps the earlier draws.
    n_jobs : int
        1 here, -1 on all cores; the draws do not depend on it.

    Returns
    -------
    (n_boot, p)
        NaN rows where a refit failed, NaN columns where the design drops one.
    """
    stream = case_bootstrap_stream(spec, bundle, _fit(spec, bundle), seed=seed)
    return stream.collect(n_boot, n_jobs=n_jobs).samples


def compute_bootstrap_pvalue(
    observed: np.ndarray, boot_samples: np.ndarray, null: float = 0.0, alternative: str = "two-sided"
) -> np.ndarray:
    """Share of draws on the other side of the null, counted with the observed one.

    2 (c + 1) / (B + 1) with c the draws in the smaller tail beyond ``null`` (ties included), at most 1; one-sided
    (c + 1) / (B + 1) with c the draws that contradict the alternative.

    Parameters
    ----------
    observed : (p,)
        Observed statistics; NaN gives NaN.
    boot_samples : (n_boot, p)
        Draws; NaN rows are left out.
    null : float
        The value under test.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    (p,)
    """
    check_alternative(alternative)
    observed = np.atleast_1d(np.asarray(observed, float))
    samples = np.asarray(boot_samples, float).reshape(len(boot_samples), -1)
    size = (~np.isnan(samples)).sum(0)
    at_most = ((samples <= null).sum(0) + 1) / (size + 1)
    at_least = ((samples >= null).sum(0) + 1) / (size + 1)
    if alternative == "two-sided":
        p = np.minimum(1.0, 2.0 * np.minimum(at_most, at_least))
    else:
        p = at_most if alternative == "greater" else at_least
    return np.where(np.isnan(observed) | (size == 0), np.nan, p)


def compute_jackknife_coefs(spec: ModelSpec, bundle: DataBundle) -> np.ndarray:
    """Coefficients without each row in turn, (n, p): exact, for BCa's acceleration and for jackknife tables.

    Of a mixed model, whose rows belong together, without each group of the outermost factor: (J, p), in the order of
    its levels. NaN rows where the refit does not exist (a row, or a group, that alone carries a coefficient).

    Raises
    ------
    InferenceError
        A mixed model with crossed factors: no group of rows is independent of the others.
    """
    fit = _fit(spec, bundle)
    if spec.is_lmer and spec.has_random_effects:
        from .resample.leave_group_out import leave_one_group_out

        return np.asarray(leave_one_group_out(spec, bundle, fit).samples)[:, : bundle.p]
    if spec.has_random_effects:
        return open_stream("boot", None, spec, bundle, fit).jackknife()[:, : bundle.p]
    return leave_one_out(refit_kernel(spec, bundle, fit))


def compute_params_bootstrap(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float = 0.95,
    n_boot: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    save_resamples: bool = True,
    n_jobs: int = 1,
    null: float = 0.0,
    alternative: str = "two-sided",
    *,
    errors: str = "iid",
    scheme: str | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> InferenceState:
    """Bootstrap standard errors, limits and p-values of the coefficients.

    Parameters
    ----------
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_boot : int
        Number of draws; 199 is the least for 95 % limits, 9,999 lets one quote two digits.
    ci_type : {"percentile", "basic", "normal", "bca", "studentized", "expanded"}
    seed : int, optional
        None picks one, which the result carries.
    save_resamples : bool
        Keep the draws.
    n_jobs : int
        Workers; the draws do not depend on it.
    null, alternative
        The hypothesis under test.
    errors : {"iid", "HC0", "HC1", "HC2", "HC3", "HC4"}
        Standard error inside and outside the draws, for studentized limits.
    scheme : {"case"}, optional
        What is drawn anew: rows.
    verbose, progress, cancel
        The protocol of every long loop; a cancelled run returns what it has, marked so.

    Raises
    ------
    InferenceError
        Before any refit: an unknown type or too few draws for the level. After: no refit gave an estimate.

    Warns
    -----
    InferenceCoreWarning
        More than 10 % of the refits failed.
    """
    df = fit.df_resid
    check_interval_request(ci_type, n_boot, conf_level, alternative, df, bundle.n / df if df > 0 else 1.0)
    with one_blas_thread():
        stream = open_stream(
            "boot", scheme, spec, bundle, fit, seed=seed, errors=errors, want_se=ci_type == "studentized"
        )
        draws = stream.collect(n_boot, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose)
        judge_failures(draws, spec)
        return summarise(
            draws, stream, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
            save_resamples=save_resamples,
        )  # fmt: skip


def resamples_of(
    inference: InferenceState, spec: ModelSpec, bundle: DataBundle, fit: FitState
) -> ResamplesState | None:
    """The stored draws of a bootstrap table as a container that can rebuild the rows of each; None without draws."""
    if inference.boot_samples is None or inference.draw_status is None or inference.seed is None:
        return None
    requested = inference.n_requested or len(inference.draw_status)
    if inference.scheme is not None and spec.has_random_effects:
        stream = open_stream("boot", inference.scheme, spec, bundle, fit, seed=inference.seed)
        samples = inference.boot_samples
        if inference.spread is not None and inference.spread.boot_samples is not None:
            samples = np.concatenate([samples, inference.spread.boot_samples], axis=1)
        return stream.resamples(
            samples, inference.draw_status, n_requested=requested, cancelled=inference.cancelled
        )
    return ResamplesState(
        samples=inference.boot_samples, observed=fit.coef, names=tuple(bundle.X_names), method="boot",
        context="params", status=inference.draw_status, seed=inference.seed, n_requested=requested,
        scheme=inference.scheme or "case", cancelled=inference.cancelled,
        indices_of=partial(case_indices, RNG(inference.seed), bundle.n),
    )  # fmt: skip


def _fit(spec: ModelSpec, bundle: DataBundle) -> FitState:
    from inference_core.fit import fit_model

    return fit_model(spec, bundle)
