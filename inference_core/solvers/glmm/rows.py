"""What every row of a GLMM contributes at its eta: deviance, score, Fisher and observed weight, slope of the weight.

With c = (d2mu/deta2) / (dmu/deta) from the link and v = V'(mu) (dmu/deta) / V(mu) from the family, everything
follows from the score s and the Fisher weight w:

    observed weight  -ds/deta = w - s (c - v)        slope  dw/deta = w (2 c - v)

Links with c = v are canonical: observed and Fisher weights are the same array there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from inference_core.families import Family
from inference_core.states import Array

CANONICAL = frozenset({
    ("binomial", "logit"), ("poisson", "log"), ("gamma", "inverse"), ("inverse_gaussian", "inverse_squared"),
    ("gaussian", "identity"),
})  # fmt: skip
FAMILIES = ("binomial", "poisson", "gamma", "inverse_gaussian", "negative_binomial", "gaussian")
_LOG_2PI = float(np.log(2.0 * np.pi))


class Rows(NamedTuple):
    """Contributions of n rows in B lanes, prior weights and dispersion included; arrays are (B, n)."""

    deviance: Array  # minus twice the log-likelihood, up to what depends on y alone
    score: Array  # d log-likelihood / d eta
    fisher: Array  # expected weight, >= 0
    observed: Array  # -d score / d eta; the same object as ``fisher`` for canonical links
    slope: Array  # d fisher / d eta

    def times(self, factor: Array) -> Rows:
        """Every contribution times a weight."""
        fisher = self.fisher * factor
        observed = fisher if self.observed is self.fisher else self.observed * factor
        return Rows(self.deviance * factor, self.score * factor, fisher, observed, self.slope * factor)


class ScaleRows(NamedTuple):
    """Derivatives of the rows with respect to the log of the scale parameter, eta held."""

    deviance: Array  # (B, n)
    score: Array  # (B, n)
    fisher: Array  # (B, n)


@dataclass(frozen=True, slots=True, eq=False)
class RowModel:
    """A family with its responses: y (1 or B, n), weights (n,), (1, n), (B, n) or None.

    The scale parameter, where the family has one, is passed as its logarithm, one value a lane: the dispersion of
    gamma, inverse Gaussian and Gaussian responses, theta of the negative binomial.
    """

    family: Family
    y: Array
    weights: Array | None = None
    saturated: Array | None = None  # what y alone adds to the deviance of a row, computed once

    def __post_init__(self) -> None:
        if self.saturated is None:
            object.__setattr__(self, "saturated", _saturated(self.family.name, self.y))

    @property
    def has_scale(self) -> bool:
        """Whether a scale parameter is estimated beside the coefficients."""
        return self.family.name in ("gamma", "inverse_gaussian", "gaussian") or "theta" in self.family.estimated

    @property
    def canonical(self) -> bool:
        """Whether observed and expected weights agree."""
        return (self.family.name, self.family.link.name) in CANONICAL

    def take(self, lanes: Array) -> RowModel:
        """The same for some of the lanes (positions or mask); what all lanes share stays shared."""
        w = self.weights
        if w is not None and w.ndim == 2 and w.shape[0] > 1:
            w = w[lanes]
        if self.y.shape[0] == 1:
            return RowModel(self.family, self.y, w, self.saturated)
        saturated = self.saturated
        if saturated is not None and saturated.shape[0] > 1:
            saturated = saturated[lanes]
        return RowModel(self.family, self.y[lanes], w, saturated)

    def reorder(self, order: Array) -> RowModel:
        """The same with the rows in another order."""
        return RowModel(self.family, self.y[:, order], None if self.weights is None else self.weights[..., order])

    def __call__(self, eta: Array, scale: Array | None) -> Rows:
        """Contributions at eta (B, n); NaN or inf where eta gives no possible mean, never a warning."""
        with np.errstate(all="ignore"):
            family = self.family
            assert self.saturated is not None
            kernel = _KERNELS.get((family.name, family.link.name))
            if kernel is not None:
                rows = kernel(eta, self.y, self.saturated)
            elif family.name == "negative_binomial":
                rows = _negative_binomial(eta, self.y, self._theta(scale), family)
            elif family.name == "binomial":
                rows = _binomial(eta, self.y, self.saturated, family)
            else:
                rows = _generic(eta, self.y, family, self.canonical)
            if scale is not None and family.name == "negative_binomial":
                rows = rows._replace(deviance=rows.deviance + _negative_binomial_constant(self.y, self._theta(scale)))
            elif scale is not None:
                phi = np.exp(scale)[:, None]
                rows = rows.times(1.0 / phi)
                if family.name == "gaussian":  # variance phi / w: the weight is no count of rows
                    rows = rows if self.weights is None else rows.times(self.weights)
                    return rows._replace(deviance=rows.deviance + _dispersion_constant("gaussian", phi))
                rows = rows._replace(deviance=rows.deviance + _dispersion_constant(family.name, phi))
            return rows if self.weights is None else rows.times(self.weights)

    def scale_rows(self, eta: Array, scale: Array, rows: Rows) -> ScaleRows:
        """Derivatives in the log scale at the same eta."""
        w = 1.0 if self.weights is None else self.weights
        with np.errstate(all="ignore"):
            if self.family.name == "negative_binomial":
                theta, y = self._theta(scale), self.y
                mu = self.family.link.inverse(eta)
                ratio = mu / (theta + mu)
                change = digamma(theta + y) - digamma(theta) - np.log1p(mu / theta) - (y - mu) / (mu + theta)
                return ScaleRows(-2.0 * theta * change * w, rows.score * ratio, rows.fisher * ratio)
            phi = np.exp(scale)[:, None]
            w = 1.0 if self.family.name == "gaussian" else w
            constant = _dispersion_constant(self.family.name, phi) * w
            shape = 1.0 / phi
            free = 2.0 * shape * (np.log(shape) - digamma(shape)) if self.family.name == "gamma" else 1.0
            return ScaleRows(constant - rows.deviance + free * w, -rows.score, -rows.fisher)

    def _theta(self, scale: Array | None) -> Array:
        if "theta" not in self.family.estimated or scale is None:
            return np.array([[self.family.params[0]]])
        return np.exp(scale)[:, None]


# ---- kernels -----------------------------------------------------------------------------------------------


def _logit(eta: Array, y: Array, saturated: Array) -> Rows:
    """Binomial with the logit link from one exponential."""
    e = np.exp(-np.abs(eta))
    q = 1.0 / (1.0 + e)
    tail = e * q
    mu = np.where(eta >= 0, q, tail)
    w = tail * q
    deviance = 2.0 * (np.maximum(eta, 0.0) + np.log1p(e) - y * eta) + saturated
    return Rows(deviance, y - mu, w, w, w * (1.0 - 2.0 * mu))


def _log_poisson(eta: Array, y: Array, saturated: Array) -> Rows:
    mu = np.exp(np.minimum(eta, 700.0))
    deviance = 2.0 * (mu - y * eta) + saturated
    return Rows(deviance, y - mu, mu, mu, mu)


def _saturated(name: str, y: Array) -> Array:
    """Twice the log-likelihood a row could have had, by y alone: the rest of the unit deviance depends on eta."""
    if name == "binomial":
        return 2.0 * (xlogy(y, y) + xlogy(1.0 - y, 1.0 - y))
    return 2.0 * (xlogy(y, y) - y) if name == "poisson" else np.zeros((1, 1))


def _binomial(eta: Array, y: Array, saturated: Array, family: Family) -> Rows:
    """Any probability link, by logarithms of both tails: a = mu'/mu, b = mu'/(1 - mu)."""
    tails = family.link.log_tails
    assert tails is not None
    low, high, log_slope = tails(eta)
    a, b = np.exp(log_slope - low), np.exp(log_slope - high)
    c = _LINK_CURVATURE[family.link.name](eta)
    s, w = y * a - (1.0 - y) * b, a * b
    lost = np.where(y > 0, y * low, 0.0) + np.where(y < 1, (1.0 - y) * high, 0.0)
    lost = np.where((low <= 0) & (high <= 0), lost, np.nan)  # no probability: even where y would not notice
    return Rows(saturated - 2.0 * lost, s, w, w - s * (c - a + b), w * (2.0 * c - a + b))


def _negative_binomial(eta: Array, y: Array, theta: Array, family: Family) -> Rows:
    mu, slope = family.link.inverse(eta), family.link.derivative(eta)
    mu = np.where(mu > 0, mu, np.nan)
    variance = mu * (1.0 + mu / theta)
    s, w = (y - mu) * slope / variance, slope**2 / variance
    gap = _LINK_CURVATURE[family.link.name](eta)
    v = slope * (1.0 + 2.0 * mu / theta) / variance
    deviance = 2.0 * (xlogy(y, y) - xlogy(y, mu) - (y + theta) * np.log1p((y - mu) / (mu + theta)))
    return Rows(deviance, s, w, w - s * (gap - v), w * (2.0 * gap - v))


def _negative_binomial_constant(y: Array, theta: Array) -> Array:
    """-2 log f(y | mu = y) without the factorial of y: what theta moves beside the unit deviance."""
    return -2.0 * (
        gammaln(theta + y) - gammaln(theta) + xlogy(y, y) - (y + theta) * np.log(y + theta) + theta * np.log(theta)
    )


def _dispersion_constant(name: str, phi: Array) -> Array:
    """-2 log f less deviance / phi, without what depends on y alone."""
    if name == "gamma":
        shape = 1.0 / phi
        return 2.0 * (shape - shape * np.log(shape) + gammaln(shape))
    return _LOG_2PI + np.log(phi)


def _generic(eta: Array, y: Array, family: Family, canonical: bool) -> Rows:
    s, w = family.score_weight(eta, y)
    mu, slope = family.link.inverse(eta), family.link.derivative(eta)
    c = _LINK_CURVATURE[family.link.name](eta)
    v = _VARIANCE_POWER[family.name] * slope / mu
    outside = ~((eta > family.eta_bounds[0]) & (eta < family.eta_bounds[1]))
    deviance = np.where(outside, np.nan, family.deviance_rows(eta, y))
    return Rows(deviance, s, w, w if canonical else w - s * (c - v), w * (2.0 * c - v))


_KERNELS = MappingProxyType({("binomial", "logit"): _logit, ("poisson", "log"): _log_poisson})
_VARIANCE_POWER = MappingProxyType({"gaussian": 0.0, "poisson": 1.0, "gamma": 2.0, "inverse_gaussian": 3.0})


def _logit_curvature(eta: Array) -> Array:
    e = np.exp(-np.abs(eta))
    return np.sign(-eta) * (1.0 - e) / (1.0 + e)


_LINK_CURVATURE: MappingProxyType[str, Callable[[Array], Array]] = MappingProxyType({
    "identity": np.zeros_like,
    "log": np.ones_like,
    "logit": _logit_curvature,
    "probit": lambda eta: -eta,
    "cloglog": lambda eta: 1.0 - np.exp(np.minimum(eta, 700.0)),
    "cauchit": lambda eta: -2.0 * eta / (1.0 + eta * eta),
    "inverse": lambda eta: -2.0 / eta,
    "sqrt": lambda eta: 1.0 / eta,
    "inverse_squared": lambda eta: -1.5 / eta,
})  # fmt: skip
