"""From stored draws to a table of inference: read again for any level, type or null, never drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference_core.states.base import Array
from inference_core.states.inference import InferenceState, ResamplesState

from .limits import IntervalResult, Material, limits
from .pvalues import p_from, p_value_mcse

if TYPE_CHECKING:
    from inference_core.infer.resample.stream import DrawStream

FEW_DRAWS = 5  # limits that rest on fewer get a note
BCA_SMALL_DF = 50


def summarise(
    resamples: ResamplesState,
    stream: DrawStream | None = None,
    *,
    ci_type: str = "percentile",
    conf_level: float = 0.95,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    save_resamples: bool = True,
) -> InferenceState:
    """Standard errors, limits, p-values and their Monte-Carlo errors from draws that are at hand.

    Parameters
    ----------
    resamples : ResamplesState
        Draws; failed ones (NaN rows) are left out and counted.
    stream : DrawStream, optional
        Where they came from: gives the jackknife to BCa, degrees of freedom to ``expanded``, and the standard error
        of the data to ``studentized``. Without it BCa takes a = 0 and ``expanded`` the normal quantile.
    ci_type : {"percentile", "basic", "normal", "bca", "studentized", "expanded"}
    conf_level, null, alternative
        As in ``model.infer``.
    save_resamples : bool
        Keep the draws in the result.

    Returns
    -------
    InferenceState
        A limit beyond the outermost draw is NaN; ``notes`` say so, and whatever else a reader must know.
    """
    samples, observed = np.asarray(resamples.samples), np.asarray(resamples.observed)
    wants_jackknife = ci_type == "bca" and stream is not None
    material = Material.of(
        samples, observed,
        jackknife=stream.jackknife() if wants_jackknife and stream is not None else None,
        se_draws=resamples.se if ci_type == "studentized" else None,
        se_observed=None if stream is None else stream.observed_se,
        df=None if stream is None else stream.df_of_limits() if ci_type == "expanded" else stream.df_resid,
        inflation=None if stream is None else stream.inflation,
        n=None if stream is None else stream.n,
    )  # fmt: skip
    result = limits(material, ci_type, conf_level, alternative)
    p = p_from(material, ci_type, null, alternative, conf_level)
    se = material.spread(material.sd)
    failures = resamples.failures
    estimate = np.where(np.isnan(result.lower) & np.isnan(se), np.nan, observed)
    return InferenceState(
        se=se,
        ci_lower=result.lower,
        ci_upper=result.upper,
        statistic=(estimate - null) / se,
        p_value=p,
        conf_level=conf_level,
        method="boot",
        ci_type=ci_type,
        errors="iid" if stream is None else stream.errors,
        scheme=resamples.scheme,
        null=null,
        alternative=alternative,
        n_resamples=material.size,
        n_requested=resamples.n_requested,
        n_failed=resamples.n_failed,
        failures=failures,
        cancelled=resamples.cancelled,
        mcse={
            "se": material.spread(material.sd_mcse),
            "ci_lower": result.mcse_lower,
            "ci_upper": result.mcse_upper,
            "p_value": p_value_mcse(material, ci_type, p, null, alternative),
        },
        seed=resamples.seed,
        bias=material.spread(material.mean - material.observed),
        boot_samples=samples if save_resamples else None,
        draw_status=resamples.status if save_resamples else None,
        notes=_notes(resamples, stream, material, result, ci_type, failures),
    )


def _notes(
    resamples: ResamplesState,
    stream: DrawStream | None,
    material: Material,
    result: IntervalResult,
    ci_type: str,
    failures: dict[str, int],
) -> tuple[str, ...]:
    notes = []
    if resamples.cancelled:
        notes.append(f"stopped after {len(resamples.status):,} of {resamples.n_requested:,} draws")
    if failures:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in failures.items())
        notes.append(f"{resamples.n_failed:,} of {len(resamples.status):,} draws failed and are left out ({reasons})")
    notes += _fallback_notes(resamples.names, result)
    rests = result.tail_draws[np.isfinite(result.tail_draws)]
    if rests.size and rests.min() < 1 - 1e-9:
        notes.append(f"{material.size:,} draws cannot give some of these limits: draw more")
    elif rests.size and rests.min() < FEW_DRAWS - 1e-9:
        notes.append(f"limits rest on {int(rests.min() + 1e-9)} draws")
    if stream is not None and stream.df_resid is not None:
        notes += _advice(stream, ci_type)
    return tuple(notes)


def _fallback_notes(names: tuple[str, ...], result: IntervalResult) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for name, note in zip(names, result.notes, strict=True):
        if note:
            by_reason.setdefault(note, []).append(name)
    return [f"{note} ({', '.join(columns)}): expanded limits shown" for note, columns in by_reason.items()]


def _advice(stream: DrawStream, ci_type: str) -> list[str]:
    """Where a type is known to promise too much."""
    apart = "robust and classical standard errors differ by more than 25 %"
    if ci_type == "bca" and stream.df_resid is not None:
        better = "expanded limits keep their promise better here"
        if stream.df_resid < BCA_SMALL_DF:
            return [f"BCa with {stream.df_resid:g} residual degrees of freedom: {better}"]
        if stream.looks_unequal():
            return [f"{apart}: {better}"]
    if ci_type == "studentized" and stream.errors == "iid" and stream.looks_unequal():
        return [f"{apart}: use errors='HC3' for studentized limits"]
    return []
