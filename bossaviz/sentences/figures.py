"""The numbers of one situation as text: one choice of unit and decimals for all of them."""

from __future__ import annotations

import math

from . import ink, numbers, thresholds
from .situation import Labels, Situation
from .units import Unit, readable

# Ratios outside this range are named by their bound: more digits would say nothing.
RATIO_RANGE = (1e-4, 1e6)
# Kinds whose value has a sign of its own; all others put the sign into words (falls, lower).
SIGNED = ("mean", "intercept", "curve", "coefficient", "ordered", "correlation")


def _merge(x: float, y: float, decimals: int) -> bool:
    """Whether two different numbers look the same at so many decimals."""
    return x != y and numbers.rounded(x, decimals) == numbers.rounded(y, decimals)


class Figures:
    """Estimate, limits, spread and null of a situation, ready to be put into a sentence.

    ``unit`` is the unit to say (grams may have become kilograms), ``sign`` the sign of the estimate *after rounding*:
    0 when it rounds to 0 and takes no direction.
    """

    def __init__(self, s: Situation, labels: Labels) -> None:
        self.s = s
        self.simulated = s.how in ("boot", "perm", "simulate")
        self.ratio = s.is_ratio and s.kind not in ("mean", "intercept")
        self.signed = s.kind in SIGNED
        self.comparatives = labels.comparatives
        self._unit = Unit("") if self._unitless else readable(self._size(), labels.unit)
        self.unit, self.divisor = self._unit.name, self._unit.divisor
        self.decimals = self._estimate_decimals()
        self.limit_decimals = self._limit_decimals()
        shown = self._value(s.estimate or 0.0)
        self.sign = int(math.copysign(1, shown)) if numbers.rounded(shown, self.decimals) else 0

    # values in the unit that is said

    @property
    def _unitless(self) -> bool:
        return self.ratio or self.s.scale in ("probability", "link") or self.s.kind in ("coefficient", "correlation")

    def _size(self) -> float:
        """The typical size that chooses the unit: the largest finite of estimate and limits."""
        sizes = [abs(x) for x in (self.s.estimate, self.s.lower, self.s.upper) if x is not None and numbers.finite(x)]
        return max(sizes, default=0.0)

    def _value(self, x: float) -> float:
        if self.ratio:
            return math.exp(min(max(x, -700.0), 700.0))
        return x / self._unit.divisor

    def _spread(self, x: float | None, at: float | None = None) -> float | None:
        """A standard error in the unit that is said; for a ratio, at the ratio ``at`` by the delta rule."""
        if x is None or not numbers.finite(x):
            return None
        if self.ratio:
            return x * self._value(at) if at is not None and numbers.finite(at) else None
        return x / self._unit.divisor

    # decimals

    def _estimate_decimals(self) -> int:
        s = self.s
        if self.ratio:
            ratio = self._value(s.estimate or 0.0)
            decimals = numbers.ratio_decimals(ratio)
            raised = max(decimals, min(numbers.guard(ratio, self._value(s.null), decimals), 4))
            limits = [self._value(x) for x in (s.lower, s.upper) if x is not None and numbers.finite(x)]
            while raised < decimals + 4 and any(_merge(x, ratio, raised) for x in limits):
                raised += 1
            return raised
        if s.scale == "probability":
            return 3 if s.estimate is not None and not 0.01 <= s.estimate <= 0.99 else 2
        if s.kind == "correlation":
            return 0 if s.estimate is not None and abs(s.estimate) == 1.0 else 2
        two_sided = thresholds.has_interval(s)
        decimals = numbers.decimals_of_estimate(
            self._spread(s.se),
            self._value(s.lower) if two_sided else None,
            self._value(s.upper) if two_sided else None,
        )
        size = abs(self._value(s.estimate or 0.0))
        return min(decimals, numbers.decimals_for(size, 10)) if size else decimals

    def _limit_decimals(self) -> int:
        s = self.s
        decimals = self.decimals
        if s.kind == "correlation":
            return 2
        limits = [x for x in (s.lower, s.upper) if x is not None and numbers.finite(x)]
        for limit, mcse in ((s.lower, s.mcse_lower), (s.upper, s.mcse_upper)):
            if self.simulated and limit is not None and numbers.finite(limit):
                decimals = min(decimals, numbers.decimals_of_simulated(self.decimals, self._spread(mcse, limit)))
        raised = [numbers.guard(self._value(x), self._value(s.null), decimals) for x in limits]
        return max([decimals, *raised])

    # texts

    def value(self, x: float, decimals: int | None = None) -> str:
        """A value with its own sign (a dot, a mean, a stated null's neighbour)."""
        shown = self._value(x)
        if self.ratio and not RATIO_RANGE[0] <= shown <= RATIO_RANGE[1]:
            return "less than 0.0001" if shown < 1 else "more than 1,000,000"
        if self.s.scale == "probability":
            return numbers.probability(x)
        places = self.decimals if decimals is None else decimals
        if self.ratio and not numbers.rounded(shown, places):
            places = numbers.decimals_for(shown, 1)
        return numbers.fixed(shown, places)

    def size(self, x: float, decimals: int | None = None) -> str:
        """A value without its sign: the words carry the direction."""
        return self.value(x if self.ratio else abs(x), decimals)

    @property
    def estimate(self) -> str:
        """The estimate; without its sign unless the sign is part of the value."""
        estimate = self.s.estimate or 0.0
        return ink.real(self.value(estimate) if self.signed else self.size(estimate))

    @property
    def smallest(self) -> str:
        """The smallest amount that the decimals can show: an estimate of 0 is less than this."""
        return ink.real(numbers.fixed(10.0**-self.decimals, self.decimals))

    @property
    def null(self) -> str:
        """The null as it was stated: whole numbers bare, others with at least the estimate's decimals."""
        shown = self._value(self.s.null)
        if float(shown).is_integer() and abs(shown) < 1e15:
            return numbers.fixed(shown, 0)
        needed = next((d for d in range(self.decimals + 6) if math.isclose(round(shown, d), shown, rel_tol=1e-9)), 6)
        return numbers.fixed(shown, max(self.decimals, needed))

    def _drawn(self, text: str) -> str:
        return ink.sim(text) if self.simulated else ink.theory(text)

    def _limit(self, x: float, *, signed: bool) -> str:
        """One limit; never shown on or across the null."""
        if x == 0 and self.s.operation == "variance":
            return "0"
        shown, null = self._value(x), self._value(self.s.null)
        if x != self.s.null and numbers.guard(shown, null, self.limit_decimals) != self.limit_decimals:
            return f"just {'above' if x > self.s.null else 'below'} {self.null}"
        return self.value(x, self.limit_decimals) if signed else self.size(x, self.limit_decimals)

    @property
    def interval(self) -> str:
        """The interval in the language of the estimate: "2.58 to 5.17", or "7.6 lower to 0.2 higher"."""
        s = self.s
        lower, upper = s.lower, s.upper
        if lower is None or upper is None:
            return ""
        if self.signed or self.ratio:
            return self._drawn(f"{self._limit(lower, signed=True)} to {self._limit(upper, signed=True)}")
        if lower >= 0 and self.sign > 0:
            return self._drawn(f"{self._limit(lower, signed=False)} to {self._limit(upper, signed=False)}")
        if upper <= 0 and self.sign < 0:
            return self._drawn(f"{self._limit(upper, signed=False)} to {self._limit(lower, signed=False)}")
        return self._drawn(f"{self._sided(lower)} to {self._sided(upper)}")

    def _sided(self, x: float) -> str:
        text = self._limit(x, signed=False)
        if x == 0 or text.startswith("just"):
            return text
        return f"{text} {self.comparatives[0] if x > 0 else self.comparatives[1]}"

    def bound(self) -> tuple[str, str]:
        """The finite limit of a one-sided interval: ("least" | "most" | "up to", text)."""
        limit = thresholds.bound(self.s)
        if limit is None:
            return "", ""
        if self.ratio or self.signed:
            return "most" if self.s.alternative == "less" else "least", self._drawn(self._limit(limit, signed=True))
        text = self._drawn(self._limit(limit, signed=False))
        if limit * self.sign < 0 or not self.sign:
            return "up to", text
        return ("least" if abs(limit) < abs(self.s.estimate or 0.0) else "most"), text

    @property
    def se(self) -> str:
        """The spread of the draws: at most three digits, and no more than so many draws support."""
        se = self.s.se if self.ratio else self._spread(self.s.se)
        if se is None or se <= 0:
            return ink.sim("0")
        own_error = se / math.sqrt(2 * self.s.draws) if self.s.draws else None
        decimals = numbers.decimals_of_simulated(numbers.decimals_for(se, 3), own_error)
        return ink.sim(numbers.fixed(se, max(decimals, numbers.decimals_for(se, 1))))

    def error(self, digits: int) -> str:
        """Two Monte-Carlo errors of a limit, as an amount."""
        mcse = thresholds.limit_mcse(self.s)
        mcse = self._spread(mcse, self.s.estimate)
        if not mcse or (self.ratio and mcse > RATIO_RANGE[1]):
            return ""
        return ink.sim(numbers.fixed(2 * mcse, numbers.decimals_for(2 * mcse, digits)))

    # p

    def _p(self, write) -> str:
        if not numbers.finite(self.s.p):
            return ""
        return self._drawn(write(self.s.p, conf_level=self.s.level, floor=thresholds.p_floor(self.s)))

    @property
    def p(self) -> str:
        """Such as "p = 0.060"."""
        return self._p(numbers.p_equals)

    @property
    def p_words(self) -> str:
        """Such as "0.060", "less than 0.001"."""
        return self._p(numbers.p_words)
