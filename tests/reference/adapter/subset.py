"""R's ``subset = cyl != 8`` as a polars filter: comparisons of a column with a literal, joined by & and |."""

from __future__ import annotations

import operator
import re
from functools import reduce

import polars as pl

_COMPARISON = re.compile(r"\s*([A-Za-z_.][\w.]*)\s*(==|!=|<=|>=|<|>|%in%)\s*(.+?)\s*")
_OPERATORS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def read_subset(text: str) -> pl.Expr:
    """The filter that an R subset expression means; ValueError for anything else."""
    either = [reduce(operator.and_, map(_comparison, part.split("&"))) for part in text.split("|")]
    return reduce(operator.or_, either)


def _comparison(text: str) -> pl.Expr:
    found = _COMPARISON.fullmatch(text)
    if not found:
        raise ValueError(f"a subset may compare columns with literals; {text!r} does something else")
    name, sign, value = found.groups()
    column = pl.col(name.replace(".", "_"))
    if sign == "%in%":
        inside = re.fullmatch(r"c\((.*)\)", value)
        if not inside:
            raise ValueError(f"%in% needs c(...), not {value!r}")
        return reduce(operator.or_, (column == _literal(v) for v in inside[1].split(",")))
    literal = _literal(value)
    return _OPERATORS[sign](column.cast(pl.String) if isinstance(literal, str) else column, literal)


def _literal(text: str) -> float | str | bool:
    text = text.strip()
    if text in ("TRUE", "FALSE"):
        return text == "TRUE"
    quoted = re.fullmatch(r"""(["'])(.*)\1""", text)
    return quoted[2] if quoted else float(text)
