"""Text summaries of charts: what it is (kind, axes, units) and what is in it (counts, centre, spread, extremes).

These are the first two layers of a chart's description; what it shows is said by the sentence and not repeated. Real
and simulated are always named, since colour is not heard. At most 60 words each.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from . import ink, numbers, words
from .figures import Figures
from .fill import Filler
from .grammar import NEW_RESPONSES, dot_variant
from .situation import Labels, Situation
from .templates import CHARTS
from .templates.parameters import TEMPLATES as PARAMETERS

MAX_WORDS = 60
DOTS_UP_TO = 500  # a distribution shows one dot a draw up to here, then bins


def chart_summary(code: str, **values: object) -> str:
    """The summary of one chart, its template filled.

    Parameters
    ----------
    code : str
        "C1" ... "C16".
    **values
        A value for every brace of the template.

    Raises
    ------
    KeyError
        For a code that does not exist.
    TypeError
        If values are missing; the message names them.
    """
    template = CHARTS[code]
    missing = [n for _, n, _, _ in string.Formatter().parse(template) if n and n not in values]
    if missing:
        raise TypeError(f"the summary {code} lacks {', '.join(dict.fromkeys(missing))}")
    return _said(template.format_map({name: str(value) for name, value in values.items()}))


def _said(text: str) -> str:
    return ink.finish(ink.capital(ink.tidy(text)))[0]


def axis_decimals(low: float, high: float) -> int:
    """Decimals of numbers on an axis: none for whole numbers and wide axes, else one, or two digits of the span."""
    span = high - low
    if span >= 100 or (low.is_integer() and high.is_integer() and span >= 1):
        return 0
    return max(1, numbers.decimals_for(span, 2))


def scatter_summary(
    labels: Labels,
    *,
    n: int,
    x: str,
    x_values: np.ndarray,
    x_unit: str,
    y_values: np.ndarray,
    line: tuple[float, float],
) -> str:
    """C1: the real data, two numbers. ``line`` holds the fitted values at the two ends of x."""
    x_low, x_high = float(np.min(x_values)), float(np.max(x_values))
    y_low, y_high = float(np.min(y_values)), float(np.max(y_values))
    x_places, y_places = axis_decimals(x_low, x_high), axis_decimals(y_low, y_high)
    if y_low >= 0 and y_high <= 1 and all(0 <= v <= 1 for v in line):  # a share, or an event that is 0 or 1
        ends = [numbers.probability(v) for v in line]
    else:
        ends = [numbers.fixed(v, _line_decimals(line, y_places)) for v in line]
    rise, fall = labels.rises_falls
    direction = "stays level" if ends[0] == ends[1] else rise if line[1] > line[0] else fall
    return chart_summary(
        "C1",
        n=numbers.count(n),
        units=labels.units,
        x=x,
        xmin=numbers.fixed(x_low, x_places),
        xmax=numbers.fixed(x_high, x_places),
        xu=x_unit,
        y=labels.response,
        ymin=numbers.fixed(y_low, y_places),
        ymax=numbers.fixed(y_high, y_places),
        yu=labels.unit,
        rises_falls=direction,
        f1=ends[0],
        f2=ends[1],
    )


def _line_decimals(line: tuple[float, float], axis: int) -> int:
    """As many as the axis has; up to two more where the two ends of the line would look alike."""
    rise = abs(line[1] - line[0])
    if rise <= 0 or not np.isfinite(rise):
        return axis
    return max(axis, min(numbers.decimals_for(rise, 2), axis + 2))


def strip_summary(
    labels: Labels, *, factor: str, means: Mapping[str, float], counts: Mapping[str, int], decimals: int = 1
) -> str:
    """C2: the real data by groups, with the number of rows in each and their means."""
    sizes = set(counts.values())
    each = f"{numbers.count(sizes.pop())} {labels.units} each" if len(sizes) == 1 else _range_of(counts, labels)
    listed = numbers.listed([f"{numbers.fixed(mean, decimals)} ({name})" for name, mean in means.items()])
    template = CHARTS["C2"].replace("{k} groups;", "{k} {factor}, {each};")
    return _said(
        template.format_map({"y": labels.response, "k": len(means), "factor": factor, "each": each, "list": listed})
    )


def _range_of(counts: Mapping[str, int], labels: Labels) -> str:
    return f"{numbers.count(min(counts.values()))} to {numbers.count(max(counts.values()))} {labels.units} each"


def resample_summary(
    labels: Labels, *, draw: int, distinct: int, statistic: str, value: str, unit: str = "", most: int | None = None
) -> str:
    """C3: one resample. ``statistic`` is what it gave ("slope"), ``most`` how often its most repeated row is in it."""
    result = "line has slope {value} {unit}" if statistic == "slope" else "{statistic} is {value} {unit}"
    template = CHARTS["C3"].replace("line has slope {value}", result)
    if most is None:
        template = template.replace(", the most repeated appears {max} times;", " in it;")
    values = {"i": numbers.count(draw), "distinct": numbers.count(distinct), "units": labels.units, "max": most,
              "value": value, "unit": unit, "statistic": statistic}  # fmt: skip
    return _said(template.format_map(values))


def distribution_summary(situation: Situation, labels: Labels, draws: np.ndarray) -> str:
    """C4: the distribution of the draws, with the estimate and the interval shown.

    ``draws`` are in the unit the situation speaks; draws without an estimate (NaN) are left out.
    """
    figures = Figures(situation, labels)
    good = draws[np.isfinite(draws)]
    dots = good.size <= DOTS_UP_TO
    template = CHARTS["C4"] if dots else CHARTS["C4"].replace("Dot plot", "Histogram").replace(" {min} to {max},", "")
    if situation.lower is None or situation.upper is None:
        template = template.split(";")[0] + "."
    spread = float(good.std(ddof=1)) if good.size > 1 else 0.0
    if figures.ratio:
        template = template.replace("standard deviation {sd}", "standard deviation {sd} as logarithms")
    values = {
        "B": numbers.count(good.size),
        "quantity": words.drawn_quantity(situation),
        "min": figures.value(float(good.min())) if good.size else "",
        "max": figures.value(float(good.max())) if good.size else "",
        "mean": figures.value(float(good.mean())) if good.size else "",
        "sd": numbers.fixed(spread if figures.ratio else spread / figures.divisor, max(figures.decimals, 2)),
        "est": figures.value(situation.estimate or 0.0),
        "level": numbers.level(situation.level),
        "type": words.CI_SHORT.get(situation.ci_type, situation.ci_type),
        "lo": _limit(figures, situation.lower),
        "hi": _limit(figures, situation.upper),
    }
    text = template.format_map(values)
    quantity = values["quantity"]
    return _said(text.replace(f"simulated {quantity}s", f"simulated {_plural(quantity, good.size)}"))


def dot_summary(situation: Situation, labels: Labels) -> tuple[str, str, str, str]:
    """PB12 in pieces, for many dots at once: number, value and different rows of a dot stand between the pieces.

    ``situation`` is that of the estimate; its ``se`` decides the digits of a value, see ``value_words``.
    """
    filler = Filler(replace(situation, how="boot"), labels)
    marks = {"i": "\x01", "value": "\x02", "distinct": "\x03"}
    template = PARAMETERS["PB12"]
    if situation.scheme in NEW_RESPONSES:
        template = dot_variant(filler, template)
    text = filler.fill(template, {
        "quantity": words.drawn_quantity(situation), "unit": filler.per_step, **marks,
    })  # fmt: skip
    head, _, rest = _said(text).partition(marks["i"])
    middle, _, rest = rest.partition(marks["value"])
    inside, counted, end = rest.partition(marks["distinct"])
    return head, middle, inside if counted else inside.rstrip("."), end


def value_words(situation: Situation, labels: Labels, values: np.ndarray) -> list[str]:
    """Values in the unit the situation speaks, as PB12 says them."""
    figures = Figures(replace(situation, how="boot"), labels)
    return [figures.value(float(value)) for value in values]


def _limit(figures: Figures, x: float | None) -> str:
    if x is None or not np.isfinite(x):
        return "no end"
    return figures.value(x, figures.limit_decimals)


def _plural(quantity: str, n: int) -> str:
    return quantity if n == 1 else f"{quantity[:-1]}ies" if quantity.endswith("y") else f"{quantity}s"


def intervals_summary(
    situation: Situation, labels: Labels, intervals: Mapping[str, tuple[float, float]], what: str
) -> str:
    """C6: the interval types side by side. ``what`` is the estimate they belong to: "the slope of weight"."""
    pieces: list[str] = []
    sides: list[int] = []
    for name, (lower, upper) in intervals.items():
        figures = Figures(replace(situation, lower=lower, upper=upper), labels)
        said = f"{_limit(figures, lower)} to {_limit(figures, upper)}"
        pieces.append(f"{words.CI_SHORT.get(name, name)} {said}")
        sides.append(1 if lower > situation.null else -1 if upper < situation.null else 0)
    k = len(pieces)
    template = CHARTS["C6"].replace("the same estimate", "{what}")
    if k == 1:
        template = template.replace("intervals", "interval")
    values = {
        "k": numbers.small_count(k).capitalize(),
        "what": what,
        "list": ", ".join(pieces),
        "agree": _agreement(sides, Figures(situation, labels).null),
    }
    return _said(template.format_map(values))


def _agreement(sides: Sequence[int], null: str) -> str:
    """Where the intervals lie: all on one side of the null, all holding it, or some of each."""
    if len(sides) == 1:
        return f"It {'holds' if not sides[0] else 'lies above' if sides[0] > 0 else 'lies below'} {null}."
    if all(side > 0 for side in sides):
        return f"All lie above {null}."
    if all(side < 0 for side in sides):
        return f"All lie below {null}."
    holding = sum(side == 0 for side in sides)
    if holding == len(sides):
        return f"All hold {null}."
    some, every = numbers.small_count(holding).capitalize(), numbers.small_count(len(sides))
    return f"{some} of {every} {'holds' if holding == 1 else 'hold'} {null}."
