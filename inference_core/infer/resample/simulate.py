"""New responses from a fitted mean: one function for every family, and the three that are called by name.

A source of randomness is an :class:`~inference_core.rng.RNG`, whose replicate 0 is drawn, or a NumPy generator, which
moves on.
"""

from __future__ import annotations

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families import Family, get_family
from inference_core.rng import RNG, Purpose
from inference_core.states.base import Array

__all__ = ["simulate_binomial", "simulate_gaussian", "simulate_poisson", "simulate_response"]


def simulate_response(
    rng: RNG, mu: Array, family: Family, dispersion: float = 1.0, weights: Array | None = None
) -> Array:
    """Draw one response for every mean, by the family's own rule.

    Parameters
    ----------
    rng : RNG or numpy.random.Generator
    mu : (n,) or (..., n)
        Means on the response scale (of one trial, for the binomial).
    family : Family
        Any but the quasi families, which have no distribution.
    dispersion : float
        phi: sigma^2 of the gaussian, 1 where the family fixes it.
    weights : (n,), optional
        Prior weights: numbers of trials of the binomial; elsewhere row i has dispersion phi / w_i.

    Returns
    -------
    (n,) or (..., n)
        Proportions for the binomial.

    Raises
    ------
    InferenceError
        Means outside the family's range, trials that are not whole, a dispersion below 0, a quasi family.
    """
    mu = np.asarray(mu, dtype=float)
    low, high = family.mean_range
    _check(mu, (mu < low) | (mu > high) | np.isnan(mu), family.name, f"means of this family lie in [{low:g}, {high:g}]")
    if not dispersion >= 0.0:
        raise InferenceError(
            f"{family.name} responses with dispersion={dispersion!r}",
            "a dispersion is 0 or more",
            "dispersion=sigma**2 of the fit",
        )
    w = None if weights is None else np.asarray(weights, dtype=float)
    return np.asarray(family.simulate(_generator(rng), mu, w, dispersion), dtype=float)


def simulate_gaussian(rng: RNG, mu: Array, dispersion: float) -> Array:
    """Normal responses around ``mu`` (n,) with variance ``dispersion``."""
    return simulate_response(rng, mu, get_family("gaussian"), dispersion)


def simulate_binomial(rng: RNG, mu: Array, weights: Array | None = None) -> Array:
    """Proportions (n,) of successes in ``weights`` (n,) trials of probability ``mu`` (n,); 0 or 1 without weights."""
    return simulate_response(rng, mu, get_family("binomial"), weights=weights)


def simulate_poisson(rng: RNG, mu: Array) -> Array:
    """Counts (n,) around the rates ``mu`` (n,)."""
    return simulate_response(rng, mu, get_family("poisson"))


def _generator(rng: RNG | np.random.Generator) -> np.random.Generator:
    return rng.stream(0, Purpose.RESPONSE) if isinstance(rng, RNG) else rng


def _check(mu: Array, bad: Array, name: str, rule: str) -> None:
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InferenceError(
            f"{name} responses around these means",
            f"{int(bad.sum())} of {mu.size} means are impossible; number {first[-1]} is {mu[first]:g}",
            rule,
        )
