"""The table of a power study: power, coverage, bias and rmse of each coefficient, with Monte-Carlo errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.infer.distributions import critical_value, tail_probability
from inference_core.states import DRAW_OK, DRAW_REASONS, Array, SimulationInferenceState

from .truth import INTERCEPT

if TYPE_CHECKING:
    from .power import PowerStream

MEASURES = ("power", "coverage", "bias", "rmse")


def power_state(
    stream: PowerStream, names: Sequence[str], beta: Sequence[Array], store: Sequence[Mapping[str, Array]],
    *, cancelled: bool,
) -> SimulationInferenceState:  # fmt: skip
    """Sum up what was computed.

    Raises
    ------
    InferenceError
        Not one refit of a cell gave an estimate.
    """
    shown = stream.terms or tuple(name for name in names if name not in INTERCEPT) or tuple(names)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for cell, truth, found in zip(stream.cells, beta, store, strict=True):
        done = found["status"] >= 0
        ok = found["status"] == DRAW_OK
        failed = int(np.count_nonzero(done & ~ok))
        if done.any() and not ok.any():
            codes = ", ".join(DRAW_REASONS[int(code)] for code in np.unique(found["status"][done]))
            raise InferenceError(
                f"power with {_where(cell.labels)}",
                f"not one of {int(done.sum()):,} data sets gave an estimate ({codes})",
                "more rows, a smaller effect, or fewer terms",
            )
        if failed > 0.1 * max(int(done.sum()), 1):
            share = f"{failed:,} of {int(done.sum()):,} refits failed"
            notes.append(f"{_where(cell.labels)}: {share}; the numbers rest on the others")
        for name in shown:
            j = list(names).index(name)
            row = dict(cell.labels) | {"term": name, "truth": float(truth[j])}
            row |= _measures(stream, found, j, float(truth[j]), ok)
            rows.append(row | {"n_sims": int(np.count_nonzero(ok)), "n_failed": failed})
    table = pl.DataFrame(rows, infer_schema_length=None)
    numbers = [name for name in table.columns if table[name].dtype == pl.Float64]
    table = table.with_columns(pl.col(numbers).fill_nan(None))
    columns: dict[str, Any] = {name: table[name].cast(pl.Float64).to_numpy() for name in MEASURES}
    return SimulationInferenceState(
        sim_type="power", n_sims=stream.nsim, **columns, conf_level=stream.conf_level,
        mcse={name: table[f"{name}_mcse"].cast(pl.Float64).to_numpy() for name in MEASURES}, table=table,
        seed=stream.rng.seed, cancelled=cancelled, notes=tuple(notes),
    )  # fmt: skip


def _measures(stream: PowerStream, found: Mapping[str, Array], j: int, truth: float, ok: Array) -> dict[str, float]:
    """Of one coefficient: each number and its Monte-Carlo standard error.

    ``power`` is the share of data sets with p below 1 - conf_level; where the truth is 0 that is the type I error.
    ``mean_significant`` is the mean estimate among those with the right sign, ``wrong_sign`` the share of them with the
    wrong one.
    """
    at = np.flatnonzero(ok)
    design = at % stream.n_designs
    names = (*MEASURES, "mean_estimate", "sd_estimate", "mean_se", "mean_significant", "wrong_sign")
    if not at.size:
        return dict.fromkeys([n for m in names for n in ((m, f"{m}_mcse") if m in MEASURES else (m,))], np.nan)
    est, se, df = found["coef"][at, j], found["se"][at, j], found["df"][at, j]
    with np.errstate(divide="ignore", invalid="ignore"):
        p = tail_probability(est / se, df, stream.alternative)
    significant = p < 1.0 - stream.conf_level
    reach = critical_value(stream.conf_level, df, stream.alternative) * se
    error = est - truth
    covered = np.abs(error) <= reach if stream.alternative == "two-sided" else (
        error <= reach if stream.alternative == "greater" else -error <= reach
    )  # fmt: skip
    square = error**2
    rmse = float(np.sqrt(square.mean()))
    right = significant & (np.sign(est) == np.sign(truth))
    D = stream.n_designs
    return {
        "power": float(significant.mean()), "power_mcse": _mcse(significant, design, D),
        "coverage": float(covered.mean()), "coverage_mcse": _mcse(covered, design, D),
        "bias": float(error.mean()), "bias_mcse": _mcse(error, design, D),
        "rmse": rmse, "rmse_mcse": _mcse(square, design, D) / (2.0 * rmse) if rmse > 0 else 0.0,
        "mean_estimate": float(est.mean()), "sd_estimate": float(est.std(ddof=1)) if at.size > 1 else np.nan,
        "mean_se": float(se.mean()),
        "mean_significant": float(est[right].mean()) if truth != 0 and right.any() else np.nan,
        "wrong_sign": float((significant & ~right).sum() / significant.sum())
        if truth != 0 and significant.any() else np.nan,
    }  # fmt: skip


def _mcse(values: Array, design: Array, D: int) -> float:
    """Standard error of the mean of values (b,); data sets of one sample of the predictors go together.

    For shares where every data set agrees, that of one more that does not, (1/2) / b, rather than 0.
    """
    values = np.asarray(values, dtype=float)
    b = values.size
    if b < 2:
        return float("nan")
    centred = values - values.mean()
    alone = float(np.sqrt(np.sum(centred**2) / (b - 1) / b))
    if alone == 0.0 and np.all(np.isin(values, (0.0, 1.0))):
        return 0.5 / b
    if D == 1:
        return alone
    sums = np.bincount(design, centred, D)
    return max(alone, float(np.sqrt(np.sum(sums**2) * D / (D - 1)) / b))


def _where(labels: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in labels.items()) or "these numbers"
