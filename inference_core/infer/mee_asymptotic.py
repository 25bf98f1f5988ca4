"""Wald inference for marginal effects: exact on the scale where an effect is linear, the delta method where it is not.

Means and ratios on the response scale are tested and bounded on the scale of the linear predictor, and their limits are
mapped; their standard errors are by the delta method. Differences of means on a curved scale, and averages over rows,
have the delta method alone. Source: Lenth (2016), emmeans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.marginal.maps import falls, map_named, mapped, to_link
from inference_core.marginal.multiplicity import Adjusted, Family, adjust
from inference_core.states import Array, DataBundle, FitState, InferenceState, MeeState, ModelSpec, RowFamily

from .asymptotic import resolve_error_type
from .coefficient import check_level
from .denominators import RowReference, row_reference
from .intervals.requirements import check_alternative

MAX_TOGETHER = 2_000  # rows of a family whose correlations are formed
_ALL_PAIRS = ("pairwise", "revpairwise")


@dataclass(frozen=True, slots=True, eq=False)
class Wald:
    """Rows on the scale on which they are tested: the link scale of a linear row, the effect's own of any other."""

    estimate: Array  # (m,)
    rows: Array  # (m, p) weights, or the Jacobian
    null: Array  # (m,) on the same scale
    shown_null: Array  # (m,) on the scale of the effect
    note: str | None


def compute_mee_asymptotic(
    mee: MeeState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None = None,
    conf_level: float = 0.95,
    errors: str = "iid",
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    cluster: str | Array | None = None,
) -> MeeState:
    """Standard errors, tests and limits of marginal effects, adjusted as the question asked.

    Parameters
    ----------
    mee : MeeState
        From ``marginal.explore``.
    spec, bundle, fit, data
        The fitted model and its original frame.
    conf_level : float
        Between 0 and 1; of all intervals of a family together where they are adjusted.
    errors, cluster
        As in ``asymptotic.compute_params_asymptotic``.
    null : float or (m,) array
        On the scale of the effects. 0 stands for "no effect": a ratio of 1, and for a mean that cannot be 0 the
        response where the linear predictor is 0; the notes say which.
    alternative : {"two-sided", "greater", "less"}

    Returns
    -------
    MeeState
        With ``inference`` and ``adjusted``.

    Raises
    ------
    InferenceError
        Errors that this model cannot have, a null outside the range of the effect, an adjustment that these rows do
        not have.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    kind = resolve_error_type(errors, spec.family)
    reference = row_reference(spec, bundle, fit, kind, data, cluster)
    wald = wald_rows(mee, spec, fit, null)
    side = inner_alternative(mee, spec, fit, alternative)
    se = reference.se(wald.rows)
    known = mee.estimable & np.isfinite(wald.estimate)
    df = np.where(known, _df(reference, wald.rows), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(known & (se > 0), (wald.estimate - wald.null) / se, np.nan)
    adjusted = [
        adjust(_family(f, mee, statistic, df, wald.rows, reference), mee.p_adjust, level, side)
        for f in mee.families
    ]
    p_value, critical = _spread(mee, adjusted)
    lower = np.where(known, -np.inf if side == "less" else wald.estimate - critical * se, np.nan)
    upper = np.where(known, np.inf if side == "greater" else wald.estimate + critical * se, np.nan)
    shown_se, lower, upper = on_the_effect_scale(mee, spec, fit, wald, se, lower, upper)
    of_families = dict.fromkeys(note for found in adjusted for note in found.notes)
    notes = [*reference.notes, *([wald.note] if wald.note else []), *of_families]
    inference = InferenceState(
        se=np.where(known, shown_se, np.nan), ci_lower=lower, ci_upper=upper, statistic=statistic, df=df,
        p_value=p_value, conf_level=level, method="asymp", errors=kind, null=wald.shown_null, alternative=alternative,
        notes=tuple(notes),
    )  # fmt: skip
    words = dict.fromkeys(a.words for a in adjusted)
    return replace(mee, inference=inference, adjusted="; ".join(words) or "not adjusted")


def inner_alternative(mee: MeeState, spec: ModelSpec, fit: FitState, alternative: str) -> str:
    """The alternative on the scale of the tests: the other side where the map turns around."""
    if mee.L is None or not falls(mee.monotone, fitted_family(spec, fit)):
        return alternative
    return {"greater": "less", "less": "greater"}.get(alternative, alternative)


def wald_rows(mee: MeeState, spec: ModelSpec, fit: FitState, null: float | Array = 0.0) -> Wald:
    """Estimates, weights and nulls on the scale of the tests."""
    given = np.broadcast_to(np.asarray(null, float), mee.estimate.shape)
    if mee.L is None:
        assert mee.jacobian is not None
        given, note = _ratio_null(mee, given)
        return Wald(mee.estimate, np.nan_to_num(mee.jacobian), given, given, note)
    eta = np.nan_to_num(mee.L) @ np.nan_to_num(fit.coef)
    if mee.shift is not None:
        eta = eta + mee.shift
    rows = np.nan_to_num(mee.L)
    if mee.monotone == "identity":
        return Wald(eta, rows, given, given, None)
    inner, shown, note = to_link(mee.monotone, spec, fitted_family(spec, fit), given)
    return Wald(eta, rows, inner, shown, note)


def _ratio_null(mee: MeeState, given: Array) -> tuple[Array, str | None]:
    if mee.type != "comparisons" or np.any(given != 0):
        if mee.type == "comparisons" and np.any(given <= 0):
            raise InferenceError(f"null={given.min():g} for a ratio", "ratios are above 0", "null=1 is no difference")
        return given, None
    return np.ones_like(given), "ratios are tested against 1"


def _df(reference: RowReference, rows: Array) -> Array:
    """Degrees of freedom of rows; a row of zeros has none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(reference.df(rows), float)


def _family(
    family: RowFamily, mee: MeeState, statistic: Array, df: Array, rows: Array, reference: RowReference
) -> Family:
    own = rows[family.rows]
    fine = np.isfinite(statistic[family.rows])
    correlation, rank = np.zeros((0, 0)), 0
    if mee.p_adjust == "mvt" and fine.sum() > 1:
        if len(own) > MAX_TOGETHER:
            raise InferenceError(
                asked=f"p_adjust='mvt' of {len(own):,} rows", found=f"the limit is {MAX_TOGETHER:,} rows a family",
                remedy="explore(..., p_adjust='bonferroni'), or fewer values",
            )  # fmt: skip
        covariance = own @ reference.vcov @ own.T
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        correlation = covariance / np.outer(scale, scale)
    if mee.p_adjust == "scheffe" and fine.any():
        rank = int(np.linalg.matrix_rank(own[fine]))
    return Family(
        statistic=statistic[family.rows],
        df=df[family.rows],
        correlation=correlation,
        rank=rank,
        pairs=family.n_means if family.method in _ALL_PAIRS else 0,
    )


def _spread(mee: MeeState, adjusted: list[Adjusted]) -> tuple[Array, Array]:
    p, critical = np.full(mee.estimate.shape, np.nan), np.full(mee.estimate.shape, np.nan)
    for family, found in zip(mee.families, adjusted, strict=True):
        p[family.rows], critical[family.rows] = found.p_value, found.critical
    return p, critical


def on_the_effect_scale(
    mee: MeeState, spec: ModelSpec, fit: FitState, wald: Wald, se: Array, lower: Array, upper: Array
) -> tuple[Array, Array, Array]:
    """Standard errors by the delta method, and limits through the map, of rows that have one."""
    if mee.L is None or mee.monotone == "identity":
        return se, lower, upper
    family = fitted_family(spec, fit)
    _, derivative = map_named(mee.monotone, spec, family)
    ends = np.sort([mapped(mee.monotone, spec, family, limit) for limit in (lower, upper)], axis=0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return np.abs(derivative(wald.estimate)) * se, ends[0], ends[1]
