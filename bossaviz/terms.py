"""What each design column *is*, read from the design's own data: a slope, a level against another, a curvature.

``read_term`` decides the kind of a column and the number by which its coefficient is multiplied before it is spoken
(log 2 for a doubling, 1/(k + 1) for Helmert columns, the distance between two settings for a product of numbers).
Words come later, in ``labels``; nothing here is taken from the text of a column name.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from inference_core.formula import admit, parse_formula
from inference_core.states import DataBundle, ModelSpec

# Functions of one number whose coefficient still reads as a slope, with what one unit of them is.
LOGARITHMS = {"log": math.e, "log2": 2.0, "log10": 10.0}
BINOMIAL = ("binomial", "quasibinomial")
COUNTS = ("poisson", "quasipoisson", "negative_binomial")
STANDARDISED = ("scale", "zscore")
SPLINES = ("bs", "ns")
SAME_UNIT = ("center", "as_number", "unclass")


@dataclass(frozen=True, slots=True)
class Part:
    """One operand of a column: a number, or a comparison of levels of a factor.

    ``multiplier`` brings a coefficient of the operand to the unit it is spoken in. ``plus`` and ``minus`` are the
    levels compared, ``against`` how the second side is meant: one level, the average of some, the average of all, or
    "average out" (no comparison: a column for one level).
    """

    operand: str  # "log(wt)"
    column: str  # the data column, "wt"
    kind: str  # number, doubling, scaled, curve, smooth, factor, ordered, other
    index: int = 0
    degree: int = 1
    multiplier: float = 1.0
    sd: float | None = None
    centre: float | None = None  # what was subtracted: zero of the column is this value of x
    plus: str = ""
    minus: tuple[str, ...] = ()
    against: str = ""  # level, average of all, average of these, none
    count: int = 0  # levels of the factor
    reference: str = ""  # where the column is 0, for factors coded by a baseline


@dataclass(frozen=True, slots=True)
class Reading:
    """What a design column is, and how its coefficient becomes the number that is spoken."""

    name: str
    kind: str  # one of situation.KINDS
    parts: tuple[Part, ...] = ()
    degree: int = 1
    multiplier: float = 1.0
    sd: float | None = None
    base_column: int | None = None  # interactions: the column of the effect at the first setting
    settings: tuple[float, float] | None = None  # interactions of two numbers


def read_terms(spec: ModelSpec, bundle: DataBundle) -> tuple[Reading, ...]:
    """One reading for each design column, in the order of the design."""
    return tuple(read_term(spec, bundle, j) for j in range(bundle.p))


def read_term(spec: ModelSpec, bundle: DataBundle, j: int) -> Reading:
    """What design column ``j`` is."""
    parts = column_parts(bundle, j)
    name = bundle.X_names[j]
    if bundle.term_of_column[j] < 0 or not parts:
        return Reading(name, _intercept_kind(bundle))
    if len(parts) == 1:
        return _single(name, parts[0], bundle)
    if len(parts) == 2:
        return _pair(name, parts, bundle)
    return Reading(name, "coefficient", parts)


def column_parts(bundle: DataBundle, j: int) -> tuple[Part, ...]:
    """The operands that column ``j`` multiplies; empty for the intercept, and where the design kept no record."""
    design = bundle.design_state
    if design is None or not design.parts:
        return ()
    operands = {operand.text: operand for operand in design.operands}
    return tuple(_part(operands[part.operand], part) for part in design.parts[j])


def response_of(spec: ModelSpec) -> tuple[str | None, tuple[str, ...]]:
    """The function around the response ("log", "cbind", None) and the data columns in it."""
    response = parse_formula(spec.formula).response
    return (None, (spec.response_var,)) if response is None else (response.function, response.columns)


def scale_of(spec: ModelSpec) -> str:
    """How coefficients of this model are spoken: a scale of ``situation.SCALES``."""
    if spec.link == "identity":
        return "factor" if response_of(spec)[0] == "log" else "identity"
    if spec.link == "logit":
        return "odds"
    if spec.link == "log":
        return "rate" if spec.family in COUNTS else "factor"
    return "link"


# one operand


def _part(operand: Any, part: Any) -> Part:
    expression = admit(operand.text)
    column = operand.column or (expression.columns[0] if expression.columns else operand.text)
    common = {"operand": operand.text, "column": column, "index": part.index}
    if part.kind == "factor":
        return _factor_part(operand, part, common)
    function = expression.function
    if part.kind == "basis":
        kind = "smooth" if function in SPLINES else "curve" if function == "poly" else "other"
        return Part(kind=kind, degree=part.index + 1, **common)
    if (function is None and operand.column is not None) or function in SAME_UNIT:
        centre = _learned(operand, float) if function == "center" else None
        return Part(kind="number", centre=centre, **common)
    if function in LOGARITHMS:
        return Part(kind="doubling", multiplier=math.log(2.0) / math.log(_base(operand.text)), **common)
    if function in STANDARDISED:
        learned = _learned(operand, tuple)
        if learned is not None and learned[1] != 1.0:
            return Part(kind="scaled", sd=float(learned[1]), centre=float(learned[0]), **common)
        return Part(kind="number", centre=None if learned is None else float(learned[0]), **common)
    power = _power(operand.text) if function == "I" else None
    if power is not None and power > 1:
        return Part(kind="curve", degree=power, **common)
    return Part(kind="other", **common)


def _learned(operand: Any, kind: type) -> Any:
    """What the operand's one call learned from the data, if it is of the expected kind."""
    found = [value for value in operand.learned if isinstance(value, kind)]
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=256)
def _base(text: str) -> float:
    """Base of a logarithm as the formula states it."""
    expression = admit(text)
    call = expression.tree
    assert isinstance(call, ast.Call)
    stated = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "base")]
    if stated and isinstance(stated[0], ast.Constant) and isinstance(stated[0].value, (int, float)):
        return float(stated[0].value)
    return LOGARITHMS[expression.function or "log"]


@lru_cache(maxsize=256)
def _power(text: str) -> int | None:
    """2 for ``I(x^2)``, 3 for ``I(x^3)``; None for anything else."""
    arguments = admit(text).arguments
    inner = arguments[0] if arguments else None
    if isinstance(inner, ast.BinOp) and isinstance(inner.op, (ast.Pow, ast.BitXor)):
        exponent = inner.right
        if isinstance(inner.left, ast.Name) and isinstance(exponent, ast.Constant) and isinstance(exponent.value, int):
            return exponent.value
    return None


def _factor_part(operand: Any, part: Any, common: dict[str, Any]) -> Part:
    coding = operand.full if part.coding == "full" else operand.coding
    levels = coding.levels
    if part.coding == "full":
        return Part(kind="factor", plus=levels[part.index], against="none", count=len(levels), **common)
    reference = coding.reference if coding.kind == "treatment" and coding.reference is not None else ""
    if coding.kind == "poly":
        return Part(kind="ordered", degree=part.index + 1, count=len(levels), **common)
    weights = _hypothesis(coding.matrix)[part.index + 1]
    return Part(kind="factor", count=len(levels), reference=reference, **_comparison(weights, levels), **common)


def _hypothesis(matrix: np.ndarray) -> np.ndarray:
    """Rows of weights on the level means that the intercept and each coefficient are, given the coding's columns."""
    return np.linalg.pinv(np.column_stack([np.ones(matrix.shape[0]), matrix]))


def _comparison(weights: np.ndarray, levels: tuple[str, ...]) -> dict[str, Any]:
    """Which level is compared with what, and the factor that makes it a plain difference of averages."""
    tiny = 1e-9 * float(np.max(np.abs(weights)))
    above, below = np.flatnonzero(weights > tiny), np.flatnonzero(weights < -tiny)
    if above.size == 1 and below.size:
        mass = float(weights[above[0]])
        others = weights[below]
        equal = bool(np.allclose(others, others[0], rtol=1e-9, atol=1e-12))
        plus = levels[int(above[0])]
        minus = tuple(levels[int(i)] for i in below)
        if below.size == 1:
            return {"plus": plus, "minus": minus, "against": "level", "multiplier": 1.0 / mass}
        k = len(levels)
        if equal and below.size == k - 1 and math.isclose(mass, 1 - 1 / k, rel_tol=1e-9):
            return {"plus": plus, "minus": minus, "against": "average of all"}
        if equal:
            return {"plus": plus, "minus": minus, "against": "average of these", "multiplier": 1.0 / mass}
    return {"against": "other"}


# one column


def _intercept_kind(bundle: DataBundle) -> str:
    if bundle.p == 1:
        return "mean"
    design = bundle.design_state
    if design is None or not design.parts:
        return "coefficient"
    readable = ("number", "doubling", "scaled", "factor")
    parts = [part for j in range(bundle.p) for part in column_parts(bundle, j)]
    return "intercept" if all(part.kind in readable for part in parts) else "coefficient"


_KINDS = {"number": "slope", "doubling": "slope", "scaled": "scaled", "curve": "curve", "smooth": "smooth"}


def _single(name: str, part: Part, bundle: DataBundle) -> Reading:
    common: dict[str, Any] = {"parts": (part,), "degree": part.degree, "sd": part.sd}
    if part.kind == "factor":
        if part.against == "none":
            return Reading(name, _intercept_kind(bundle), **common)
        kinds = {"level": "level", "average of all": "average", "average of these": "average"}
        return Reading(name, kinds.get(part.against, "coefficient"), multiplier=part.multiplier, **common)
    if part.kind == "ordered":
        return Reading(name, "ordered" if part.degree <= 3 else "coefficient", **common)
    if part.kind == "number" and _has_power(bundle, part.column):
        return Reading(name, "curve", **common)  # x beside x^2: not a slope when read alone
    if part.kind == "other":
        return Reading(name, "slope", **common)
    return Reading(name, _KINDS[part.kind], multiplier=part.multiplier, **common)


def _has_power(bundle: DataBundle, column: str) -> bool:
    """Whether a power of the column stands in the model as well."""
    return any(
        part.kind == "curve" and part.column == column for j in range(bundle.p) for part in column_parts(bundle, j)
    )


def _pair(name: str, parts: tuple[Part, ...], bundle: DataBundle) -> Reading:
    """An interaction of two operands: a difference of differences, or a difference of slopes."""
    first, second = parts
    factors = [p for p in parts if p.kind == "factor"]
    numbers = [p for p in parts if p.kind in ("number", "doubling", "scaled")]
    comparable = all(p.against == "level" and p.reference for p in factors)
    if len(factors) == 2 and comparable:
        multiplier = first.multiplier * second.multiplier
        base = _main_column(bundle, first) if _only_interaction(bundle, parts) else None
        return Reading(
            name, "levels_by_levels", parts, multiplier=multiplier, base_column=base
        )
    if len(factors) == 1 and len(numbers) == 1 and comparable:
        number, factor = numbers[0], factors[0]
        base = _main_column(bundle, number) if _only_interaction(bundle, parts) else None
        multiplier = number.multiplier * factor.multiplier
        return Reading(
            name, "slopes_by_levels", (number, factor), multiplier=multiplier, base_column=base,
            sd=number.sd,
        )  # fmt: skip
    if len(numbers) == 2 and second.kind == "number":
        return _two_numbers(name, first, second, bundle)
    return Reading(name, "coefficient", parts)


def _two_numbers(name: str, first: Part, second: Part, bundle: DataBundle) -> Reading:
    """A product of two numbers: the slope of the first at the quartiles of the second."""
    main = _main_column(bundle, second)
    values = bundle.X[:, main] + (second.centre or 0.0) if main is not None else None
    settings = None if values is None else _quartiles(values)
    if settings is None:
        return Reading(name, "coefficient", (first, second))
    base = _main_column(bundle, first) if _only_interaction(bundle, (first, second)) else None
    return Reading(
        name, "slopes_by_levels", (first, second), multiplier=first.multiplier * (settings[1] - settings[0]),
        base_column=base, settings=settings, sd=first.sd,
    )  # fmt: skip


def _quartiles(values: np.ndarray) -> tuple[float, float] | None:
    """Lower and upper quartile, rounded as far as their distance allows; None for a constant."""
    lower, upper = (float(q) for q in np.quantile(values, (0.25, 0.75)))
    if not upper > lower:
        lower, upper = float(np.min(values)), float(np.max(values))
    if not upper > lower:
        return None
    places = 1 - math.floor(math.log10(upper - lower))
    rounded = round(lower, places), round(upper, places)
    return rounded if rounded[1] > rounded[0] else (lower, upper)


def _main_column(bundle: DataBundle, part: Part) -> int | None:
    """The design column of an operand by itself."""
    for j in range(bundle.p):
        alone = column_parts(bundle, j)
        if len(alone) == 1 and alone[0].operand == part.operand and alone[0].index == part.index:
            return j
    return None


def _only_interaction(bundle: DataBundle, parts: tuple[Part, ...]) -> bool:
    """Whether neither operand takes part in another interaction, so that two numbers tell the whole story."""
    own = {part.operand for part in parts}
    for j in range(bundle.p):
        there = {part.operand for part in column_parts(bundle, j)}
        if len(there) > 1 and there != own and there & own:
            return False
    return True


def interacting(bundle: DataBundle, part: Part) -> tuple[Part, ...]:
    """The other operands that this one is multiplied with somewhere, each once."""
    found: dict[str, Part] = {}
    for j in range(bundle.p):
        there = column_parts(bundle, j)
        if len(there) > 1 and any(p.operand == part.operand for p in there):
            for other in there:
                if other.operand != part.operand:
                    found.setdefault(other.operand, other)
    return tuple(found.values())
