"""Words of one model put together: its response, and each term with its step, its levels and what is held fixed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from . import terms
from .sentences import ink
from .sentences.numbers import fixed, listed
from .sentences.situation import Labels, TermWords
from .vocabulary import Vocabulary, Words


class Phrasebook:
    """Words of one model while they are put together."""

    def __init__(self, model: Any, vocabulary: Vocabulary) -> None:
        self.spec, self.bundle, self.data = model.spec, model.bundle, model.data
        self.vocabulary = vocabulary
        self.parts = [terms.column_parts(model.bundle, j) for j in range(model.bundle.p)]

    def words(self, column: str) -> Words:
        """Words of a data column."""
        return self.vocabulary.columns.get(column) or Words(noun=ink.column(column))

    # the response

    def response(self) -> Labels:
        """Words of the response and of the rows; terms are still empty."""
        function, columns = terms.response_of(self.spec)
        words = self.words(columns[0])
        plain = function in (None, "log", "as_number", "I") and len(columns) == 1
        event = words.event or self._event(columns[0], function)
        binomial = self.spec.family in terms.BINOMIAL
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
        """Such as "Chinstrap penguins", where the frame holds one level only of the column that names the subject."""
        if not words.mean_subject or words.mean_level not in self.data.columns:
            return ""
        left = self.data.get_column(words.mean_level).unique().drop_nulls().to_list()
        return ink.tidy(words.mean_subject.format(left[0] if len(left) == 1 else ""))

    # terms

    def term(self, reading: terms.Reading) -> TermWords:
        """Words of one design column."""
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
        step, step_unit = self.step(part, words)
        return replace(common, step=step, step_unit=step_unit)

    def step(self, part: terms.Part, words: Words) -> tuple[str, str]:
        """One step of an operand, in words and as a unit."""
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
        kept = {int(j) for j in self.bundle.rank_info.kept}
        for j in range(self.bundle.p):
            for part in self.parts[j]:
                if part.column not in own and j in kept:  # a column without an estimate holds nothing fixed
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
        step, step_unit = self.step(number, a)
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
            for part in self.parts[j]:
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
    """Such as "weight is 0", "weight and horsepower are both 0"."""
    if not words:
        return []
    if len(words) == 1:
        return [f"{words[0].noun} {'are' if words[0].plural else 'is'} 0"]
    return [f"{listed([w.noun for w in words])} are {'both' if len(words) == 2 else 'all'} 0"]


def _setting(x: float) -> str:
    """A setting of a predictor, as few digits as it needs."""
    places = next((d for d in range(7) if math.isclose(round(x, d), x, rel_tol=1e-9, abs_tol=1e-12)), 6)
    return fixed(x, places)
