"""The studentized range: tails with full relative accuracy, where 1 - cdf would end at 1e-12.

    P(Q > q) = E_s k int phi(z) [Phi(z)^(k-1) - (Phi(z) - Phi(z - q s))^(k-1)] dz,   s = chi_df / sqrt(df)

The bracket is computed as one number, so nothing cancels; both integrals are Gauss-Legendre sums.
Source: Copenhaver & Holland (1988), J. Stat. Comput. Simul. 30.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special

from inference_core.states import Array

from .roots import find_root

# Of the normal and of the scale. A few means and many df give smooth integrands: 120 nodes are within 1e-10 of these.
MANY, ENOUGH, FEW = (160, 200), (120, 120), (48, 48)
NOTHING = 1e-17  # of a tail
_FAR = 9.5  # normal deviates beyond which nothing is left in double precision
_RARE = 1e-60  # of the scale's distribution, left out at both ends: tails are right down to some 1e-40
_RARE_FEW, _FEW = 1e-25, 15.0  # with few df the scale spreads over many powers of ten, and tails stay thick


@lru_cache(maxsize=8)
def _nodes(n: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def _scales(df: float, nodes: int) -> tuple[Array, Array]:
    """Values of s and their probabilities; in log s, because small df spread over many powers of ten."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    rare = _RARE if df > _FEW else _RARE_FEW
    low = 0.5 * np.log(2 * special.gammaincinv(df / 2, rare) / df)
    high = 0.5 * np.log(2 * special.gammainccinv(df / 2, rare) / df)
    x, w = _nodes(nodes)
    u = low + (high - low) * x
    half = df / 2
    log_density = np.log(2.0) + half * np.log(half) - special.gammaln(half) + df * u - half * np.exp(2 * u)
    return np.exp(u), w * (high - low) * np.exp(log_density)


def upper_tail(q: float, k: int, df: float) -> float:
    """P(Q > q) of the range of k means with ``df`` degrees of freedom; inf: the known variance."""
    return _tail(q, k, df, ENOUGH if k <= 12 and df > _FEW else MANY)


def _tail(q: float, k: int, df: float, nodes: tuple[int, int]) -> float:
    if q <= 0:
        return 1.0
    s, probability = _scales(df, nodes[1])
    # No pair of means further apart than w: a bound of each scale's part, and what it leaves out of the sum.
    bound = probability * np.minimum(1.0, k * (k - 1) * special.ndtr(-q * s / np.sqrt(2.0)))
    counts = bound > NOTHING * bound.sum()
    s, probability = s[counts], probability[counts]
    return float(min(1.0, _normal_tail(q * s, k, nodes[0]) @ probability))


def quantile(level: float, k: int, df: float) -> float:
    """The q with P(Q <= q) = ``level``; degrees of freedom count to 12 digits."""
    return _quantile(level, k, float(f"{df:.12g}"))


@lru_cache(maxsize=1024)
def _quantile(level: float, k: int, df: float) -> float:
    """A root with few nodes, and secant steps from there with enough of them."""
    target = float(np.log1p(-level))

    def gap(q: float, nodes: tuple[int, int] | None = None) -> float:
        tail = upper_tail(q, k, df) if nodes is None else _tail(q, k, df, nodes)
        return float(np.log(max(tail, 1e-300))) - target

    high = 10.0
    while gap(high, FEW) > 0:
        high *= 2
    start = find_root(lambda q: gap(q, FEW), 1e-3, high)
    a, b = start, start * (1 + 1e-4)
    at_a, at_b = gap(a), gap(b)
    for _ in range(6):
        if at_a == at_b or abs(b / start - 1) > 0.1:
            break
        a, at_a, b = b, at_b, b - at_b * (b - a) / (at_b - at_a)
        if abs(b - a) <= 1e-9 * b:  # the next step, of the square of this size, is below rounding
            return b
        at_b = gap(b)
    return find_root(gap, 1e-3, 2 * high)


def _normal_tail(w: Array, k: int, nodes: int) -> Array:
    """P(range of k standard normals > w), for each w."""
    x, weight = _nodes(nodes)
    low, high = -_FAR, np.maximum(_FAR, w / 2 + _FAR)[:, None]
    z = low + (high - low) * x
    whole, outside = special.ndtr(z), special.ndtr(z - w[:, None])
    with np.errstate(divide="ignore"):
        share = -np.expm1((k - 1) * np.log1p(-np.minimum(outside / whole, 1.0)))
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return k * ((density * whole ** (k - 1) * share) * weight * (high - low)).sum(1)
