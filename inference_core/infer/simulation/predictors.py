"""Columns before there are data: what a predictor or a group would look like in n rows.

A column is *random* (another one in every sample: ``normal``, ``uniform``, ``levels``, ``binary``) or *designed* (the
same in every sample of n rows: ``balanced``, ``groups``, given values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.infer.spelling import nearest
from inference_core.states import Array

Draw = Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Predictor:
    """One column to be: numbers, or codes of ``names``; made by ``normal()``, ``levels()`` and their like."""

    text: str  # as it is typed
    draw: Draw  # (n,) values, or codes
    random: bool
    names: tuple[str, ...] | None = None  # levels in order
    per: str | None = None  # one value for each group of this column

    def __repr__(self) -> str:
        return self.text


def normal(mean: float = 0.0, sd: float = 1.0) -> Predictor:
    """Normal numbers, drawn anew for each sample."""
    _number("normal(mean=...)", mean)
    _above("normal(sd=...)", sd)
    return Predictor(f"normal({mean:g}, {sd:g})", lambda rng, n: mean + sd * rng.standard_normal(n), True)


def uniform(low: float = 0.0, high: float = 1.0) -> Predictor:
    """Numbers spread evenly between two limits, drawn anew for each sample."""
    _number("uniform(low=...)", low)
    _number("uniform(high=...)", high)
    if not high > low:
        raise InferenceError(f"uniform({low:g}, {high:g})", "the upper limit is not above the lower", "uniform(0, 1)")
    return Predictor(f"uniform({low:g}, {high:g})", lambda rng, n: rng.uniform(low, high, n), True)


def binary(p: float = 0.5) -> Predictor:
    """0 or 1, drawn anew for each sample; ``p`` is the chance of a 1."""
    if not 0.0 < p < 1.0:
        raise InferenceError(f"binary({p!r})", "the chance of a 1 lies between 0 and 1", "binary(0.5)")
    return Predictor(f"binary({p:g})", lambda rng, n: (rng.random(n) < p).astype(float), True)


def levels(*names: str, p: Any = None) -> Predictor:
    """Groups by chance, drawn anew for each sample; the first is the baseline. ``p``: their chances, equal if left out.

    Raises
    ------
    InferenceError
        Fewer than two levels, or chances that do not fit them.
    """
    _names("levels", names)
    chances = np.full(len(names), 1.0 / len(names)) if p is None else np.asarray(p, dtype=float)
    if chances.shape != (len(names),) or np.any(chances <= 0) or abs(chances.sum() - 1.0) > 1e-9:
        raise InferenceError(
            f"levels(..., p={p!r})", f"chances are {len(names)} numbers above 0 that sum to 1", "leave p out for equal"
        )
    edges = np.cumsum(chances)[:-1]
    text = f"levels({', '.join(map(repr, names))})"
    return Predictor(text, lambda rng, n: np.searchsorted(edges, rng.random(n), side="right"), True, tuple(names))


def balanced(*values: Any) -> Predictor:
    """Values in turn, over and over: equal shares of groups (text) or of numbers, the same in every sample."""
    if len(values) < 2 or len({type(v) is str for v in values}) != 1:
        raise InferenceError(
            f"balanced{values!r}", "two or more values, all text or all numbers", "balanced('control', 'treated')"
        )
    text = f"balanced({', '.join(map(repr, values))})"
    k = len(values)
    if isinstance(values[0], str):
        _names("balanced", values)
        return Predictor(text, lambda rng, n: np.arange(n) % k, False, tuple(values))
    numbers = np.asarray(values, dtype=float)
    return Predictor(text, lambda rng, n: numbers[np.arange(n) % k], False)


def groups(count: int | None = None, *, size: int | None = None) -> Predictor:
    """Groups of neighbouring rows, g1, g2, ...: ``count`` of them in any n rows, or as many as rows of ``size`` make.

    Raises
    ------
    InferenceError
        Both or neither, or fewer than two groups.
    """
    given = count if size is None else size
    if (count is None) == (size is None) or isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InferenceError(
            f"groups(count={count!r}, size={size!r})", "how many groups, or how many rows each", "groups(18)"
        )
    if size is not None:
        return Predictor(f"groups(size={size})", lambda rng, n: np.arange(n) // size, False, ())
    if given < 2:
        raise InferenceError(f"groups({count})", "one group does not vary", "groups(10)")
    return Predictor(f"groups({count})", lambda rng, n: np.arange(n) * given // n, False, ())


def per(group: str, column: Predictor) -> Predictor:
    """One value of ``column`` for each group of another column: a treatment of whole schools, the age of a subject."""
    if not isinstance(column, Predictor) or not isinstance(group, str):
        raise InferenceError(
            f"per({group!r}, {column!r})",
            "a column's name, and what its groups get",
            "per('school', balanced('a', 'b'))",
        )
    return Predictor(f"per({group!r}, {column})", column.draw, column.random, column.names, per=group)


def make_columns(
    wanted: Mapping[str, Any], n: int, stream: Callable[[int], np.random.Generator]
) -> dict[str, pl.Series]:
    """Columns of n rows; ``stream(j)`` is the generator of the j-th of them.

    Raises
    ------
    InferenceError
        A column with another number of values, or one for each group of a column that is not there.
    """
    made: dict[str, pl.Series] = {}
    later: list[tuple[int, str, Predictor]] = []
    for j, (name, what) in enumerate(wanted.items()):
        if not isinstance(what, Predictor):
            made[name] = given_values(name, what, n)
        elif what.per is not None:
            later.append((j, name, what))
        else:
            made[name] = _series(name, what, what.draw(stream(j), n))
    for j, name, what in later:
        if what.per not in made:
            near = nearest(what.per, made)
            raise InferenceError(
                f"{name}={what}",
                f"{what.per!r} is no column of this design",
                f"did you mean {near!r}?" if near else "name the grouping column",
            )
        codes = np.unique(made[what.per].to_numpy(), return_inverse=True)[1].ravel()
        _, first = np.unique(codes, return_index=True)  # groups in the order of the rows
        rank = np.argsort(np.argsort(first))
        made[name] = _series(name, what, what.draw(stream(j), first.size)[rank[codes]])
    return {name: made[name] for name in wanted}


def given_values(name: str, values: Any, n: int) -> pl.Series:
    """A column that is given: n values, or one for all rows."""
    if isinstance(values, (int, float, str)) and not isinstance(values, bool):
        values = [values] * n
    try:
        series = values.alias(name) if isinstance(values, pl.Series) else pl.Series(name, np.asarray(values).tolist())
    except (TypeError, ValueError):
        asked = f"predictors={{{name!r}: {values!r}}}"
        raise InferenceError(asked, "that is no column", "normal(), or values") from None
    if series.len() != n:
        raise InferenceError(
            f"{n} rows", f"{name!r} has {series.len()} values", f"n={series.len()}, or a distribution as normal()"
        )
    return series


def _series(name: str, what: Predictor, values: Array) -> pl.Series:
    if what.names is None:
        return pl.Series(name, np.asarray(values, dtype=float))
    codes = np.asarray(values, dtype=np.int64)
    names = what.names or tuple(f"g{j + 1}" for j in range(int(codes.max()) + 1))
    return pl.Series(name, [names[code] for code in codes.tolist()], dtype=pl.Enum(list(names)))


def _names(what: str, names: tuple[Any, ...]) -> None:
    if len(names) < 2 or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise InferenceError(f"{what}{names!r}", "two or more different names", f"{what}('a', 'b')")


def _number(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InferenceError(f"{what} {value!r}", "it is no finite number", "normal(0, 1)")


def _above(what: str, value: Any) -> None:
    _number(what, value)
    if not value > 0:
        raise InferenceError(f"{what} {value!r}", "it is not above 0", "normal(0, 1)")
