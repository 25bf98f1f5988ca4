"""Effects as a function of the coefficients: linear before one monotone map, or any smooth function.

Draws of a bootstrap go through ``of(coef)``; the delta method takes ``jacobian(coef)``. The two forms never stand in
for each other: a linear quantity has exact limits, mapped; a smooth one has a Jacobian at one point and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.states import Array

Function = Callable[[Array], Array]
MAX_NUMBERS = 4_000_000  # doubles in one intermediate array of a batch of draws


@dataclass(frozen=True, slots=True)
class Map:
    """A monotone map from the scale of the linear predictor, by name."""

    name: str  # identity, inverse_link, exp or inverse_response
    inverse: Function
    derivative: Function


IDENTITY = Map("identity", lambda eta: eta, np.ones_like)
EXP = Map("exp", np.exp, np.exp)


@dataclass(frozen=True, slots=True)
class Linear:
    """``map(L coef + shift)``, row by row."""

    L: Array  # (m, p)
    shift: Array | None
    map: Map = IDENTITY

    @property
    def size(self) -> int:
        """Number of effects."""
        return len(self.L)

    def eta(self, coef: Array) -> Array:
        """(..., m) before the map."""
        eta = coef @ self.L.T
        return eta if self.shift is None else eta + self.shift

    def of(self, coef: Array) -> Array:
        """(..., m) effects of coefficients (..., p)."""
        return self.map.inverse(self.eta(coef))

    def jacobian(self, coef: Array) -> Array:
        """(m, p) at coefficients (p,)."""
        return self.map.derivative(self.eta(coef))[:, None] * self.L


@dataclass(frozen=True, slots=True)
class Smooth:
    """Any function of the coefficients with its Jacobian."""

    size: int
    of: Function  # (..., p) -> (..., m)
    jacobian: Function  # (p,) -> (m, p)


Quantity = Linear | Smooth


def averages(X: Array, offset: Array | None, weights: Array, link: Map, slope: Array | None = None) -> Smooth:
    """Weighted averages of a mean, or of its derivative, over K rows in each of C cells.

    Parameters
    ----------
    X, offset : (C, K, p), (C, K) or None
        Design rows.
    weights : (C, K)
        Rows sum to 1.
    link : Map
        From the linear predictor to the mean.
    slope : (C, K, p), optional
        Derivative of each design row in a number: the average of dmu/dx instead of mu.
    """
    if slope is None:
        return Smooth(len(X), lambda coef: _in_batches(coef, X, offset, weights, link, None),
                      lambda coef: _jacobian_of_means(coef, X, offset, weights, link))  # fmt: skip
    return Smooth(len(X), lambda coef: _in_batches(coef, X, offset, weights, link, slope),
                  lambda coef: _jacobian_of_slopes(coef, X, offset, weights, link, slope))  # fmt: skip


def _eta(coef: Array, X: Array, offset: Array | None) -> Array:
    """(b, C, K) linear predictor of coefficients (b, p)."""
    eta = (coef @ X.reshape(-1, X.shape[-1]).T).reshape(len(coef), *X.shape[:2])
    return eta if offset is None else eta + offset


def _in_batches(coef: Array, X: Array, offset: Array | None, weights: Array, link: Map, slope: Array | None) -> Array:
    flat = coef.reshape(-1, coef.shape[-1])
    out = np.empty((len(flat), len(X)))
    step = max(1, MAX_NUMBERS // max(weights.size, 1))
    for start in range(0, len(flat), step):
        some = flat[start : start + step]
        eta = _eta(some, X, offset)
        value = link.inverse(eta) if slope is None else link.derivative(eta) * _eta(some, slope, None)
        out[start : start + step] = np.einsum("bck,ck->bc", value, weights)
    return out.reshape(*coef.shape[:-1], len(X))


def _jacobian_of_means(coef: Array, X: Array, offset: Array | None, weights: Array, link: Map) -> Array:
    eta = _eta(coef[None], X, offset)[0]
    return np.einsum("ck,ckp->cp", weights * link.derivative(eta), X)


def _jacobian_of_slopes(coef: Array, X: Array, offset: Array | None, weights: Array, link: Map, slope: Array) -> Array:
    """The product rule; the second derivative of the map is a central difference of the first, good to some 1e-10."""
    eta, rise = _eta(coef[None], X, offset)[0], _eta(coef[None], slope, None)[0]
    step = 1e-4 * np.maximum(1.0, np.abs(eta))
    second = (link.derivative(eta + step) - link.derivative(eta - step)) / (2 * step)
    second = (4 * (link.derivative(eta + step / 2) - link.derivative(eta - step / 2)) / step - second) / 3
    return np.einsum("ck,ckp->cp", weights * link.derivative(eta), slope) + np.einsum(
        "ck,ckp->cp", weights * second * rise, X
    )


# ---- comparisons of effects ------------------------------------------------------------------------------------


def _logit(x: Array) -> Array:
    return np.log(x) - np.log1p(-x)


SCALES: dict[str, tuple[Function, Function]] = {
    "difference": (lambda x: x, np.ones_like),
    "ratio": (np.log, lambda x: 1 / x),
    "odds_ratio": (_logit, lambda x: 1 / (x * (1 - x))),
}


def compare(cells: Quantity, weights: Array, comparison: str = "difference", link: str = "identity") -> Quantity:
    """Contrasts of effects: ``weights`` (r, C) on differences, log ratios or log odds ratios, the latter two as ratios.

    A linear quantity stays linear where that is exact: differences of identity maps, ratios of log links, odds ratios
    of logit links.
    """
    exact = {"difference": "identity", "ratio": "log", "odds_ratio": "logit"}[comparison]
    if isinstance(cells, Linear):
        plain = comparison == "difference" and cells.map is IDENTITY
        if plain or (comparison != "difference" and cells.map.name != "identity" and link == exact):
            shift = None if cells.shift is None else weights @ cells.shift
            return Linear(weights @ cells.L, shift, IDENTITY if plain else EXP)
    to, slope = SCALES[comparison]

    def of(coef: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            value = to(cells.of(coef)) @ weights.T
        return value if comparison == "difference" else np.exp(value)

    def jacobian(coef: Array) -> Array:
        at = cells.of(coef)
        inner = weights @ (slope(at)[:, None] * cells.jacobian(coef))
        return inner if comparison == "difference" else of(coef)[:, None] * inner

    return Smooth(len(weights), of, jacobian)
