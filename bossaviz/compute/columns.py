"""Columns of the data as panes A and B use them: levels, typical values, ticks, where rows stand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import polars as pl

from bossaviz.charts.axis import number

MOST_LEVELS = 12
MOST_POINTS = 2_000  # rows drawn; more are thinned evenly, and the pane says so


def level_values(values: pl.Series, bundle: Any, name: str) -> list[Any]:
    """The values of a column that stand for its levels, in the order of the levels."""
    levels = levels_of(values, bundle, name)
    first = {level_of(v, levels): v for v in reversed(values.to_list())}
    return [first.get(level, level) for level in levels]


def level_of(value: Any, levels: tuple[str, ...]) -> str:
    """The level that a value belongs to: numbers used as groups are written without needless decimals."""
    text = str(value)
    if text in levels or not isinstance(value, (int, float)):
        return text
    return next((other for other in (f"{value:g}", text.lower()) if other in levels), text)


def levels_of(values: pl.Series, bundle: Any, name: str) -> tuple[str, ...]:
    """Levels in the model's order, as text."""
    known = bundle.factor_levels.get(name)
    if known is None:
        known = next((v for k, v in bundle.factor_levels.items() if name in k), None)
    if known is None and isinstance(values.dtype, pl.Enum):
        seen = set(values.to_list())
        known = [v for v in values.dtype.categories.to_list() if v in seen]
    return tuple(str(v) for v in (known or sorted(values.drop_nulls().unique().to_list())))[:MOST_LEVELS]


def typical_value(values: pl.Series, grouped: bool) -> Any:
    """The mean of a number, the most frequent value of anything else."""
    if grouped or values.dtype == pl.Boolean or not values.dtype.is_numeric():
        mode = values.drop_nulls().mode().sort()
        return mode[0] if mode.len() else None
    return float(values.cast(pl.Float64).drop_nans().mean() or 0.0)


def schema_of(data: pl.DataFrame, grouped: frozenset[str]) -> dict[str, Any]:
    """Types of the new rows: numbers become floats (a mean is one); groups and words stay what they were."""
    return {
        name: pl.Float64 if dtype.is_numeric() and name not in grouped else dtype
        for name, dtype in zip(data.columns, data.dtypes, strict=True)
    }


def tick_labels(ticks: tuple[float, ...]) -> tuple[str, ...]:
    """Numbers of an axis in words, with as many decimals as their gap needs."""
    gap = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    decimals = next((d for d in range(9) if abs(gap * 10**d - round(gap * 10**d)) < 1e-6 * 10**d * gap), 2)
    return tuple(number(t, decimals) for t in ticks)


def thinned(n: int) -> np.ndarray:
    """Which of ``n`` rows are drawn: all, or ``MOST_POINTS`` of them spread evenly."""
    if n <= MOST_POINTS:
        return np.arange(n)
    return np.unique(np.linspace(0, n - 1, MOST_POINTS).astype(int))


def jitter(rows: np.ndarray, step: float) -> np.ndarray:
    """Offsets in (-0.5, 0.5) that fill the interval evenly and are the same in both panes."""
    return ((rows + 1) * step) % 1.0 - 0.5


def spread_of(x: np.ndarray) -> float:
    """Width of the sideways jitter: a third of the gap where many rows share a value, else none."""
    values = np.unique(x[np.isfinite(x)])
    if values.size < 2 or values.size > max(12, x.size / 4):
        return 0.0
    return 0.34 * float(np.min(np.diff(values)))


def varies_within(x: np.ndarray, group: np.ndarray) -> bool:
    """Whether a column takes two values in some group."""
    order = np.argsort(group, kind="stable")
    same = np.diff(group[order]) == 0
    return bool(np.any(same & (np.diff(x[order]) != 0)))
