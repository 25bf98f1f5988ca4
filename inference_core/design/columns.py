"""Columns of a frame as values: numbers, booleans, factors; which rows are complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import DataError, FormulaError
from inference_core.formula.names import first_few, suggest
from inference_core.formula.transforms import parse_number
from inference_core.formula.values import Factor
from inference_core.states import Array

MISSING_TEXT = "NA"  # in a column of text this is a missing value; an Enum that lists it keeps it as a level


def require_columns(names: Iterable[str], columns: list[str], asked: str) -> None:
    """Refuse the first name that is not a column, with the nearest one that is."""
    known = set(columns)
    for name in names:
        if name not in known:
            near = suggest(name, columns)
            raise FormulaError(
                asked=asked,
                found=f'"{name}" is not a column; columns: {first_few(columns)}',
                remedy=f'did you mean "{near}"?' if near else "name one of the columns, or add this one to the data",
            )


def is_text(series: pl.Series) -> bool:
    """Whether a column holds text or categories."""
    return isinstance(series.dtype, (pl.String, pl.Enum, pl.Categorical))


def check_type(name: str, series: pl.Series) -> None:
    """Refuse a column of a type that no model can use."""
    dtype = series.dtype
    if dtype.is_numeric() or isinstance(dtype, (pl.Boolean, pl.String, pl.Enum, pl.Categorical, pl.Null)):
        return
    if dtype.is_temporal():
        raise DataError(
            asked=f'column "{name}"',
            found=f"it holds {dtype}, and a model needs numbers or groups",
            remedy=f'make a number first, as (pl.col("{name}") - pl.col("{name}").min()).dt.total_days()',
        )
    raise DataError(
        asked=f'column "{name}"',
        found=f"it holds {dtype}, and a model needs numbers or groups",
        remedy="convert it first",
    )


def missing_mask(series: pl.Series, *, as_number: bool = False) -> Array | None:
    """(n,) true where the value is null, NaN or the text "NA"; None where none is.

    ``as_number`` also counts text that spells no number.
    """
    mask = None
    if series.null_count():
        mask = series.is_null().to_numpy()
    if series.dtype.is_float():
        nan = np.isnan(series.to_numpy()) if mask is None else series.is_nan().fill_null(True).to_numpy()
        if mask is not None or nan.any():
            mask = nan if mask is None else mask | nan
    elif isinstance(series.dtype, pl.String):
        if as_number:
            words = series.unique().drop_nulls()
            bad = [w for w in words.to_list() if np.isnan(parse_number(w))]
        else:
            bad = [MISSING_TEXT]
        text = series.is_in(bad).fill_null(True).to_numpy()
        if text.any():
            mask = text if mask is None else mask | text
    return mask if mask is None or mask.any() else None


def complete_rows(
    frame: pl.DataFrame, names: Iterable[str], as_number: frozenset[str] = frozenset()
) -> tuple[Array, dict[str, int]]:
    """Rows with a value in every column of ``names``, and how many each column lacks."""
    valid = np.ones(frame.height, dtype=bool)
    lacking: dict[str, int] = {}
    for name in names:
        mask = missing_mask(frame.get_column(name), as_number=name in as_number)
        if mask is not None:
            lacking[name] = int(np.count_nonzero(mask))
            valid &= ~mask
    return valid, lacking


def level_names(series: pl.Series) -> tuple[str, ...]:
    """Levels of a column of text or categories, in order: an Enum's own, a Categorical's own, otherwise
    sorted.
    """
    if isinstance(series.dtype, pl.Enum):
        return tuple(series.dtype.categories.to_list())
    if isinstance(series.dtype, pl.Categorical):
        present = series.unique().drop_nulls()  # the pool of categories is shared: other columns' are not ours
        return tuple(present.cast(pl.String).gather(present.to_physical().arg_sort()).to_list())
    return tuple(sorted(series.unique().drop_nulls().to_list()))


def to_factor(series: pl.Series, levels: tuple[str, ...] | None = None) -> Factor:
    """A column of text or categories as a factor; a value outside given ``levels`` is appended to them."""
    own = level_names(series) if levels is None else levels
    if isinstance(series.dtype, pl.Enum) and levels is None:
        return Factor(series.to_physical().to_numpy().astype(np.int32), own)
    text = series.cast(pl.String)
    if levels is not None:
        known = set(levels)
        own = (*levels, *sorted(v for v in text.unique().drop_nulls().to_list() if v not in known))
    codes = text.cast(pl.Enum(list(own))).to_physical().to_numpy().astype(np.int32)
    return Factor(codes, own)


def to_value(name: str, series: pl.Series, levels: tuple[str, ...] | None = None) -> Array | Factor:
    """A complete column as float64, bool, or a factor."""
    check_type(name, series)
    if is_text(series):
        return to_factor(series, levels)
    if isinstance(series.dtype, pl.Boolean):
        return series.to_numpy()
    return series.cast(pl.Float64).to_numpy()


class Columns:
    """Complete rows of a frame, each column converted once and only when an expression asks for it."""

    def __init__(self, frame: pl.DataFrame, levels: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.frame, self.levels = frame, levels or {}
        self.cache: dict[str, Array | Factor] = {}

    def __call__(self, name: str) -> Array | Factor:
        """The value of one column."""
        if name not in self.cache:
            self.cache[name] = to_value(name, self.frame.get_column(name), self.levels.get(name))
        return self.cache[name]


def numbers_among_text(series: pl.Series) -> tuple[str, float] | None:
    """For a text column that is mostly numbers: an example of what is not, and the share of numbers."""
    if not isinstance(series.dtype, pl.String) or series.len() == 0:
        return None
    words = series.value_counts(name="how_often")
    values: list[Any] = words.get_column(series.name).to_list()
    counts: list[int] = words.get_column("how_often").to_list()
    total = numeric = 0
    example: str | None = None
    for word, count in sorted(zip(values, counts, strict=True), key=lambda pair: str(pair[0])):
        if word is None or word == MISSING_TEXT:
            continue
        total += count
        if np.isnan(parse_number(word)):
            example = word if example is None else example
        else:
            numeric += count
    if example is None or not total or numeric / total <= 0.5:
        return None
    return example, numeric / total
