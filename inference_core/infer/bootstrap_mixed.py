"""Bootstrap inference for the parameters of a mixed model: coefficients, and their spread from the same draws."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from inference_core.errors import InferenceCoreWarning
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import InferenceState, ResamplesState
from inference_core.states.spec import ModelSpec

from .failures import judge_failures
from .intervals import check_interval_request, summarise
from .intervals.requirements import draws_needed
from .resample.stream import DrawStream, open_stream

FEW_GROUPS, VERY_FEW_GROUPS = 10, 5
ENOUGH_FOR_SDS = 50  # whole groups, below which percentile limits of SDs are much too short
FROM_T = ("expanded", "studentized")  # limits that hold what they promise with few groups
_ADVICE = {"cluster": "scheme='parametric', which keeps every group"}


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
    scheme: str | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> InferenceState:
    """Bootstrap standard errors, limits and p-values of a mixed model.

    Parameters
    ----------
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_boot : int
        Number of draws.
    ci_type : {"expanded", "percentile", "basic", "normal", "bca", "studentized"}
        Of the coefficients. "expanded" takes the degrees of freedom into account and is the one to report; a
        generalized mixed model has the normal reference, and there it is "percentile", but for whole groups. "bca"
        takes its acceleration from whole groups of the outermost factor left out, "studentized" one standard error
        from every refit, of linear mixed models.
    seed : int, optional
        None picks one, which the result carries.
    save_resamples : bool
        Keep the draws.
    n_jobs : int
        Workers; the draws do not depend on it.
    null, alternative
        The hypothesis under test, of the coefficients.
    scheme : {"parametric", "cluster", "residual", "wild"}, optional
        What is drawn anew. "parametric", the default: random effects and responses from the fitted model. "cluster":
        whole groups of the outermost factor, each copy a new group. Of linear mixed models also "residual": the fit's
        own effects and residuals, centred and reflated; "wild": signs of whole groups of residuals.
    verbose, progress, cancel
        The protocol of every long loop; a cancelled run returns what it has, marked so.

    Returns
    -------
    InferenceState
        Of the coefficients. ``spread`` holds limits of SDs, correlations and sigma from the same draws, in the order of
        ``fit.varcomp.variance_components``: BCa if that was asked for, else percentile; null from scheme="wild".
        ``n_singular`` draws have a covariance at its limit; they are estimates like the others and stay.

    Raises
    ------
    InferenceError
        Before any refit: an interval or a scheme that there is not, too few draws for the level, a model that is not a
        mixed one, fewer than 5 whole groups to draw, crossed factors where whole groups are needed. After: no refit
        gave an estimate.

    Warns
    -----
    InferenceCoreWarning
        More than 10 % of the refits failed; fewer than 5 groups.

    Notes
    -----
    Limits of an SD rest on normal random effects: where these are skewed, more groups do not help. Expanded limits
    (Hesterberg 2015, The American Statistician 69) take Satterthwaite's degrees of freedom; for whole groups, drawn or
    flipped, J - 1, and for those drawn the factor J / (J - 1) of a variance, which CR2 gives to those flipped.
    """
    from .resample.mixed_limits import refuse_interval

    refuse_interval(ci_type, spread=False, linear=spec.is_lmer)
    check_interval_request("percentile" if ci_type == "expanded" else ci_type, n_boot, conf_level, alternative)
    with one_blas_thread():
        stream = open_stream("boot", scheme, spec, bundle, fit, seed=seed, want_se=ci_type == "studentized")
        if ci_type == "expanded":
            _check_expanded(stream, n_boot, conf_level, alternative)
        if ci_type == "bca":
            stream.jackknife()  # refused now where there is none
        draws = stream.collect(n_boot, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose)
        judge_failures(draws, spec, _ADVICE.get(stream.scheme, ""))
        inference = mixed_inference(
            draws, stream, bundle.p, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
            save_resamples=save_resamples,
        )  # fmt: skip
    notes = inference.notes + _notes_on_groups(bundle, ci_type, stream.scheme)
    if ci_type == "expanded":
        notes += _notes_on_df(stream, bundle, n_boot, conf_level, alternative)
    if inference.spread is None:
        from .resample.lmer_wild import NO_SPREAD

        return replace(inference, notes=(*notes, NO_SPREAD), spread=_null_spread(inference, bundle))
    if ci_type in ("basic", "normal", "studentized"):
        notes += (f"limits of SDs and correlations are percentiles: the SD is bounded at 0, {ci_type} limits are not",)
    singular = int(np.count_nonzero(_singular(spec, bundle, stream, draws.samples)))
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
    """Read draws of a mixed model: the first p statistics by ``ci_type``, the spread after them, if any.

    The spread is read by percentiles, or by BCa if that is the type. A correlation is undefined in a draw with an SD of
    0; its limits rest on the others, while the draw counts for everything else.
    """
    first = np.arange(p)
    inference = summarise(
        _some(draws, first), None if stream is None else _columns(stream, first), ci_type=ci_type,
        conf_level=conf_level, null=null, alternative=alternative, save_resamples=save_resamples,
    )  # fmt: skip
    if len(draws.names) == p:
        return inference
    kind = "bca" if ci_type == "bca" and stream is not None else "percentile"
    parts = []
    for j in range(p, len(draws.names)):
        own = np.array([j])
        source = _columns(stream, own) if kind == "bca" and stream is not None else None
        parts.append(summarise(_some(draws, own), source, ci_type=kind, conf_level=conf_level))

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    spread = replace(
        inference, se=join("se"), ci_lower=join("ci_lower"), ci_upper=join("ci_upper"), statistic=None, p_value=None,
        bias=join("bias"), ci_type=kind, null=0.0, alternative="two-sided",
        mcse={name: np.concatenate([part.mcse[name] for part in parts]) for name in ("se", "ci_lower", "ci_upper")},
        boot_samples=draws.samples[:, p:] if save_resamples else None, notes=(),
    )  # fmt: skip
    own_notes = [note for part in parts for note in part.notes if kind == "bca" and note not in inference.notes]
    return replace(inference, spread=spread, notes=inference.notes + tuple(dict.fromkeys(own_notes)))


def _check_expanded(stream: DrawStream, n_boot: int, conf_level: float, alternative: str) -> None:
    """Refuse a number of draws that gives no coefficient its expanded limits."""
    df = np.asarray(stream.df_of_limits(), float)[: stream.kernel.p]
    if df.size:
        check_interval_request("expanded", n_boot, conf_level, alternative, float(df.max()), stream.inflation or 1.0)


def _notes_on_df(
    stream: DrawStream, bundle: DataBundle, n_boot: int, conf_level: float, alternative: str
) -> tuple[str, ...]:
    """Which coefficients have so few degrees of freedom that these draws do not reach their limits."""
    df = np.asarray(stream.df_of_limits(), float)[: bundle.p]
    notes = []
    for name, own in zip(bundle.X_names, df, strict=True):
        needed = draws_needed("expanded", conf_level, alternative, float(own), stream.inflation or 1.0)
        if needed > n_boot:
            notes.append(f"{name} has {own:.2g} degrees of freedom: its expanded limits need {needed:,} draws")
    return tuple(notes)


def _singular(spec: ModelSpec, bundle: DataBundle, stream: DrawStream, samples: np.ndarray) -> np.ndarray:
    """(B,) whether a draw has a covariance at its limit, measured as the fit itself measures it."""
    from .resample.lmer_kernel import singular_draws

    if spec.is_lmer:
        return singular_draws(bundle.re_metadata, samples[:, bundle.p :])
    kernel: Any = stream.kernel
    return kernel.singular(samples)


def _some(draws: ResamplesState, columns: np.ndarray) -> ResamplesState:
    names = tuple(draws.names[j] for j in columns)
    return replace(
        draws, samples=draws.samples[:, columns], observed=draws.observed[columns], names=names,
        se=None if draws.se is None else draws.se[:, columns],
    )  # fmt: skip


def _columns(stream: DrawStream, columns: np.ndarray) -> DrawStream:
    """The stream as a table of some of its statistics needs it."""
    df, jackknife = stream.df_of_limits, stream.jackknife
    return replace(
        stream,
        interval_df=lambda: np.asarray(df(), float)[columns],
        leave_one_out=lambda: jackknife()[:, columns],
        observed_se=None if stream.observed_se is None else stream.observed_se[columns],
        _df=None,
        _jackknife=None,
    )


def _null_spread(inference: InferenceState, bundle: DataBundle) -> InferenceState:
    """Rows of SDs, correlations and sigma without a number."""
    from .resample.lmer_kernel import spread_names

    nothing = np.full(len(spread_names(bundle.re_metadata)), np.nan)
    return replace(
        inference, se=nothing, ci_lower=nothing, ci_upper=nothing, statistic=None, p_value=None, bias=nothing, null=0.0,
        alternative="two-sided", mcse={name: nothing for name in ("se", "ci_lower", "ci_upper")}, boot_samples=None,
        notes=(),
    )  # fmt: skip


def _notes_on_groups(bundle: DataBundle, ci_type: str, scheme: str) -> tuple[str, ...]:
    """What few groups mean, measured by simulation for random intercepts and slopes."""
    name, J = min(((block.group_name, block.n_levels) for block in bundle.re_metadata.blocks), key=lambda pair: pair[1])
    if J < VERY_FEW_GROUPS:
        warnings.warn(
            InferenceCoreWarning(
                f"{J} groups of {name}: with fewer than {VERY_FEW_GROUPS} no interval keeps its promise"
            ),
            stacklevel=3,
        )
    notes = ()
    if J < FEW_GROUPS and ci_type not in FROM_T:
        narrow = "z and percentile limits are too narrow (coverage 86-92 %)"
        notes += (f"{J} groups of {name}: {narrow}; expanded limits use t",)
    if scheme == "cluster" and J < ENOUGH_FOR_SDS and ci_type != "bca":
        notes += (
            f"percentile limits of SDs from {J} whole groups are too narrow (coverage of a slope's SD: 72 % with 10 "
            "groups, 84 % with 20, 92 % with 50); scheme='parametric' serves SDs of normal effects better",
        )
    return notes
