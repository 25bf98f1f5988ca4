"""The columns a model predicts from, as a grid needs them: factors with their levels, numbers with their values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from inference_core.design.columns import is_text
from inference_core.design.state import DesignState
from inference_core.errors import FormulaError
from inference_core.formula.explore.tokens import refuse
from inference_core.formula.guard import admit, admit_column
from inference_core.formula.names import first_few, suggest
from inference_core.formula.transforms import number_label
from inference_core.states import Array, DataBundle

Value = str | float | bool


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """One column of the data: a factor has ``levels`` (text, booleans, numbers used as groups), a number has none."""

    name: str
    levels: tuple[Value, ...] | None
    values: Array | None  # (n,) of a number

    @property
    def is_factor(self) -> bool:
        """Whether it has levels."""
        return self.levels is not None

    def label(self, value: Value) -> str:
        """A value as tables and texts spell it."""
        return value if isinstance(value, str) else str(value) if isinstance(value, bool) else number_label(value)


def kept_rows(bundle: DataBundle, data: pl.DataFrame) -> pl.DataFrame:
    """The rows of the original frame that the model was fitted to."""
    return data if bundle.n == data.height else data.filter(pl.Series(np.asarray(bundle.valid_mask)))


def predictors_of(bundle: DataBundle, rows: pl.DataFrame) -> dict[str, Predictor]:
    """Every column that the fixed part or an offset reads, by name, in order of appearance.

    Parameters
    ----------
    bundle : DataBundle
    rows : frame of n rows
        From :func:`kept_rows`.
    """
    state: DesignState = bundle.design_state
    kinds: dict[str, set[str]] = {}
    for operand in state.operands:
        for column in operand.columns:
            alone = operand.kind == "factor" and len(operand.columns) == 1
            kinds.setdefault(column, set()).add("factor" if alone else "number")
    for saved in state.offsets:
        if saved.text is not None:
            expression = admit_column(saved.text) if saved.text in state.column_kinds else admit(saved.text)
            for column in expression.columns:
                kinds.setdefault(column, set()).add("number")
    return {name: _predictor(name, rows.get_column(name), uses, state) for name, uses in kinds.items()}


def _predictor(name: str, series: pl.Series, uses: set[str], state: DesignState) -> Predictor:
    if name in state.column_levels:
        return Predictor(name, tuple(state.column_levels[name]), None)
    if isinstance(series.dtype, pl.Boolean):
        return Predictor(name, (False, True), None)
    if is_text(series):  # text that stands for numbers
        series = series.cast(pl.String).cast(pl.Float64)
    values = series.cast(pl.Float64).to_numpy()
    if uses == {"factor"}:
        return Predictor(name, tuple(float(v) for v in np.unique(values)), None)
    return Predictor(name, None, values)


def grouping_columns(bundle: DataBundle) -> set[str]:
    """Columns of the grouping factors of the random effects."""
    state: DesignState = bundle.design_state
    return {column for group in state.random for column in group.columns}


def find_predictor(name: str, start: int, known: dict[str, Predictor], grouping: set[str], text: str) -> Predictor:
    """The predictor of this name.

    Raises
    ------
    FormulaError
        No predictor of the model, with the nearest that is.
    """
    if name in known:
        return known[name]
    raise _unknown(name, start, known, grouping, text)


def _unknown(name: str, start: int, known: dict[str, Predictor], grouping: set[str], text: str) -> FormulaError:
    if name in grouping:
        return refuse(text, start, f"{name} is a grouping factor of the random effects",
                      "m.varying_offsets and m.varying_params list its levels")  # fmt: skip
    if not known:
        return refuse(text, start, f"{name} is no predictor: the model has an intercept alone", 'explore("1")')
    near = suggest(name, known)
    return refuse(text, start, f"{name} is no predictor of this model; there are {first_few(known, 8)}",
                  f"did you mean {near}?" if near else f"as explore({next(iter(known))!r})")  # fmt: skip
