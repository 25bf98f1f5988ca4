"""What a design remembers: enough to build the same columns for new rows, as plain picklable data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .codings import Coding


@dataclass(frozen=True, slots=True, eq=False)
class OperandState:
    """One column or call of the formula: its text, what it learned, and how its levels are coded."""

    text: str
    column: str | None  # the column, where the operand is nothing else
    columns: tuple[str, ...]
    learned: tuple[Any, ...]
    kind: str  # "number", "factor" or "basis"
    labels: tuple[str, ...] = ()  # of a basis
    coding: Coding | None = None  # of a factor, contrasts
    full: Coding | None = None  # of a factor, one column per level

    def width(self, dummy: bool) -> int:
        """Columns of this operand, with or without one per level."""
        if self.kind == "basis":
            return len(self.labels)
        coding = self.full if dummy else self.coding
        return 1 if coding is None else len(coding.suffixes)


@dataclass(frozen=True, slots=True, eq=False)
class TermState:
    """One term: its operands, and which of their factors are coded by one column per level."""

    text: str
    operands: tuple[int, ...]
    dummy: tuple[bool, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnPart:
    """One factor of one design column: the operand, and where it is a factor its coding and the column of it."""

    operand: str
    column: str | None  # data column, where the operand is nothing else
    kind: str  # "number", "factor" or "basis"
    index: int  # which column of the operand's coding or basis
    coding: str | None = None  # "treatment", "sum", ..., "full"
    level: str | None = None  # the level that the column stands for, where it stands for one
    reference: str | None = None  # the baseline of treatment coding


@dataclass(frozen=True, slots=True, eq=False)
class OffsetState:
    """One offset: text over columns with what it learned; or an array, which new rows cannot have."""

    text: str | None
    learned: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RandomPartState:
    """Effects that covary within a group: the left of one bar."""

    text: str  # "(Days | Subject)"
    intercept: bool
    operands: tuple[OperandState, ...]
    terms: tuple[TermState, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RandomGroupState:
    """One grouping factor: what makes it, its levels, and the parts that vary by it."""

    name: str
    levels: tuple[str, ...]
    texts: tuple[str, ...]  # of each factor of an interaction
    plain: tuple[str | None, ...]  # the column, where the factor is nothing else
    learned: tuple[tuple[Any, ...], ...]
    columns: tuple[str, ...]
    parts: tuple[RandomPartState, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DesignState:
    """Everything that new rows need. ``parts[j]`` says what design column j is made of (empty: the
    intercept).
    """

    formula: str
    intercept: bool
    operands: tuple[OperandState, ...]
    terms: tuple[TermState, ...]
    column_levels: Mapping[str, tuple[str, ...]]  # text columns -> levels seen in training
    column_kinds: Mapping[str, str]  # column -> "number", "boolean" or "text"
    offsets: tuple[OffsetState, ...] = ()
    X_names: tuple[str, ...] = ()
    parts: tuple[tuple[ColumnPart, ...], ...] = ()
    lacking: Mapping[str, int] = field(default_factory=dict)  # column -> rows that lack a value
    number_groups: Mapping[str, int] = field(default_factory=dict)  # numeric grouping column -> distinct values
    text_numbers: Mapping[str, str] = field(default_factory=dict)  # text column that is mostly numbers -> an example
    random: tuple[RandomGroupState, ...] = ()
