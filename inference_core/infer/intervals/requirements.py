"""What an interval needs before the first refit: enough draws for its level, and parts that exist."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtrit

from inference_core.errors import InferenceError

from .bca import BCa_MIN_NBOOT

CI_TYPES = ("percentile", "basic", "normal", "bca", "studentized", "expanded")
ALTERNATIVES = ("two-sided", "greater", "less")


def tails(level: float, alternative: str) -> tuple[float | None, float | None]:
    """Nominal tail probability below the lower and above the upper limit; None for a limit that is infinite."""
    if alternative == "two-sided":
        return (1.0 - level) / 2.0, (1.0 - level) / 2.0
    return (1.0 - level, None) if alternative == "greater" else (None, 1.0 - level)


def tail_level(ci_type: str, tail: float, df: Any = None, inflation: float = 1.0) -> Any:
    """Share of draws beyond a limit with nominal tail probability ``tail``, where it is known beforehand.

    Expanded percentile: Phi(-sqrt(c) t_(df, 1 - tail)), c = ``inflation``; an array for an array of ``df``. BCa levels
    are known only afterwards.
    Source: Hesterberg (2015), The American Statistician 69.
    """
    if ci_type != "expanded":
        return tail
    quantile = stdtrit(df if df is not None else np.inf, 1.0 - tail)
    level = ndtr(-math.sqrt(inflation) * quantile)
    return level if np.ndim(level) else float(level)


def draws_needed(
    ci_type: str, level: float, alternative: str = "two-sided", df: float | None = None, inflation: float = 1.0
) -> int:
    """Smallest number of draws whose outermost one still bounds the interval."""
    if ci_type == "normal":
        return 2
    nominal = next(t for t in tails(level, alternative) if t is not None)
    least = math.ceil(1.0 / tail_level(ci_type, nominal, df, inflation) - 1e-6) - 1
    return max(least, BCa_MIN_NBOOT) if ci_type == "bca" else least


def check_interval_request(
    ci_type: str,
    n_boot: int,
    level: float,
    alternative: str = "two-sided",
    df: float | None = None,
    inflation: float = 1.0,
) -> None:
    """Refuse, before any refit, an interval that ``n_boot`` draws cannot give.

    Raises
    ------
    InferenceError
        For an unknown type or alternative, a level outside (0, 1), or too few draws.
    """
    _choice("ci_type", ci_type, CI_TYPES)
    check_alternative(alternative)
    if not 0.0 < level < 1.0:
        raise InferenceError(
            asked=f"conf_level={level!r}",
            found="a confidence level lies between 0 and 1",
            remedy=f"conf_level={level / 100:g}" if 1 < level < 100 else "conf_level=0.95",
        )
    if n_boot != int(n_boot) or n_boot < 1:
        raise InferenceError(
            asked=f"n_boot={n_boot!r}", found="the number of draws is a whole number, 1 or more", remedy="n_boot=999"
        )
    needed = draws_needed(ci_type, level, alternative, df, inflation)
    if n_boot < needed:
        raise InferenceError(
            asked=f"{100 * level:g} % {ci_type} limits from n_boot={n_boot:,}",
            found=f"B = {n_boot:,} cannot give {100 * level:g} % limits",
            remedy=f"n_boot >= {needed:,}" + ("; 999 is a good default" if needed < 999 else ""),
        )


def check_alternative(alternative: str) -> None:
    """Refuse anything but ``"two-sided"``, ``"greater"``, ``"less"``."""
    _choice("alternative", alternative, ALTERNATIVES)


def _choice(keyword: str, value: str, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    near = get_close_matches(str(value).lower(), choices, n=1, cutoff=0.5)
    raise InferenceError(
        asked=f"{keyword}={value!r}",
        found=f"{keyword} is one of {', '.join(choices)}",
        remedy=f"{keyword}={(near[0] if near else choices[0])!r}",
    )
