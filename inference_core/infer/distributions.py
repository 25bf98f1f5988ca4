"""Tails and quantiles of the t and normal references, by ``scipy.special`` alone; accurate far out."""

from __future__ import annotations

import numpy as np
from scipy import special

from inference_core.states import Array


def lower_tail(statistic: Array, df: Array) -> Array:
    """P(T <= statistic), T of Student's t with ``df`` degrees of freedom; ``df = inf`` is the normal.

    Both (p,) or broadcastable. The far *lower* tail keeps its relative accuracy: ask for an upper tail by
    symmetry, never as one minus this. NaN in, NaN out.
    """
    statistic, df = np.broadcast_arrays(np.asarray(statistic, float), np.asarray(df, float))
    normal = np.isposinf(df)
    return np.where(normal, special.ndtr(statistic), special.stdtr(np.where(normal, 1.0, df), statistic))


def quantile(probability: Array | float, df: Array | float) -> Array:
    """The value below which t(df) has ``probability``; ``df = inf`` is the normal. NaN in, NaN out."""
    probability, df = np.broadcast_arrays(np.asarray(probability, float), np.asarray(df, float))
    normal = np.isposinf(df)
    return np.where(normal, special.ndtri(probability), special.stdtrit(np.where(normal, 1.0, df), probability))


def critical_value(conf_level: float, df: Array | float, alternative: str = "two-sided") -> Array:
    """How many standard errors a limit lies from the estimate, for a two-sided or a one-sided interval."""
    tail = (1.0 - conf_level) / (2.0 if alternative == "two-sided" else 1.0)
    return -quantile(tail, df)


def tail_probability(statistic: Array, df: Array, alternative: str = "two-sided") -> Array:
    """The p-value of a t or z statistic: both tails, the upper one ("greater") or the lower one ("less")."""
    statistic = np.asarray(statistic, float)
    if alternative == "two-sided":
        return 2.0 * lower_tail(-np.abs(statistic), df)
    return lower_tail(-statistic if alternative == "greater" else statistic, df)
