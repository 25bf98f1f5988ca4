"""Small operations on formula text: leave a term out, read a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inference_core.design.terms import expand_terms
from inference_core.errors import FormulaError
from inference_core.formula.names import suggest
from inference_core.formula.tokens import Token, is_op, quote_name, spell, split_top, tokenize

# Calls that only say "this column is categorical" (or "this column"): the column's own name stands for them.
_WRAPPERS = ("factor", "ordered", "C", "c")
_COLUMN = ("name", "column")  # the tokenizer's kinds of a word, plain or in backticks
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def parse_value(s: str) -> float | str:
    """A number if the text spells one, else the text without its quotes.

    Parameters
    ----------
    s : str
        ``"3.14"``, ``"hello"``, ``"'quoted'"``; spaces around it are dropped.

    Returns
    -------
    float or str
        Only plain decimal numbers are numbers: ``"nan"``, ``"inf"`` and ``"1_000"`` may be names of levels
        and stay text, and so does anything in quotes.

    Examples
    --------
    >>> parse_value("3.14")
    3.14
    >>> parse_value("hello")
    'hello'
    >>> parse_value("'quoted'")
    'quoted'
    """
    text = s.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return float(text) if _NUMBER.fullmatch(text) else text


def build_ablated_formula(
    response_var: str, source_terms: list[str], ablate_term: str, random_terms: tuple[str, ...] = ()
) -> str:
    """A formula without one source term.

    Leaving out a main effect leaves out every interaction that contains it (an interaction without its main
    effects would mean something else); leaving out an interaction leaves out that one only.

    Parameters
    ----------
    response_var : str
        The left side.
    source_terms : list of str
        All source terms but the intercept.
    ablate_term : str
        One of them; the order inside an interaction, spaces, backticks and ``factor()`` do not matter.
    random_terms : tuple of str
        Random terms, kept as they are.

    Raises
    ------
    FormulaError
        ``ablate_term`` is none of the source terms: the formula would be the full one, and its score that of
        no change.

    Examples
    --------
    >>> build_ablated_formula("y", ["x", "z", "x:z"], "x")
    'y ~ z'
    >>> build_ablated_formula("y", ["x", "z", "x:z"], "x:z")
    'y ~ x + z'
    >>> build_ablated_formula("y", ["x"], "x")
    'y ~ 1'
    >>> build_ablated_formula("y", ["x", "z"], "x", ("(1|group)",))
    'y ~ z + (1|group)'
    """
    target = _factors_of(ablate_term)
    members = {term: _factors_of(term) for term in source_terms}
    if target not in members.values():
        near = suggest(ablate_term, source_terms)
        raise FormulaError(
            asked=f"the model without {ablate_term!r}",
            found=f"its terms are {', '.join(source_terms) or 'the intercept alone'}",
            remedy=f"did you mean {near!r}?" if near else "name one of them",
        )
    kept = [term for term, factors in members.items() if not _goes_with(factors, target)]
    return f"{response_var} ~ {' + '.join([*(kept or ['1']), *random_terms])}"


def remove_predictor_from_formula(formula: str, predictor: str) -> str:
    """A formula without one predictor, in whatever form it stands there.

    Parameters
    ----------
    formula : str
        In R's grammar.
    predictor : str
        A column (found also inside ``factor()``, ``C()`` and ``c()``), a call as written (``"log(x)"``), or
        an interaction (``"a:b"``, either order). A column goes with all its interactions, an interaction
        alone.

    Returns
    -------
    str
        Parts of the formula that do not hold the predictor are left as they were written, random terms and
        offsets too; ``a*b`` without ``b`` is ``a``. The formula itself where it does not hold the predictor,
        or cannot be read.

    Examples
    --------
    >>> remove_predictor_from_formula("y ~ a + b + c", "b")
    'y ~ a + c'
    >>> remove_predictor_from_formula("y ~ factor(a) + b", "a")
    'y ~ b'
    """
    try:
        left, right = (side.strip() for side in _two_sides(formula))
        pieces = _summands(right)
        # A column whose name needs backticks may be given without them, so the text itself is tried first.
        for target in (frozenset({predictor.strip()}), _factors_of(predictor)):
            kept = [survivor for piece in pieces for survivor in _without(piece, target)]
            if kept != pieces:
                return f"{left} ~ {_join(kept) or '1'}".lstrip()
    except FormulaError:
        pass  # as specified: what cannot be read is handed back
    return formula


def unwrap(text: str) -> str:
    """The column that a factor's text names: ``factor(a)``, ``C(a, sum)`` and a quoted ``a`` are ``a``."""
    try:
        return _label(tokenize(text))
    except FormulaError:
        return text.strip()


@dataclass(frozen=True, slots=True)
class _Summand:
    """What stands between two signs of a formula, as written."""

    sign: str
    text: str


def _two_sides(formula: str) -> tuple[str, str]:
    sides, tildes = split_top(tokenize(formula), "~")
    if len(tildes) != 1 or not sides[1]:
        raise FormulaError(formula, "no two sides", "write response ~ terms")
    at = tildes[0]
    return formula[: at.start], formula[at.stop :]


def _summands(right: str) -> list[_Summand]:
    pieces, signs = split_top(tokenize(right), "+", "-")
    before = ["+", *(sign.value for sign in signs)]
    if not pieces[0]:  # a leading sign
        pieces, before = pieces[1:], before[1:]
    if not all(pieces):
        raise FormulaError(right, "a sign with nothing after it", "name a term")
    return [_Summand(sign, right[p[0].start : p[-1].stop]) for sign, p in zip(before, pieces, strict=True)]


def _join(summands: list[_Summand]) -> str:
    if not any(s.sign == "+" for s in summands):
        numbers = [s.text for s in summands if s.text in ("0", "1")]
        return "0" if "1" in numbers else ""  # nothing left to take terms from
    out = ""
    for s in summands:
        out += f" {s.sign} {s.text}" if out else ("" if s.sign == "+" else "-") + s.text
    return out


def _without(piece: _Summand, target: frozenset[str]) -> list[_Summand]:
    """What is left of one summand: itself where the target is not in it."""
    operands, pseudo = _collapse(tokenize(piece.text))
    if any(is_op(t, "|", "||") for t in pseudo) or any(o.startswith("offset(") for o in operands):
        return [piece]
    if operands == ["."] and len(target) == 1:  # all columns: take this one out again
        (column,) = target
        return [piece, _Summand("-", quote_name(column))]
    if not operands:  # 0 or 1
        return [piece]
    terms = expand_terms(tuple(pseudo), [], set(), piece.text)
    names = [operands[int(o.text[1:])] for o in terms.operands]
    labels = [_label(tokenize(name)) for name in names]
    stays = [m for m in terms.members if not _goes_with(frozenset(labels[i] for i in m), target)]
    if len(stays) == len(terms.members):
        return [piece]
    return [_Summand(piece.sign, ":".join(names[i] for i in member)) for member in stays]


def _goes_with(factors: frozenset[str], target: frozenset[str]) -> bool:
    return target <= factors if len(target) == 1 else target == factors


def _factors_of(term: str) -> frozenset[str]:
    """The factors of ``a:b`` by name, whatever their order, spacing or wrapping."""
    try:
        members = split_top(tokenize(term), ":")[0]
    except FormulaError:
        return frozenset({term.strip()})
    return frozenset(_label(member) for member in members if member)


def _label(tokens: list[Token]) -> str:
    """What an operand is called: its column if it is one or only wraps one; else its canonical text."""
    if len(tokens) == 1 and tokens[0].kind in _COLUMN:
        return tokens[0].value
    is_call = len(tokens) >= 4 and tokens[0].value in _WRAPPERS and is_op(tokens[1], "(")
    if is_call and tokens[2].kind in _COLUMN and is_op(tokens[3], ",", ")"):
        return tokens[2].value
    return spell(tokens)


def _collapse(tokens: list[Token]) -> tuple[list[str], list[Token]]:
    """Each column or call becomes one name ``v0, v1, ..``: its text, and the tokens with these names."""
    operands: list[str] = []
    pseudo: list[Token] = []
    i = 0
    while i < len(tokens):
        j = i + 1
        if tokens[i].kind in _COLUMN:
            depth = 0
            while tokens[i].kind == "name" and j < len(tokens) and (depth or (j == i + 1 and is_op(tokens[j], "("))):
                depth += is_op(tokens[j], "(") - is_op(tokens[j], ")")
                j += 1
            operands.append(spell(tokens[i:j]))
            pseudo.append(Token("name", f"v{len(operands) - 1}", tokens[i].start, tokens[j - 1].stop))
        else:
            pseudo.append(tokens[i])
        i = j
    return operands, pseudo
