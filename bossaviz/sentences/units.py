"""Units that keep numbers readable: grams become kilograms before a number needs a power of ten."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Units of one ladder: multiples of the first.
LADDERS: tuple[dict[str, float], ...] = (
    {"µg": 1e-6, "mg": 1e-3, "g": 1.0, "kg": 1e3, "t": 1e6},
    {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0},
    {"nm": 1e-9, "µm": 1e-6, "mm": 1e-3, "m": 1.0, "km": 1e3},
)
LARGE = {6: "million", 9: "billion", 12: "trillion"}
SMALL = {-3: "thousandths", -6: "millionths", -9: "billionths", -12: "trillionths"}
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Unit:
    """Divide by ``divisor``, then say ``name`` behind the number."""

    name: str
    divisor: float = 1.0


def readable(size: float, unit: str) -> Unit:
    """The unit in which a quantity of about ``size`` lies between 0.0001 and a million.

    The unit itself if it does already; another of its ladder; else "million g", "millionths of a g", and beyond
    those a power of ten in raised figures.
    """
    if not math.isfinite(size) or size == 0 or 1e-4 <= size < 1e6:
        return Unit(unit)
    for ladder in LADDERS:
        if unit in ladder:
            fitting = [u for u, value in ladder.items() if 0.1 <= size * ladder[unit] / value < 1e4]
            if fitting:
                best = fitting[0]
                return Unit(best, ladder[best] / ladder[unit])
    power = 3 * math.floor(math.log10(size) / 3)
    if power in LARGE:
        return Unit(f"{LARGE[power]} {unit}".strip(), 10.0**power)
    if power in SMALL:
        return Unit(f"{SMALL[power]} of a unit" if not unit else f"{SMALL[power]} of 1 {unit}", 10.0**power)
    return Unit(f"× 10{str(power).translate(SUPERSCRIPT)} {unit}".strip(), 10.0**power)
