"""Checks of single arguments: a value as it will be used, or a refusal that names the argument."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_core.errors import InferenceError

from .coefficient import check_level
from .spelling import nearest

MAX_COUNT = 100_000_000  # draws, steps: more than memory holds
MAX_JOBS = 1_024


def show(value: Any) -> str:
    """A value as it was typed, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse(name: str, value: Any, found: str, remedy: str) -> InferenceError:
    """The refusal of one argument."""
    return InferenceError(asked=f"{name}={show(value)}", found=found, remedy=remedy)


def word(name: str, value: Any, valid: Sequence[str]) -> str:
    """One of a list of words."""
    if isinstance(value, str) and value in valid:
        return value
    near = nearest(value, valid, name) if isinstance(value, str) else None
    raise refuse(
        name,
        value,
        f"{name} is one of {', '.join(valid)}",
        f"did you mean {near!r}?" if near else f"{name}={valid[0]!r}",
    )


def text(name: str, value: Any, examples: Sequence[str]) -> str:
    """A string; which ones make sense is decided later."""
    if isinstance(value, str):
        return value
    raise refuse(name, value, f"{name} is a word", f"one of {', '.join(examples)}" if examples else "a column's name")


def level(name: str, value: Any) -> float:
    """A level strictly between 0 and 1."""
    return check_level(value)


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def count(name: str, value: Any) -> int:
    """A whole number of at least 1."""
    number = _integer(value)
    if number is None or number < 1:
        whole = isinstance(value, float) and value.is_integer() and value >= 1
        raise refuse(name, value, f"{name} is a whole number of at least 1", f"{name}={int(value) if whole else 999}")
    if number > MAX_COUNT:
        raise refuse(name, value, f"{name} is at most {MAX_COUNT:,}", f"{name}=9999")
    return number


def nodes(name: str, value: Any) -> int:
    """A number of quadrature nodes: 0, 1 or more."""
    number = _integer(value)
    if number is None or number < 0:
        raise refuse(name, value, f"{name} is a whole number of at least 0", f"{name}=1, the Laplace approximation")
    return number


def method(name: str, value: Any) -> str:
    """How a linear mixed model is estimated: "reml" or "ml", in any case."""
    return word(name, value.lower() if isinstance(value, str) else value, ("reml", "ml"))


def jobs(name: str, value: Any) -> int:
    """A number of processes: 1 or more, or -1 for all processors (-2 for all but one)."""
    number = _integer(value)
    if number is None or number == 0:
        raise refuse(name, value, f"{name} is a number of processes: 1 or more, or -1 for all processors", f"{name}=1")
    if abs(number) > MAX_JOBS:
        raise refuse(name, value, f"{name} is at most {MAX_JOBS:,}", f"{name}=-1")
    return number


def folds(name: str, value: Any) -> int | str:
    """A number of folds of at least 2, or "loo"."""
    if value == "loo":
        return "loo"
    number = _integer(value)
    if number is None or number < 2:
        raise refuse(name, value, f"{name} is a whole number of at least 2, or 'loo'", f"{name}=10")
    return number


def seed(name: str, value: Any) -> int | None:
    """A whole number of at least 0, or None to have one picked."""
    if value is None:
        return None
    number = _integer(value)
    if number is None or number < 0:
        raise refuse(
            name,
            value,
            "a seed is a whole number of at least 0",
            "seed=1, or leave it out: the result tells the one used",
        )
    return number


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if isinstance(value, bool):
        return value
    raise refuse(name, value, f"{name} is True or False", f"{name}={bool(value)!r}")


def positive(name: str, value: Any) -> float | None:
    """A finite number above 0, or None."""
    if value is None:
        return None
    number = math.nan if isinstance(value, (bool, str)) else _float(value)
    if not 0.0 < number < math.inf:
        raise refuse(name, value, f"{name} is a number above 0", f"leave {name} out")
    return number


def tolerance(name: str, value: Any) -> float:
    """A number strictly between 0 and 1."""
    number = math.nan if isinstance(value, (bool, str)) else _float(value)
    if not 0.0 < number < 1.0:
        raise refuse(name, value, f"{name} is a relative change, above 0 and below 1", f"{name}=1e-10")
    return number


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def function(name: str, value: Any) -> Any:
    """Something to call with (done, total), or None."""
    if value is None or callable(value):
        return value
    raise refuse(name, value, f"{name} is called with (done, total)", f"{name}=lambda done, total: print(done, total)")


def labels(name: str, value: Any) -> Any:
    """A column's name, or one label a row; None where there is none."""
    if value is None or isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim != 1 or array.size < 2:
        raise refuse(name, value, f"{name} is a column's name, or one label a row", f"{name}='a column'")
    return array


def event(name: str, value: Any) -> Any:
    """Something with ``is_set()``, or None."""
    if value is None or callable(getattr(value, "is_set", None)):
        return value
    raise refuse(name, value, f"{name} is asked is_set() between batches", f"{name}=threading.Event()")
