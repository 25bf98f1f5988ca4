"""One root between two points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scipy import optimize


def find_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a continuous function of opposite signs at both ends is 0 (Brent's method)."""
    root: Any = optimize.brentq(function, low, high, xtol=1e-12)
    return float(root)
