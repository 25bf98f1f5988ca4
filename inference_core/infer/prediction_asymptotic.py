"""Limits of predictions by the t or z reference: of the expected value, and of a single new response.

The expected value is bounded on the scale of the linear predictor, and its limits are mapped, so that a probability
stays within 0 and 1. A single response of a linear model has the variance of its mean plus its own (and that of its
group, where the group is new), with t of n - p degrees of freedom, or Satterthwaite's for the total variance of a mixed
model. Other families are simulated, see ``prediction_noise``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.special import ndtri, stdtrit

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.states import Array, DataBundle, FitState, InferenceState, ModelSpec
from inference_core.states.prediction import PredictionState

from .asymptotic import resolve_error_type
from .coefficient import check_level
from .denominators import row_reference
from .intervals.requirements import check_alternative, tails
from .prediction_noise import NewResponse, new_response, simulated_limits

KNOWN_GROUPS = (
    "limits of known groups take the variance components as known: those of a group's mean are too short where groups "
    "differ little (84 % in place of 95 with 10 groups that differ by a third of the noise)"
)


@dataclass(frozen=True, eq=False)
class _Spread:
    """Rows on the scale of the linear predictor."""

    se: Array  # (m,) of the mean
    df: Array  # (m,)
    single: Array  # (m,) variance of the linear predictor of a single new response
    single_df: Array  # (m,) of that with the noise
    notes: tuple[str, ...]


def predictions_asymptotic(
    pred: PredictionState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float = 0.95,
    *,
    errors: str = "iid",
    data: pl.DataFrame | None = None,
    alternative: str = "two-sided",
    cluster: str | Array | None = None,
) -> PredictionState:
    """Standard errors, confidence limits and prediction limits of predictions.

    Parameters
    ----------
    pred : PredictionState
        From ``marginal.predict``.
    spec, bundle, fit, data
        The fitted model and its original frame.
    conf_level : float
        Between 0 and 1.
    errors, cluster
        As in ``asymptotic.compute_params_asymptotic``; of predictions for groups "iid" alone.
    alternative : {"two-sided", "greater", "less"}
        One-sided alternatives give one-sided limits.

    Returns
    -------
    PredictionState
        With ``se``, limits and ``inference``; a prediction limit that does not exist is NaN, and the notes say why.

    Raises
    ------
    InferenceError
        Errors that this model or these predictions cannot have.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    kind = resolve_error_type(errors, spec.family)
    if pred.conditional and kind != "iid":
        raise InferenceError(
            f".infer(errors={errors!r}) of predictions for groups",
            "the effects of groups come from the model's own covariance; other errors belong to fixed effects",
            "leave errors out, or predict(varying='exclude')",
        )
    new = new_response(spec, bundle, pred, kind)
    spread = _spread(pred, spec, bundle, fit, kind, data, cluster, new)
    shown_se, lower, upper = _mapped(pred, spec, fit, spread.se, _reach(spread.df, level, alternative), alternative)
    pi_lower, pi_upper = _single(pred, spec, fit, spread, new, level, alternative)
    notes = (*spread.notes, *([new.note] if new.note else []))
    inference = InferenceState(
        se=shown_se, ci_lower=lower, ci_upper=upper, df=spread.df, conf_level=level, method="asymp", errors=kind,
        alternative=alternative, notes=notes,
    )  # fmt: skip
    return replace(
        pred, se=shown_se, ci_lower=lower, ci_upper=upper, pi_lower=pi_lower, pi_upper=pi_upper, df=spread.df,
        conf_level=level, method="asymp", inference=inference, cv_fitted=None, cv_residual=None, cv_fold=None,
    )  # fmt: skip


def _spread(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, kind: str, data: pl.DataFrame | None,
    cluster: str | Array | None, new: NewResponse,
) -> _Spread:  # fmt: skip
    X = pred.X_pred
    if pred.conditional:
        return _of_groups(pred, spec, bundle, fit, new)
    reference = row_reference(spec, bundle, fit, kind, data, cluster)
    with np.errstate(invalid="ignore", divide="ignore"):
        se, df = reference.se(X), np.asarray(reference.df(X), float)
    if not spec.has_random_effects:
        return _Spread(se, df, se**2, df, reference.notes)
    if pred.random is None or not new.any:
        return _Spread(se, df, se**2, df, reference.notes)
    from .prediction_variance import mixed_errors

    further = mixed_errors(spec, bundle, fit, pred).further
    total, notes = _total(pred, spec, bundle, fit, new)
    return _Spread(se, df, se**2 + further, total[1], (*reference.notes, *notes))


def _of_groups(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, new: NewResponse
) -> _Spread:
    from .prediction_variance import mixed_errors

    found = mixed_errors(spec, bundle, fit, pred)
    (mean, total), notes = _total(pred, spec, bundle, fit, new)
    known = (KNOWN_GROUPS,) if found.known.any() else ()
    return _Spread(np.sqrt(found.mean), mean, found.mean, total, (*known, *notes))


def _total(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, new: NewResponse
) -> tuple[tuple[Array, Array], tuple[str, ...]]:
    """Degrees of freedom of the mean's variance and of the total one; the normal where there are none."""
    normal = np.full(len(pred.link), np.inf)
    if not spec.is_lmer:
        return (normal, normal), ()
    from .prediction_variance import total_df

    try:
        found = total_df(spec, bundle, fit, pred, np.where(new.possible, new.variance, 0.0))
    except InferenceError as refused:  # limits without t are better than none
        return (normal, normal), (f"z in place of t: {refused.found}",)
    return (found.mean, found.total), ()


def _reach(df: Array, level: float, alternative: str) -> Array:
    """(m,) critical value of t, or of z."""
    tail = next(t for t in tails(level, alternative) if t is not None)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(df), ndtri(1.0 - tail), stdtrit(np.where(np.isinf(df), 1.0, df), 1.0 - tail))


def _mapped(
    pred: PredictionState, spec: ModelSpec, fit: FitState, se: Array, reach: Array, alternative: str
) -> tuple[Array, Array, Array]:
    """Standard error and limits on the scale of ``fitted``."""
    se = np.where(np.isnan(pred.link), np.nan, se)
    return mapped_limits(pred, spec, fit, se, pred.link - reach * se, pred.link + reach * se, alternative)


def mapped_limits(
    pred: PredictionState, spec: ModelSpec, fit: FitState, se: Array, low: Array, high: Array, alternative: str
) -> tuple[Array, Array, Array]:
    """Standard error (delta method) and limits on the scale of ``fitted`` from those of the linear predictor.

    A limit beyond what the link allows is the end of the family's range.
    """
    family = fitted_family(spec, fit)
    curved = pred.on_response and spec.link != "identity"
    ends = family.mean_range if curved else (-np.inf, np.inf)
    if curved:
        bounds = family.eta_bounds
        with np.errstate(all="ignore"):
            slope = family.link.derivative(pred.link)
            a, b = (family.link.inverse(np.clip(side, *bounds)) for side in (low, high))
            low, high, se = np.where(slope < 0, b, a), np.where(slope < 0, a, b), np.abs(slope) * se
    missing = np.isnan(pred.link)
    lower = np.where(missing, np.nan, ends[0] if alternative == "less" else low)
    upper = np.where(missing, np.nan, ends[1] if alternative == "greater" else high)
    return se, lower, upper


def _single(
    pred: PredictionState, spec: ModelSpec, fit: FitState, spread: _Spread, new: NewResponse, level: float,
    alternative: str,
) -> tuple[Array, Array]:  # fmt: skip
    """Limits of a single new response."""
    nothing = np.full(len(pred.link), np.nan)
    if not new.any:
        return nothing, nothing
    if not (spec.is_lm or spec.is_lmer):
        return simulated_limits(spec, fit, pred.link, np.sqrt(spread.single), new, level, alternative)
    half = _reach(spread.single_df, level, alternative) * np.sqrt(spread.single + fit.sigma**2 * new.variance)
    fine = new.possible & np.isfinite(pred.link)
    lower = np.where(fine, -np.inf if alternative == "less" else pred.link - half, np.nan)
    upper = np.where(fine, np.inf if alternative == "greater" else pred.link + half, np.nan)
    return lower, upper
