"""Frozen states -> polars frames. Tables hold full double precision; rounding belongs to display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from .states import DRAW_REASONS, DataBundle, FitState, InferenceState, ModelSpec, ResamplesState

if TYPE_CHECKING:
    from .states.varying import VaryingSpreadState

# A frame's cell is null, never NaN, where there is nothing to report (a column that the design dropped).
_EMPTY = None


def _column(values: np.ndarray | None, p: int) -> pl.Series:
    if values is None:
        return pl.Series([_EMPTY] * p, dtype=pl.Float64)
    return pl.Series(np.asarray(values, float), dtype=pl.Float64).fill_nan(None)


def params_table(bundle: DataBundle, fit: FitState, inference: InferenceState | None) -> pl.DataFrame:
    """One row per design column.

    Columns ``term, estimate`` after a fit; with inference also ``se, ci_lower, ci_upper, statistic, df, p_value``.
    ``df`` is a reference distribution's (inf for the normal) or null, never a number of resamples.
    """
    p = len(bundle.X_names)
    frame: dict[str, object] = {"term": list(bundle.X_names), "estimate": _column(fit.coef, p)}
    if inference is not None:
        for name in ("se", "ci_lower", "ci_upper", "statistic", "df", "p_value"):
            frame[name] = _column(getattr(inference, name), p)
    return pl.DataFrame(frame)


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
