"""The one file that talks to formulaic: the grammar of composite formulas, and the codings of factors.

formulaic never sees a user's text. The grammar is parsed over placeholders (``(v0 + v1)**2``), which the
guard has already admitted one by one; the codings are asked for by level count. What formulaic 1.2 does
otherwise than R, or without a bound, is put right here: the number of terms is capped *while* it expands,
``%in%`` means R's, and ``(a + b)^k`` does not run through all k-tuples. Evaluation with saved state is ours
(``formula.evaluate``), so that no text is ever evaluated as Python and a saved design is plain data.

formulaic imports pandas and takes most of a second, so the import happens on the first call. Sums, products
and interactions of terms without parentheses, and treatment coding, do not come here at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from inference_core.errors import FormulaError
from inference_core.states import Array

MAX_TERMS = 2_000


def too_many_terms(asked: str) -> FormulaError:
    """The refusal of a formula that expands without end."""
    return FormulaError(
        asked=asked,
        found=f"a formula that stands for more than {MAX_TERMS:,} terms",
        remedy="name the interactions you want, or use a smaller power",
    )


def expand(text: str, asked: str) -> tuple[bool, list[tuple[str, ...]]]:
    """Expand a formula over placeholder names.

    Parameters
    ----------
    text : str
        Grammar over names such as ``v0``: ``+ - * : / ^ ** %in% ( ) 0 1``.
    asked : str
        The formula as the user wrote it, for the refusals.

    Returns
    -------
    intercept : bool
    terms : list of tuple of str
        The factors of each term, in formulaic's order.
    """
    from formulaic.errors import FormulaicError

    try:
        terms = _parser()().get_terms(text)
    except _TooMany:
        raise too_many_terms(asked) from None
    except FormulaicError as error:
        raise FormulaError(asked, f"this cannot be read: {str(error).splitlines()[0][:120]}", "check it") from None
    intercept, out = False, []
    for term in terms:  # type: ignore[union-attr]
        names = tuple(f.expr for f in term.factors if f.expr != "1")
        if names:
            out.append(names)
        else:
            intercept = True
    return intercept, out


class _TooMany(Exception):
    """The cap on terms was reached during expansion."""


@lru_cache(maxsize=1)
def _parser() -> Callable[[], Any]:
    """A parser whose operators are R's and stop at ``MAX_TERMS``; made once, when formulaic is first needed."""
    from formulaic.parser.parser import DefaultFormulaParser, DefaultOperatorResolver
    from formulaic.parser.types import Operator, OrderedSet

    def capped(terms: Any) -> Any:
        if len(terms) > MAX_TERMS:
            raise _TooMany
        return terms

    def products(left: Any, right: Any) -> Any:
        if len(left) * len(right) > 4 * MAX_TERMS:
            raise _TooMany
        return capped(OrderedSet(a * b for a in left for b in right))

    def crossed(left: Any, right: Any) -> Any:
        return capped(left | right | products(left, right))

    def all_of(terms: Any) -> Any:
        return OrderedSet([reduce(lambda a, b: a * b, terms)])

    def nested(parents: Any, children: Any) -> Any:
        return capped(parents | products(all_of(parents), children))

    def within(children: Any, parents: Any) -> Any:
        return products(children, all_of(parents))

    def power(terms: Any, exponent: Any) -> Any:
        out = terms
        for _ in range(int(next(iter(exponent)).factors[0].expr) - 1):
            grown = capped(out | products(out, terms))
            if len(grown) == len(out):
                break
            out = grown
        return out

    rules: dict[str, Callable[..., Any]] = {
        ":": products, "*": crossed, "/": nested, "in": within, "**": power, "^": power,
    }  # fmt: skip
    precedence = {"in": 250}  # R binds %in% tighter than *, formulaic does not

    class Resolver(DefaultOperatorResolver):
        @property
        def operators(self) -> list[Operator]:
            return [
                Operator(
                    o.symbol,
                    arity=o.arity,
                    precedence=precedence.get(o.symbol, o.precedence),
                    associativity=o.associativity,
                    fixity=o.fixity,
                    to_terms=rules[o.symbol],
                )
                if o.symbol in rules
                else o
                for o in super().operators
            ]

    return lambda: DefaultFormulaParser(
        operator_resolver=Resolver(), feature_flags=DefaultFormulaParser.FeatureFlags.NONE
    )


def coding_matrix(kind: str, k: int) -> Array:
    """(k, k - 1) contrast matrix of R: contr.sum, contr.helmert (unscaled), contr.poly, or successive
    differences.
    """
    from formulaic.transforms import contrasts

    makers: dict[str, Callable[[], Any]] = {
        "sum": contrasts.SumContrasts,
        "helmert": contrasts.HelmertContrasts,
        "poly": contrasts.PolyContrasts,
        "sequential": contrasts.DiffContrasts,
    }
    levels = [str(j) for j in range(k)]
    matrix = makers[kind]().get_coding_matrix(levels, reduced_rank=True, sparse=False)
    return np.asarray(matrix, dtype=np.float64)
