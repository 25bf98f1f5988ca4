"""Words of the random part of a mixed model: who differs, in what, and in which unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .sentences import ink
from .sentences.situation import TermWords
from .spreads import Spread, spreads_of
from .terms import column_parts, response_of

if TYPE_CHECKING:
    from .phrasebook import Phrasebook

# The scale of a linear predictor, as a unit.
LINK_UNITS = {"logit": "on the log-odds scale", "log": "on the log scale", "probit": "on the probit scale"}


def group_words(book: Phrasebook, block: Any) -> tuple[str, str]:
    """Return one group and many of a block: ("subject", "subjects"), ("cask within a batch", ...)."""
    columns = block.group_columns or (block.group_name,)
    if len(columns) > 1:
        return ink.column(block.group_name), f"{ink.column(block.group_name)} groups"
    words = book.vocabulary.columns.get(columns[0])
    if words is None or not words.noun:
        return ink.column(columns[0]), f"{ink.column(columns[0])} groups"
    one, many = book.vocabulary.group
    if words.noun == one:
        return one, many
    return words.noun, plural(words.noun)


def plural(noun: str) -> str:
    """Return the plural of a noun, by its ending."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun if noun.endswith("s") else f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"


def spread_words(book: Phrasebook) -> dict[str, TermWords]:
    """Return the words of every SD, correlation and of the residual SD, by name."""
    return {spread.name: _words(book, spread) for spread in spreads_of(book.bundle)}


def _words(book: Phrasebook, spread: Spread) -> TermWords:
    re = book.bundle.re_metadata
    logged = response_of(book.spec)[0] == "log"
    identity = book.spec.link == "identity" and not logged
    link = "log" if logged else book.spec.link
    unit = "" if identity else LINK_UNITS.get(link, "on the scale of the link")
    if spread.kind == "scatter":
        block = re.blocks[-1]
        single = len({b.group_name for b in re.blocks}) == 1 and len(block.group_columns) == 1
        one, many = group_words(book, block) if single else ("", "")
        sloped = any(part.kind != "factor" for j in range(book.bundle.p) for part in column_parts(book.bundle, j))
        return TermWords(noun="line" if sloped else "level", group=one, groups=many, unit=unit)
    block = re.blocks[spread.block]
    one, many = group_words(book, block)
    common = {"group": one, "groups": many, "unit": unit}
    if spread.kind == "correlation":
        first, second = (_effect(book, block, i)[0] for i in (spread.second, spread.first))
        return TermWords(first=first, second=second, **common)
    alone = all(b.column_names == ("(Intercept)",) for b in re.blocks if b.group_name == block.group_name)
    noun, per = _effect(book, block, spread.first)
    return TermWords(noun="" if alone else _many(noun), per=per if identity else "", **common)


def _effect(book: Phrasebook, block: Any, i: int) -> tuple[str, str]:
    """What one effect of a group is, and its unit behind that of the response: ("slope", "per day")."""
    name = block.column_names[i]
    slopes = [c for c in block.column_names if c != "(Intercept)"]
    if name == "(Intercept)":
        others = [j for j, c in enumerate(block.column_names) if c != name]
        lowest = [float(np.min(block.X_re[:, j])) for j in others]
        if others and all(low == 0.0 for low in lowest):
            return "starting level", ""
        return ("level", "")
    names = book.bundle.X_names
    parts = column_parts(book.bundle, names.index(name)) if name in names else ()
    if len(parts) == 1 and parts[0].kind in ("number", "scaled", "doubling"):
        words = book.words(parts[0].column)
        step = book.step(parts[0], words)[1] if parts[0].kind != "scaled" else "standard deviation"
        noun = "slope" if len(slopes) == 1 else f"slope of {words.noun}"
        return noun, f"per {step}" if step else ""
    return (f"effect of {ink.column(name)}", "")


def _many(noun: str) -> str:
    head, of, rest = noun.partition(" of ")
    return f"{plural(head)}{of}{rest}"
