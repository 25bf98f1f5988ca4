"""Does the fitted model make data like those it was fitted to? Statistics of the data beside simulated ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.infer.coefficient import check_level
from inference_core.infer.spelling import nearest
from inference_core.states import Array, DataBundle

from .summary import simulation_columns

Statistic = Callable[[Array], float]


def _sd(y: Array) -> float:
    return float(np.std(y, ddof=1))


def _zeros(y: Array) -> float:
    return float(np.count_nonzero(y == 0))


STATISTICS: Mapping[str, Statistic] = MappingProxyType(
    {"mean": np.mean, "sd": _sd, "min": np.min, "max": np.max, "zeros": _zeros, "median": np.median}
)
USUAL = ("mean", "sd", "min", "max", "zeros")


def simulation_check(
    observed: Array,
    simulated: Array,
    statistics: str | Sequence[str] | Mapping[str, Statistic] | None = None,
    conf_level: float = 0.95,
) -> pl.DataFrame:
    """Where statistics of the data lie among those of simulated data.

    Parameters
    ----------
    observed : (m,)
        The response.
    simulated : (m, B)
        Simulated responses of the same rows.
    statistics : str, sequence of str, or mapping
        Names among mean, sd, min, max, zeros (how many), median; or ``{"name": function}`` with functions of a
        response (m,). None: the first five.
    conf_level : float
        Of ``lower`` and ``upper``, the quantiles of the simulated statistic.

    Returns
    -------
    polars.DataFrame
        ``statistic, observed, mean, sd, lower, upper, share_above, p_value, p_value_mcse``. ``share_above`` is the
        share of simulations above the data, ties counted half; ``p_value`` is twice the smaller tail, the data counted
        as one simulation. It is no test at a fixed level: the model was fitted to the same data, so that values far
        from 0 say little, and what the fit matches by construction (the mean) says nothing.

    Raises
    ------
    InferenceError
        Unknown names, a function that gives no number, fewer than 2 simulations.
    """
    level = check_level(conf_level)
    chosen = _chosen(statistics)
    B = simulated.shape[1]
    if B < 2:
        raise InferenceError(
            "a check against simulations", f"{B} simulation{'s' if B != 1 else ''}", "m.simulate(nsim=200) first"
        )
    tail = 0.5 * (1.0 - level)
    rows = []
    for name, function in chosen.items():
        at = _number(name, function, observed)
        draws = np.array([_number(name, function, y) for y in simulated.T])
        slack = 1e-12 * max(1.0, abs(at))  # sums of the same numbers in another order
        above, below = np.count_nonzero(draws > at + slack), np.count_nonzero(draws < at - slack)
        ties = B - above - below
        p = min(1.0, 2.0 * (min(above, below) + ties + 1) / (B + 1))
        half = 0.5 * p
        rows.append({
            "statistic": name, "observed": at, "mean": draws.mean(), "sd": draws.std(ddof=1),
            "lower": np.quantile(draws, tail), "upper": np.quantile(draws, 1.0 - tail),
            "share_above": (above + 0.5 * ties) / B, "p_value": p,
            "p_value_mcse": 2.0 * np.sqrt(half * (1.0 - half) / B) if p < 1.0 else 0.0,
        })  # fmt: skip
    return pl.DataFrame(rows)


def check_of_model(bundle: DataBundle, simulations: pl.DataFrame, statistics: Any, conf_level: float) -> pl.DataFrame:
    """:func:`simulation_check` of a model's response against the frame of its simulations."""
    draws = simulations.select(simulation_columns(simulations)).cast(pl.Float64).to_numpy()[bundle.valid_mask]
    draws = draws[:, ~np.isnan(draws).all(axis=0)]
    rows = ~np.isnan(draws).any(axis=1)
    observed, draws = bundle.y[rows], draws[rows]
    if statistics is None and not (observed == 0).any() and not (draws == 0).any():
        statistics = [name for name in USUAL if name != "zeros"]
    return simulation_check(observed, draws, statistics, conf_level)


def _chosen(statistics: Any) -> dict[str, Statistic]:
    if statistics is None:
        return {name: STATISTICS[name] for name in USUAL}
    if isinstance(statistics, Mapping):
        for name, function in statistics.items():
            if not callable(function):
                raise InferenceError(
                    f"the statistic {name!r}", f"{function!r} is no function", f"{{{str(name)!r}: lambda y: y.max()}}"
                )
        return {str(name): function for name, function in statistics.items()}
    names = [statistics] if isinstance(statistics, str) else list(statistics)
    for name in names:
        if name not in STATISTICS:
            near = nearest(name, STATISTICS)
            raise InferenceError(
                f"the statistic {name!r}",
                f"statistics known by name are {', '.join(STATISTICS)}",
                f"did you mean {near!r}?" if near else "give a function, {'range': lambda y: y.max() - y.min()}",
            )
    return {name: STATISTICS[name] for name in names}


def _number(name: str, function: Statistic, y: Array) -> float:
    value = np.asarray(function(y))
    if value.size != 1 or not np.issubdtype(value.dtype, np.number) or not np.isfinite(value).all():
        raise InferenceError(
            f"the statistic {name!r}",
            f"it gives {value!r} for one response of {y.size} numbers",
            "a function of a response (m,) that returns one finite number",
        )
    return float(value.reshape(()))
