"""Formula text to tokens: names, numbers, strings and operators, in one linear pass that evaluates nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from inference_core.errors import FormulaError

MAX_LENGTH = 10_000  # characters of one formula
MAX_TOKENS = 3_000
MAX_DEPTH = 30  # nested parentheses
MAX_UNARY = 8  # signs in a row


class Token(NamedTuple):
    """One token. ``kind``: "name" (a bare word), "column" (in backticks), "number", "string" or "op"."""

    kind: str
    value: str
    start: int
    stop: int


# R's names may hold dots; a backtick quotes any name. Longest operators first.
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?L?(?![\w.]))
  | (?P<name>[^\W\d][\w.]*|\.[^\W\d][\w.]*|\.(?![\w.]))
  | (?P<tick>`[^`]+`)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<op>%in%|\*\*|\|\||&&|<=|>=|==|!=|[-+*/:^|&!<>=~(),])
    """,
    re.VERBOSE,
)

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def not_allowed(part: str, asked: str) -> FormulaError:
    """The refusal of anything that is not a column, a number, arithmetic or one of our functions."""
    from .transforms import FUNCTION_NAMES

    return FormulaError(
        asked=shorten(asked, 120),
        found=f"formulas may use columns, numbers, arithmetic and {', '.join(FUNCTION_NAMES)}; "
        f'"{shorten(part, 60)}" is something else',
        remedy="make a new column first, and name it in the formula",
    )


def shorten(text: str, width: int) -> str:
    """``text`` on one line, cut to ``width`` characters."""
    text = " ".join(text[: 4 * width].split()) if len(text) > 4 * width else " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def tokenize(text: str, asked: str | None = None) -> list[Token]:
    """Tokens of ``text``, spaces dropped.

    Raises
    ------
    FormulaError
        A character that no formula holds, an unclosed quote or parenthesis, or text beyond the bounds above.
    """
    asked = text if asked is None else asked
    if not isinstance(text, str):
        raise FormulaError(
            asked=f"a formula of type {type(text).__name__}",
            found="a formula is text",
            remedy='write it in quotes, as "y ~ x"',
        )
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            asked=shorten(text, 80),
            found=f"a formula of {len(text):,} characters; the limit is {MAX_LENGTH:,}",
            remedy="give the columns shorter names, or use . for all of them",
        )
    tokens: list[Token] = []
    position, depth, signs = 0, 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise not_allowed(text[position : position + 20], asked)
        kind, value, position = str(match.lastgroup), match.group(), match.end()
        if kind == "space":
            continue
        if kind == "tick":
            kind, value = "column", value[1:-1]
        elif kind == "string":
            value = _ESCAPE.sub(r"\1", value[1:-1])
        elif kind == "number":
            value = value.rstrip("L")
        depth += (kind == "op" and value == "(") - (kind == "op" and value == ")")
        signs = signs + 1 if kind == "op" and value in "+-!" else 0
        tokens.append(Token(kind, value, match.start(), match.end()))
        if depth < 0:
            raise FormulaError(shorten(asked, 120), "a closing parenthesis without its opening one", "balance them")
        if depth > MAX_DEPTH or signs > MAX_UNARY or len(tokens) > MAX_TOKENS:
            raise FormulaError(
                asked=shorten(asked, 80),
                found=f"a formula nested or repeated beyond reason (at most {MAX_DEPTH} parentheses deep, "
                f"{MAX_UNARY} signs in a row, {MAX_TOKENS:,} pieces)",
                remedy="make the new columns first, and name them in the formula",
            )
    if depth:
        raise FormulaError(shorten(asked, 120), f"{depth} parentheses are never closed", "balance them")
    return tokens


def is_op(token: Token, *values: str) -> bool:
    """Whether ``token`` is one of these operators (quoted text never is)."""
    return token.kind == "op" and token.value in values


def split_top(tokens: list[Token], *separators: str) -> tuple[list[list[Token]], list[Token]]:
    """Pieces between ``separators`` outside parentheses, and the separators themselves."""
    pieces: list[list[Token]] = [[]]
    found: list[Token] = []
    depth = 0
    for token in tokens:
        depth += is_op(token, "(") - is_op(token, ")")
        if depth == 0 and is_op(token, *separators):
            found.append(token)
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces, found


RESERVED = {"TRUE": True, "True": True, "FALSE": False, "False": False, "NULL": None, "None": None}
SYNTACTIC = re.compile(r"(?:[^\W\d]|\.[^\W\d])[\w.]*\Z")


def quote_name(name: str) -> str:
    """A column name as a formula spells it: in backticks unless it is a plain word."""
    return name if SYNTACTIC.match(name) and name not in RESERVED else f"`{name}`"


_TIGHT = {"^", "**", ":", "/", "(", ")", "!"}


def spell(tokens: list[Token]) -> str:
    """Canonical text of an expression, spaced as R deparses it: ``poly(x, 2, raw = TRUE)``, ``I(2 * x^2)``."""
    out: list[str] = []
    previous: Token | None = None
    for token in tokens:
        if token.kind == "name":
            out.append(token.value)
        elif token.kind == "column":
            out.append(quote_name(token.value))
        elif token.kind == "string":
            out.append('"' + token.value.replace("\\", "\\\\").replace('"', '\\"') + '"')
        elif token.kind == "number":
            out.append(token.value)
        elif token.value == ",":
            out.append(", ")
        elif token.value == "**":
            out.append("^")
        elif token.value in _TIGHT or (
            token.value in "+-" and (previous is None or (previous.kind == "op" and previous.value != ")"))
        ):
            out.append(token.value)  # no space around ^ and parentheses, nor after a sign
        else:
            out.append(f" {token.value} ")
        previous = token
    return "".join(out)
