"""Weights and offset: a column, an expression, or an array over all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import DataError
from inference_core.formula.evaluate import learn
from inference_core.formula.guard import Expression, admit, admit_column
from inference_core.formula.values import Basis, Factor, Value
from inference_core.states import Array

from .matrix import check_finite
from .state import OffsetState


@dataclass(frozen=True, slots=True, eq=False)
class RowValue:
    """One value per row as it was asked for: an expression over columns, or an array over all rows."""

    what: str  # "weights" or "offset"
    expression: Expression | None
    array: Array | None


def read_row_value(value: Any, what: str, columns: list[str], n_total: int) -> RowValue | None:
    """Read a request for weights or an offset.

    Raises
    ------
    FormulaError
        An expression that formulas may not hold.
    DataError
        An array of the wrong length or type.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return RowValue(what, admit_column(value) if value in columns else admit(value), None)
    if isinstance(value, pl.Series):
        value = value.to_numpy()
    try:
        if np.iscomplexobj(value):
            raise TypeError
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            asked=f"{what} of type {type(value).__name__}",
            found="they are no numbers",
            remedy=f'name a column, as {what}="w", or give one number per row',
        ) from None
    if array.shape != (n_total,):
        raise DataError(
            asked=f"{what} of shape {array.shape}",
            found=f"the data have {n_total} rows",
            remedy="give one number per row of the data, before rows with missing values are left out",
        )
    return RowValue(what, None, array)


def evaluate_row_value(
    request: RowValue, columns: Callable[[str], Value], n: int, rows: Array, *, everything: bool
) -> tuple[Array, OffsetState]:
    """(n,) numbers of the rows kept, and what new rows need to build them again."""
    if request.expression is None:
        assert request.array is not None
        values = request.array if everything else request.array[rows]
        check_finite(values, request.what, rows)
        return values, OffsetState(None)
    value, learned = learn(request.expression, columns, n)
    if isinstance(value, (Factor, Basis)):
        raise DataError(
            asked=f"{request.what} = {request.expression.text}",
            found="they are no numbers",
            remedy="name a numeric column",
        )
    values = np.asarray(value, dtype=np.float64)
    check_finite(values, request.expression.text, rows)
    return values, OffsetState(request.expression.text, learned)


def check_weights(weights: Array, rows: Array) -> None:
    """Refuse weights that are negative, or all zero."""
    bad = np.flatnonzero(weights < 0)
    if bad.size:
        raise DataError(
            asked="these weights",
            found=f"the weight of row {int(rows[bad[0]])} is {weights[bad[0]]:g}; {bad.size} are below 0",
            remedy="weights are 0 or more; a row that should not count has weight 0",
        )
    if weights.size and not weights.any():
        raise DataError("these weights", "every weight is 0, so no row counts", "give some rows a weight above 0")
