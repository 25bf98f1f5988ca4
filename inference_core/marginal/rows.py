"""Rows to predict for: a frame, a grid that a text describes, or the rows of the data."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import PurePath
from typing import Any

import numpy as np
import polars as pl

from inference_core.design.state import DesignState
from inference_core.errors import FormulaError, InferenceError
from inference_core.formula.transforms import number_label
from inference_core.states import DataBundle

from .grid import MAX_ROWS, first_fastest
from .predictors import Predictor, Value, grouping_columns, predictors_of
from .question import named_values

GRID_POINTS = 50  # of a number that is named without values: a smooth line
_FILES = (".csv", ".tsv", ".txt", ".parquet", ".json", ".ndjson", ".jsonl", ".gz")


def is_grid_text(newdata: Any) -> bool:
    """Whether these are words about a grid, not the path of a file."""
    return isinstance(newdata, str) and PurePath(newdata.strip()).suffix.lower() not in _FILES


def grid_frame(bundle: DataBundle, rows: pl.DataFrame, text: str, *, groups: bool) -> tuple[pl.DataFrame, str | None]:
    """Every combination of the named values, the first name varying fastest; and where the other columns stand.

    Parameters
    ----------
    bundle : DataBundle
    rows : frame of n rows
        The data the model was fitted to.
    text : str
        ``"wt ~ cyl"``: 50 values over the range of a number, every level of a factor; ``"wt@range(10)"``,
        ``"wt@quantile(3)"`` and ``"wt@[2, 3]"`` name other values. A number after ``~`` stands at its mean.
    groups : bool
        Whether grouping factors may be named too.

    Returns
    -------
    frame, note
        Columns that are not named stand at their mean, or at the level that most rows have; the note says so.

    Raises
    ------
    FormulaError
        The text cannot be read, or names what the model does not have.
    InferenceError
        More than 200,000 rows.
    """
    known = predictors_of(bundle, rows)
    grouping = grouping_columns(bundle)
    if groups:
        known |= {name: _grouping(name, rows, bundle) for name in sorted(grouping) if name not in known}
        grouping = set()
    try:
        axes = named_values(text, known, grouping, GRID_POINTS)
    except FormulaError as refused:
        remedy = refused.remedy
        if "compares" not in refused.found:  # comparing is what explore() is for
            remedy = remedy.replace("explore(", "predict(", 1)
        if "grouping factor" in refused.found:
            remedy = f"predict({text!r}, varying='include')"
        raise FormulaError(refused.asked.replace("explore(", "predict(", 1), refused.found, remedy) from None
    twice = [a.predictor.name for i, a in enumerate(axes) if a.predictor in [b.predictor for b in axes[:i]]]
    if twice:
        raise FormulaError(f"predict({text!r})", f"{twice[0]} is named twice", f"name {twice[0]} once")
    total = prod(len(axis.values) for axis in axes)
    if total > MAX_ROWS:
        raise InferenceError(f"predict({text!r})", f"a grid of {total:,} rows", "name fewer values, as x@range(10)")
    cells = first_fastest([axis.values for axis in axes])
    columns: dict[str, list[Value]] = {axis.predictor.name: [c[j] for c in cells] for j, axis in enumerate(axes)}
    held = []
    for predictor in _others(bundle, rows, known, columns):
        value, words = _standing(predictor, rows)
        columns[predictor.name] = [value] * len(cells)
        held.append(words)
    frame = pl.DataFrame(columns) if columns else pl.DataFrame({"mean": ["overall"]})  # an intercept alone: one row
    return frame, f"held: {', '.join(held)}" if held else None


def training_frame(bundle: DataBundle, rows: pl.DataFrame) -> pl.DataFrame:
    """``row`` (its place in the data, from 0) and the columns that the model predicts from."""
    state: DesignState = bundle.design_state
    names = dict.fromkeys([*predictors_of(bundle, rows), *_random_columns(state), *sorted(grouping_columns(bundle))])
    valid = np.asarray(bundle.valid_mask)
    place = np.flatnonzero(valid) if valid.size == bundle.n_total else np.arange(bundle.n)
    return pl.DataFrame({"row": place}).hstack(rows.select(list(names)).get_columns())


def _grouping(name: str, rows: pl.DataFrame, bundle: DataBundle) -> Predictor:
    state: DesignState = bundle.design_state
    if name in state.column_levels:
        return Predictor(name, tuple(state.column_levels[name]), None)
    return Predictor(name, tuple(rows.get_column(name).unique().sort().to_list()), None)


def _random_columns(state: DesignState) -> list[str]:
    return [c for group in state.random for part in group.parts for o in part.operands for c in o.columns]


def _others(
    bundle: DataBundle, rows: pl.DataFrame, known: dict[str, Predictor], named: dict[str, list[Value]]
) -> Sequence[Predictor]:
    """Predictors that the text does not name; grouping factors have no value of their own."""
    grouping = grouping_columns(bundle)
    fixed = predictors_of(bundle, rows)
    return [p for name, p in known.items() if name not in named and (name in fixed or name not in grouping)]


def _standing(predictor: Predictor, rows: pl.DataFrame) -> tuple[Value, str]:
    if predictor.levels is None:
        assert predictor.values is not None
        mean = float(np.mean(predictor.values))
        return mean, f"{predictor.name} = {number_label(float(f'{mean:.4g}'))} (mean)"
    found = [str(v) for v in rows.get_column(predictor.name).to_list()]
    counts = [max(found.count(str(level)), found.count(predictor.label(level))) for level in predictor.levels]
    level = predictor.levels[int(np.argmax(counts))]
    return level, f"{predictor.name} = {predictor.label(level)} (most rows)"
