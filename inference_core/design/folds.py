"""A design whose transforms learn from some of the rows only: what a training fold may know of the others is nothing.

``center``, ``scale``, ``zscore``, ``rank``, ``poly``, ``bs`` and ``ns`` look at all rows they are given. Their columns
are made anew for each training fold and applied to every row; all other columns do not depend on who is looking.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from inference_core.formula.evaluate import apply, learn
from inference_core.formula.guard import Expression, admit, admit_column
from inference_core.formula.values import Basis, Factor, Value
from inference_core.states import Array, DataBundle

from .columns import Columns
from .matrix import OperandValue, apply_operand, assemble, check_finite, name_columns
from .state import DesignState, OperandState, TermState
from .terms import Terms, dummy_coded

LOOKS_AT_ROWS = frozenset({"center", "scale", "zscore", "rank", "poly", "bs", "ns"})
# Learned anew, their columns are combinations of the old ones, the intercept and lower terms.
KEEPS_SPACE = frozenset({"center", "scale", "zscore", "poly"})


@dataclass(frozen=True, slots=True, eq=False)
class LearnedDesign:
    """Columns of all n rows as a part of the rows has them."""

    X: Array  # (n, p)
    X_re: tuple[Array, ...]  # (n, k) of each block of random effects
    offset: Array | None  # (n,)


class FoldDesign:
    """One model's design, to be learned from any part of its rows.

    Parameters
    ----------
    bundle : DataBundle
        From ``build_bundle``.
    frame : polars.DataFrame, optional
        The data that the bundle was made from. Without them only designs that learn nothing from rows can be had.
    """

    def __init__(self, bundle: DataBundle, frame: pl.DataFrame | None = None) -> None:
        self.bundle = bundle
        self.state: DesignState | None = bundle.design_state
        self._frame = frame

    @cached_property
    def relearned(self) -> tuple[str, ...]:
        """Operands and offsets that look at rows, by their text."""
        if self.state is None:
            return ()
        texts = [o.text for o in self.state.operands if _looks(o)]
        texts += [o.text for g in self.state.random for part in g.parts for o in part.operands if _looks(o)]
        texts += [t for t in self._offset_texts if looks_at_rows(self._offset_expression(t))]
        return tuple(dict.fromkeys(texts))

    @cached_property
    def space_depends_on_rows(self) -> bool:
        """Whether learning anew can change which functions of the predictors a linear model without random effects has.

        It cannot where each operand that looks at rows is one call of center, scale, zscore or poly, and every term
        that holds it stands beside the same term without it.
        """
        if not self.relearned:
            return False
        state = self.state
        assert state is not None
        if state.random or any(looks_at_rows(self._offset_expression(t)) for t in self._offset_texts):
            return True
        members = {frozenset(t.operands) for t in state.terms} | ({frozenset()} if state.intercept else set())
        for i, operand in enumerate(state.operands):
            if not _looks(operand):
                continue
            expression = _expression(operand)
            calls = [n for n in ast.walk(expression.tree) if isinstance(n, ast.Call)]
            inner = [n for n in calls if n.func.id in LOOKS_AT_ROWS]  # type: ignore[union-attr]
            if expression.function not in KEEPS_SPACE or len(inner) > 1:
                return True
            if any(i in m and m - {i} not in members for m in members):
                return True
        return False

    @property
    def has_frame(self) -> bool:
        """Whether columns can be made anew."""
        return self._frame is not None

    # ---- all rows ------------------------------------------------------------------------------------------

    @cached_property
    def columns(self) -> Columns:
        """The rows that the model keeps, by column."""
        assert self._frame is not None and self.state is not None
        used = [c for c in self._frame.columns if c in self.state.column_kinds]
        kept = self._frame.select(used)
        if kept.height == self.bundle.n_total and self.bundle.n != self.bundle.n_total:
            kept = kept.filter(pl.Series(self.bundle.valid_mask))
        return Columns(kept, self.state.column_levels)

    @cached_property
    def operands(self) -> list[OperandValue]:
        """Values of the operands of the fixed part over all rows, as the whole data have them."""
        assert self.state is not None
        return [apply_operand(o, _expression(o), self.columns, self.bundle.n) for o in self.state.operands]

    def recoded(self, kept: tuple[int, ...]) -> tuple[TermState, ...] | None:
        """The terms ``kept`` (positions) where leaving the others out changes how their factors are coded, else None.

        Without an intercept the first factor has a column for each level; when it goes, the next one gets them.
        """
        state = self.state
        if state is None:
            return None
        members = tuple(state.terms[t].operands for t in kept)
        dummy = dummy_coded(Terms(state.intercept, (), members), [o.kind == "factor" for o in state.operands])
        if all(new == state.terms[t].dummy for new, t in zip(dummy, kept, strict=True)):
            return None
        return tuple(replace(state.terms[t], dummy=new) for new, t in zip(dummy, kept, strict=True))

    # ---- one part of the rows ------------------------------------------------------------------------------

    def learn_from(self, train: Array | None, terms: tuple[TermState, ...] | None = None) -> LearnedDesign:
        """Columns of all rows with what the rows ``train`` (n,) bool teach; None: all of them.

        Parameters
        ----------
        train : (n,) bool or None
        terms : tuple of TermState, optional
            Other terms of the same operands.

        Raises
        ------
        DataError, FormulaError
            The training rows cannot teach a transform: a constant column, too few distinct values.
        """
        bundle, state = self.bundle, self.state
        blocks = () if bundle.re_metadata is None else bundle.re_metadata.blocks
        fresh = train is not None and bool(self.relearned)
        if not fresh and terms is None:
            return LearnedDesign(bundle.X, tuple(block.X_re for block in blocks), bundle.offset)
        assert state is not None
        own = _Rows(self.columns, train) if fresh and train is not None else None
        values = [self._operand(value, own) for value in self.operands]
        used = state.terms if terms is None else terms
        names, _, _ = name_columns(state.intercept, used, tuple(v.state for v in values))
        X = assemble(state.intercept, used, values, bundle.n, len(names))
        X_re = tuple(block.X_re for block in blocks)
        random = [o for g in state.random for part in g.parts for o in part.operands]
        if fresh and any(_looks(o) for o in random):
            X_re = tuple(self._random_columns(g.parts, own) for g in state.random)
        return LearnedDesign(X, X_re, self._offset(own))

    def _random_columns(self, parts: tuple, own: _Rows | None) -> Array:
        made = []
        for part in parts:
            values = [
                self._operand(apply_operand(o, _expression(o), self.columns, self.bundle.n), own)
                for o in part.operands
            ]
            made.append(assemble(part.intercept, part.terms, values, self.bundle.n, len(part.names)))
        return np.concatenate(made, axis=1)

    def _operand(self, value: OperandValue, own: _Rows | None) -> OperandValue:
        state = value.state
        if own is None or not _looks(state):
            return value
        expression = _expression(state)
        _, learned = learn(expression, own, own.n)
        return apply_operand(replace(state, learned=learned), expression, self.columns, self.bundle.n)

    # ---- offsets -------------------------------------------------------------------------------------------

    @property
    def _offset_texts(self) -> list[str]:
        return [] if self.state is None else [o.text for o in self.state.offsets if o.text is not None]

    def _offset_expression(self, text: str) -> Expression:
        assert self.state is not None
        return admit_column(text) if text in self.state.column_kinds else admit(text)

    def _offset(self, own: _Rows | None) -> Array | None:
        total = self.bundle.offset
        if own is None or self.state is None or total is None:
            return total
        for saved in self.state.offsets:
            if saved.text is None:
                continue
            expression = self._offset_expression(saved.text)
            if looks_at_rows(expression):
                _, learned = learn(expression, own, own.n)
                total = total + self._numbers(expression, learned) - self._numbers(expression, saved.learned)
        return total

    def _numbers(self, expression: Expression, learned: tuple) -> Array:
        value: Value = apply(expression, self.columns, self.bundle.n, learned)
        assert not isinstance(value, (Factor, Basis))  # refused when the model was built
        numbers = np.asarray(value, dtype=float)
        check_finite(numbers, expression.text, None)
        return numbers


class _Rows:
    """Some of the rows of a frame, column by column, cut from the values that were read once."""

    def __init__(self, columns: Columns, train: Array) -> None:
        self.columns, self.train = columns, train
        self.n = int(np.count_nonzero(train))

    def __call__(self, name: str) -> Array | Factor:
        value = self.columns(name)
        return replace(value, codes=value.codes[self.train]) if isinstance(value, Factor) else value[self.train]


def looks_at_rows(expression: Expression) -> bool:
    """Whether some call in the expression learns from the rows it is given."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in LOOKS_AT_ROWS
        for node in ast.walk(expression.tree)
    )


def _looks(operand: OperandState) -> bool:
    return operand.column is None and looks_at_rows(_expression(operand))


def _expression(operand: OperandState) -> Expression:
    return admit_column(operand.column) if operand.column is not None else admit(operand.text)
