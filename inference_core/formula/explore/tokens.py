"""Explore text to tokens, and the refusal that points at a character."""

from __future__ import annotations

import re
from typing import NamedTuple

from inference_core.errors import FormulaError
from inference_core.formula.tokens import shorten

MAX_LENGTH = 2_000


class Token(NamedTuple):
    """One token; ``kind``: name, quoted, number, op or end."""

    kind: str
    value: str
    start: int


_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<name>[^\W\d][\w.]*|\.[^\W\d][\w.]*|\d+[\w.]*)
  | `(?P<tick>[^`]+)`
  | "(?P<double>[^"]*)"
  | '(?P<single>[^']*)'
  | (?P<op>[-+*:@~,=()\[\]])
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[Token]:
    """Tokens of an explore text, closed by an "end"."""
    if not isinstance(text, str):
        raise FormulaError(
            asked=f"explore() with a {type(text).__name__}",
            found="what to explore is said in text",
            remedy='"pairwise(group)", "x", "x@[1, 2] ~ group"',
        )
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            asked=shorten(text, 80),
            found=f"an explore text of {len(text):,} characters; the limit is {MAX_LENGTH:,}",
            remedy="explore one question at a time",
        )
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise refuse(text, position, f"{text[position]!r} has no meaning here", _open_quote(text[position]))
        kind = str(match.lastgroup)
        if kind != "space":
            value = match.group(kind)
            tokens.append(Token("quoted" if kind in ("tick", "double", "single") else kind, value, position))
        position = match.end()
    return [*tokens, Token("end", "", len(text))]


def refuse(text: str, start: int, found: str, remedy: str) -> FormulaError:
    """A refusal with a caret under the character where the reading stopped."""
    line = " ".join(text.split()) if "\n" in text else text
    shown = line if len(line) <= 120 else line[:119] + "…"
    caret = f"\n       {shown}\n       {' ' * min(start, 119)}^" if line == text else ""
    return FormulaError(f"explore({shorten(text, 120)!r})", f"{found}, at character {start + 1}{caret}", remedy)


def _open_quote(character: str) -> str:
    if character in "\"'`":
        return f"close the {character}"
    return "a name of this kind goes in backticks, a level in quotes"
