"""Averages over the rows of the data, in each of which the named columns are set to the values of a cell.

Source: Hanmer & Kalkan (2013), Am. J. Polit. Sci. 57(1); Norton, Dowd & Maciejewski (2019), JAMA 321(13).
"""

from __future__ import annotations

from math import prod

import numpy as np
import polars as pl

from inference_core.design import design_new
from inference_core.errors import InferenceError
from inference_core.states import Array, DataBundle

from .estimable import estimable_rows, null_space
from .grid import array_offset, first_fastest
from .predictors import predictors_of
from .quantity import IDENTITY, Linear, Map, Quantity, averages
from .question import Question
from .slopes import design_slope

MAX_CELLS = 2_000  # each costs one design of all rows
MAX_NUMBERS = 60_000_000  # doubles of all design rows together: half a gigabyte


def average_over_rows(
    bundle: DataBundle, rows: pl.DataFrame, question: Question, link: Map
) -> tuple[Quantity, Array, tuple[str, ...]]:
    """Every cell's average over the n rows; every row counts once.

    Returns
    -------
    quantity
        One effect per cell.
    estimable : (C,) bool
    notes : tuple of str

    Raises
    ------
    InferenceError
        More design rows than half a gigabyte holds.
    """
    total = prod(len(axis.values) for axis in question.axes)
    if total > MAX_CELLS:
        raise InferenceError(f"{total:,} averages over {bundle.n:,} rows", f"the limit is {MAX_CELLS:,} averages",
                             "how='mem', or fewer values")  # fmt: skip
    cells = first_fastest([axis.values for axis in question.axes])
    curved = link is not IDENTITY
    if curved and len(cells) * bundle.n * bundle.p * (1 + (question.slope is not None)) > MAX_NUMBERS:
        raise InferenceError(
            asked=f"{len(cells)} averages over {bundle.n:,} rows",
            found=f"{len(cells) * bundle.n * bundle.p:,} numbers to keep for the draws; the limit is {MAX_NUMBERS:,}",
            remedy="how='mem', or fewer values",
        )
    fixed = array_offset(bundle, rows) if any(s.text is None for s in bundle.design_state.offsets) else None
    null = null_space(bundle)
    base = rows.select(list(predictors_of(bundle, rows)))

    def design(frame: pl.DataFrame) -> Array:
        return design_new(bundle, frame, offset=fixed)[0]

    L, shifts, whole, X, slopes, offsets = [], [], [], [], [], []
    for cell in cells:
        frame = base.with_columns(
            pl.lit(value).alias(axis.predictor.name) for axis, value in zip(question.axes, cell, strict=True)
        )
        x, offset = design_new(bundle, frame, offset=fixed)
        d = None if question.slope is None else design_slope(bundle, design, frame, question.slope)
        whole.append(bool(np.all(estimable_rows(x, null))))
        L.append((x if d is None else d).mean(0))
        shifts.append(0.0 if offset is None or d is not None else float(offset.mean()))
        if curved:
            X.append(x)
            slopes.append(d)
            offsets.append(np.zeros(bundle.n) if offset is None else offset)
    notes = (f"averages over the {bundle.n:,} rows of the data",)
    if not curved:
        rows_L = np.array(L)
        shift = np.array(shifts) if np.any(shifts) else None
        return Linear(rows_L, shift), estimable_rows(rows_L, null), notes
    weights = np.full((len(cells), bundle.n), 1.0 / bundle.n)
    slope = None if question.slope is None else np.array(slopes)
    return averages(np.array(X), np.array(offsets), weights, link, slope), np.array(whole), notes

