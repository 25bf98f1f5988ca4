"""Bootstrap inference for the coefficients of a model, and for the variance components of a mixed one."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.progress import Cancel, Progress
from inference_core.rng import RNG
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import InferenceState, ResamplesState
from inference_core.states.spec import ModelSpec

from .intervals import check_interval_request, summarise
from .intervals.requirements import check_alternative
from .resample.common import FAILURE_SHARE
from .resample.leave_out import leave_one_out
from .resample.stream import DrawStream, case_bootstrap_stream, case_indices, open_stream, refit_kernel

FEW_GROUPS, VERY_FEW_GROUPS = 10, 5


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

    NaN rows where the refit does not exist (a row that alone carries a coefficient).
    """
    return leave_one_out(refit_kernel(spec, bundle, _fit(spec, bundle)))


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
        _judge_failures(draws, spec)
        return summarise(
            draws, stream, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
            save_resamples=save_resamples,
        )  # fmt: skip


def compute_params_bootstrap_mixed(
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
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> InferenceState:
    """Parametric bootstrap of a mixed model: new random effects and new responses around them in every draw.

    Parameters
    ----------
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_boot : int
        Number of draws.
    ci_type : {"expanded", "percentile", "basic", "normal"}
        Of the coefficients. "expanded" takes Satterthwaite's degrees of freedom into account and is the one to report;
        a generalized mixed model has the normal reference, and there it is "percentile".
        "bca", the default of the other bootstrap, is refused: name one.
    seed : int, optional
        None picks one, which the result carries.
    save_resamples : bool
        Keep the draws.
    n_jobs : int
        Workers; the draws do not depend on it.
    null, alternative
        The hypothesis under test, of the coefficients.
    verbose, progress, cancel
        The protocol of every long loop; a cancelled run returns what it has, marked so.

    Returns
    -------
    InferenceState
        Of the coefficients. ``spread`` holds percentile limits of SDs, correlations and sigma from the same draws, in
        the order of ``fit.varcomp.variance_components``. ``n_singular`` draws have a covariance at its limit; they are
        estimates like the others and stay.

    Raises
    ------
    InferenceError
        Before any refit: an interval that there is not, too few draws for the level, a model that is not a mixed one.
        After: no refit gave an estimate.

    Warns
    -----
    InferenceCoreWarning
        More than 10 % of the refits failed; fewer than 5 groups.

    Notes
    -----
    Limits of an SD rest on normal random effects: where these are skewed, more groups do not help.
    """
    from .resample.lmer import refuse_interval

    refuse_interval(ci_type, spread=False)
    check_interval_request("percentile" if ci_type == "expanded" else ci_type, n_boot, conf_level, alternative)
    with one_blas_thread():
        stream = open_stream("boot", "parametric", spec, bundle, fit, seed=seed)
        if ci_type == "expanded":
            finite = np.atleast_1d(np.asarray(stream.df_of_limits(), float))
            check_interval_request(ci_type, n_boot, conf_level, alternative, float(finite.min()))
        draws = stream.collect(n_boot, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose)
        _judge_failures(draws, spec)
        singular = int(np.count_nonzero(_singular(spec, bundle, stream, draws.samples)))
        inference = mixed_inference(
            draws, stream, bundle.p, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
            save_resamples=save_resamples,
        )  # fmt: skip
    notes = inference.notes + _notes_on_groups(bundle, ci_type)
    if singular:
        notes += (f"{singular:,} of {len(draws.status):,} draws are singular fits (a variance at 0, or effects tied "
                  "to each other); they are kept",)  # fmt: skip
    return replace(inference, notes=notes, n_singular=singular)


def mixed_inference(
    draws: ResamplesState,
    stream: DrawStream | None,
    p: int,
    *,
    ci_type: str,
    conf_level: float = 0.95,
    null: float = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
) -> InferenceState:
    """Read draws of a mixed model: the first p statistics by ``ci_type``, the spread after them by percentiles.

    A correlation is undefined in a draw with an SD of 0; its limits rest on the others, while the draw counts for
    everything else.
    """
    own = None if stream is None else _first(stream, p)
    inference = summarise(
        _some(draws, np.arange(p)), own, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
        save_resamples=save_resamples,
    )  # fmt: skip
    parts = [
        summarise(_some(draws, np.array([j])), ci_type="percentile", conf_level=conf_level)
        for j in range(p, len(draws.names))
    ]

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    spread = replace(
        inference, se=join("se"), ci_lower=join("ci_lower"), ci_upper=join("ci_upper"), statistic=None, p_value=None,
        bias=join("bias"), ci_type="percentile", null=0.0, alternative="two-sided",
        mcse={name: np.concatenate([part.mcse[name] for part in parts]) for name in ("se", "ci_lower", "ci_upper")},
        boot_samples=draws.samples[:, p:] if save_resamples else None, notes=(),
    )  # fmt: skip
    return replace(inference, spread=spread)


def _singular(spec: ModelSpec, bundle: DataBundle, stream: DrawStream, samples: np.ndarray) -> np.ndarray:
    """(B,) whether a draw has a covariance at its limit, measured as the fit itself measures it."""
    from .resample.lmer_kernel import singular_draws

    if spec.is_lmer:
        return singular_draws(bundle.re_metadata, samples[:, bundle.p :])
    kernel: Any = stream.kernel
    return kernel.singular(samples)


def _some(draws: ResamplesState, columns: np.ndarray) -> ResamplesState:
    names = tuple(draws.names[j] for j in columns)
    return replace(draws, samples=draws.samples[:, columns], observed=draws.observed[columns], names=names)


def _first(stream: DrawStream, p: int) -> DrawStream:
    """The stream as a table of its first p statistics needs it."""
    df = stream.df_of_limits
    return replace(stream, interval_df=lambda: np.asarray(df(), float)[:p], _df=None)


def _notes_on_groups(bundle: DataBundle, ci_type: str) -> tuple[str, ...]:
    """What few groups mean, measured by simulation for random intercepts and slopes."""
    name, J = min(((block.group_name, block.n_levels) for block in bundle.re_metadata.blocks), key=lambda pair: pair[1])
    if J < VERY_FEW_GROUPS:
        warnings.warn(
            InferenceCoreWarning(
                f"{J} groups of {name}: with fewer than {VERY_FEW_GROUPS} no interval keeps its promise"
            ),
            stacklevel=3,
        )
    if J < FEW_GROUPS and ci_type != "expanded":
        narrow = "z and percentile limits are too narrow (coverage 86-92 %)"
        return (f"{J} groups of {name}: {narrow}; expanded limits use t",)
    return ()


def resamples_of(
    inference: InferenceState, spec: ModelSpec, bundle: DataBundle, fit: FitState
) -> ResamplesState | None:
    """The stored draws of a bootstrap table as a container that can rebuild the rows of each; None without draws."""
    if inference.boot_samples is None or inference.draw_status is None or inference.seed is None:
        return None
    requested = inference.n_requested or len(inference.draw_status)
    if inference.scheme == "parametric" and inference.spread is not None:
        stream = open_stream("boot", "parametric", spec, bundle, fit, seed=inference.seed)
        samples = np.concatenate([inference.boot_samples, np.asarray(inference.spread.boot_samples)], axis=1)
        return stream.resamples(
            samples, inference.draw_status, n_requested=requested, cancelled=inference.cancelled
        )
    return ResamplesState(
        samples=inference.boot_samples, observed=fit.coef, names=tuple(bundle.X_names), method="boot",
        context="params", status=inference.draw_status, seed=inference.seed, n_requested=requested,
        scheme=inference.scheme or "case", cancelled=inference.cancelled,
        indices_of=partial(case_indices, RNG(inference.seed), bundle.n),
    )  # fmt: skip


def _judge_failures(draws: ResamplesState, spec: ModelSpec) -> None:
    done, failed = len(draws.status), draws.n_failed
    if not failed or failed <= FAILURE_SHARE * done:
        return
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in draws.failures.items())
    if failed == done:
        raise InferenceError(
            asked=f"a bootstrap of {spec.formula} with {done:,} draws",
            found=f"not one refit gave an estimate ({reasons})",
            remedy="leave out a term, merge rare levels, or use how='asymp'",
        )
    warnings.warn(
        InferenceCoreWarning(
            f"{failed:,} of {done:,} refits failed ({reasons}); limits and p-values rest on the others"
        ),
        stacklevel=3,
    )


def _fit(spec: ModelSpec, bundle: DataBundle) -> FitState:
    from inference_core.fit import fit_model

    return fit_model(spec, bundle)

