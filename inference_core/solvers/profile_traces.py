"""What a profile search finds: points along zeta of every target, and the curve through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.states import Array

from .profile_curve import Curve


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """Signed zetas and values of P targets: one entry of each list per target, points in order of zeta."""

    zeta: list[Array]  # (points,)
    value: list[Array]  # (points,)
    slope: list[Array]  # (points,) d zeta / d value; NaN where it is not known
    bend: list[Array]  # (points,) d2 value / d zeta2; NaN where it is not known
    others: list[Array]  # (points, P) every target along the trace, as reported
    ends: Array  # (P, 2) zeta at the boundary below and above, infinite where the trace did not meet one
    broken: Array  # (P, 2) bool: the search failed before the last zeta
    cancelled: bool = False  # stopped from outside: traces end where they stood
    positive: Array | None = None  # (P,) bool: SDs

    def curve(self, j: int) -> Curve | None:
        """The trace of target j, with the bounds of its range where it meets them; None of fewer than two points."""
        positive = self.positive is not None and bool(self.positive[j])
        with np.errstate(divide="ignore"):
            return curve_through(self.zeta[j], self.value[j], 1.0 / self.slope[j], self.bend[j], self.ends[j], positive)


def curve_through(
    zeta: Array, value: Array, slope: Array, bend: Array, ends: Array, positive: bool
) -> Curve | None:
    """The curve through a trace and, where it met them, the ends (2,) of the range of an SD or a correlation."""
    squared, bounds = False, (0.0 if positive else -1.0, 1.0)
    if 0.0 < ends[0] < np.inf and (not zeta.size or -ends[0] < zeta[0] - 1e-9):
        zeta, value = np.append(-ends[0], zeta), np.append(bounds[0], value)
        slope, bend = np.append(np.nan, slope), np.append(np.nan, bend)
        squared = positive
    if 0.0 < ends[1] < np.inf and ends[1] > zeta[-1] + 1e-9:
        zeta, value = np.append(zeta, ends[1]), np.append(value, bounds[1])
        slope, bend = np.append(slope, np.nan), np.append(bend, np.nan)
    if zeta.size < 2 or not np.isfinite(slope).any() or not np.all(np.diff(value) > 0):
        return None
    return Curve(zeta, value, slope, bend, squared)
