"""A parsed explore text held against a model: which columns, at which values, compared how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from inference_core.errors import FormulaError
from inference_core.formula.explore import SLOPE, At, ExploreQuery, Part, Variable, contrast_rows, parse_explore
from inference_core.formula.explore.tokens import refuse
from inference_core.formula.names import first_few, suggest
from inference_core.states import Array

from .grid import Axis, first_fastest
from .predictors import Predictor, Value, find_predictor


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Cells of one part of the question, and the comparisons of them (None: the cells themselves)."""

    axes: tuple[Axis, ...]
    method: str  # the contrast's name, "" without one
    labels: tuple[str, ...]  # of the comparisons
    weights: Array | None  # (r, cells)
    is_condition: bool

    @property
    def size(self) -> int:
        """Number of cells."""
        return prod(len(axis.values) for axis in self.axes)

    @property
    def n_rows(self) -> int:
        """Number of rows that it gives: comparisons, or the cells."""
        return self.size if self.weights is None else len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """``blocks`` in the order of the text, the first varying fastest; ``slope``: the number whose slope is asked."""

    text: str
    blocks: tuple[Block, ...]
    slope: Predictor | None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Every named column with its values."""
        return tuple(axis for block in self.blocks for axis in block.axes)

    @property
    def is_contrast(self) -> bool:
        """Whether anything is compared."""
        return any(block.weights is not None for block in self.blocks)


def ask(text: str, by: Sequence[str], known: dict[str, Predictor], grouping: set[str]) -> Question:
    """Read a text against the predictors of a model.

    Parameters
    ----------
    text : str
    by : sequence of str
        Further conditions.
    known : mapping
        Predictors by name.
    grouping : set of str
        Grouping factors of random effects, which have no effect of their own.

    Raises
    ------
    FormulaError
        A name, a level or a value that the model does not have; a number compared without values.
    """
    query = parse_explore(text)
    given = {v.name for v in query.variables}
    more = tuple(Part((Variable(name, None, len(text)),)) for name in by if name not in given)
    reader = _Reader(text, known, grouping)
    slope = reader.slope_of(query)
    blocks = []
    for part in query.focal:
        if slope is None:
            blocks.append(reader.block(part, is_condition=False))
        elif part.variables[0].at is not None:
            blocks.append(Block((reader.axis(part.variables[0], False),), "", (), None, False))
    conditions = [reader.block(part, is_condition=True) for part in (*query.conditions, *more)]
    _one_comparison(text, [*blocks, *conditions])
    return Question(text, (*blocks, *conditions), slope)


def named_values(text: str, known: dict[str, Predictor], grouping: set[str], points: int) -> list[Axis]:
    """The columns of a text without comparisons, with their values: the axes of a grid.

    A number alone runs over its range in ``points`` steps before ``~``, and stands at its mean after it.

    Raises
    ------
    FormulaError
        A comparison, or a name, a level or a value that the model does not have.
    """
    query = parse_explore(text)
    reader = _Reader(text, known, grouping)
    axes = []
    for part in (*query.focal, *query.conditions):
        if part.contrast is not None:
            raise refuse(text, part.contrast.start, f"{part.contrast.method}() compares, and a prediction does not",
                         f"explore({text!r}) compares; name columns alone here")  # fmt: skip
        for variable in part.variables:
            predictor = reader.find(variable)
            alone = variable.at is None and not predictor.is_factor and part in query.focal
            asked = replace(variable, at=At("range", count=points)) if alone else variable
            axes.append(reader.axis(asked, at_mean=True))
    return axes


def _one_comparison(text: str, blocks: Sequence[Block]) -> None:
    focal = any(b.weights is not None for b in blocks if not b.is_condition)
    if focal and any(b.weights is not None for b in blocks if b.is_condition):
        raise refuse(text, text.index("~"), "comparisons on both sides of ~",
                     "differences of differences are pairwise(a):pairwise(b)")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reader:
    text: str
    known: dict[str, Predictor]
    grouping: set[str]

    def find(self, variable: Variable) -> Predictor:
        return find_predictor(variable.name, variable.start, self.known, self.grouping, self.text)

    def slope_of(self, query: ExploreQuery) -> Predictor | None:
        """The number whose slope is asked for, if one is: named alone without values, or in slope()."""
        if len(query.focal) != 1 or len(query.focal[0].variables) != 1:
            return None
        part = query.focal[0]
        variable, asked = part.variables[0], part.contrast is not None and part.contrast.method == SLOPE
        predictor = self.find(variable)
        if asked and predictor.is_factor:
            raise refuse(self.text, variable.start, f"{variable.name} has levels, so it has no slope",
                         f"pairwise({variable.name})")  # fmt: skip
        alone = part.contrast is None and variable.at is None and not predictor.is_factor
        return predictor if asked or alone else None

    def block(self, part: Part, *, is_condition: bool) -> Block:
        if part.contrast is not None and part.contrast.method == SLOPE:
            raise refuse(self.text, part.contrast.start, "slope() among the conditions", "slope(x) goes before ~")
        axes = tuple(self.axis(variable, is_condition and part.contrast is None) for variable in part.variables)
        if part.contrast is None:
            return Block(axes, "", (), None, is_condition)
        labels, weights = contrast_rows(part.contrast, first_fastest([axis.labels for axis in axes]), self.text)
        return Block(axes, part.contrast.method, tuple(labels), weights, is_condition)

    def axis(self, variable: Variable, at_mean: bool) -> Axis:
        predictor = self.find(variable)
        if variable.at is not None:
            return Axis(predictor, self.values(variable, variable.at, predictor))
        if predictor.is_factor:
            return Axis(predictor, predictor.levels or ())
        assert predictor.values is not None
        if at_mean:
            return Axis(predictor, (float(predictor.values.mean()),))
        name = variable.name
        raise refuse(self.text, variable.start, f"{name} is a number, and no values of it are named",
                     f"{name}@[1, 2], {name}@range(3) or {name}@quantile(3)")  # fmt: skip

    def values(self, variable: Variable, at: At, predictor: Predictor) -> tuple[Value, ...]:
        if predictor.is_factor:
            return tuple(self.level(variable, value, predictor) for value in self.listed(variable, at))
        assert predictor.values is not None
        low, high = float(predictor.values.min()), float(predictor.values.max())
        if at.kind == "range":
            return tuple(np.linspace(low, high, at.count).tolist()) if at.count > 1 else ((low + high) / 2,)
        if at.kind == "quantile":
            shares = np.linspace(0, 1, at.count + 2)[1:-1]
            return tuple(np.unique(np.quantile(predictor.values, shares)).tolist())
        bad = [value for value in at.values if isinstance(value, str)]
        if bad:
            raise refuse(self.text, variable.start, f"{variable.name} is a number, and {bad[0]!r} is none",
                         f"{variable.name}@[{low:g}, {high:g}]")  # fmt: skip
        return tuple(dict.fromkeys(at.values))

    def listed(self, variable: Variable, at: At) -> tuple[str | float, ...]:
        if at.kind != "values":
            raise refuse(self.text, variable.start, f"{variable.name} has levels, so it has no {at.kind}",
                         f"{variable.name} alone, or {variable.name}@[level, ...]")  # fmt: skip
        return tuple(dict.fromkeys(at.values))

    def level(self, variable: Variable, value: str | float, predictor: Predictor) -> Value:
        labels = {predictor.label(level): level for level in predictor.levels or ()}
        text = value if isinstance(value, str) else predictor.label(value)
        if text in labels:
            return labels[text]
        if not isinstance(value, str):  # a level may be spelled "4.0"
            same = [level for label, level in labels.items() if _number(label) == value]
            if same:
                return same[0]
        near = suggest(text, labels)
        found = f"no level {text!r} of {variable.name}; there are {first_few(labels, 8)}"
        raise refuse(self.text, variable.start, found,
                     f"did you mean {near!r}?" if near else f"{variable.name}@{next(iter(labels))}")  # fmt: skip


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def by_names(by: str | Sequence[str] | None, known: Mapping[str, Predictor]) -> tuple[str, ...]:
    """The columns of ``by=``.

    Raises
    ------
    FormulaError
        A name that is no predictor.
    """
    names = (by,) if isinstance(by, str) else tuple(by or ())
    for name in names:
        if name not in known:
            near = suggest(str(name), known)
            raise FormulaError(f"by={by!r}", f"{name!r} is no predictor of this model; there are {first_few(known, 8)}",
                               f"did you mean {near!r}?" if near else "leave by out")  # fmt: skip
    return names
