"""How a number is said: decimals, guards against rounding across a null, p-values, frequencies, counts.

Every rule of "2. Numbers" in the sentences' specification lives here and nowhere else. All functions return plain
text with a real minus sign (U+2212) and never scientific notation.
"""

from __future__ import annotations

import math

MINUS = "\u2212"
MAX_DECIMALS = 12  # beyond this a double carries no further digits worth reading


def finite(x: float | None) -> bool:
    """True for a number that can be printed."""
    return x is not None and math.isfinite(x)


def fixed(x: float, decimals: int) -> str:
    """``x`` with so many decimals, thousands separated, a real minus, and no minus before a zero."""
    text = f"{abs(x):,.{max(0, decimals)}f}"
    return (MINUS + text) if x < 0 and text.strip("0.,") else text


def rounded(x: float, decimals: int) -> float:
    """The number a reader sees when ``x`` is shown with so many decimals."""
    return float(f"{x:.{max(0, decimals)}f}")


def decimals_for(x: float, digits: int) -> int:
    """Decimals that show ``x`` with so many significant digits (never negative)."""
    if not finite(x) or x == 0:
        return 0
    exponent = int(f"{abs(x):.{digits - 1}e}".split("e")[1])  # after rounding: 0.0996 is 0.10 to two digits
    return min(MAX_DECIMALS, max(0, digits - 1 - exponent))


def decimals_of_estimate(se: float | None, lower: float | None = None, upper: float | None = None) -> int:
    """Decimals such that the SE shows two significant digits; without one, a quarter of the width stands for it."""
    if se is not None and finite(se) and se > 0:
        return decimals_for(se, 2)
    if lower is not None and upper is not None and finite(lower) and finite(upper) and upper != lower:
        return decimals_for((upper - lower) / 4, 2)
    return 2


def decimals_of_simulated(decimals: int, mcse: float | None) -> int:
    """As many of ``decimals`` as the draws support: the last place is at least a quarter of the MCSE."""
    if mcse is None or not finite(mcse) or mcse <= 0:
        return decimals
    return max(0, min(decimals, math.floor(-math.log10(mcse / 4))))


def guard(x: float, null: float, decimals: int) -> int:
    """Decimals at which ``x`` is seen on its own side of ``null``; -1 when no readable number of them does."""
    if x == null:
        return decimals
    for places in range(decimals, MAX_DECIMALS + 1):
        shown = rounded(x, places)
        if shown != rounded(null, places) and (shown < null) == (x < null) and shown != null:
            return places
        if places > decimals + 5:
            break
    return -1


def ratio_decimals(ratio: float) -> int:
    """Two significant digits; below 0.01 or above 100, three."""
    return decimals_for(ratio, 3 if ratio < 0.01 or ratio > 100 else 2)


def probability(x: float) -> str:
    """Two decimals; three below 0.01 and above 0.99; never rounded to 0 or 1."""
    decimals = 3 if x < 0.01 or x > 0.99 else 2
    shown = rounded(x, decimals)
    if shown == 0:
        return "less than 0.001"
    if shown == 1:
        return "more than 0.999"
    return fixed(x, decimals)


def level(conf_level: float) -> str:
    """Percent without trailing zeros."""
    return f"{round(100 * conf_level, 6):g}%"


def alpha(conf_level: float) -> str:
    """1 - level, as a number."""
    return f"{round(1 - conf_level, 8):g}"


def p_number(p: float, *, conf_level: float = 0.95, floor: float | None = None) -> str:
    """The p-value with its sign of relation: "0.060", "< 0.001", "> 0.99"; simulated ones stop at their floor."""
    if floor is not None and p <= floor * (1 + 1e-9):
        return fixed(floor, decimals_for(floor, 1))
    if p > 0.995:
        return "> 0.99"
    if p < 0.001:
        return "< 0.001"
    bar = round(1 - conf_level, 10)
    decimals = 2 if p >= 0.10 else 3
    while decimals < MAX_DECIMALS and p != bar and _across(p, bar, decimals):
        decimals += 1
    return fixed(p, decimals)


def _across(p: float, bar: float, decimals: int) -> bool:
    shown = rounded(p, decimals)
    return shown == bar or (shown < bar) != (p < bar)


def p_equals(p: float, *, conf_level: float = 0.95, floor: float | None = None) -> str:
    """Such as "p = 0.060", "p < 0.001", "p > 0.99"."""
    text = p_number(p, conf_level=conf_level, floor=floor)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def p_words(p: float, *, conf_level: float = 0.95, floor: float | None = None) -> str:
    """The same after the words "the p-value is": "0.060", "less than 0.001"."""
    text = p_number(p, conf_level=conf_level, floor=floor)
    return text.replace("< ", "less than ").replace("> ", "more than ")


def frequency(p: float, *, one_sided: bool = False) -> str:
    """How often: "about 6 in 100", "fewer than 1 in 1,000"; one-sided forms follow the words "at most"."""
    if p < 0.001:
        return "1 in 1,000" if one_sided else "fewer than 1 in 1,000"
    if p < 0.01 and round(1000 * p) < 10:
        return f"about {round(1000 * p)} in 1,000"
    share = round(100 * p)
    if share >= 100:
        return "100 in 100" if one_sided else "nearly 100 in 100"
    return f"about {share} in 100"


def mcse_of_p(p: float, draws: int) -> float:
    """Monte-Carlo standard error of a p-value that is a share of ``draws``."""
    return math.sqrt(p * (1 - p) / draws)


def p_range(p: float, draws: int) -> tuple[str, str]:
    """Where another set of as many draws would mostly put p: two MCSE to each side, cut to [1/(B+1), 1]."""
    spread = 2 * mcse_of_p(p, draws)
    lower, upper = max(1 / (draws + 1), p - spread), min(1.0, p + spread)
    decimals = max(2, min(4, decimals_for(spread, 1) if spread > 0 else 3))
    return fixed(lower, decimals), fixed(upper, decimals)


def count(n: int) -> str:
    """Exact, with a separator from 1,000 on."""
    return f"{int(n):,}"


def count_of(c: int, total: int) -> str:
    """Such as "none of 199", "all 20", "1 of 999", "596 of 9,999"."""
    if c == 0:
        return f"none of {count(total)}"
    return f"all {count(total)}" if c == total else f"{count(c)} of {count(total)}"


def share(part: int, whole: int) -> str:
    """Percent of a count: whole numbers from 10 on, one decimal below."""
    percent = 100 * part / whole
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}"


def small_count(n: int) -> str:
    """Words up to twelve, where a text begins or a list is counted."""
    names = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    return names[n] if 0 <= n < len(names) else count(n)


def plural(n: int, one: str, many: str) -> str:
    """Such as "1 resample", "2 resamples", "no resamples"."""
    if n == 0:
        return f"no {many}"
    return f"{count(n)} {one if n == 1 else many}"


def article(spoken: str) -> str:
    """Such as "a" or "an" by the sound of the word: "an 8", "an odds ratio", "a unit", "an 11", "a 100"."""
    word = spoken.lstrip("\"'").lower()
    digits = word.replace(",", "").split(".")[0].split(" ")[0]
    if digits.isdigit():
        eighty = digits.startswith("8")
        eleven = digits.startswith(("11", "18")) and len(digits) % 3 == 2
        return "an" if eighty or eleven else "a"
    if word.startswith(("uni", "use", "one", "eu")):
        return "a"
    return "an" if word[:1] in "aeiou" or word.startswith(("hour", "honest", "heir")) else "a"


def listed(items: tuple[str, ...] | list[str], last: str = "and") -> str:
    """Such as "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""
