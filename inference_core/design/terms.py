"""Formula to terms, in R's order and with R's coding rule. Knows names, not data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from inference_core.errors import FormulaError
from inference_core.formula.guard import Expression, admit_column
from inference_core.formula.parse import operands
from inference_core.formula.tokens import Token, is_op, quote_name, shorten

from .formulaic_bridge import MAX_TERMS, expand, too_many_terms


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The fixed part: operands in order of appearance, and terms as positions of their operands."""

    intercept: bool
    operands: tuple[Expression, ...]
    members: tuple[tuple[int, ...], ...]  # one per term, sorted by degree as R sorts them

    @property
    def labels(self) -> tuple[str, ...]:
        """The source terms: ``("wt", "hp", "wt:hp")``."""
        return tuple(":".join(self.operands[i].text for i in term) for term in self.members)


def expand_terms(tokens: tuple[Token, ...], columns: list[str], exclude: set[str], asked: str) -> Terms:
    """Expand the fixed part of a formula.

    Parameters
    ----------
    tokens : tuple of Token
        From ``parse_formula``.
    columns : list of str
        All columns of the data, for the dot.
    exclude : set of str
        Columns that the dot leaves out (those of the response).
    asked : str
        The formula as written.

    Raises
    ------
    FormulaError
        A dot that stands for nothing, or a formula that stands for too many terms.
    """
    order: dict[str, int] = {}
    found: list[Expression] = []

    def position(expression: Expression) -> int:
        if expression.text not in order:
            order[expression.text] = len(found)
            found.append(expression)
        return order[expression.text]

    pieces: list[Token | list[int]] = []  # operators and numbers as tokens, operands as the positions they stand for
    for piece in operands(tokens, asked):
        if isinstance(piece, Expression):
            pieces.append([position(piece)])
        elif piece.kind == "name":  # the dot
            rest = [c for c in columns if c not in exclude]
            if not rest:
                raise FormulaError(asked, "no columns are left for .", "name the terms")
            pieces.append([position(admit_column(c)) for c in rest])
        else:
            pieces.append(piece)
    if _is_flat(pieces):
        intercept, members = _expand_flat(pieces, asked)
    else:
        intercept, named = expand(_over_placeholders(pieces), shorten(asked, 120))
        members = [frozenset(int(name[1:]) for name in term) for term in named]
    unique = list(dict.fromkeys(members))
    if len(unique) > MAX_TERMS:
        raise too_many_terms(shorten(asked, 120))
    ranked = sorted(unique, key=len)  # stable: R orders by degree, then by appearance
    return Terms(intercept, tuple(found), tuple(tuple(sorted(term)) for term in ranked))


def _over_placeholders(pieces: list[Token | list[int]]) -> str:
    out = []
    for piece in pieces:
        if isinstance(piece, list):
            out.append("(" + " + ".join(f"v{i}" for i in piece) + ")" if len(piece) > 1 else f"v{piece[0]}")
        else:
            out.append(piece.value)
    return " ".join(out) or "1"


def _is_flat(pieces: list[Token | list[int]]) -> bool:
    """Whether the formula is a sum of products of single operands, which needs no grammar."""
    return all(
        len(piece) == 1 or len(pieces) == 1
        if isinstance(piece, list)
        else is_op(piece, "+", "-", "*", ":") or piece.kind == "number"
        for piece in pieces
    )


def _expand_flat(pieces: list[Token | list[int]], asked: str) -> tuple[bool, list[frozenset[int]]]:
    """Sums of ``a``, ``a:b``, ``a*b``, 0 and 1, with + and - between them; a lone dot is the sum of its
    columns.
    """
    if len(pieces) == 1 and isinstance(pieces[0], list):
        return True, [frozenset([i]) for i in pieces[0]]
    intercept = True
    terms: list[frozenset[int]] = []
    sign, product = 1, list[Token | list[int]]()
    for piece in [*pieces, Token("op", "+", 0, 0)]:
        if not (isinstance(piece, Token) and is_op(piece, "+", "-")):
            product.append(piece)
            continue
        if product:
            first = product[0]
            if isinstance(first, Token):  # 0 or 1; parse_formula lets no other number through
                if len(product) > 1:
                    raise FormulaError(
                        shorten(asked, 120),
                        f"{first.value} inside an interaction",
                        "write it as a term of its own",
                    )
                intercept = (first.value == "1") == (sign > 0)
            else:
                made = _expand_product(product, asked)
                terms = [*terms, *made] if sign > 0 else [t for t in terms if t not in made]
            if len(terms) > MAX_TERMS:
                raise too_many_terms(shorten(asked, 120))
            sign, product = 1, []
        sign = -sign if piece.value == "-" else sign
    return intercept, terms


def _expand_product(product: list[Token | list[int]], asked: str) -> list[frozenset[int]]:
    """``a*b:c`` as a, b:c, a:b:c (the colon binds tighter)."""
    factors: list[frozenset[int]] = [frozenset()]
    for piece in product:
        if isinstance(piece, list):
            factors[-1] |= frozenset(piece)
        elif is_op(piece, "*"):
            factors.append(frozenset())
        elif piece.kind == "number":
            raise FormulaError(
                shorten(asked, 120), f"{piece.value} inside an interaction", "write it as a term of its own"
            )
    if 2 ** len(factors) > MAX_TERMS:
        raise too_many_terms(shorten(asked, 120))
    sizes = range(1, len(factors) + 1)
    return [frozenset().union(*chosen) for size in sizes for chosen in combinations(factors, size)]


def dummy_coded(terms: Terms, is_factor: list[bool]) -> list[tuple[bool, ...]]:
    """R's coding rule: which factors of each term get one column per level instead of contrasts.

    A factor v in term T is coded by contrasts if T without v is empty, or is contained in an earlier term;
    otherwise by dummies, because no earlier term spans that margin. Without an intercept, the first factor of
    the first term that has one is coded by dummies too. (R: TermCode in model.c, and modelmatrix.)
    """
    out: list[list[bool]] = []
    for t, term in enumerate(terms.members):
        earlier = [frozenset(other) for other in terms.members[:t]]
        flags = []
        for v in term:
            margin = frozenset(term) - {v}
            flags.append(is_factor[v] and bool(margin) and not any(margin <= other for other in earlier))
        out.append(flags)
    if not terms.intercept:
        first = next(((t, j) for t, term in enumerate(terms.members) for j, v in enumerate(term) if is_factor[v]), None)
        if first is not None:
            out[first[0]][first[1]] = True
    return [tuple(flags) for flags in out]


def term_label(columns: list[str]) -> str:
    """The label of an interaction of plain columns."""
    return ":".join(quote_name(c) for c in columns)
