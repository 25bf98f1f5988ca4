"""New responses of a generalized linear mixed model: new random effects, and around their means a new response.

Draws come in blocks of ``rows_at_once`` rows, each block from generators of its own, and a block is always drawn whole:
the normals of the effects by one purpose, the responses by another. Draw i is then a function of (seed, i) alone, for
families too whose variates take more or fewer random words by their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from inference_core.families import Family
from inference_core.rng import RNG, Purpose
from inference_core.solvers.lmm.dense import Term
from inference_core.states import Array

from .lmer_kernel import effects_map

MAX_BLOCK = 256  # draws: above, a chunk takes longer than a picture should wait
BLOCK_VALUES = 1 << 18  # numbers of one block of responses

# Means that can be drawn around: counts fit into 64 bits, positive responses are not rounded to 0.
_TINY = float(np.finfo(float).tiny)
_DRAWABLE = MappingProxyType({
    "poisson": (0.0, 1e15), "negative_binomial": (0.0, 1e15), "gaussian": (-np.inf, np.inf),
    "gamma": (_TINY, np.inf), "inverse_gaussian": (_TINY, np.inf),
})  # fmt: skip


def block_of(width: int, one_factor: bool = True) -> int:
    """Draws of one block, a power of two, by rows and effects of the model alone; fewer where a refit takes long."""
    most, values = (MAX_BLOCK, BLOCK_VALUES) if one_factor else (MAX_BLOCK // 4, BLOCK_VALUES // 8)
    return 1 << max(min(most, values // max(width, 1)), 1).bit_length() - 1


@dataclass(frozen=True, eq=False)
class GlmerDraws:
    """Responses y* ~ family(mean g^-1(eta + Z T u), dispersion / weights), u standard normal: n rows, q effects."""

    eta: Array  # (n,) fixed part, the offset included
    terms: tuple[Term, ...]
    T: tuple[Array, ...]  # (k, k) of each term, link units
    family: Family  # at its parameters
    dispersion: float
    weights: Array | None  # (n,) prior weights; trials of the binomial
    rows_at_once: int

    @property
    def n(self) -> int:
        """Rows."""
        return self.eta.shape[0]

    @property
    def q(self) -> int:
        """Random effects."""
        return sum(term.q for term in self.terms)

    @cached_property
    def _effects(self) -> Any:
        return effects_map(self.terms, self.T)

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, n) responses of draws ``start .. stop - 1``, NaN rows where a mean is none of the family's."""
        K = self.rows_at_once
        first = start // K
        blocks = [self._block(rng, block) for block in range(first, -(-stop // K))]
        whole = np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
        return whole[start - first * K : stop - first * K]

    def linear_predictors(self, rng: RNG, block: int) -> Array:
        """(K, n) linear predictors of one block of draws."""
        u = rng.stream(block, Purpose.NORMAL).standard_normal((self.rows_at_once, self.q))
        return self.eta + (self._effects @ u.T).T

    def _block(self, rng: RNG, block: int) -> Array:
        eta = self.linear_predictors(rng, block)
        low, high = self.family.eta_bounds
        with np.errstate(all="ignore"):
            mu = self.family.link.inverse(eta)
            smallest, largest = _DRAWABLE.get(self.family.name, (0.0, np.inf))
            fine = (eta > low) & (eta < high) & (mu >= smallest) & (mu <= largest)
        lost = ~np.all(fine, axis=1)
        if np.any(lost):
            mu = np.where(lost[:, None], self.family.link.inverse(self.eta), mu)
        y = self.family.simulate(rng.stream(block, Purpose.RESPONSE), mu, self.weights, self.dispersion)
        return np.where(lost[:, None], np.nan, y) if np.any(lost) else y
