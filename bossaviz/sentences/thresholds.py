"""Every threshold that decides a row, in one place, and the facts read with them."""

from __future__ import annotations

import math

from .numbers import finite
from .situation import Situation

ON_THE_NULL = 0.05  # |limit - null| below this share of the width: borderline
FEW_DRAWS = 100
LIMIT_MCSE = 0.10  # Monte-Carlo error of a limit above this share of the width: B too small
FAILURES_SOME, FAILURES_MANY = 0.01, 0.10
FEW_GROUPS = 8
BIAS = 0.25  # in standard errors
ZEROS = 0.05  # share of refits with a spread of exactly 0 from which it is said
COMMON = 0.50  # p above this: "samples like this are common"
MAX_WORDS, MAX_SENTENCES = 45, 2


def has_interval(s: Situation) -> bool:
    """Two finite limits."""
    return finite(s.lower) and finite(s.upper)


def one_sided(s: Situation) -> bool:
    """The question has a direction."""
    return s.alternative != "two-sided"


def bound(s: Situation) -> float | None:
    """The finite limit of a one-sided interval."""
    limit = s.upper if s.alternative == "less" else s.lower
    return limit if finite(limit) else None


def on_asked_side(s: Situation) -> bool:
    """Whether the estimate lies on the side of the null that was asked about."""
    estimate = s.estimate or 0.0
    return estimate < s.null if s.alternative == "less" else estimate > s.null


def holds_null(s: Situation) -> bool:
    """Whether the two-sided interval holds the null."""
    return has_interval(s) and s.lower <= s.null <= s.upper


def limit_on_null(s: Situation) -> bool:
    """One limit lies within 5% of the width from the null."""
    if not has_interval(s):
        return False
    width = s.upper - s.lower
    nearest = min(abs(s.lower - s.null), abs(s.upper - s.null))
    return nearest < ON_THE_NULL * width


def total_draws(s: Situation) -> int:
    """Draws made so far, the failed ones included."""
    return s.draws + s.failures


def failure_share(s: Situation) -> float:
    """Share of the draws that gave no usable estimate."""
    return s.failures / total_draws(s) if total_draws(s) else 0.0


def limit_mcse(s: Situation) -> float | None:
    """The larger Monte-Carlo error of the two limits; from the SE by the normal curve where it was not computed."""
    known = [m for m in (s.mcse_lower, s.mcse_upper) if finite(m)]
    if known:
        return max(known)
    if finite(s.se) and s.draws > 1:
        from scipy.special import ndtri

        tail = 1 - s.level if one_sided(s) else (1 - s.level) / 2
        density = math.exp(-(float(ndtri(tail)) ** 2) / 2) / math.sqrt(2 * math.pi)
        return math.sqrt(tail * (1 - tail) / s.draws) / density * s.se
    return None


def too_few_draws(s: Situation) -> bool:
    """B too small for the level."""
    if s.draws < FEW_DRAWS or 1 / (s.draws + 1) > (1 - s.level) * (1 + 1e-9):
        return True
    if has_interval(s):
        known = [m for m in (s.mcse_lower, s.mcse_upper) if finite(m)]
        return bool(known) and max(known) > LIMIT_MCSE * (s.upper - s.lower)
    return False


def p_floor(s: Situation) -> float | None:
    """The smallest p that so many draws can give; None for a formula."""
    if s.how not in ("boot", "perm") or s.draws == 0:
        return None
    return (2 if s.how == "boot" and not one_sided(s) else 1) / (s.draws + 1)


def at_floor(s: Situation) -> bool:
    """No draw crosses the null."""
    if s.crossings is not None:
        return s.crossings == 0
    floor = p_floor(s)
    return floor is not None and finite(s.p) and s.p <= floor * (1 + 1e-9)


def biased(s: Situation) -> bool:
    """Draws centre more than a quarter of a standard error from the estimate."""
    if not (finite(s.boot_mean) and finite(s.se) and finite(s.estimate)):
        return False
    return abs(s.boot_mean - s.estimate) > BIAS * s.se


def often_zero(s: Situation) -> bool:
    """Whether many refits found no spread at all."""
    return s.kind == "spread" and s.draws > 0 and s.at_zero > ZEROS * s.draws


def at_edge(s: Situation) -> bool:
    """Whether the estimated correlation is 1 or -1."""
    return s.kind == "correlation" and finite(s.estimate) and abs(s.estimate) == 1.0


def types_disagree(s: Situation) -> bool:
    """Some interval types hold the null and some do not."""
    return bool(s.stops) and bool(s.crosses)
