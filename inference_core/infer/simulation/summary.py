"""What simulated responses come to, row by row: mean, SD and quantiles with their Monte-Carlo errors."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.infer.coefficient import check_level
from inference_core.infer.intervals.order import OrderedDraws
from inference_core.states import Array, DataBundle, SimulationInferenceState

_SIMULATION = re.compile(r"sim_\d+")


def compute_simulation_inference(simulations: pl.DataFrame, conf_level: float) -> SimulationInferenceState:
    """Mean, SD and quantiles of every row over its simulated responses.

    Parameters
    ----------
    simulations : polars.DataFrame
        n rows; the columns ``sim_1, sim_2, ...`` are simulations, others are left alone. A null is no response; a
        simulation without any is left out.
    conf_level : float
        Of the outer quantiles, between 0 and 1: 0.95 gives those at 0.025, 0.5 and 0.975.

    Returns
    -------
    SimulationInferenceState
        ``sim_type`` "post_fit"; or "generated", with nothing else, where no column is a simulation.

    Raises
    ------
    InferenceError
        One simulation alone, or a level outside (0, 1).

    Notes
    -----
    Quantiles of a row whose draws repeat (counts, proportions) are values that were drawn; others lie between two
    draws as in ``boot.ci``. The Monte-Carlo error of the SD is that of its square by the fourth moment, halved over
    the SD.
    """
    level = check_level(conf_level)
    names = simulation_columns(simulations)
    if not names:
        return SimulationInferenceState(sim_type="generated", n_sims=1)
    draws = simulations.select(names).cast(pl.Float64).to_numpy()
    draws = draws[:, ~np.isnan(draws).all(axis=0)]
    B = draws.shape[1]
    if B < 2:
        raise InferenceError(
            asked="mean, sd and quantiles of simulated responses",
            found=f"{B} simulation{'s' if B != 1 else ''}: nothing to take an SD of",
            remedy="m.simulate(nsim=200).infer()",
        )
    rows = np.flatnonzero(~np.isnan(draws).any(axis=1))
    kept = draws[rows]
    mean, sd = kept.mean(axis=1), kept.std(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fourth = ((kept - mean[:, None]) ** 4).mean(axis=1)
        sd_error = np.where(sd > 0, np.sqrt(np.maximum(fourth - sd**4, 0.0) / B) / (2.0 * sd), 0.0)
    tail = 0.5 * (1.0 - level)
    levels = (tail, 0.5, 1.0 - tail)
    ordered = OrderedDraws.of(kept.T)
    n = draws.shape[0]
    return SimulationInferenceState(
        sim_type="post_fit",
        n_sims=B,
        sim_mean=_over_rows(mean, rows, n),
        sim_sd=_over_rows(sd, rows, n),
        sim_quantiles={q: _over_rows(_quantile(ordered, q), rows, n) for q in levels},
        conf_level=level,
        mcse={
            "mean": _over_rows(sd / np.sqrt(B), rows, n),
            "sd": _over_rows(sd_error, rows, n),
            **{f"quantile_{q:g}": _over_rows(ordered.quantile_mcse(q), rows, n) for q in levels},
        },
    )


def simulation_columns(frame: pl.DataFrame) -> list[str]:
    """Names of the columns that are simulations."""
    return [name for name in frame.columns if _SIMULATION.fullmatch(name)]


def simulation_summary(state: SimulationInferenceState, bundle: DataBundle) -> pl.DataFrame:
    """One row per row used: ``row, observed, mean, sd, lower, median, upper`` and the Monte-Carlo errors."""
    assert state.sim_mean is not None and state.sim_sd is not None and state.sim_quantiles is not None
    used = np.flatnonzero(bundle.valid_mask)
    low, middle, high = state.sim_quantiles
    columns = {
        "mean": state.sim_mean, "sd": state.sim_sd, "lower": state.sim_quantiles[low],
        "median": state.sim_quantiles[middle], "upper": state.sim_quantiles[high],
        "mean_mcse": state.mcse["mean"], "sd_mcse": state.mcse["sd"],
        "lower_mcse": state.mcse[f"quantile_{low:g}"], "upper_mcse": state.mcse[f"quantile_{high:g}"],
    }  # fmt: skip
    table = pl.DataFrame({"row": used, "observed": bundle.y} | {k: v[used] for k, v in columns.items()})
    return table.with_columns(pl.col(*columns).fill_nan(None))


def _over_rows(values: Array, rows: Array, n: int) -> Array:
    """(n,) values of the rows that have one, NaN elsewhere."""
    out = np.full(n, np.nan)
    out[rows] = values
    return out


def _quantile(ordered: OrderedDraws, level: float) -> Array:
    values = ordered.values
    tied = (values[:, 1:] == values[:, :-1]).any(axis=1)
    drawn = values[:, max(int(np.ceil(level * ordered.size - 1e-9)), 1) - 1]
    return np.where(tied, drawn, ordered.quantile(level))
