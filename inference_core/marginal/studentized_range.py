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

Z_NODES, S_NODES = 160, 200
_FAR = 9.5  # normal deviates beyond which nothing is left in double precision
_RARE = 1e-60  # of the scale's distribution, left out at both ends: tails are right down to some 1e-40
_RARE_FEW, _FEW = 1e-25, 15.0  # with few df the scale spreads over many powers of ten, and tails stay thick


@lru_cache(maxsize=4)
def _nodes(n: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(n)
    return (x + 1) / 2, w / 2


def _scales(df: float) -> tuple[Array, Array]:
    """Values of s and their probabilities; in log s, because small df spread over many powers of ten."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    rare = _RARE if df > _FEW else _RARE_FEW
    low = 0.5 * np.log(2 * special.gammaincinv(df / 2, rare) / df)
    high = 0.5 * np.log(2 * special.gammainccinv(df / 2, rare) / df)
    x, w = _nodes(S_NODES)
    u = low + (high - low) * x
    half = df / 2
    log_density = np.log(2.0) + half * np.log(half) - special.gammaln(half) + df * u - half * np.exp(2 * u)
    return np.exp(u), w * (high - low) * np.exp(log_density)


def upper_tail(q: float, k: int, df: float) -> float:
    """P(Q > q) of the range of k means with ``df`` degrees of freedom; inf: the known variance."""
    if q <= 0:
        return 1.0
    s, probability = _scales(df)
    return float(min(1.0, _normal_tail(q * s, k) @ probability))


def quantile(level: float, k: int, df: float) -> float:
    """The q with P(Q <= q) = ``level``."""
    tail = 1.0 - level
    high = 10.0
    while upper_tail(high, k, df) > tail:
        high *= 2
    return find_root(lambda q: float(np.log(upper_tail(q, k, df) / tail)), 1e-3, high)


def _normal_tail(w: Array, k: int) -> Array:
    """P(range of k standard normals > w), for each w."""
    x, weight = _nodes(Z_NODES)
    low, high = -_FAR, np.maximum(_FAR, w / 2 + _FAR)[:, None]
    z = low + (high - low) * x
    whole, outside = special.ndtr(z), special.ndtr(z - w[:, None])
    with np.errstate(divide="ignore"):
        share = -np.expm1((k - 1) * np.log1p(-np.minimum(outside / whole, 1.0)))
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return k * ((density * whole ** (k - 1) * share) * weight * (high - low)).sum(1)
