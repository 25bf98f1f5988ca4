"""The left side: numbers, text of two levels, true and false, counts of successes and failures, proportions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.errors import DataError
from inference_core.formula.evaluate import learn
from inference_core.formula.guard import Expression
from inference_core.formula.names import first_few
from inference_core.formula.parse import ParsedFormula
from inference_core.formula.values import Basis, Factor, Value
from inference_core.states import Array

from .matrix import check_finite

BINOMIAL = ("binomial", "quasibinomial")


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What the solver sees, and where it came from."""

    y: Array  # (n,)
    trials: Array | None = None  # (n,)
    levels: tuple[str, str] | None = None  # (failure, success)


def build_response(
    parsed: ParsedFormula, columns: Callable[[str], Value], n: int, row_of: Array, family: str
) -> Response:
    """Evaluate the left side for a family.

    Raises
    ------
    DataError
        Text for a family of numbers, more than two levels, counts that cannot be counts.
    """
    assert parsed.response is not None  # refused earlier
    if parsed.cbind is not None:
        return _from_counts(parsed, columns, n, row_of, family)
    value, _ = learn(parsed.response, columns, n)
    text = parsed.response.text
    if isinstance(value, Basis):
        raise DataError(f"{text} as response", "it makes several columns; a response is one", "name one column")
    if isinstance(value, Factor):
        return _from_levels(value, text, family)
    if value.dtype == bool:
        levels = ("False", "True") if family in BINOMIAL else None
        return Response(value.astype(np.float64), levels=levels)
    y = np.asarray(value, dtype=np.float64)
    check_finite(y, text, row_of)
    return Response(np.array(y))


def _from_levels(value: Factor, text: str, family: str) -> Response:
    if family not in BINOMIAL:
        raise DataError(
            asked=f"a {family} model of {text}",
            found=f'"{text}" holds groups ({first_few(value.levels)}), and a {family} response is a number',
            remedy='write family="binomial" for two groups, or as_number() if the text spells numbers',
        )
    factor = value if len(value.levels) == 2 else value.used()
    if len(factor.levels) != 2:
        raise DataError(
            asked=f"a {family} model of {text}",
            found=f'"{text}" has {len(factor.levels)} levels ({first_few(factor.levels)}); a {family} response has two',
            remedy=f'say which one counts as success, as I({text} == "{factor.levels[-1] if factor.levels else "a"}")',
        )
    return Response(factor.codes.astype(np.float64), levels=(factor.levels[0], factor.levels[1]))


def _from_counts(
    parsed: ParsedFormula, columns: Callable[[str], Value], n: int, row_of: Array, family: str
) -> Response:
    assert parsed.cbind is not None and parsed.response is not None
    text = parsed.response.text
    if family not in BINOMIAL:
        raise DataError(
            asked=f"{text} with family {family}",
            found="cbind(successes, failures) is a binomial response",
            remedy='write family="binomial", or name one column',
        )
    successes, failures = (_counts(e, columns, n, row_of, text) for e in parsed.cbind)
    trials = successes + failures
    y = np.divide(successes, trials, out=np.zeros(n), where=trials > 0)
    return Response(y, trials)


def _counts(expression: Expression, columns: Callable[[str], Value], n: int, row_of: Array, text: str) -> Array:
    value, _ = learn(expression, columns, n)
    if isinstance(value, (Factor, Basis)):
        raise DataError(text, f'"{expression.text}" holds no counts', "name columns of numbers")
    counts = np.asarray(value, dtype=np.float64)
    check_finite(counts, expression.text, row_of)
    bad = np.flatnonzero(counts < 0)
    if bad.size:
        raise DataError(
            asked=text,
            found=f'"{expression.text}" is {counts[bad[0]]:g} in row {int(row_of[bad[0]])}; counts are 0 or more',
            remedy="write cbind(successes, failures); failures are trials - successes",
        )
    return counts
