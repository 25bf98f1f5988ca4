"""The functions a formula may call, as one table. A transform learns from the data once and remembers what it
learned.

Each entry says how many leading arguments are data, which options it takes (literal values only), what it
*learns* from the training rows (plain picklable data) and how it is *applied*, to the training rows and to
new ones alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from inference_core.errors import DataError, FormulaError
from inference_core.states import Array

from . import smooth
from .values import Basis, Factor, Value


@dataclass(frozen=True, slots=True)
class Transform:
    """One function: ``learn(values, options) -> state``, ``apply(values, state, options) -> value``."""

    name: str
    usage: str
    apply: Callable[[list[Any], Any, Mapping[str, Any]], Value]
    learn: Callable[[list[Any], Mapping[str, Any]], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # name -> default, in the order of R's arguments
    data_arguments: int = 1
    words: bool = False  # options may be bare words, as in C(x, sum)


def _numbers(value: Any, function: str) -> Array:
    """The value as float64, or a refusal that names the function."""
    if isinstance(value, (Factor, Basis, str)):
        kind = "groups" if isinstance(value, Factor) else "several columns" if isinstance(value, Basis) else "text"
        raise DataError(
            asked=f"{function}() of {kind}",
            found=f"{function}() works on numbers",
            remedy="use a numeric column; unclass(x) gives the codes of a factor, as_number(x) reads numbers from text",
        )
    return np.asarray(value, dtype=np.float64)


def _elementwise(name: str, function: Callable[[Array], Array]) -> Transform:
    def apply(values: list[Any], state: Any, options: Mapping[str, Any]) -> Array:
        return function(_numbers(values[0], name))

    return Transform(name, f"{name}(x)", apply)


def _log(values: list[Any], state: Any, options: Mapping[str, Any]) -> Array:
    out, base = np.log(_numbers(values[0], "log")), options["base"]
    if base is None:
        return out
    if not _is_number(base) or not base > 0 or base == 1:
        raise _wrong_option("log", "base", base, "a number above 0 other than 1", "log(x, base = 2)")
    return out / np.log(float(base))


# ---- options -----------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong_option(function: str, option: str, value: Any, kind: str, example: str) -> FormulaError:
    return FormulaError(f"{function}(…, {option} = {value})", f"{option} is {kind}", f"write {example}")


_SWITCHES = ("raw", "ordered", "intercept")


def check_switches(function: Transform, options: Mapping[str, Any]) -> None:
    """Refuse anything but TRUE and FALSE where an option is one of the two: text would silently count as TRUE."""
    for name in _SWITCHES:
        if name in options and not isinstance(options[name], bool):
            example = f"{function.name}(x, {name} = TRUE)"
            raise _wrong_option(function.name, name, options[name], "TRUE or FALSE", example)


# ---- center, scale, zscore, rank ---------------------------------------------------------------------------


def _learn_center(values: list[Any], options: Mapping[str, Any]) -> float:
    return float(np.mean(_numbers(values[0], "center")))


def _learn_scale(values: list[Any], options: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1), as R's scale(); without centring the root mean square, as R too."""
    x = _numbers(values[0], "scale")
    center, scale = options.get("center", True), options.get("scale", True)
    for name, value in (("center", center), ("scale", scale)):
        if not isinstance(value, bool) and not (_is_number(value) and (value or name == "center")):
            raise _wrong_option("scale", name, value, "TRUE, FALSE or a number", f"scale(x, {name} = FALSE)")
    mean = (float(np.mean(x)) if center else 0.0) if isinstance(center, bool) else float(center)
    spread = 1.0 if isinstance(scale, bool) else float(scale)
    if scale is True:
        spread = float(np.sqrt(np.sum((x - mean) ** 2) / max(x.size - 1, 1)))
        if not spread > 1e-14 * max(1.0, float(np.max(np.abs(x)))):
            raise DataError(
                asked="scale() of a column",
                found="it has the same value in every row",
                remedy="leave the column out",
            )
    return mean, spread


def _apply_scale(values: list[Any], state: tuple[float, float], options: Mapping[str, Any]) -> Array:
    return (_numbers(values[0], "scale") - state[0]) / state[1]


def _apply_rank(values: list[Any], state: Array, options: Mapping[str, Any]) -> Array:
    """Average ranks among the training values; a new value between two of them gets the rank between theirs."""
    x = _numbers(values[0], "rank")
    below = np.searchsorted(state, x, side="left")
    through = np.searchsorted(state, x, side="right")
    return (below + through + 1) / 2.0


# ---- factors -----------------------------------------------------------------------------------------------


def number_label(value: float) -> str:
    """A number as a level says it: 4, not 4.0; 0.5."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def as_factor(value: Any, levels: Any = None) -> Factor:
    """Numbers and booleans become a factor with sorted levels; ``levels`` gives their order and which there
    are.
    """
    if isinstance(value, Basis):
        raise DataError("factor() of several columns", "a factor is one column", "name one column")
    if isinstance(value, Factor):
        made = value
    else:
        array = np.asarray(value)
        seen, codes = np.unique(array, return_inverse=True)
        names = tuple(str(v) for v in seen) if array.dtype == bool else tuple(number_label(v) for v in seen.tolist())
        made = Factor(codes.astype(np.int32), names)
    if levels is None:
        return made
    levels = levels if isinstance(levels, tuple) else (levels,)
    if None in levels:
        raise _wrong_option("factor", "levels", "NULL", "the names of the levels", 'factor(x, levels = c("a", "b"))')
    wanted = tuple(v if isinstance(v, str) else str(v) if isinstance(v, bool) else number_label(v) for v in levels)
    position = {name: j for j, name in enumerate(wanted)}
    present = {made.levels[c] for c in np.unique(made.codes)}
    missing = [name for name in made.levels if name in present and name not in position]
    if missing or len(position) != len(wanted):
        raise DataError(
            asked=f"factor(levels = {', '.join(wanted)})",
            found=f'the data also hold "{missing[0]}"' if missing else "a level is listed twice",
            remedy="list every level once",
        )
    lookup = np.array([position.get(name, -1) for name in made.levels], dtype=np.int32)
    return Factor(lookup[made.codes], wanted, made.ordered, made.coding)


def _learn_factor(values: list[Any], options: Mapping[str, Any]) -> tuple[str, ...]:
    return as_factor(values[0], options.get("levels")).levels


def _match_levels(value: Any, levels: tuple[str, ...]) -> Factor:
    """New rows in the levels of the training rows; what was not seen there keeps its own name, to be refused
    later.
    """
    made = as_factor(value)
    extra = [name for name in made.levels if name not in levels]
    every = (*levels, *extra)
    position = {name: j for j, name in enumerate(every)}
    lookup = np.array([position[name] for name in made.levels], dtype=np.int32)
    codes = lookup[made.codes] if made.codes.size else made.codes
    return Factor(codes, every, made.ordered, made.coding)


def _apply_factor(values: list[Any], state: tuple[str, ...], options: Mapping[str, Any]) -> Factor:
    made = _match_levels(values[0], state)
    return Factor(made.codes, made.levels, bool(options.get("ordered")))


def _apply_ordered(values: list[Any], state: tuple[str, ...], options: Mapping[str, Any]) -> Factor:
    made = _match_levels(values[0], state)
    return Factor(made.codes, made.levels, True)


def _apply_coded(values: list[Any], state: tuple[str, ...], options: Mapping[str, Any]) -> Factor:
    made = _match_levels(values[0], state)
    coding = options["coding"]
    if options["ref"] is not None:
        reference = options["ref"]
        name = reference if isinstance(reference, str) else number_label(reference)
        coding = (coding or "treatment", name)
    return Factor(made.codes, made.levels, made.ordered, coding)


def _unclass(values: list[Any], state: tuple[str, ...] | None, options: Mapping[str, Any]) -> Array:
    """1, 2, ... in the order of the levels; numbers stay numbers."""
    if state is None:
        return _numbers(values[0], "unclass")
    made = _match_levels(values[0], state)
    if made.codes.size and int(made.codes.max()) >= len(state):
        raise DataError(
            asked="unclass() of new rows",
            found=f'level "{made.levels[int(made.codes.max())]}" was not in the data that made the fit',
            remedy=f"use one of {', '.join(state[:10])}",
        )
    return made.codes.astype(np.float64) + 1.0


def _learn_unclass(values: list[Any], options: Mapping[str, Any]) -> tuple[str, ...] | None:
    return values[0].levels if isinstance(values[0], Factor) else None


def parse_number(text: str) -> float:
    """The number a piece of text spells, NaN if it spells none (decimal comma and spaces are not guessed at)."""
    try:
        number = float(text.strip())
    except ValueError:
        return float("nan")
    return number if np.isfinite(number) else float("nan")


def _as_number(values: list[Any], state: Any, options: Mapping[str, Any]) -> Array:
    """Text to numbers; what is no number is missing, and its row goes before anything is learned."""
    if isinstance(values[0], Factor):
        return np.array([parse_number(v) for v in values[0].levels])[values[0].codes]
    return _numbers(values[0], "as_number")


def _identity(values: list[Any], state: Any, options: Mapping[str, Any]) -> Any:
    return values[0]


def _only_in_place(what: str) -> Callable[..., Any]:
    def apply(values: list[Any], state: Any, options: Mapping[str, Any]) -> Any:
        raise DataError(asked=f"{what} inside another call", found=f"{what} stands alone", remedy=_PLACE[what])

    return apply


_PLACE = {
    "offset()": "write + offset(x) as a term of its own",
    "cbind()": "write cbind(successes, failures) on the left of ~, alone",
}

# ---- polynomials and splines -------------------------------------------------------------------------------


def _learn_poly(values: list[Any], options: Mapping[str, Any]) -> Any:
    x = _numbers(values[0], "poly")
    degree = smooth.whole_number(options["degree"], "poly", "degree", 1, smooth.MAX_DEGREE)
    return (degree,) if options["raw"] else smooth.learn_poly(x, degree)


def _apply_poly(values: list[Any], state: Any, options: Mapping[str, Any]) -> Basis:
    x = _numbers(values[0], "poly")
    matrix = smooth.raw_poly(x, state[0]) if options["raw"] else smooth.apply_poly(x, state)
    return Basis(matrix, tuple(str(j + 1) for j in range(matrix.shape[1])))


def _learn_spline(natural: bool) -> Callable[[list[Any], Mapping[str, Any]], Any]:
    def learn(values: list[Any], options: Mapping[str, Any]) -> Any:
        return smooth.learn_spline(_numbers(values[0], "ns" if natural else "bs"), natural=natural, **options)

    return learn


def _apply_spline(values: list[Any], state: smooth.Spline, options: Mapping[str, Any]) -> Basis:
    matrix = smooth.apply_spline(_numbers(values[0], "ns" if state.natural else "bs"), state)
    return Basis(matrix, tuple(str(j + 1) for j in range(matrix.shape[1])))


_SPLINE_OPTIONS = {"df": None, "knots": None}

_ALL = (
    Transform("factor", "factor(x)", _apply_factor, _learn_factor, {"levels": None, "ordered": False}),
    Transform("ordered", "ordered(x)", _apply_ordered, _learn_factor, {"levels": None}),
    Transform("C", "C(x, sum)", _apply_coded, _learn_factor, {"coding": None, "ref": None}, words=True),
    Transform("poly", "poly(x, 2)", _apply_poly, _learn_poly, {"degree": 1, "raw": False}),
    Transform(
        "bs",
        "bs(x, df = 5)",
        _apply_spline,
        _learn_spline(False),
        {**_SPLINE_OPTIONS, "degree": 3, "intercept": False, "boundary_knots": None},
    ),
    Transform(
        "ns",
        "ns(x, df = 4)",
        _apply_spline,
        _learn_spline(True),
        {**_SPLINE_OPTIONS, "intercept": False, "boundary_knots": None},
    ),
    Transform("log", "log(x)", _log, options={"base": None}),
    _elementwise("log2", np.log2),
    _elementwise("log10", np.log10),
    _elementwise("log1p", np.log1p),
    _elementwise("exp", np.exp),
    _elementwise("sqrt", np.sqrt),
    _elementwise("abs", np.abs),
    Transform("center", "center(x)", lambda v, s, o: _numbers(v[0], "center") - s, _learn_center),
    Transform("scale", "scale(x)", _apply_scale, _learn_scale, {"center": True, "scale": True}),
    Transform("zscore", "zscore(x)", _apply_scale, _learn_scale),
    Transform("rank", "rank(x)", _apply_rank, lambda v, o: np.sort(_numbers(v[0], "rank"))),
    Transform("I", "I(x^2)", _identity),
    Transform("unclass", "unclass(f)", _unclass, _learn_unclass),
    Transform("as_number", "as_number(x)", _as_number),
    Transform("offset", "offset(x)", _only_in_place("offset()")),
    Transform("cbind", "cbind(successes, failures)", _only_in_place("cbind()"), data_arguments=2),
)

TRANSFORMS: Mapping[str, Transform] = MappingProxyType({t.name: t for t in _ALL})
FUNCTION_NAMES: tuple[str, ...] = tuple(TRANSFORMS)
