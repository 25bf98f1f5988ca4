"""New rows through the state of a fitted design."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import DataError
from inference_core.formula.evaluate import apply
from inference_core.formula.guard import admit, admit_column
from inference_core.formula.values import Basis, Factor
from inference_core.states import Array, DataBundle

from .columns import Columns, check_type, complete_rows, is_text, require_columns
from .matrix import apply_operand, assemble, check_finite
from .read import read_frame
from .rowwise import evaluate_row_value, read_row_value
from .state import DesignState


def design_new(bundle: DataBundle, newdata: Any, *, offset: Any = None) -> tuple[Array, Array | None]:
    """Design columns and offset of new rows, with what the training rows taught.

    Parameters
    ----------
    bundle : DataBundle
        From ``build_bundle``.
    newdata : frame, path or dict
        Must hold the predictors; the response need not be there.
    offset : str or (m,) array, optional
        Needed only if the model was given its offset as an array, which new rows cannot inherit.

    Returns
    -------
    X : (m, p) array
    offset : (m,) array or None

    Raises
    ------
    DataError
        A level that the training rows did not have, or a missing value.
    FormulaError
        A column that is not there.
    """
    state: DesignState = bundle.design_state
    frame = read_frame(newdata)
    texts = [o.text for o in state.offsets if o.text is not None]
    expressions = {t: admit_column(t) if t in state.column_kinds else admit(t) for t in texts}
    used = dict.fromkeys(c for o in state.operands for c in o.columns)
    used.update(dict.fromkeys(c for e in expressions.values() for c in e.columns))
    require_columns(used, frame.columns, "predictions for new rows")
    m = frame.height
    for name in used:
        check_column(name, frame.get_column(name), state)
    _, lacking = complete_rows(frame, used)
    if lacking:
        raise DataError(
            asked="predictions for new rows",
            found="missing values in " + ", ".join(f'"{name}" ({count})' for name, count in lacking.items()),
            remedy="give every new row a value in every predictor",
        )
    columns = Columns(frame, state.column_levels)
    values = []
    for operand in state.operands:
        expression = admit_column(operand.column) if operand.column is not None else admit(operand.text)
        values.append(apply_operand(operand, expression, columns, m))
    X = assemble(state.intercept, state.terms, values, m, len(state.X_names))

    total: Array | None = None
    for saved in state.offsets:
        if saved.text is None:
            if offset is None:
                raise DataError(
                    asked="predictions for new rows",
                    found="the model was given its offset as an array, which new rows cannot inherit",
                    remedy="pass offset= for the new rows, or put offset(x) in the formula",
                )
            continue
        value = apply(expressions[saved.text], columns, m, saved.learned)
        if isinstance(value, (Factor, Basis)):
            raise DataError(f"offset = {saved.text}", "it holds no numbers", "give numbers")
        numbers = np.asarray(value, dtype=np.float64)
        check_finite(numbers, saved.text, None)
        total = numbers.copy() if total is None else total + numbers
    request = read_row_value(offset, "offset", frame.columns, m)
    if request is not None:
        extra, _ = evaluate_row_value(request, columns, m, np.arange(m), everything=True)
        total = extra.copy() if total is None else total + extra
    return X, total


def check_column(name: str, series: pl.Series, state: DesignState) -> None:
    """Refuse a column of another kind than the fit had."""
    check_type(name, series)
    kind = state.column_kinds.get(name)
    if kind == "text" and not is_text(series) and not isinstance(series.dtype, pl.Null):
        raise DataError(
            asked=f'new values of "{name}"',
            found=f"they are {series.dtype}, and the fit had groups",
            remedy=f"use one of {', '.join(state.column_levels.get(name, ())[:10])}",
        )
    if kind in ("number", "boolean") and is_text(series):
        raise DataError(
            asked=f'new values of "{name}"',
            found="they are text, and the fit had numbers",
            remedy="give numbers",
        )
