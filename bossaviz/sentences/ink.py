"""Text in which numbers wear their colour and columns are quoted once.

While a sentence is put together, spans are marked by private-use characters, so that templates stay plain text;
``finish`` turns the marked text into words to speak and runs to draw. Marks never leave this package.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ROLES = ("plain", "real", "sim", "theory", "tail")
_OPEN = {role: chr(0xE000 + i) for i, role in enumerate(ROLES)}
_ROLE_OF = {mark: role for role, mark in _OPEN.items()}
_CLOSE = chr(0xE00F)
_NAME_OPEN, _NAME_CLOSE = chr(0xE010), chr(0xE011)
_MARKS = re.compile("[\ue000-\ue011]")
_NAME = re.compile(f"{_NAME_OPEN}([^{_NAME_CLOSE}]*){_NAME_CLOSE}")


class Run(NamedTuple):
    """A stretch of text and where its numbers come from: plain, real, sim, theory or tail."""

    text: str
    role: str


def real(text: str) -> str:
    """Numbers of the real data: data, estimates."""
    return f"{_OPEN['real']}{text}{_CLOSE}"


def sim(text: str) -> str:
    """Numbers that chance drew: limits, spreads and p-values read from draws."""
    return f"{_OPEN['sim']}{text}{_CLOSE}"


def theory(text: str) -> str:
    """Numbers from a formula: t and z intervals, their p-values."""
    return f"{_OPEN['theory']}{text}{_CLOSE}"


def tail(text: str) -> str:
    """Counts and shares of a marked tail."""
    return f"{_OPEN['tail']}{text}{_CLOSE}"


def column(name: str) -> str:
    """A column spoken by its own name: in quotes where it is said first, bare after that."""
    return f"{_NAME_OPEN}{clean(name)}{_NAME_CLOSE}"


def clean(text: str) -> str:
    """Words from outside, without anything that could be taken for a mark, and on one line."""
    return " ".join(_MARKS.sub("", str(text)).split())


def bare(text: str) -> str:
    """Marked text as plain words, columns without quotes: for counting and comparing."""
    return _MARKS.sub("", text)


def capital(text: str) -> str:
    """First letter raised; a column's own name and a symbol ("n = 32", "p = 0.02") keep their spelling."""
    return text if text.startswith(_NAME_OPEN) or text[1:3] in (" =", " <", " >") else text[:1].upper() + text[1:]


def finish(text: str) -> tuple[str, tuple[Run, ...]]:
    """Words and coloured runs of marked text; the words are the runs joined."""
    said: set[str] = set()

    def quote(match: re.Match[str]) -> str:
        name = match[1]
        if name in said:
            return name
        said.add(name)
        return f'"{name}"'

    text = _NAME.sub(quote, tidy(text))
    runs: list[Run] = []
    role, piece = "plain", ""
    for char in text:
        if char in _ROLE_OF or char == _CLOSE:
            if piece:
                runs.append(Run(piece, role))
            role, piece = _ROLE_OF.get(char, "plain"), ""
        else:
            piece += char
    if piece:
        runs.append(Run(piece, role))
    return "".join(run.text for run in runs), tuple(runs)


def tidy(text: str) -> str:
    """Close the gaps that an empty unit leaves behind."""
    text = re.sub(r" {2,}", " ", text)
    return re.sub(r" ([,.;:)])", r"\1", text).strip()


def words(text: str) -> int:
    """Words as a reader counts them: what stands between blanks."""
    return len(bare(text).split())


# A sentence begins with anything but a small letter; a column's own name may be small.
_END = re.compile("(?<=[.!?])\\s+(?=[\ue000-\ue00f]*(?:\ue010|[^a-z\\s\ue000-\ue011]))")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order; a decimal point or an abbreviation before a small letter ends none."""
    return [part for part in _END.split(text) if part.strip()]
