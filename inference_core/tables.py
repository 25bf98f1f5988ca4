"""Frozen states -> polars frames. Tables hold full double precision; rounding belongs to display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from .states import (
    DRAW_REASONS,
    CVState,
    DataBundle,
    FitState,
    InferenceState,
    JointTestState,
    MeeState,
    ModelSpec,
    ResamplesState,
)

if TYPE_CHECKING:
    from .states.prediction import PredictionState
    from .states.varying import VaryingSpreadState, VaryingState

# A frame's cell is null, never NaN, where there is nothing to report (a column that the design dropped).
_EMPTY = None


def _column(values: np.ndarray | None, p: int) -> pl.Series:
    if values is None:
        return pl.Series([_EMPTY] * p, dtype=pl.Float64)
    return pl.Series(np.asarray(values, float), dtype=pl.Float64).fill_nan(None)


def params_table(bundle: DataBundle, fit: FitState, inference: InferenceState | None) -> pl.DataFrame:
    """One row per design column.

    Columns ``term, estimate`` after a fit; with inference also ``se, ci_lower, ci_upper, statistic, df, p_value``.
    ``df`` is a reference distribution's (inf for the normal) or null, never a number of resamples. After
    cross-validation ``term, estimate, pre, pre_sd, pre_ratio``.
    """
    p = len(bundle.X_names)
    frame: dict[str, object] = {"term": list(bundle.X_names), "estimate": _column(fit.coef, p)}
    if inference is not None and inference.method == "cv":
        worth = {name: _column(getattr(inference, name), p) for name in ("pre", "pre_sd", "pre_ratio")}
        return pl.DataFrame(frame | worth)
    if inference is not None:
        for name in ("se", "ci_lower", "ci_upper", "statistic", "df", "p_value"):
            frame[name] = _column(getattr(inference, name), p)
    return pl.DataFrame(frame)


def joint_table(joint: JointTestState) -> pl.DataFrame:
    """One row per test: ``term, df1, df2, statistic, p_value``; the statistic is F, or chi-square where df2 is inf."""
    numbers = {name: _column(getattr(joint, name), len(joint.terms)) for name in ("df1", "df2", "statistic", "p_value")}
    return pl.DataFrame({"term": list(joint.terms), **numbers})


def effects_table(mee: MeeState) -> pl.DataFrame:
    """One row per effect: its labels, then ``estimate``; with inference also ``se`` to ``p_value``, as ``params``."""
    m = len(mee.estimate)
    numbers: dict[str, object] = {"estimate": _column(mee.estimate, m)}
    if mee.inference is not None:
        for name in ("se", "ci_lower", "ci_upper", "statistic", "df", "p_value"):
            numbers[name] = _column(getattr(mee.inference, name), m)
    return pl.concat([mee.grid, pl.DataFrame(numbers)], how="horizontal")


def predictions_table(pred: PredictionState) -> pl.DataFrame:
    """One row per row predicted: its columns and ``fitted``; after inference ``se`` and two kinds of limits.

    After cross-validation ``cv_fitted, cv_residual, cv_fold``. A column of the rows with one of these names gives way.
    """
    m = len(pred.fitted)
    numbers: dict[str, pl.Series] = {"fitted": _column(pred.fitted, m)}
    if pred.method in ("asymp", "boot"):
        for name in ("se", "ci_lower", "ci_upper", "pi_lower", "pi_upper"):
            numbers[name] = _column(getattr(pred, name), m)
    if pred.cv_fold is not None:
        numbers |= {name: _column(getattr(pred, name), m) for name in ("cv_fitted", "cv_residual")}
        numbers["cv_fold"] = pl.Series(pred.cv_fold, dtype=pl.Int64)
    rows = pred.grid.select([name for name in pred.grid.columns if name not in numbers])
    return pl.concat([rows, pl.DataFrame(numbers)], how="horizontal") if rows.width else pl.DataFrame(numbers)


Limits = tuple[list[float], list[float]] | None


def spread_table(spec: ModelSpec, bundle: DataBundle, fit: FitState, limits: Limits = None) -> pl.DataFrame:
    """Variances and SDs of the random effects, and of the residual where the family has one to estimate.

    ``group, term, variance, sd``, and ``sd_ci_lower, sd_ci_upper`` where limits are known.
    """
    from .families import get_family
    from .fit.varcomp import varcorr_table

    rows = _with_limits(varcorr_table(bundle, fit), limits).filter(pl.col("term2").is_null())
    if get_family(spec.family, spec.link).dispersion_known:
        rows = rows.filter(pl.col("term").is_not_null())
    named = rows.select("group", pl.col("term").fill_null(""), variance="vcov", sd="sdcor")
    return named if limits is None else named.with_columns(sd_ci_lower=rows["lower"], sd_ci_upper=rows["upper"])


def correlation_table(bundle: DataBundle, fit: FitState, limits: Limits = None) -> pl.DataFrame:
    """Covariances and correlations of random effects: ``group, term, term2, covariance, correlation``, limits."""
    from .fit.varcomp import varcorr_table

    rows = _with_limits(varcorr_table(bundle, fit), limits).filter(pl.col("term2").is_not_null())
    named = rows.select("group", "term", "term2", covariance="vcov", correlation="sdcor")
    return named if limits is None else named.with_columns(ci_lower=rows["lower"], ci_upper=rows["upper"])


def varying_table(varying: VaryingState, *, cond_sd: bool = False) -> pl.DataFrame:
    """Groups as a long frame: ``group, level, term, estimate``, and ``se, ci_lower, ci_upper`` where there are any.

    One row per grouping factor, level and effect, the effects of a level together; ``cond_sd`` adds a column of it.
    """
    shown = {"estimate": varying.effects}
    shown |= {"cond_sd": varying.cond_sd} if cond_sd else {}
    if varying.conf_level is not None:
        shown |= {"se": varying.se, "ci_lower": varying.pi_lower, "ci_upper": varying.pi_upper}
    terms = list(varying.effects)
    r, k = varying.grid.height, len(terms)
    has = ~np.isnan(np.column_stack([varying.cond_sd[term] for term in terms])).ravel()
    rows = np.repeat(np.arange(r), k)[has]
    frame = varying.grid[rows].with_columns(term=pl.Series(np.tile(np.array(terms), r)[has].tolist(), dtype=pl.String))
    return frame.with_columns(
        **{name: _column(np.column_stack([of[term] for term in terms]).ravel()[has], 0) for name, of in shown.items()}
    )


def _with_limits(rows: pl.DataFrame, limits: Limits) -> pl.DataFrame:
    if limits is None:
        return rows
    # families without a dispersion have no limits of the residual, which is the last row
    short = [_EMPTY] * (len(rows) - len(limits[0]))
    lower, upper = (pl.Series([*side, *short], dtype=pl.Float64).fill_nan(None) for side in limits)
    return rows.with_columns(lower=lower, upper=upper)


def limits_in_component_order(spread: VaryingSpreadState) -> tuple[list[float], list[float]]:
    """Limits of SDs and correlations without those of the variances: the rows of ``fit.varcomp.varcorr_table``."""
    shown = (spread.components["metric"] != "variance").to_numpy()
    assert spread.ci_lower is not None and spread.ci_upper is not None  # the caller has looked
    return list(spread.ci_lower[shown]), list(spread.ci_upper[shown])


def monte_carlo_table(bundle: DataBundle, inference: InferenceState) -> pl.DataFrame:
    """Monte-Carlo standard errors of what was simulated: ``term`` and one column per quantity."""
    p = len(bundle.X_names)
    columns = {f"{name}_mcse": _column(values, p) for name, values in inference.mcse.items()}
    return pl.DataFrame({"term": list(bundle.X_names), **columns})


def cv_table(cv: CVState) -> pl.DataFrame:
    """One row per score: ``metric, pooled, fold_mean, fold_sd``; null where a score has no such number."""
    names = list(dict.fromkeys((*cv.metrics, *cv.fold_metrics)))
    folds = [_known(cv.fold_metrics.get(name)) for name in names]
    return pl.DataFrame(
        {
            "metric": names,
            "pooled": _column(np.array([cv.metrics.get(name, np.nan) for name in names]), 0),
            "fold_mean": _column(np.array([x.mean() if x.size else np.nan for x in folds]), 0),
            "fold_sd": _column(np.array([x.std(ddof=1) if x.size > 1 else np.nan for x in folds]), 0),
        }
    )


def _known(values: np.ndarray | None) -> np.ndarray:
    return np.empty(0) if values is None else np.asarray(values, float)[np.isfinite(values)]


def cv_scores(cv: CVState) -> dict[str, pl.Expr]:
    """Pooled scores as columns ``cv_rmse, cv_mae, cv_rsquared, ...``; R2 by deviance where the family is not normal."""
    scores = {f"cv_{name}": value for name, value in cv.metrics.items() if name != "n"}
    scores["cv_rsquared"] = cv.metrics.get("r2_deviance", cv.metrics.get("r2", float("nan")))
    return {name: pl.lit(value if np.isfinite(value) else None, dtype=pl.Float64) for name, value in scores.items()}


def cv_folds_table(cv: CVState) -> pl.DataFrame:
    """One row per fold: ``repeat, fold, n``, then one column per score."""
    frame: dict[str, object] = {
        "repeat": np.repeat(np.arange(cv.repeats), cv.k),
        "fold": np.tile(np.arange(cv.k), cv.repeats),
    }
    for name, values in cv.fold_metrics.items():
        frame[name] = np.asarray(values).astype(np.int64) if name == "n" else _column(values, 0)
    return pl.DataFrame(frame)


def cv_terms_table(cv: CVState) -> pl.DataFrame:
    """One row per source term: ``term, pre, pre_sd, pre_se, ci_lower, ci_upper, pre_ratio, without``."""
    text = ("term", "without")
    return pl.DataFrame(
        {
            name: pl.Series(values, dtype=pl.String) if name in text else _column(values, 0)
            for name, values in cv.terms.items()
        }
    )


def cv_predictions_table(cv: CVState) -> pl.DataFrame:
    """One row per held-out row: ``repeat, fold, row, observed, prediction, residual``; rows of the data from 0."""
    assert cv.assignment is not None and cv.predictions is not None and cv.y is not None and cv.rows is not None
    R, n = cv.assignment.shape
    y = np.tile(cv.y, R)
    prediction = cv.predictions.ravel()
    return pl.DataFrame(
        {
            "repeat": np.repeat(np.arange(R), n), "fold": cv.assignment.ravel(), "row": np.tile(cv.rows, R),
            "observed": y, "prediction": _column(prediction, 0), "residual": _column(y - prediction, 0),
        }
    )  # fmt: skip


def resamples_table(resamples: ResamplesState) -> pl.DataFrame:
    """One row per draw: ``draw`` (0-based), ``status`` in words, then one column per statistic."""
    words = np.array([DRAW_REASONS[code] for code in range(len(DRAW_REASONS))])
    frame: dict[str, object] = {"draw": np.arange(len(resamples.samples)), "status": words[resamples.status].tolist()}
    frame |= {name: _column(resamples.samples[:, j], 0) for j, name in enumerate(resamples.names)}
    return pl.DataFrame(frame)


def text_table(frame: pl.DataFrame, digits: int = 4) -> str:
    """A frame as aligned plain text with ``digits`` significant digits: for ``repr``, never for computing."""
    cells = [[name, *(_show(v, digits) for v in frame[name].to_list())] for name in frame.columns]
    widths = [max(map(len, column)) for column in cells]
    lines = []
    for i in range(len(frame) + 1):
        first, *rest = (column[i] for column in cells)
        lines.append("  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]))
    return "\n".join(line.rstrip() for line in lines)


def _show(value: object, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
