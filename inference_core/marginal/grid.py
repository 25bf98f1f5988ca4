"""The reference grid: named columns at their values, the other factors at every level, other numbers at their mean.

Source: Lenth (2016), J. Stat. Softw. 69(1); emmeans, ``ref_grid``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import polars as pl

from inference_core.design import design_new
from inference_core.errors import InferenceError
from inference_core.states import Array, DataBundle

from .predictors import Predictor, Value
from .weights import nuisance_weights

MAX_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Axis:
    """A named column and the values it takes."""

    predictor: Predictor
    values: tuple[Value, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text."""
        return tuple(self.predictor.label(v) for v in self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """C cells of the named axes, each an average of K design rows; the first axis varies fastest, as in emmeans."""

    cells: tuple[tuple[Value, ...], ...]  # C of one value per axis
    X: Array  # (C, K, p)
    offset: Array | None  # (C, K)
    weights: Array  # (C, K), rows sum to 1; NaN where a cell has no data and the rule needs them
    frame: pl.DataFrame  # the C * K rows

    @property
    def L(self) -> Array:
        """(C, p) averaged design rows."""
        return np.einsum("ck,ckp->cp", self.weights, self.X)

    @property
    def shift(self) -> Array | None:
        """(C,) averaged offsets."""
        return None if self.offset is None else np.einsum("ck,ck->c", self.weights, self.offset)


def reference_grid(
    bundle: DataBundle,
    rows: pl.DataFrame,
    predictors: Mapping[str, Predictor],
    axes: Sequence[Axis],
    weights: str | Mapping[str, Any] = "equal",
) -> Grid:
    """Design rows of every cell of ``axes``, over every combination of the other factors.

    Parameters
    ----------
    bundle : DataBundle
    rows : frame of n rows
        The data the model was fitted to.
    predictors : mapping
        From ``predictors_of``.
    axes : sequence of Axis
        The columns that were named; none of them: one cell.
    weights : str or mapping
        How the other factors are averaged, see ``weights.nuisance_weights``.

    Raises
    ------
    InferenceError
        A grid of more than 200,000 rows, or weights that are not understood.
    """
    named = {axis.predictor.name for axis in axes}
    nuisance = [p for p in predictors.values() if p.is_factor and p.name not in named]
    numbers = [p for p in predictors.values() if not p.is_factor and p.name not in named]
    total = prod(len(a.values) for a in axes) * prod(len(p.levels or ()) for p in nuisance)
    if total > MAX_ROWS:
        sizes = ", ".join(f"{p.name} ({len(p.levels or ())})" for p in nuisance)
        raise InferenceError(
            asked="a reference grid over every combination of levels",
            found=f"{total:,} rows; the factors that are averaged over: {sizes or 'none'}",
            remedy="name fewer values, or how='ame', which averages over the rows of the data",
        )
    cells = first_fastest([a.values for a in axes])
    others = first_fastest([p.levels or () for p in nuisance])
    columns: dict[str, list[Value]] = {}
    for j, axis in enumerate(axes):
        columns[axis.predictor.name] = [cell[j] for cell in cells for _ in others]
    for j, predictor in enumerate(nuisance):
        columns[predictor.name] = [other[j] for _ in cells for other in others]
    for predictor in numbers:
        assert predictor.values is not None
        columns[predictor.name] = [float(predictor.values.mean())] * (len(cells) * len(others))
    frame = pl.DataFrame(columns) if columns else pl.DataFrame({"": [0.0]})
    X, offset = design_rows(bundle, rows, frame)
    shape = (len(cells), len(others))
    return Grid(
        cells=tuple(cells),
        X=X.reshape(*shape, -1),
        offset=None if offset is None else offset.reshape(shape),
        weights=nuisance_weights(weights, bundle, rows, axes, nuisance, cells, others),
        frame=frame,
    )


def design_rows(bundle: DataBundle, rows: pl.DataFrame, frame: pl.DataFrame) -> tuple[Array, Array | None]:
    """Design and offset of grid rows; an offset that was given as an array stands at its mean."""
    array = any(saved.text is None for saved in bundle.design_state.offsets)
    given = None
    if array:
        given = np.full(frame.height, array_offset(bundle, rows).mean())
    return design_new(bundle, frame, offset=given)


def array_offset(bundle: DataBundle, rows: pl.DataFrame) -> Array:
    """(n,) the part of the offset that was given as an array, which no column explains."""
    assert bundle.offset is not None
    _, named = design_new(bundle, rows, offset=np.zeros(bundle.n))
    return bundle.offset if named is None else bundle.offset - named


def first_fastest(values: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Every combination, the first position varying fastest."""
    return [tuple(reversed(combination)) for combination in product(*reversed(list(values)))]
