"""The closed expansions behind "why?": which of M1 ... M21 hold, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import ink, numbers, thresholds, words
from .fill import Filler
from .situation import Situation
from .templates import MORE

SILENT = frozenset({"PA22", "PA23", "ST5", "PB10", "PB12", "SM2", "RA11", "CV9", "VA14", "S19", "S34", "S35"})
"""Rows that explain themselves: nothing of the interval or p was shown."""


class Expansion(NamedTuple):
    """One expansion: when it holds, and the values only it uses."""

    id: str
    when: Callable[[Situation, str], bool]
    extra: Callable[[Filler], dict[str, str]] = lambda filler: {}


def _shows_interval(s: Situation, row: str) -> bool:
    return (thresholds.has_interval(s) or thresholds.bound(s) is not None) and row not in ("PB11", "PB5", "PB7", "ST4")


def _drawn(s: Situation, row: str) -> bool:
    return s.how == "boot" and s.draws > 0


def _simulated_error(filler: Filler) -> dict[str, str]:
    return {"two_mcse": filler.figures.error(2), **filler.spread, "quantity": words.quantity(filler.s)}


def _dot(filler: Filler) -> dict[str, str]:
    return {"one_dot": one_dot(filler.s, filler.labels.units, filler.labels.groups)}


def one_dot(s: Situation, units: str, groups: str) -> str:
    """What one draw is, also the caption of a dot: "the slope from one resample: 32 cars picked ..."."""
    quantity, n = words.drawn_quantity(s), ink.real(numbers.count(s.n))
    if s.scheme == "parametric":
        return f"the {quantity} from one data set that the fitted model made up"
    if s.scheme == "cluster":
        k = ink.real(numbers.count(s.groups or 0))
        return f"the {quantity} when {k} {groups} are picked with replacement, each with all its rows"
    if s.scheme == "residual":
        return f"the {quantity} after the leftovers were put back on the line in another order, with repeats"
    if s.scheme == "wild":
        return f"the {quantity} when each row's leftover keeps its size and gets a random sign"
    return f"the {quantity} from one resample: {n} {units} picked from the real {n}, with replacement"


def _others(filler: Filler) -> dict[str, str]:
    return {"others": numbers.listed(filler.words.others)}


def _odds_move_a_probability(s: Situation) -> bool:
    """Whether the odds ratio turns the base probability into another one that can be told from it."""
    if s.scale != "odds" or s.base is None or not 0 < s.base < 1 or not numbers.finite(s.estimate):
        return False
    return numbers.probability(s.base) != numbers.probability(_after(s))


def _after(s: Situation) -> float:
    base = s.base or 0.0
    odds = base / (1 - base) * math.exp(min(700.0, s.estimate or 0.0))
    return odds / (1 + odds)


def _odds(filler: Filler) -> dict[str, str]:
    return {"p0": numbers.probability(filler.s.base or 0.0), "p1": numbers.probability(_after(filler.s))}


EXPANSIONS: tuple[Expansion, ...] = (
    Expansion("M8", lambda s, row: row not in ("PB11", "ST4"), _others),
    Expansion("M1", _shows_interval),
    Expansion("M2", lambda s, row: numbers.finite(s.p) and row.startswith("PA") and row not in ("PA9", "PA10", "PA11")),
    Expansion(
        "M3",
        lambda s, row: _drawn(s, row) and _shows_interval(s, row) and bool(thresholds.limit_mcse(s)),
        _simulated_error,
    ),
    Expansion(
        "M6",
        lambda s, row: _drawn(s, row) and numbers.finite(s.p) and row not in ("PB5", "PB7", "PB11", "ST4"),
        lambda filler: {"p": filler.figures.p_words},
    ),
    Expansion("M7", _drawn, _dot),
    Expansion("M9", lambda s, row: _drawn(s, row) and len(s.stops) + len(s.crosses) > 1),
    Expansion("M11", lambda s, row: _odds_move_a_probability(s), _odds),
    Expansion("M12", lambda s, row: s.errors.startswith("HC") and s.how == "asymp"),
    Expansion("M16", lambda s, row: _drawn(s, row) and s.first_resampling),
)


def expansions(filler: Filler, row: str) -> Iterator[str]:
    """The expansions of a sentence, marked text."""
    s, labels = filler.s, filler.labels
    if row in SILENT:
        return
    for expansion in EXPANSIONS:
        if expansion.id == "M8" and not filler.words.others:
            continue
        if expansion.when(s, row):
            yield filler.fill(MORE[expansion.id], {"level": numbers.level(s.level), **expansion.extra(filler)})
    if filler.cut.name:
        yield f"The interval is of the {words.CI_NAMES.get(s.ci_type, s.ci_type)} type." if s.how == "boot" else (
            "The interval is a confidence interval."
        )
    if labels.origin == "observational":
        yield filler.fill(MORE["M18"])
    if labels.origin == "case-control":
        yield MORE["M19"]


def selected() -> frozenset[str]:
    """Ids of the expansions that can appear."""
    return frozenset(e.id for e in EXPANSIONS) | {"M18", "M19"}
