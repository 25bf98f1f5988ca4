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
from typing import Any

import numpy as np
import polars as pl
from inference_core.errors import DataError
from inference_core.formula import suggest

from . import terms
from .sentences import ink
from .sentences.numbers import fixed, listed
from .sentences.situation import Labels, TermWords
from .vocabulary import ORIGINS, Vocabulary, Words, shipped

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
    if isinstance(frame, Mapping):
        return [str(name) for name in frame]
    names = getattr(frame, "column_names", None) or getattr(frame, "columns", None)
    if names is None:
        raise DataError("labels of something without columns", f"a {type(frame).__name__}", "give a frame")
    return [str(name) for name in names]


def _words(name: str, given: Any) -> Words:
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
    vocabulary = vocabulary_for(model.data)
    book = _Book(model, vocabulary)
    readings = terms.read_terms(model.spec, model.bundle)
    return replace(book.response(), terms={r.name: book.term(r) for r in readings})


class _Book:
    """Words of one model while they are put together."""

    def __init__(self, model: Any, vocabulary: Vocabulary) -> None:
        self.spec, self.bundle, self.data = model.spec, model.bundle, model.data
        self.vocabulary = vocabulary

    def words(self, column: str) -> Words:
        """Words of a data column."""
        return self.vocabulary.columns.get(column) or Words(noun=ink.column(column))

    # the response

    def response(self) -> Labels:
        function, columns = terms.response_of(self.spec)
        words = self.words(columns[0])
        plain = function in (None, "log", "as_number", "I") and len(columns) == 1
        event = words.event or self._event(columns[0], function)
        binomial = self.spec.family == "binomial"
        noun = (words.response or words.noun) if plain else ink.column(self.bundle.y_name)
        rows, group = self.vocabulary.rows, self.vocabulary.group
        return Labels(
            response=f"the probability of {event}" if binomial else noun,
            plural=words.plural and plain and not binomial,
            unit=words.unit if plain and not binomial else "",
            subject=words.subject if plain else "",
            mean_subject=self._mean_subject(words) if plain else "",
            verb=words.verb if plain else "",
            comparatives=words.comparatives if plain else ("higher", "lower"),
            rises_falls=words.rises_falls,
            count=words.count,
            event=event,
            unit_name=rows[0],
            units=rows[1],
            group=group[0],
            groups=group[1],
            origin=self.vocabulary.origin,
        )

    def _event(self, column: str, function: str | None) -> str:
        levels = self.bundle.response_levels
        if levels is not None:
            return f"{ink.column(column)} = {ink.clean(levels[1])}"
        return ink.column(column) if function == "cbind" else f"{ink.column(column)} = 1"

    def _mean_subject(self, words: Words) -> str:
        """ "Chinstrap penguins", where the frame holds one level only of the column that names the subject."""
        if not words.mean_subject or words.mean_level not in self.data.columns:
            return ""
        left = self.data.get_column(words.mean_level).unique().drop_nulls().to_list()
        return ink.tidy(words.mean_subject.format(left[0] if len(left) == 1 else ""))

    # terms

    def term(self, reading: terms.Reading) -> TermWords:
        if not reading.parts:
            return self._intercept(reading)
        if len(reading.parts) == 1 and reading.parts[0].against == "none":
            part = reading.parts[0]
            words = self.words(part.column)
            return TermWords(noun=self.noun(part), zeros=words.is_level(part.plus))
        if reading.kind == "levels_by_levels":
            return self._levels_by_levels(reading)
        if reading.kind == "slopes_by_levels":
            return self._slopes_by_levels(reading)
        if len(reading.parts) > 1:
            return TermWords(noun=ink.column(reading.name), others=self._others(reading, ()))
        return self._single(reading, reading.parts[0])

    def noun(self, part: terms.Part) -> str:
        """What an operand is called: its column's noun, or the call as it is written."""
        if part.kind == "other":
            return ink.column(part.operand)
        return self.words(part.column).noun

    def _single(self, reading: terms.Reading, part: terms.Part) -> TermWords:
        words = self.words(part.column)
        partners = terms.interacting(self.bundle, part)
        common = TermWords(
            noun=self.noun(part),
            plural=words.plural,
            unit=words.unit,
            factor=words.noun,
            others=self._others(reading, partners),
            condition=" and ".join(self._condition(p) for p in partners),
        )
        if part.kind == "factor":
            return replace(common, **self._comparison(part, words))
        step, step_unit = self._step(part, words)
        return replace(common, step=step, step_unit=step_unit)

    def _step(self, part: terms.Part, words: Words) -> tuple[str, str]:
        if part.kind == "doubling":
            return f"doubling of {words.noun}", "doubling"
        if part.kind == "other":
            return f"unit of {self.noun(part)}", ""
        return words.one_step, words.one_step_unit

    def _comparison(self, part: terms.Part, words: Words) -> dict[str, str]:
        said = {"level": words.level(part.plus), "level_name": words.level_name(part.plus)}
        if part.against == "level":
            said |= {
                "reference": words.level(part.minus[0]),
                "reference_name": words.level_name(part.minus[0]),
            }
        elif part.against == "average of all":
            said["reference"] = f"the average of the {part.count} {words.noun} groups"
        elif part.against == "average of these":
            names = [words.names.get(level, level) for level in part.minus]
            few = len(names) <= 3
            said["reference"] = f"the average of {listed(names) if few else f'the {len(names)} levels before it'}"
        else:
            return {"noun": ink.column(part.operand)}
        return said

    def _condition(self, part: terms.Part) -> str:
        """Where the partner of an interaction stands when a term is read alone."""
        words = self.words(part.column)
        if part.kind == "factor" and part.reference:
            return words.level(part.reference)
        if part.kind in ("factor", "ordered"):
            return f"on average over {words.noun}"
        if part.centre is not None:
            return f"at average {words.noun}"
        return f"where {self.noun(part)} {'are' if words.plural else 'is'} {1 if part.kind == 'doubling' else 0}"

    def _others(self, reading: terms.Reading, apart: Iterable[terms.Part]) -> tuple[str, ...]:
        """Nouns of the operands that are held fixed: all but those of this column and of its interactions."""
        own = {p.column for p in reading.parts} | {p.column for p in apart}
        nouns: dict[str, None] = {}
        for j in range(self.bundle.p):
            for part in terms.column_parts(self.bundle, j):
                if part.column not in own:
                    nouns.setdefault(self.noun(part))
        return tuple(nouns)

    def _levels_by_levels(self, reading: terms.Reading) -> TermWords:
        first, second = reading.parts
        a, b = self.words(first.column), self.words(second.column)
        return TermWords(
            noun=f"{a.noun} by {b.noun}",
            level=a.level(first.plus),
            reference=a.level(first.minus[0]),
            level_name=a.level_name(first.plus),
            reference_name=a.level_name(first.minus[0]),
            first=b.level(second.minus[0]),
            second=b.level(second.plus),
            others=self._others(reading, ()),
        )

    def _slopes_by_levels(self, reading: terms.Reading) -> TermWords:
        number, other = reading.parts
        a, b = self.words(number.column), self.words(other.column)
        step, step_unit = self._step(number, a)
        if number.kind == "scaled":
            step, step_unit = f"standard deviation of {a.noun}", "standard deviation"
        if reading.settings is not None:
            first, second = (f"where {b.noun} is {_setting(x)} {b.unit}".strip() for x in reading.settings)
        else:
            first, second = b.level(other.minus[0]), b.level(other.plus)
        return TermWords(
            noun=a.noun, plural=a.plural, unit=a.unit, step=step, step_unit=step_unit, first=first, second=second,
            others=self._others(reading, ()),
        )  # fmt: skip

    def _intercept(self, reading: terms.Reading) -> TermWords:
        """Where every predictor stands when the intercept is read."""
        zero: list[Words] = []
        named: list[str] = []
        levels: dict[str, str] = {}
        for j in range(self.bundle.p):
            for part in terms.column_parts(self.bundle, j):
                words = self.words(part.column)
                if part.kind == "factor":
                    levels[part.operand] = (
                        words.is_level(part.reference)
                        if part.reference
                        else f"the groups of {words.noun} count equally"
                    )
                elif part.kind == "number" and part.centre is None:
                    zero += [] if words in zero else [words]
                else:
                    value = "1" if part.kind == "doubling" else "average"
                    text = f"{words.noun} {'are' if words.plural else 'is'} {value}"
                    named += [] if text in named else [text]
        zeros = listed([*_zero_phrase(zero), *named, *levels.values()])
        return TermWords(noun="the intercept", zeros=zeros)


def _zero_phrase(words: list[Words]) -> list[str]:
    """ "weight is 0", "weight and horsepower are both 0"."""
    if not words:
        return []
    if len(words) == 1:
        return [f"{words[0].noun} {'are' if words[0].plural else 'is'} 0"]
    return [f"{listed([w.noun for w in words])} are {'both' if len(words) == 2 else 'all'} 0"]


def _setting(x: float) -> str:
    """A setting of a predictor, as few digits as it needs."""
    places = next((d for d in range(7) if np.isclose(round(x, d), x, rtol=1e-9, atol=1e-12)), 6)
    return fixed(x, places)
