"""Operands and terms to the design matrix: R's column order, R's coding rule, one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.errors import DataError
from inference_core.formula.evaluate import apply, learn
from inference_core.formula.guard import Expression
from inference_core.formula.transforms import as_factor
from inference_core.formula.values import Basis, Factor, Value
from inference_core.states import Array

from .codings import Coding, full_coding, make_coding
from .state import ColumnPart, OperandState, TermState
from .terms import Terms, dummy_coded

BLOCK = 8_192  # rows written at a time, so that a block of a narrow design stays in cache
BLOCK_CELLS = 2**20  # and fewer of them where the design is wide
MAX_LEVELS = 3_000  # a factor codes one column per level
MAX_BYTES = 8 * 2**30
INTERCEPT = "(Intercept)"


@dataclass(frozen=True, slots=True, eq=False)
class OperandValue:
    """An operand over the rows at hand: numbers (n,), a basis (n, k), or codes (n,) into the coding's levels."""

    state: OperandState
    values: Array

    def rows(self, start: int, stop: int, dummy: bool) -> Array:
        """(stop - start, k) columns of this operand for a block of rows."""
        part = self.values[start:stop]
        if self.state.kind == "number":
            return part[:, None]
        if self.state.kind == "basis":
            return part
        coding = self.state.full if dummy else self.state.coding
        assert coding is not None  # a factor has both
        return coding.matrix[part]


def check_finite(values: Array, text: str, row_of: Array | None) -> None:
    """Refuse what is not finite, naming the expression and the first row."""
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = np.flatnonzero(~finite if values.ndim == 1 else ~finite.all(axis=1))
    row = int(bad[0] if row_of is None else row_of[bad[0]])
    raise DataError(
        asked=f"{text} as part of the model",
        found=f"{text} is not a finite number in {bad.size} of {values.shape[0]} rows, "
        f"first in row {row} (counted from 0)",
        remedy="look at the values there; log() needs values above 0, sqrt() values from 0 on",
    )


def learn_operand(
    expression: Expression,
    columns: Callable[[str], Value],
    n: int,
    contrasts: Mapping[str, Any],
    row_of: Array,
) -> OperandValue:
    """Evaluate one operand on the training rows and remember what new rows will need."""
    value, learned = learn(expression, columns, n)
    common = dict(text=expression.text, column=expression.column, columns=expression.columns, learned=learned)
    if isinstance(value, np.ndarray) and value.dtype == bool:
        value = as_factor(value)
    if isinstance(value, Basis):
        check_finite(value.matrix, expression.text, row_of)
        return OperandValue(OperandState(kind="basis", labels=value.labels, **common), value.matrix)  # type: ignore[arg-type]
    if isinstance(value, Factor):
        factor = value.used()
        if len(factor.levels) < 2:
            only = factor.levels[0] if factor.levels else ""
            raise DataError(
                asked=f"{expression.text} as a factor",
                found=f'"{expression.text}" has only one level ("{only}") in the {n} rows used',
                remedy="leave it out of the formula, or check the filter",
            )
        if len(factor.levels) > MAX_LEVELS:
            raise DataError(
                asked=f"{expression.text} as a factor",
                found=f'"{expression.text}" has {len(factor.levels):,} levels in {n:,} rows, a column for each',
                remedy=f"leave it out, join its levels, or make it a random term, as (1 | {expression.text})",
            )
        request = factor.coding
        if request is None:
            request = _contrast_for(expression, contrasts)
        coding = make_coding(request, factor.levels, expression.text, ordered=factor.ordered)
        state = OperandState(kind="factor", coding=coding, full=full_coding(factor.levels), **common)  # type: ignore[arg-type]
        return OperandValue(state, factor.codes)
    numbers = np.asarray(value, dtype=np.float64)
    check_finite(numbers, expression.text, row_of)
    if _contrast_for(expression, contrasts) is not None and expression.text in contrasts:
        raise DataError(
            asked=f"contrasts for {expression.text}",
            found=f'"{expression.text}" holds numbers, and numbers have no coding',
            remedy=f"write factor({expression.text}) in the formula if its values are groups",
        )
    return OperandValue(OperandState(kind="number", **common), numbers)  # type: ignore[arg-type]


def _contrast_for(expression: Expression, contrasts: Mapping[str, Any]) -> Any:
    """The coding asked for by operand text, or by the one column that factor(x) or the like is made of."""
    if expression.text in contrasts:
        return contrasts[expression.text]
    if expression.column is not None:
        return contrasts.get(expression.column)
    if expression.function in ("factor", "ordered", "C", "I") and len(expression.columns) == 1:
        return contrasts.get(expression.columns[0])
    return None


def apply_operand(state: OperandState, expression: Expression, columns: Callable[[str], Value], n: int) -> OperandValue:
    """Evaluate one operand on new rows; a level that the training rows did not have is refused by name."""
    value = apply(expression, columns, n, state.learned)
    if isinstance(value, np.ndarray) and value.dtype == bool:
        value = as_factor(value)
    if state.kind == "basis" and isinstance(value, Basis):
        check_finite(value.matrix, state.text, None)
        return OperandValue(state, value.matrix)
    if state.kind == "factor" and state.coding is not None:
        if not isinstance(value, Factor):
            value = as_factor(value)
        return OperandValue(state, _recode(value, state.coding, state.text))
    if state.kind == "number" and not isinstance(value, (Factor, Basis)):
        numbers = np.asarray(value, dtype=np.float64)
        check_finite(numbers, state.text, None)
        return OperandValue(state, numbers)
    raise DataError(
        asked=f"new values of {state.text}",
        found="they hold groups where the fit had numbers",
        remedy="give the column the type it had in the data that made the fit",
    )


def _recode(factor: Factor, coding: Coding, text: str) -> Array:
    position = {name: j for j, name in enumerate(coding.levels)}
    lookup = np.array([position.get(name, -1) for name in factor.levels], dtype=np.int32)
    codes = lookup[factor.codes] if factor.codes.size else factor.codes
    if codes.size and codes.min() < 0:
        unseen = factor.levels[int(factor.codes[int(np.argmin(codes))])]
        raise unseen_level(unseen, text, coding.levels)
    return codes


def unseen_level(level: str, column: str, known: tuple[str, ...]) -> DataError:
    """The refusal of a level that was not in the data that made the fit."""
    shown = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
    return DataError(
        asked=f'{column} = "{level}"',
        found=f'level "{level}" of {column} was not in the data that made the fit',
        remedy=f"use one of {shown}, or allow_new_levels=True for a grouping factor",
    )


def term_states(terms: Terms, operands: list[OperandValue]) -> tuple[TermState, ...]:
    """The terms with R's coding rule worked out."""
    dummy = dummy_coded(terms, [o.state.kind == "factor" for o in operands])
    labels = terms.labels
    return tuple(TermState(labels[t], term, dummy[t]) for t, term in enumerate(terms.members))


def name_columns(
    intercept: bool, terms: tuple[TermState, ...], operands: tuple[OperandState, ...]
) -> tuple[tuple[str, ...], Array, tuple[tuple[ColumnPart, ...], ...]]:
    """Labels (p,), source term of each column (p,) with -1 for the intercept, and what each column is made
    of.
    """
    names: list[str] = [INTERCEPT] if intercept else []
    source: list[int] = [-1] if intercept else []
    parts: list[tuple[ColumnPart, ...]] = [()] if intercept else []
    for t, term in enumerate(terms):
        combos: list[tuple[str, tuple[ColumnPart, ...]]] = [("", ())]
        for i, dummy in zip(term.operands, term.dummy, strict=True):
            pieces = _pieces(operands[i], dummy)
            # The first factor varies fastest, so later ones go in the outer loop.
            combos = [
                (f"{text}:{label}" if text else label, (*made, part)) for label, part in pieces for text, made in combos
            ]
        names += [text for text, _ in combos]
        parts += [made for _, made in combos]
        source += [t] * len(combos)
    return tuple(names), np.array(source, dtype=np.intp), tuple(parts)


def _pieces(operand: OperandState, dummy: bool) -> list[tuple[str, ColumnPart]]:
    """Label and description of each column of one operand."""
    if operand.kind == "number":
        return [(operand.text, ColumnPart(operand.text, operand.column, "number", 0))]
    if operand.kind == "basis":
        single = len(operand.labels) == 1  # R's poly(x, 1) has no number either
        return [
            (operand.text if single else f"{operand.text}[{label}]",
             ColumnPart(operand.text, operand.column, "basis", j))
            for j, label in enumerate(operand.labels)
        ]  # fmt: skip
    coding = operand.full if dummy else operand.coding
    assert coding is not None
    return [
        (
            operand.text + suffix,
            ColumnPart(operand.text, operand.column, "factor", j, coding.kind, *_stands_for(coding, j)),
        )
        for j, suffix in enumerate(coding.suffixes)
    ]


def _stands_for(coding: Coding, j: int) -> tuple[str | None, str | None]:
    """(level, reference) of one column, where the coding gives it such a meaning."""
    if coding.kind in ("treatment", "sum", "full"):
        level = coding.levels[int(np.argmax(coding.matrix[:, j]))]
        return level, coding.reference if coding.kind == "treatment" else None
    if coding.kind == "helmert":
        return coding.levels[j + 1], None
    if coding.kind == "sequential":
        return coding.levels[j + 1], coding.levels[j]
    return None, None


def check_size(intercept: bool, terms: tuple[TermState, ...], operands: tuple[OperandState, ...], n: int) -> None:
    """Refuse a design that would not fit into memory, before a single column of it is named.

    Raises
    ------
    DataError
        Interactions of factors with many levels ask for more than ``MAX_BYTES``.
    """
    p = int(intercept)
    for term in terms:
        columns = 1
        for i, dummy in zip(term.operands, term.dummy, strict=True):
            columns *= operands[i].width(dummy)
        p += columns
    if 8 * n * p > MAX_BYTES:
        raise DataError(
            asked=f"a design of {n:,} rows and {p:,} columns",
            found=f"it needs {8 * n * p / 2**30:.0f} GiB; the limit is {MAX_BYTES // 2**30} GiB",
            remedy="take the interactions of factors with many levels out of the formula",
        )


def assemble(intercept: bool, terms: tuple[TermState, ...], operands: list[OperandValue], n: int, p: int) -> Array:
    """(n, p) design in C order, written block by block."""
    X = np.empty((n, p))
    size = min(BLOCK, max(64, BLOCK_CELLS // max(p, 1)))
    for start in range(0, n, size):
        stop = min(start + size, n)
        at = 0
        if intercept:
            X[start:stop, 0] = 1.0
            at = 1
        for term in terms:
            block: Array | None = None
            for i, dummy in zip(term.operands, term.dummy, strict=True):
                new = operands[i].rows(start, stop, dummy)
                block = new if block is None else _products(block, new)
            assert block is not None  # a term has at least one operand
            X[start:stop, at : at + block.shape[1]] = block
            at += block.shape[1]
    return X


def _products(left: Array, right: Array) -> Array:
    """(b, k m) products of every column of ``left`` (k) with every column of ``right`` (m), left varying
    fastest.
    """
    return (right[:, :, None] * left[:, None, :]).reshape(left.shape[0], -1)
