"""Interpret an admitted expression over columns. There is no ``eval`` here: a node is known or it is refused."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from inference_core.errors import DataError, FormulaError
from inference_core.states import Array

from .guard import Expression, literal_number
from .names import suggest
from .tokens import not_allowed
from .transforms import TRANSFORMS, check_switches
from .values import Basis, Factor, Value

_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def learn(expression: Expression, columns: Callable[[str], Value], n: int) -> tuple[Value, tuple[Any, ...]]:
    """Value over n training rows, and what its transforms learned (in the order of evaluation)."""
    states: list[Any] = []
    value = _Interpreter(expression, columns, n, states, learning=True).run()
    return value, tuple(states)


def apply(expression: Expression, columns: Callable[[str], Value], n: int, states: tuple[Any, ...]) -> Value:
    """Value over n rows, with what was learned before."""
    return _Interpreter(expression, columns, n, list(states), learning=False).run()


class _Interpreter:
    def __init__(
        self,
        expression: Expression,
        columns: Callable[[str], Value],
        n: int,
        states: list[Any],
        *,
        learning: bool,
    ) -> None:
        self.expression, self.columns, self.n = expression, columns, n
        self.states, self.learning, self.position = states, learning, 0

    def run(self) -> Value:
        """The value, one entry per row."""
        with np.errstate(all="ignore"):  # what is not finite is refused by name afterwards
            value = self.value(self.expression.tree)
        if isinstance(value, (Factor, Basis)):
            return value
        if isinstance(value, str):
            raise self.refuse("text has no place there")
        array = np.asarray(value)
        return np.broadcast_to(array, (self.n,)) if array.ndim == 0 else array

    def refuse(self, why: str) -> FormulaError:
        return FormulaError(self.expression.text, why, "make a new column first, and name it in the formula")

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name) and node.id in self.expression.column_of:
            return self.columns(self.expression.column_of[node.id])
        if isinstance(node, ast.Constant):
            # np.float64 overflows to inf; a Python int would grow without bound.
            return node.value if isinstance(node.value, (str, bool)) else np.float64(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.BinOp):
            left, right = self.number(node.left), self.number(node.right)
            return _ARITHMETIC[type(node.op)](left, right)
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return ~self.truth(node.operand)
            inner = self.number(node.operand)
            return -inner if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BoolOp):
            parts = [self.truth(v) for v in node.values]
            combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            out = parts[0]
            for part in parts[1:]:
                out = combine(out, part)
            return out
        if isinstance(node, ast.Compare):
            return self.compare(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        raise not_allowed(type(node).__name__, self.expression.text)

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, (Factor, str)):
            raise DataError(
                asked=self.expression.text,
                found="arithmetic with groups" if isinstance(value, Factor) else "arithmetic with text",
                remedy='compare them instead, as I(g == "a"), or write as_number(g) if they are numbers',
            )
        if isinstance(value, Basis):
            raise self.refuse("arithmetic with several columns at once")
        return np.asarray(value, dtype=np.float64)[()]

    def truth(self, node: ast.expr) -> Any:
        value = self.value(node)
        if isinstance(value, (Factor, Basis, str)):
            if isinstance(value, Factor) and value.levels in (("False", "True"), ("False",), ("True",)):
                return np.array([level == "True" for level in value.levels])[value.codes]
            raise self.refuse("and, or and not work on comparisons and on columns of true and false")
        return np.asarray(value).astype(bool)

    def compare(self, node: ast.Compare) -> Any:
        left, op = self.value(node.left), node.ops[0]
        if isinstance(op, ast.In):
            wanted = self.literal(node.comparators[0])
            wanted = wanted if isinstance(wanted, tuple) else (wanted,)
            if isinstance(left, Factor):
                return np.isin(left.codes, [self.level(left, w) for w in wanted])
            if isinstance(left, (Basis, str)) or not all(isinstance(w, (bool, int, float)) for w in wanted):
                raise self.refuse("numbers can be looked for among numbers, and groups among their levels")
            return np.isin(np.asarray(left, dtype=np.float64), [float(w) for w in wanted])
        right = self.value(node.comparators[0])
        if isinstance(left, str) and isinstance(right, Factor):
            left, right = right, left
        if isinstance(left, Factor) and isinstance(right, str):
            position = self.level(left, right)
            if not isinstance(op, (ast.Eq, ast.NotEq)) and not left.ordered:
                raise self.refuse("groups without an order can be equal or not, but none is larger")
            return _COMPARISONS[type(op)](left.codes, position)
        if isinstance(left, (Factor, Basis, str)) or isinstance(right, (Factor, Basis, str)):
            raise self.refuse("only numbers with numbers, and a group with one of its levels, can be compared")
        return _COMPARISONS[type(op)](left, right)

    def level(self, factor: Factor, name: Any) -> int:
        """Position of a level that the formula spells out."""
        name = str(name)
        if name in factor.levels:
            return factor.levels.index(name)
        if not self.learning:  # a level of the training rows that these rows do not show
            return len(factor.levels)
        near = suggest(name, factor.levels)
        raise DataError(
            asked=self.expression.text,
            found=f'"{name}" is not a level there; levels: {", ".join(factor.levels[:10])}',
            remedy=f'did you mean "{near}"?' if near else "use one of the levels",
        )

    def literal(self, node: ast.expr) -> Any:
        number = literal_number(node)
        if number is not None:
            return int(number) if float(number).is_integer() and abs(number) < 2**53 else number
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return self.expression.column_of[node.id]  # a word, as in C(x, sum)
        if isinstance(node, ast.Call):
            return tuple(self.literal(a) for a in node.args)
        raise not_allowed(type(node).__name__, self.expression.text)

    def call(self, node: ast.Call) -> Any:
        function = TRANSFORMS[node.func.id]  # type: ignore[union-attr]
        arguments = [self.value(a) for a in node.args[: function.data_arguments]]
        arguments = [self.rows(a) for a in arguments]
        options = dict(function.options)
        options.update(zip(options, (self.literal(a) for a in node.args[function.data_arguments :]), strict=False))
        options.update({str(k.arg): self.literal(k.value) for k in node.keywords})
        check_switches(function, options)
        if self.learning:
            state = function.learn(arguments, options) if function.learn else None
            self.states.append(state)
        else:
            state = self.states[self.position]
            self.position += 1
        return function.apply(arguments, state, options)

    def rows(self, value: Any) -> Any:
        """A constant as one value per row, so that mean, rank and their like see rows."""
        if isinstance(value, (Factor, Basis, str)):
            return value
        array: Array = np.asarray(value)
        return np.broadcast_to(array, (self.n,)) if array.ndim == 0 else array
