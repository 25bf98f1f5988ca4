"""Bootstrap inference for marginal effects: the draws of the coefficients, each put through the effect itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import (
    Array,
    DataBundle,
    FitState,
    InferenceState,
    MeeState,
    ModelSpec,
    ResamplesState,
)

from .denominators import row_reference
from .failures import judge_failures
from .intervals import check_interval_request, summarise
from .intervals.order import OrderedDraws
from .mee_asymptotic import wald_rows
from .resample.stream import DrawStream, open_stream

NO_FAMILY_OF_THEIR_OWN = ("tukey", "scheffe")


def mee_bootstrap(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    mee: MeeState,
    data: pl.DataFrame | None = None,
    conf_level: float = 0.95,
    n_boot: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
    *,
    scheme: str | None = None,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[MeeState, ResamplesState]:
    """Limits and p-values of marginal effects from the same draws that the coefficients have.

    Parameters
    ----------
    spec, bundle, fit, mee
        A fitted model and what was asked about it.
    conf_level, n_boot, ci_type, seed, null, alternative, save_resamples, scheme, n_jobs, verbose, progress, cancel
        As in ``bootstrap.compute_params_bootstrap``; ``null`` on the scale of the effects.

    Returns
    -------
    mee : MeeState
        With ``inference``.
    resamples : ResamplesState
        Draws of the effects, (n_boot, m).

    Raises
    ------
    InferenceError
        Studentized limits (effects carry no standard error inside a draw), an adjustment that draws do not have, or
        too few draws for the level.
    """
    _refuse(mee, ci_type)
    wald = wald_rows(mee, spec, fit, null)
    plain = "percentile" if ci_type == "expanded" else ci_type
    check_interval_request(plain, n_boot, level_of_rows(mee, conf_level), alternative)
    with one_blas_thread():
        stream = open_stream("boot", scheme, spec, bundle, fit, seed=seed)
        draws = stream.collect(n_boot, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose)
        judge_failures(draws, spec)
        effects = effect_draws(draws, mee, bundle.p)
        own = _stream_of_effects(stream, mee, bundle, partial(_df, spec, bundle, fit, data, wald.rows))
        inference = summarise(
            effects, own, ci_type=ci_type, conf_level=conf_level, null=wald.shown_null, alternative=alternative,
            save_resamples=save_resamples,
        )  # fmt: skip
        words = "not adjusted"
        if mee.p_adjust != "none":
            inference, words = _adjusted(inference, effects, own, mee)
    notes = (*inference.notes, *([wald.note] if wald.note else []))
    return replace(mee, inference=replace(inference, notes=notes), adjusted=words), effects


def compute_mee_bootstrap(
    spec: ModelSpec,
    bundle: DataBundle,
    mee: MeeState,
    data: pl.DataFrame,
    conf_level: float = 0.95,
    n_boot: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    null: float = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
) -> tuple[MeeState, np.ndarray | None]:
    """Bootstrap inference for marginal effects; the model is fitted here.

    Parameters
    ----------
    spec, bundle, mee, data
        The model, what was asked about it, and its original frame.
    conf_level, n_boot, ci_type, seed, null, alternative, save_resamples
        As in :func:`mee_bootstrap`, which takes a fit that is at hand.

    Returns
    -------
    mee : MeeState
        With inference.
    samples : (n_boot, m) array or None
        Draws of the effects; None without ``save_resamples``.
    """
    from inference_core.fit import fit_model

    found, draws = mee_bootstrap(
        spec, bundle, fit_model(spec, bundle), mee, data, conf_level, n_boot, ci_type, seed, null, alternative,
        save_resamples,
    )  # fmt: skip
    return found, np.asarray(draws.samples) if save_resamples else None


def build_emm_reference_grid(data: pl.DataFrame, bundle: DataBundle, focal_var: str) -> np.ndarray:
    """Design rows whose products with the coefficients are the marginal means of one column.

    Parameters
    ----------
    data : polars.DataFrame
        The original frame.
    bundle : DataBundle
    focal_var : str
        A factor gives a row per level; a number one row, at its mean. Other factors are balanced, other numbers stand
        at their mean.

    Returns
    -------
    (levels, p) array

    Raises
    ------
    FormulaError
        No predictor of this model.
    """
    from inference_core.marginal.grid import Axis, reference_grid
    from inference_core.marginal.predictors import find_predictor, grouping_columns, kept_rows, predictors_of

    rows = kept_rows(bundle, data)
    known = predictors_of(bundle, rows)
    focal = find_predictor(focal_var, 0, known, grouping_columns(bundle), focal_var)
    values = focal.levels if focal.levels is not None else (float(np.mean(np.asarray(focal.values))),)
    return reference_grid(bundle, rows, known, [Axis(focal, values)]).L


def effect_draws(draws: ResamplesState, mee: MeeState, p: int) -> ResamplesState:
    """Draws of the effects from those of the coefficients; a failed draw and what has no estimate stay NaN."""
    assert mee.effect is not None
    coef = np.asarray(draws.samples)[:, :p]
    fine = np.asarray(draws.status) == 0
    samples = np.full((len(coef), len(mee.estimate)), np.nan)
    with np.errstate(over="ignore"):
        samples[fine] = mee.effect(np.nan_to_num(coef[fine]))
    samples[:, ~np.asarray(mee.estimable)] = np.nan
    return replace(
        draws, samples=samples, observed=np.asarray(mee.estimate), names=row_names(mee), context="effects", se=None
    )


def row_names(mee: MeeState) -> tuple[str, ...]:
    """One name per row, from its labels."""
    return tuple(", ".join(str(value) for value in row) for row in mee.grid.rows())


def _refuse(mee: MeeState, ci_type: str) -> None:
    if ci_type == "studentized":
        raise InferenceError(
            asked="studentized limits of effects",
            found="a draw of an effect carries no standard error of its own",
            remedy="ci_type='expanded', which needs none",
        )
    refuse_reference(mee, "boot")


def refuse_reference(mee: MeeState, how: str) -> None:
    """Refuse an adjustment that draws do not have.

    Raises
    ------
    InferenceError
    """
    if mee.p_adjust in NO_FAMILY_OF_THEIR_OWN:
        raise InferenceError(
            asked=f"how={how!r} with p_adjust={mee.p_adjust!r}",
            found=f"{mee.p_adjust} rests on a t or F reference, which draws do not have",
            remedy="explore(..., p_adjust='mvt'): the largest |t| of each draw",
        )


def level_of_rows(mee: MeeState, conf_level: float) -> float:
    """The level of one interval, where the family's is shared out among its rows."""
    if mee.p_adjust in ("none", "mvt"):
        return conf_level
    return 1 - (1 - conf_level) / max((len(family.rows) for family in mee.families), default=1)


def _df(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, data: pl.DataFrame | None, rows: Array
) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(row_reference(spec, bundle, fit, "iid", data).df(rows), float)


def _stream_of_effects(stream: DrawStream, mee: MeeState, bundle: DataBundle, df) -> DrawStream:
    """The stream as a table of effects needs it: its jackknife, degrees of freedom by row."""
    effect = mee.effect
    assert effect is not None

    def leave_one_out() -> Array:
        left = stream.jackknife()[:, : bundle.p]
        gone = np.isnan(left[:, bundle.rank_info.kept]).any(1)
        out = np.asarray(effect(np.nan_to_num(left)), float)
        out[gone] = np.nan
        return out

    return replace(
        stream, names=row_names(mee), observed=np.asarray(mee.estimate), observed_se=None, want_se=False,
        leave_one_out=leave_one_out, interval_df=df if stream.interval_df is not None else None, _df=None,
        _jackknife=None,
    )  # fmt: skip


def _adjusted(
    inference: InferenceState, effects: ResamplesState, stream: DrawStream, mee: MeeState
) -> tuple[InferenceState, str]:
    if mee.p_adjust == "mvt":
        return _largest_t(inference, effects, mee), "largest |t| of each draw"
    p, lower, upper = (np.array(x) for x in (inference.p_value, inference.ci_lower, inference.ci_upper))
    for family in mee.families:
        rows = family.rows[np.isfinite(p[family.rows])]
        m = len(rows)
        if m < 2:
            continue
        share = (1 - inference.conf_level) / m
        if mee.p_adjust == "sidak":
            share = -np.expm1(np.log1p(-(1 - inference.conf_level)) / m)
        again = summarise(
            effects, stream, ci_type=str(inference.ci_type), conf_level=1 - share, null=inference.null,
            alternative=inference.alternative, save_resamples=False,
        )  # fmt: skip
        lower[rows], upper[rows] = again.ci_lower[rows], again.ci_upper[rows]
        p[rows] = stepped(p[rows], mee.p_adjust)
    limits = "" if mee.p_adjust in ("bonferroni", "sidak") else "; limits Bonferroni"
    return replace(inference, p_value=p, ci_lower=lower, ci_upper=upper), mee.p_adjust + limits


def stepped(p: Array, method: str) -> Array:
    """p-values of one family, adjusted by a rule that needs nothing but them."""
    from inference_core.marginal.multiplicity import false_discovery, holm

    m, everything = len(p), np.ones(len(p), bool)
    if method == "bonferroni":
        return np.minimum(1.0, m * p)
    if method == "sidak":
        return -np.expm1(m * np.log1p(-p))
    return holm(p, everything) if method == "holm" else false_discovery(p, everything)


def _largest_t(inference: InferenceState, effects: ResamplesState, mee: MeeState) -> InferenceState:
    """Single-step limits and p-values: the largest standardised deviation of a draw, over the rows of a family.

    Source: Westfall & Young (1993), Resampling-Based Multiple Testing, section 2.
    """
    p, lower, upper = (np.array(x) for x in (inference.p_value, inference.ci_lower, inference.ci_upper))
    samples, se = np.asarray(effects.samples), np.asarray(inference.se)
    direction = inference.alternative
    for family in mee.families:
        rows = family.rows[np.isfinite(se[family.rows]) & (se[family.rows] > 0)]
        if len(rows) < 2:
            continue
        t = (samples[:, rows] - mee.estimate[rows]) / se[rows]
        t = t[np.isfinite(t).all(1)]
        peak = np.abs(t).max(1) if direction == "two-sided" else (t if direction == "less" else -t).max(1)
        own = (mee.estimate[rows] - np.broadcast_to(inference.null, mee.estimate.shape)[rows]) / se[rows]
        size = np.abs(own) if direction == "two-sided" else own if direction == "greater" else -own
        p[rows] = ((peak[:, None] >= size - 1e-9 * np.abs(size)).sum(0) + 1) / (len(peak) + 1)
        c = float(OrderedDraws.of(peak[:, None]).quantile(inference.conf_level)[0])
        if direction != "less":
            lower[rows] = mee.estimate[rows] - c * se[rows]
        if direction != "greater":
            upper[rows] = mee.estimate[rows] + c * se[rows]
    return replace(inference, p_value=p, ci_lower=lower, ci_upper=upper)
