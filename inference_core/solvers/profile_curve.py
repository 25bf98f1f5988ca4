"""The curve through a profile trace: quintic between its points, with the exact slopes and bends of the trace.

An SD that meets 0 does so with an infinite slope in zeta, but its square is smooth there: such a curve is of squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from inference_core.states import Array

_NEWTON = 60


@dataclass(frozen=True, eq=False)
class Curve:
    """Value as a function of zeta through K points, increasing in both; outside the points it is NaN."""

    zeta: Array  # (K,)
    value: Array  # (K,)
    slope: Array  # (K,) d value / d zeta; NaN where it is not known
    bend: Array  # (K,) second derivative; NaN where it is not known
    squared: bool = False  # values >= 0 whose squares are the smooth ones

    def __call__(self, zeta: float | Array) -> Array:
        """Values at zeta, of its shape."""
        zeta = np.asarray(zeta, dtype=float)
        i, t = self._place(zeta)
        out = _polynomial(self._coefficients[i], t)
        if self.squared:
            out = np.sqrt(np.maximum(out, 0.0))
        return np.where((zeta >= self.zeta[0]) & (zeta <= self.zeta[-1]), out, np.nan)

    def at_value(self, value: float | Array) -> Array:
        """Zeta at values, of their shape: the root of the curve itself."""
        value = np.asarray(value, dtype=float)
        flat = np.atleast_1d(value).ravel()
        i = np.clip(np.searchsorted(self.value, flat, side="right") - 1, 0, self.zeta.size - 2)
        goal = np.square(flat) if self.squared else flat
        c = self._coefficients[i]
        low, high, t = np.zeros(flat.size), np.ones(flat.size), np.full(flat.size, 0.5)
        for _ in range(_NEWTON):
            gap = _polynomial(c, t) - goal
            low, high = np.where(gap < 0, t, low), np.where(gap < 0, high, t)
            with np.errstate(divide="ignore", invalid="ignore"):
                step = t - gap / _polynomial(c[:, 1:] * np.arange(1.0, 6.0), t)
            new = np.where((step > low) & (step < high), step, 0.5 * (low + high))
            moved = np.abs(new - t).max(initial=0.0)
            t = new
            if not moved > 1e-15:
                break
        zeta = self.zeta[i] + t * (self.zeta[i + 1] - self.zeta[i])
        inside = (flat >= self.value[0]) & (flat <= self.value[-1])
        return np.where(inside, zeta, np.nan).reshape(value.shape)

    def errors(self) -> Array:
        """(K - 1,) how far the curve may be off within each interval: by leaving each point out in turn.

        The error of a quintic between a and b is K ((z - a) (b - z))^3, K of the sixth derivative.
        """
        v, d, s = self._filled
        h = np.diff(self.zeta)
        K = np.zeros(self.zeta.size)
        if self.zeta.size > 2:
            left, right = h[:-1], h[1:]
            c = _quintic(v[:-2], d[:-2], s[:-2], v[2:], d[2:], s[2:], left + right)
            off = np.abs(_polynomial(c, left / (left + right)) - v[1:-1])
            K[1:-1] = off / (left * right) ** 3
            K[0], K[-1] = K[1], K[-2]
        out = np.maximum(K[:-1], K[1:]) * (0.5 * h) ** 6
        if self.squared:
            out = out / (2.0 * np.sqrt(np.maximum(0.5 * (v[:-1] + v[1:]), 1e-300)))
        return out

    def _place(self, zeta: Array) -> tuple[Array, Array]:
        i = np.clip(np.searchsorted(self.zeta, zeta, side="right") - 1, 0, self.zeta.size - 2)
        return i, (zeta - self.zeta[i]) / (self.zeta[i + 1] - self.zeta[i])

    @cached_property
    def _coefficients(self) -> Array:
        v, d, s = self._filled
        return _quintic(v[:-1], d[:-1], s[:-1], v[1:], d[1:], s[1:], np.diff(self.zeta))

    @cached_property
    def _filled(self) -> tuple[Array, Array, Array]:
        """Values, slopes and bends in the smooth scale; what is not known is taken from the neighbours."""
        v, d, s = self.value, self.slope, self.bend
        if self.squared:
            v, d, s = v**2, 2.0 * v * d, 2.0 * d**2 + 2.0 * v * s
        v, d, s, z = v.copy(), d.copy(), s.copy(), self.zeta
        known = np.isfinite(d)
        for i in np.flatnonzero(known & ~np.isfinite(s)):
            near = [int(k) for k in (i - 1, i + 1) if 0 <= k < z.size]
            s[i] = _bend_from(z, v, d, self._bends_known(s), int(i), near)
        for i in np.flatnonzero(~known):
            j = i + 1 if i + 1 < z.size and np.isfinite(d[i + 1]) else i - 1
            d[i], s[i] = _cubic_end(z[i] - z[j], v[j], d[j], s[j], v[i])
        return v, d, s

    def _bends_known(self, s: Array) -> Array:
        known = np.isfinite(self.bend)
        return np.where(known, s, np.nan)


def _quintic(v0: Array, d0: Array, s0: Array, v1: Array, d1: Array, s1: Array, h: Array) -> Array:
    """(.., 6) coefficients in t = 0 .. 1 of the polynomials with these values, slopes and bends at their ends."""
    a, b, c = v0, h * d0, 0.5 * h**2 * s0
    A, B, C = v1 - a - b - c, h * d1 - b - 2.0 * c, h**2 * s1 - 2.0 * c
    return np.stack(
        [a, b, c, 10.0 * A - 4.0 * B + 0.5 * C, -15.0 * A + 7.0 * B - C, 6.0 * A - 3.0 * B + 0.5 * C], axis=-1
    )


def _polynomial(c: Array, t: Array) -> Array:
    out = c[..., -1]
    for k in range(c.shape[-1] - 2, -1, -1):
        out = out * t + c[..., k]
    return out


def _bend_from(z: Array, v: Array, d: Array, s: Array, i: int, near: Sequence[int]) -> float:
    """The second derivative at point i of the polynomial through it and its neighbours, with all that is known."""
    scale = max(abs(z[k] - z[i]) for k in near)
    rows, right = [], []
    for k in (i, *near):
        t = (z[k] - z[i]) / scale
        for order, known in enumerate((v[k], scale * d[k], scale**2 * s[k])):
            if np.isfinite(known):
                rows.append((t, order))
                right.append(known)
    n = len(rows)
    A = np.zeros((n, n))
    for row, (t, order) in enumerate(rows):
        for power in range(order, n):
            A[row, power] = np.prod(np.arange(power - order + 1, power + 1)) * t ** (power - order)
    return float(2.0 * np.linalg.solve(A, np.array(right))[2] / scale**2)


def _cubic_end(h: float, v0: float, d0: float, s0: float, v1: float) -> tuple[float, float]:
    """Slope and bend at the far end of the cubic that starts with v0, d0, s0 and arrives at v1 after h."""
    c = v1 - v0 - h * d0 - 0.5 * h**2 * s0
    return float(d0 + h * s0 + 3.0 * c / h), float(s0 + 6.0 * c / h**2)
