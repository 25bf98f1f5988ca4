"""Asymptotic (Wald) inference: choose the covariance, choose the reference, and hand both to ``coefficient``.

``errors`` chooses the covariance: "iid" the model's own; "HC0" to "HC4" the sandwich; "hetero" HC3 for
gaussian and HC0 for other families; "unequal_var" a variance per factor cell (Welch); "CR0" to "CR2" whole
clusters that scatter as they like; "kenward-roger" the small-sample covariance of a linear mixed model. The
reference is t with n - p degrees of freedom where the dispersion is estimated, the normal where the family fixes
it, and t with Satterthwaite's df for Welch, clusters and linear mixed models.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.solvers.lstsq import expand_square
from inference_core.states import Array, DataBundle, FitState, InferenceState, ModelSpec
from inference_core.states.prediction import PredictionState
from inference_core.states.profile import ProfileState
from inference_core.states.varying import VaryingSpreadState

from .coefficient import check_level, coefficient_inference, resolve_null
from .intervals.requirements import check_alternative
from .sandwich import (
    CLUSTER_KINDS,
    INFLATION,
    KENWARD_ROGER,
    check_error_type,
    covariance,
    disagreement_note,
    estimable,
    fixed_row_notes,
    hc3_ratio,
    influence_parts,
)
from .spelling import nearest
from .welch import welch_vcov_df

ERROR_TYPES = ("iid", *INFLATION, "hetero", "unequal_var", *CLUSTER_KINDS, KENWARD_ROGER)
_ROUNDING = 1e-12  # a residual SD below this share of the largest response
_Route = tuple[Array, Array | float, tuple[str, ...]]  # covariance, degrees of freedom, notes
REML_NOTE = (
    "the fit is by maximum likelihood; Kenward and Roger's standard errors and degrees of freedom are those at the "
    "REML optimum, method='reml'"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Further:
    """What some errors read beside the fit."""

    data: pl.DataFrame | None
    cluster: str | Array | None


def compute_params_asymptotic(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float,
    errors: str | None = None,
    data: pl.DataFrame | None = None,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    cluster: str | Array | None = None,
) -> InferenceState:
    """Wald inference for the fixed effects of a model: t, z or Satterthwaite's t, with robust errors by name.

    Parameters
    ----------
    spec, bundle, fit
        A fitted model of p columns.
    conf_level : float
        Between 0 and 1.
    errors : str, optional
        "iid" (None means the same), "HC0" to "HC4", "hetero" or "unequal_var"; of a linear mixed model "iid", which
        has Satterthwaite's degrees of freedom, or "kenward-roger"; of both "CR0", "CR1", "CR1S" or "CR2".
    data : polars.DataFrame, optional
        The original frame; "unequal_var" reads the factors' columns from it, and ``cluster`` its own.
    null : float, sequence or mapping
        The values tested: one for all, p of them, or by parameter name.
    alternative : {"two-sided", "greater", "less"}
        One-sided alternatives give one-sided limits; the other one is infinite.
    cluster : str or (n,) array, optional
        Of "CR0" to "CR2": a column, or a label a row. A linear mixed model has its outermost grouping factor.

    Returns
    -------
    InferenceState
        Arrays (p,), NaN for dropped columns; ``df`` is inf where the reference is the normal.

    Raises
    ------
    InferenceError
        Unknown words, a level outside (0, 1), or errors that this model cannot have.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    null = resolve_null(null, bundle.X_names)
    kind = resolve_error_type("iid" if errors is None else errors, spec.family)
    vcov, df, notes = asymptotic_route(spec, bundle, fit, kind, data, cluster)
    se = standard_errors(vcov)
    table = coefficient_inference(fit.coef, se, df, level, null, alternative)
    return InferenceState(
        se=table.se,
        ci_lower=table.ci_lower,
        ci_upper=table.ci_upper,
        statistic=table.statistic,
        df=table.df,
        p_value=table.p_value,
        conf_level=level,
        method="asymp",
        errors=kind,
        null=null,
        alternative=alternative,
        notes=notes + _no_scatter_note(bundle, table.se),
    )


def asymptotic_route(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    errors: str,
    data: pl.DataFrame | None = None,
    cluster: str | Array | None = None,
) -> tuple[Array, Array | float, tuple[str, ...]]:
    """Covariance (p, p), degrees of freedom and notes for canonical ``errors``; the parts of every Wald table."""
    if cluster is not None and errors not in CLUSTER_KINDS:
        raise cluster_without_its_errors(errors, spec)
    return _ROUTES[errors](spec, bundle, fit, _Further(data, cluster), errors)


def cluster_without_its_errors(kind: str, spec: ModelSpec) -> InferenceError:
    """The refusal of clusters beside errors that have no use for them."""
    known = "CR1" if spec.has_random_effects and not spec.is_lmer else "CR2"
    return InferenceError(
        asked=f"cluster= with errors={kind!r}",
        found=f"clusters take part in {', '.join(CLUSTER_KINDS)} alone",
        remedy=f"errors={known!r}, or leave cluster out",
    )


def compute_prediction_asymptotic(
    pred: PredictionState, bundle: DataBundle, fit: FitState, spec: ModelSpec, conf_level: float
) -> PredictionState:
    """Standard errors and limits of predictions; ``infer.prediction_asymptotic`` has the rules and the refusals."""
    from .prediction_asymptotic import predictions_asymptotic

    return predictions_asymptotic(pred, spec, bundle, fit, conf_level)


def resolve_error_type(errors: str, family: str = "gaussian") -> str:
    """The canonical name of an error structure.

    Parameters
    ----------
    errors : str
        "iid", "HC0" to "HC4", "hetero", "unequal_var", "CR0" to "CR2" or "kenward-roger".
    family : str
        "hetero" is HC3 for gaussian, HC0 for every other family.

    Returns
    -------
    str
        "iid", "HC0" to "HC4", "unequal_var", "CR0" to "CR2" or "kenward-roger".

    Raises
    ------
    InferenceError
        An unknown word, with the nearest spelling.
    """
    if errors not in ERROR_TYPES:
        near = nearest(errors, ERROR_TYPES, "errors")
        raise InferenceError(
            asked=f"errors={errors!r}",
            found=f"errors are {', '.join(ERROR_TYPES)}",
            remedy=f"did you mean {near!r}?" if near else "errors='HC3' allows unequal scatter",
        )
    if errors == "hetero":
        return "HC3" if family == "gaussian" else "HC0"
    return errors


def resolve_welch(spec: ModelSpec, bundle: DataBundle, fit: FitState, data: pl.DataFrame | None) -> tuple[Array, Array]:
    """Welch covariance (p, p) and Satterthwaite degrees of freedom (p,), one grouping into cells for both.

    See ``welch.welch_vcov_df`` for the equations and the refusals. ``fit`` is part of the documented
    signature and not needed: cell variances come from the data.
    """
    return welch_vcov_df(spec, bundle, data)


def augment_spread_with_profile_ci(
    spread: VaryingSpreadState, profile: ProfileState, conf_level: float
) -> VaryingSpreadState:
    """Variance components with profile likelihood limits; ``infer.spread`` has the rule and the refusals."""
    from .spread import augment_spread_with_profile_ci as augment

    return augment(spread, profile, conf_level)


def reference_df(spec: ModelSpec, fit: FitState) -> float:
    """N - p where the dispersion is estimated (t), inf where the family fixes it (z)."""
    return np.inf if get_family(spec.family, spec.link).dispersion_known else float(fit.df_resid)


def standard_errors(vcov: Array) -> Array:
    """(p,) roots of the diagonal; rounding below 0 is 0."""
    return np.sqrt(np.maximum(np.diag(vcov), 0.0))


def _iid(spec: ModelSpec, bundle: DataBundle, fit: FitState, further: _Further, kind: str) -> _Route:
    if spec.is_lmer:
        from inference_core.fit.mixed_df import mixed_df

        try:
            return fit.vcov, mixed_df(spec, bundle, fit).satterthwaite(), ()
        except InferenceError as refused:  # a table without t is better than none
            return fit.vcov, np.inf, (f"z in place of t: {refused.found}",)
    if spec.has_random_effects:
        return fit.vcov, np.inf, ()
    return fit.vcov, reference_df(spec, fit), _unequal_scatter_note(spec, bundle, fit)


def _sandwich(spec: ModelSpec, bundle: DataBundle, fit: FitState, further: _Further, kind: str) -> _Route:
    check_error_type(spec, kind)
    parts = influence_parts(spec, bundle, fit)
    vcov = expand_square(covariance(parts, kind), estimable(fit), bundle.p)
    return vcov, reference_df(spec, fit), fixed_row_notes(bundle, fit, parts, kind)


def _cluster(spec: ModelSpec, bundle: DataBundle, fit: FitState, further: _Further, kind: str) -> _Route:
    check_error_type(spec, kind, further.cluster)
    from .cluster_robust import cluster_robust

    robust = cluster_robust(spec, bundle, fit, kind, further.cluster, further.data)
    return robust.vcov, robust.df(), ()


def _kenward_roger(spec: ModelSpec, bundle: DataBundle, fit: FitState, further: _Further, kind: str) -> _Route:
    check_error_type(spec, kind)
    from inference_core.fit.mixed_df import mixed_df

    found = mixed_df(spec, bundle, fit)
    notes = () if spec.method == "reml" else (REML_NOTE,)
    return found.vcov_kenward_roger, found.kenward_roger(), notes


def _welch(spec: ModelSpec, bundle: DataBundle, fit: FitState, further: _Further, kind: str) -> _Route:
    return *resolve_welch(spec, bundle, fit, further.data), ()


_ROUTES = MappingProxyType(
    {
        "iid": _iid,
        "unequal_var": _welch,
        **dict.fromkeys(INFLATION, _sandwich),
        **dict.fromkeys(CLUSTER_KINDS, _cluster),
        KENWARD_ROGER: _kenward_roger,
    }
)


def _unequal_scatter_note(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> tuple[str, ...]:
    if spec.has_random_effects or fit.df_resid <= 0 or fit.is_separated:
        return ()
    if spec.is_lm and fit.sigma <= _ROUNDING * np.abs(bundle.y).max():
        return ()  # a perfect fit: the scatter is rounding
    note = disagreement_note(bundle, hc3_ratio(spec, bundle, fit))
    return () if note is None else (note,)


def _no_scatter_note(bundle: DataBundle, se: Array) -> tuple[str, ...]:
    still = [name for name, value in zip(bundle.X_names, se, strict=True) if value == 0.0]
    return (f"the standard error of {', '.join(still)} is 0: there is no test of it",) if still else ()
