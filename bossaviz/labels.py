"""Words for a model: from the reader (``bv.labels``), from a data set that ships, or from the columns' own names.

A frame carries no name, and a filtered one is a new object, so labels are found by content:

* What the reader said with ``bv.labels(df, ...)`` belongs to every frame with the same column names (and, where no
  frame matches exactly, to frames that hold all the columns that were labelled). The last word wins, and it wins over
  labels that ship.
* A column wears a label that ships when it has the name *and* holds only values of that shipped column. So
  ``penguins.filter(...)`` keeps its words, and a ``weight`` in kilograms does not become grams.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .sentences import ink
from .sentences.situation import Labels
from .vocabulary import ORIGINS, Vocabulary, Words, shipped

if TYPE_CHECKING:  # ``import bossaviz`` carries this module, so what is heavy is imported where it is used
    import polars as pl

# ---- what the reader says ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Said:
    """Words that the reader gave for frames with these column names."""

    names: frozenset[str]
    columns: dict[str, Words]
    rows: tuple[str, str] | None = None
    origin: str | None = None


_SAID: list[_Said] = []  # the last entry is the newest


def labels(
    frame: Any,
    words: Mapping[str, Any] | None = None,
    /,
    *,
    rows: tuple[str, str] | None = None,
    origin: str | None = None,
    **columns: Any,
) -> Any:
    """Give the columns of a frame the words that sentences use.

    Parameters
    ----------
    frame : DataFrame
        Anything with column names: polars, pandas, pyarrow, a dict of columns.
    words : mapping, optional
        Column -> words, for columns whose names are no Python names (or are called "rows" or "origin").
    rows : (str, str), optional
        What one row is, singular and plural: ``("car", "cars")``.
    origin : str, optional
        How the data came about: "experiment", "observational", "case-control".
    **columns
        Column = noun, or (noun, unit), or (noun, unit, step), or a dict with any of the fields of ``Words``
        (noun, unit, step, plural, levels, phrase, event, count).

    Returns
    -------
    The frame, as it came.

    Raises
    ------
    DataError
        For a column that does not exist, or words of another form.

    Examples
    --------
    >>> import polars as pl
    >>> frame = pl.DataFrame({"Days": [0, 1], "Reaction": [249.6, 258.7]})
    >>> frame = labels(frame, Days="day of deprivation", Reaction=("reaction time", "ms"))
    """
    from inference_core.errors import DataError
    from inference_core.formula import suggest

    known = _column_names(frame)
    given = {**(words or {}), **columns}
    for name in given:
        if name not in known:
            near = suggest(name, known)
            raise DataError(
                asked=f'labels for "{name}"',
                found=f"the frame has no such column; it has {', '.join(known[:5])}",
                remedy=f'did you mean "{near}"?' if near else "label one of its columns",
            )
    if origin is not None and origin not in ORIGINS:
        raise DataError(f"origin={origin!r}", f"an origin is one of {', '.join(ORIGINS)}", "leave origin out")
    said = _Said(frozenset(known), {name: _words(name, value) for name, value in given.items()}, _pair(rows), origin)
    earlier = next((s for s in _SAID if s.names == said.names), None)
    if earlier is not None:
        _SAID.remove(earlier)
        said.columns = {**earlier.columns, **said.columns}
        said.rows, said.origin = said.rows or earlier.rows, said.origin or earlier.origin
    _SAID.append(said)
    return frame


def forget_labels() -> None:
    """Drop everything that ``labels`` was told in this session."""
    _SAID.clear()


def _column_names(frame: Any) -> list[str]:
    from inference_core.errors import DataError

    if isinstance(frame, Mapping):
        return [str(name) for name in frame]
    names = getattr(frame, "column_names", None) or getattr(frame, "columns", None)
    if names is None:
        raise DataError("labels of something without columns", f"a {type(frame).__name__}", "give a frame")
    return [str(name) for name in names]


def _words(name: str, given: Any) -> Words:
    from inference_core.errors import DataError
    from inference_core.formula import suggest

    if isinstance(given, Words):
        return given
    if isinstance(given, str):
        return Words(noun=ink.clean(given), step=ink.clean(given))
    if isinstance(given, Mapping):
        known = {f.name for f in fields(Words)}
        wrong = [key for key in given if key not in known]
        if wrong:
            near = suggest(str(wrong[0]), known)
            raise DataError(
                asked=f'labels for "{name}"',
                found=f'"{wrong[0]}" is not a kind of word; kinds: {", ".join(sorted(known))}',
                remedy=f'did you mean "{near}"?' if near else "leave it out",
            )
        return Words(**{"noun": ink.column(name), **given})
    if isinstance(given, Iterable):
        parts = [ink.clean(part) for part in given]
        if 1 <= len(parts) <= 3 and all(isinstance(part, str) for part in given):
            return Words(**dict(zip(("noun", "unit", "step"), parts, strict=False)))
    raise DataError(
        asked=f'labels for "{name}"',
        found=f"{given!r} is not a noun, (noun, unit) or (noun, unit, step)",
        remedy=f'write {name}=("reaction time", "ms")',
    )


def _pair(rows: tuple[str, str] | None) -> tuple[str, str] | None:
    from inference_core.errors import DataError

    if rows is None:
        return None
    if isinstance(rows, str) or len(tuple(rows)) != 2:
        raise DataError(f"rows={rows!r}", "one row and many rows are two words", 'write rows=("car", "cars")')
    one, many = rows
    return ink.clean(one), ink.clean(many)


# ---- finding words for a frame -------------------------------------------------------------------------------------


def vocabulary_for(frame: pl.DataFrame) -> Vocabulary:
    """Words of a frame's columns: what the reader said, over what ships; columns without any are not in it."""
    found = _shipped_words(frame)
    said = _said_words(frame.columns)
    if said is None:
        return found
    return Vocabulary(
        columns={**found.columns, **said.columns},
        rows=said.rows or found.rows,
        group=found.group,
        origin=said.origin or found.origin,
    )


def _said_words(names: list[str]) -> _Said | None:
    here = frozenset(names)
    exact = [s for s in _SAID if s.names == here]
    near = [s for s in _SAID if s.columns and set(s.columns) <= here and (s.names >= here or s.names <= here)]
    found = exact or near
    return found[-1] if found else None


def _shipped_words(frame: pl.DataFrame) -> Vocabulary:
    """Words of the shipped data set that most columns of the frame come from: at least two, or all it has."""
    from inference_core.datasets import list_datasets

    best = Vocabulary()
    for name in list_datasets():
        vocabulary = shipped(name)
        named = [column for column in vocabulary.columns if column in frame.columns]
        if len(named) <= len(best.columns):
            continue
        values = _shipped_values(name)
        real = [c for c in named if c in values and _only_values_of(frame.get_column(c), values[c])]
        if len(real) > len(best.columns) and (len(real) > 1 or len(frame.columns) == 1):
            best = replace(vocabulary, columns={column: vocabulary.columns[column] for column in real})
    return best


@lru_cache(maxsize=32)
def _shipped_values(name: str) -> dict[str, frozenset[Any]]:
    """The distinct values of each column of a data set that ships."""
    from inference_core.datasets import load_dataset

    frame = load_dataset(name)
    return {column: _distinct(frame.get_column(column)) for column in frame.columns}


def _distinct(series: pl.Series) -> frozenset[Any]:
    values = series.unique().drop_nulls()
    if series.dtype.is_numeric():
        return frozenset(float(v) for v in values.to_list())
    return frozenset(str(v) for v in values.to_list())


def _only_values_of(series: pl.Series, values: frozenset[Any]) -> bool:
    found = _distinct(series)
    return 0 < len(found) <= len(values) and found <= values


# ---- words of a model ----------------------------------------------------------------------------------------------


def labels_for(model: Any) -> Labels:
    """The words of a fitted (or just specified) model: its response, its rows and every term.

    Parameters
    ----------
    model : inference_core.model
        ``spec``, ``bundle`` and ``data`` are read.

    Returns
    -------
    Labels
        Columns without words are said by their names, in quotes on first use.
    """
    from .phrasebook import Phrasebook
    from .spreadwords import spread_words
    from .terms import read_terms

    book = Phrasebook(model, vocabulary_for(model.data))
    terms = {r.name: book.term(r) for r in read_terms(model.spec, model.bundle)}
    return replace(book.response(), terms=terms | spread_words(book))
