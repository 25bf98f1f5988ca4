"""What an explore text says, as a tree; names and levels are held against the data later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class At:
    """Values of a variable: ``@v`` and ``@[a, b]`` list them, ``@range(n)`` and ``@quantile(n)`` ask the data."""

    kind: str  # "values", "range" or "quantile"
    values: tuple[str | float, ...] = ()
    count: int = 0


@dataclass(frozen=True, slots=True)
class Variable:
    """A column by name; ``start`` is its place in the text, for messages."""

    name: str
    at: At | None = None
    start: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One level of one variable, or levels of several: ``A:C``."""

    levels: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Several cells in parentheses: their average."""

    cells: tuple[Cell, ...]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Wildcard:
    """``*``: every cell that the contrast does not name, one row for each."""

    start: int = 0


@dataclass(frozen=True, slots=True)
class Combination:
    """A weighted sum of cells, groups or the wildcard; ``weighted`` where weights were typed."""

    terms: tuple[tuple[float, Cell | Group | Wildcard], ...]
    text: str
    weighted: bool = False
    start: int = 0


@dataclass(frozen=True, slots=True)
class Contrast:
    """A named set of contrasts, or combinations that were written out (``method`` "custom")."""

    method: str
    degree: int | None = None  # of poly
    ref: str | None = None  # of treatment
    rows: tuple[Combination, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Variables that go together (``a:b``), and how their cells are compared; None: not at all."""

    variables: tuple[Variable, ...]
    contrast: Contrast | None = None


@dataclass(frozen=True, slots=True)
class ExploreQuery:
    """``focal ~ conditions``; several focal parts are an interaction of contrasts."""

    text: str
    focal: tuple[Part, ...]
    conditions: tuple[Part, ...] = ()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Every variable, in the order of the text."""
        return tuple(v for part in (*self.focal, *self.conditions) for v in part.variables)
