"""Derivatives of design rows in one number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from inference_core.design.state import DesignState
from inference_core.states import Array, DataBundle

from .predictors import Predictor

Design = Callable[[pl.DataFrame], Array]
STEP = 1e-3  # of the range of the number


def design_slope(bundle: DataBundle, design: Design, frame: pl.DataFrame, predictor: Predictor) -> Array:
    """(m, p) derivative of each design row of ``frame`` in a number.

    A central difference with one Richardson step: exact for linear, quadratic, cubic and quartic columns, and to some
    1e-12 for log, exp and splines away from their knots.
    """
    values = predictor.values
    assert values is not None
    x = frame.get_column(predictor.name).cast(pl.Float64).to_numpy()
    if _enters_as_it_is(bundle.design_state, predictor.name):
        step = float(np.ptp(values)) or 1.0
        return (design(_at(frame, predictor.name, x + step)) - design(frame)) / step
    step = STEP * (float(np.ptp(values)) or 1.0)
    wide, narrow = (
        (design(_at(frame, predictor.name, x + h)) - design(_at(frame, predictor.name, x - h))) / (2 * h)
        for h in (step, step / 2)
    )
    return (4 * narrow - wide) / 3


def _at(frame: pl.DataFrame, name: str, values: Array) -> pl.DataFrame:
    return frame.with_columns(pl.Series(name, values))


def _enters_as_it_is(state: DesignState, name: str) -> bool:
    """Whether the number stands in the formula as nothing but itself, and once a term."""
    uses = [j for j, operand in enumerate(state.operands) if name in operand.columns]
    return len(uses) == 1 and state.operands[uses[0]].column == name
