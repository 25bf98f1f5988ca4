"""A formula as text to a formula in parts: response, fixed part, random terms. Reads nothing but the text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from inference_core.errors import FormulaError

from .guard import MAX_EXPONENT, Expression, admit_tokens
from .tokens import Token, is_op, not_allowed, shorten, spell, split_top, tokenize


@dataclass(frozen=True, slots=True, eq=False)
class RandomTerm:
    """One random term after nesting is written out: ``(x | a/b)`` is two of these, for ``a`` and for ``a:b``."""

    text: str  # "(Days | Subject)", canonical, as in lme4's output
    effects: tuple[Token, ...]  # the left of the bar, a fixed-part grammar of its own
    effects_text: str
    groups: tuple[Expression, ...]  # the grouping factors; several mean their interaction
    group_name: str  # "Subject", "batch:cask"
    correlated: bool  # False for ||
    source: str  # the term as it was written

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the grouping uses."""
        return tuple(dict.fromkeys(c for g in self.groups for c in g.columns))


@dataclass(frozen=True, slots=True, eq=False)
class ParsedFormula:
    """A formula in parts. ``fixed`` are the tokens of the fixed part, offsets and random terms taken out."""

    text: str
    response: Expression | None
    cbind: tuple[Expression, Expression] | None  # (successes, failures)
    fixed: tuple[Token, ...]
    offsets: tuple[Expression, ...]
    random: tuple[RandomTerm, ...]

    @property
    def response_text(self) -> str | None:
        """The response as text, canonical."""
        return None if self.response is None else self.response.text

    @property
    def fixed_text(self) -> str:
        """The fixed part as text, canonical."""
        return spell_terms(self.fixed) or "1"

    @property
    def random_terms(self) -> tuple[str, ...]:
        """The random terms as they were written, with their parentheses, each once."""
        return tuple(dict.fromkeys(term.source for term in self.random))


def spell_terms(tokens: tuple[Token, ...] | list[Token]) -> str:
    """Canonical text of a piece of formula grammar: ``wt * hp + (a + b)^2``, ``wool:tension``."""
    return spell(list(tokens)).strip()


def parse_formula(text: str) -> ParsedFormula:
    """Split a formula into response, fixed part and random terms; every expression in it passes the guard.

    Parameters
    ----------
    text : str
        ``"y ~ x + (1 | g)"``, in R's grammar.

    Returns
    -------
    ParsedFormula
        With no reference to data: names are checked against columns when the design is built.

    Raises
    ------
    FormulaError
        The formula cannot be read, or holds something that formulas may not hold.
    """
    return _parse(text) if isinstance(text, str) else _parse.__wrapped__(text)


@lru_cache(maxsize=128)
def _parse(text: str) -> ParsedFormula:
    tokens = tokenize(text)
    sides, _ = split_top(tokens, "~")
    if len(sides) != 2 or any(is_op(t, "~") for side in sides for t in side):
        found = "no ~" if len(sides) == 1 else "more than one ~, or one inside parentheses"
        raise FormulaError(shorten(text, 120) or "an empty formula", found, 'write "response ~ terms", as "mpg ~ wt"')
    left, right = sides
    if not right:
        raise FormulaError(shorten(text, 120), "nothing to the right of ~", 'write "y ~ 1" for the mean alone')
    if _has_bar(left):
        raise _bar_out_of_place(left, text)
    response = admit_tokens(left, text) if left else None
    pair = None
    if response is not None and response.function == "cbind":
        successes, failures = response.arguments[:2]
        pair = (response.part(successes), response.part(failures))
    fixed, offsets, random = _split_right(right, text)
    _check_operands(fixed, text)
    return ParsedFormula(text, response, pair, tuple(fixed), tuple(offsets), tuple(random))


# ---- the right side ----------------------------------------------------------------------------------------


def _summands(tokens: list[Token], text: str) -> list[tuple[str, list[Token]]]:
    """(sign, piece) for each piece between + and - outside parentheses; a leading sign is its piece's own."""
    pieces, signs = split_top(tokens, "+", "-")
    out: list[tuple[str, list[Token]]] = []
    pending = "+"
    for i, piece in enumerate(pieces):
        if piece:
            out.append((pending, piece))
        elif i == len(pieces) - 1 or (i > 0 and not _signs_allowed(pieces, i)):
            raise FormulaError(shorten(text, 120), "a + or - with nothing after it", "remove it, or name a term")
        if i < len(signs):
            sign = signs[i].value
            pending = sign if piece else ("-" if (sign == "-") != (pending == "-") else "+")
    return out


def _signs_allowed(pieces: list[list[Token]], i: int) -> bool:
    return i + 1 < len(pieces)


def _wrapped(piece: list[Token]) -> bool:
    """Whether one pair of parentheses encloses the whole piece."""
    if len(piece) < 2 or not is_op(piece[0], "("):
        return False
    depth = 0
    for i, token in enumerate(piece):
        depth += is_op(token, "(") - is_op(token, ")")
        if depth == 0:
            return i == len(piece) - 1
    return False


def _has_bar(piece: list[Token]) -> bool:
    """Whether a bar stands in the grammar itself: not in quotes, and not inside a call such as I(z|w)."""
    calls: list[bool] = []
    previous: Token | None = None
    for token in piece:
        if is_op(token, "("):
            calls.append(previous is not None and previous.kind == "name")
        elif is_op(token, ")"):
            calls.pop()
        elif is_op(token, "|", "||") and not any(calls):
            return True
        previous = token
    return False


def _split_right(tokens: list[Token], text: str) -> tuple[list[Token], list[Expression], list[RandomTerm]]:
    fixed: list[Token] = []
    offsets: list[Expression] = []
    random: list[RandomTerm] = []
    for sign, piece in _summands(tokens, text):
        if _has_bar(piece):
            if sign == "-":
                raise FormulaError(shorten(text, 120), "a random term after -", "leave the random term out instead")
            if not _wrapped(piece):
                raise _bar_out_of_place(piece, text)
            inner = piece[1:-1]
            bars = split_top(inner, "|", "||")[1]
            if bars:
                random.extend(_random_terms(inner, text))
            else:  # parentheses around several random terms
                more, more_offsets, more_random = _split_right(inner, text)
                joint = fixed and more and not is_op(more[0], "+", "-")
                fixed += [*([Token("op", "+", 0, 0)] if joint else []), *more]
                offsets += more_offsets
                random += more_random
            continue
        if piece[0].kind == "name" and piece[0].value == "offset" and len(piece) > 1 and is_op(piece[1], "("):
            call = admit_tokens(piece, text)
            if call.function != "offset" or sign == "-":
                raise FormulaError(shorten(text, 120), "offset() that is not added", "write + offset(x) on its own")
            offsets.append(call.part(call.arguments[0]))
            continue
        if fixed or sign == "-":
            fixed.append(Token("op", sign, 0, 0))
        fixed.extend(piece)
    return fixed, offsets, random


def _bar_out_of_place(piece: list[Token], text: str) -> FormulaError:
    loose = not any(is_op(t, "(") for t in piece)
    return FormulaError(
        asked=shorten(text, 120),
        found=f'the bar in "{shorten(spell(piece), 60)}" '
        + ("stands outside parentheses" if loose else "is part of an interaction or of a larger term"),
        remedy="write + (1 | g) in parentheses, as a term of its own",
    )


def _random_terms(inner: list[Token], text: str) -> list[RandomTerm]:
    """The terms that ``effects | groups`` stands for."""
    parts, bars = split_top(inner, "|", "||")
    source = f"({spell(inner).strip()})"
    if len(bars) != 1 or not parts[0] or not parts[1]:
        raise FormulaError(
            asked=shorten(text, 120),
            found=f'"{shorten(source, 60)}" does not have one bar with terms before and a group after it',
            remedy="write (x | g), or (1 | g) for levels alone",
        )
    effects, groups = parts
    if _has_bar(effects) or _has_bar(groups):
        raise _bar_out_of_place(inner, text)
    _check_operands(effects, text)
    out = []
    for group in _nested_groups(groups, source, text):
        name = ":".join(g.text for g in group)
        label = spell_terms(effects)
        bar = bars[0].value
        out.append(RandomTerm(f"({label} {bar} {name})", tuple(effects), label, group, name, bar == "|", source))
    return out


def _nested_groups(tokens: list[Token], source: str, text: str) -> list[tuple[Expression, ...]]:
    """``a/b/c`` as a, a:b, a:b:c; ``a:b`` as it stands."""
    while _wrapped(tokens):
        tokens = tokens[1:-1]
    steps, _ = split_top(tokens, "/")
    groups: list[tuple[Expression, ...]] = []
    above: tuple[Expression, ...] = ()
    for step in steps:
        while _wrapped(step):
            step = step[1:-1]
        members = []
        for member in split_top(step, ":")[0]:
            if not _is_group(member):
                raise FormulaError(
                    asked=shorten(text, 120),
                    found=f'the group of "{shorten(source, 60)}" is not a column',
                    remedy="write (1 | g), (1 | a:b) or (1 | a/b)",
                )
            members.append(admit_tokens(member, text))
        above = (*above, *(m for m in members if m.text not in {a.text for a in above}))
        groups.append(above)
    return groups


def _is_group(member: list[Token]) -> bool:
    if len(member) == 1:
        return member[0].kind == "column" or (member[0].kind == "name" and member[0].value != ".")
    return bool(member) and member[0].kind == "name" and member[0].value in ("factor", "ordered") and len(member) > 3


# ---- operands ----------------------------------------------------------------------------------------------


def operands(tokens: tuple[Token, ...] | list[Token], text: str) -> list[Token | Expression]:
    """The fixed part with each column or call as one admitted expression, and operators between them."""
    out: list[Token | Expression] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.kind == "name" and i + 1 < len(tokens) and is_op(tokens[i + 1], "("):
            depth, j = 0, i + 1
            while True:
                depth += is_op(tokens[j], "(") - is_op(tokens[j], ")")
                if depth == 0:
                    break
                j += 1
            out.append(admit_tokens(list(tokens[i : j + 1]), text))
            i = j + 1
            continue
        if token.kind in ("name", "column") and not (token.kind == "name" and token.value == "."):
            out.append(admit_tokens([token], text))
        else:
            out.append(token)
        i += 1
    return out


_BINARY = ("*", ":", "/", "^", "**", "%in%")


def _check_operands(tokens: list[Token], text: str) -> None:
    """Refuse, at parsing time, every operand and operator that the grammar of terms does not have.

    Walks the fixed part once, knowing at each step whether a term or an operator has to come next.
    """
    want_term = True
    previous = ""
    for piece in operands(tokens, text):
        value = piece.text if isinstance(piece, Expression) else piece.value
        if isinstance(piece, Expression) or piece.kind != "op":
            if not want_term:
                raise not_allowed(f"{previous} {value}", text)
            _check_operand(piece, previous, text)
            want_term = False
        elif value in ("+", "-") or value == "(":
            if value == "(" and not want_term:
                raise not_allowed(f"{previous} (", text)
            if value != "(" and want_term and previous not in ("", "(", "+", "-"):
                raise not_allowed(f"{previous} {value}", text)
            want_term = True
        elif value in _BINARY or value == ")":
            if want_term:
                raise not_allowed(f"{previous} {value}", text)
            want_term = value != ")"
        else:
            raise not_allowed(value, text)
        previous = value
    if want_term and previous:
        raise FormulaError(shorten(text, 120), f"{previous} with nothing after it", "remove it, or name a term")


def _check_operand(piece: Token | Expression, previous: str, text: str) -> None:
    """One term's factor: a column, a call, the dot, 0 or 1, or the exponent after ^."""
    if isinstance(piece, Expression):
        if previous in ("^", "**"):
            raise not_allowed(f"^{piece.text}", text)
        if piece.function == "offset":
            raise FormulaError(shorten(text, 120), "offset() inside another term", "write + offset(x) on its own")
        if piece.function == "cbind":
            raise FormulaError(
                shorten(text, 120), "cbind() on the right of ~", "write cbind(successes, failures) ~ terms"
            )
        if not piece.columns:
            raise FormulaError(shorten(text, 120), f'"{shorten(piece.text, 60)}" uses no column', "name a column in it")
    elif piece.kind == "number":
        power = previous in ("^", "**")
        whole = piece.value.isdigit()
        if power and not (whole and 1 <= int(piece.value[:9]) <= MAX_EXPONENT):
            raise FormulaError(
                asked=shorten(text, 120),
                found=f"the power {shorten(piece.value, 20)} of terms; "
                f"a whole number from 1 to {MAX_EXPONENT} is needed",
                remedy="(a + b)^2 gives both and their interaction; I(x^2) is the square of x",
            )
        if not power and piece.value not in ("0", "1"):
            raise FormulaError(
                asked=shorten(text, 120),
                found=f"the number {shorten(piece.value, 20)} as a term; "
                "only 1 and 0 (with and without intercept) are terms",
                remedy="write I(2 * x) for arithmetic, offset(x) for a part with a known coefficient",
            )
    elif piece.kind == "string":
        raise not_allowed(f'"{piece.value}"', text)
