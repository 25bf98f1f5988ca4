"""Link functions: how a mean is carried to the scale of the linear predictor, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from inference_core.backends.namespace import is_numpy, namespace, special_functions
from inference_core.states.base import Array

EPS = float(np.finfo(float).eps)
_BIG = 700.0  # exp(700) is finite; exp(710) is not
_LOG_2PI_HALF = 0.5 * np.log(2.0 * np.pi)

Tails = Callable[[Array], tuple[Array, Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A link function as pure functions of arrays; nothing here overflows or warns.

    ``link`` maps a mean to eta, ``inverse`` eta to a mean, ``derivative`` is dmu/deta at eta. ``eta_range``
    is the open interval in which eta must stay for the link itself to be one-to-one. ``log_tails(eta)`` gives
    ``log mu, log(1 - mu), log dmu/deta`` without cancellation, for links that can serve a probability.
    """

    name: str
    link: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    eta_range: tuple[float, float] = (-np.inf, np.inf)
    log_tails: Tails | None = None

    def defined_for(self, family: str) -> bool:
        """Whether a family, named as in DESIGN, takes this link."""
        from .registry import canonical_family, links_of

        return self.name in links_of(canonical_family(family))


def _float(x: Array) -> Array:
    return np.asarray(x, dtype=float) if is_numpy(x) else x


# identity ---------------------------------------------------------
def _same(x: Array) -> Array:
    return _float(x)


def _ones(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.ones_like(eta, dtype=float)


def _identity_tails(eta: Array) -> tuple[Array, Array, Array]:
    xp = namespace(eta)
    with np.errstate(divide="ignore", invalid="ignore"):
        return xp.log(eta), xp.log1p(-eta), xp.zeros_like(eta)


# log ---------------------------------------------------------
def _log(mu: Array) -> Array:
    xp = namespace(mu)
    with np.errstate(divide="ignore", invalid="ignore"):
        return xp.log(mu)


def _exp(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.exp(xp.clip(eta, -_BIG, _BIG))


def _log_tails(eta: Array) -> tuple[Array, Array, Array]:
    xp = namespace(eta)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return eta, xp.log(-xp.expm1(eta)), eta


# logit ---------------------------------------------------------
def _expit(eta: Array) -> Array:
    xp = namespace(eta)
    sp = special_functions(eta)
    return xp.clip(sp.expit(eta), EPS, 1.0 - EPS)


def _logit_slope(eta: Array) -> Array:
    sp = special_functions(eta)
    return sp.expit(eta) * sp.expit(-eta)


def _logit(mu: Array) -> Array:
    sp = special_functions(mu)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sp.logit(mu)


def _logit_tails(eta: Array) -> tuple[Array, Array, Array]:
    sp = special_functions(eta)
    lower, upper = sp.log_expit(eta), sp.log_expit(-eta)
    return lower, upper, lower + upper


# probit ---------------------------------------------------------
def _ndtri(mu: Array) -> Array:
    sp = special_functions(mu)
    return sp.ndtri(mu)


def _ndtr(eta: Array) -> Array:
    xp = namespace(eta)
    sp = special_functions(eta)
    return xp.clip(sp.ndtr(eta), EPS, 1.0 - EPS)


def _normal_pdf(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.exp(-0.5 * xp.minimum(xp.square(xp.clip(eta, -1e100, 1e100)), 2 * _BIG) - _LOG_2PI_HALF)


def _probit_tails(eta: Array) -> tuple[Array, Array, Array]:
    xp = namespace(eta)
    sp = special_functions(eta)
    eta = xp.clip(eta, -1e100, 1e100)
    return sp.log_ndtr(eta), sp.log_ndtr(-eta), -0.5 * eta * eta - _LOG_2PI_HALF


# cloglog ---------------------------------------------------------
def _cloglog(mu: Array) -> Array:
    xp = namespace(mu)
    with np.errstate(divide="ignore", invalid="ignore"):
        return xp.log(-xp.log1p(-_float(mu)))


def _cloglog_inverse(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.clip(-xp.expm1(-_exp(eta)), EPS, 1.0 - EPS)


def _cloglog_slope(eta: Array) -> Array:
    xp = namespace(eta)
    eta = xp.clip(eta, -_BIG, _BIG)
    return xp.exp(eta - xp.exp(eta))


def _cloglog_tails(eta: Array) -> tuple[Array, Array, Array]:
    xp = namespace(eta)
    eta = xp.clip(eta, -_BIG, _BIG)
    rate = xp.exp(eta)
    with np.errstate(divide="ignore"):
        # log(1 - exp(-rate)) loses everything to cancellation for a tiny rate, where it is log(rate) = eta
        lower = xp.where(eta < -36.0, eta, xp.log(-xp.expm1(-rate)))
    return lower, -rate, eta - rate


# cauchit ---------------------------------------------------------
def _cauchit(mu: Array) -> Array:
    xp = namespace(mu)
    mu = _float(mu)
    with np.errstate(divide="ignore", invalid="ignore"):
        # the tangent of the smaller tail: exact where mu is near 0 or 1
        return xp.where(mu < 0.5, -1.0 / xp.tan(np.pi * mu), 1.0 / xp.tan(np.pi * (1.0 - mu)))


def _cauchit_inverse(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.clip(xp.arctan2(1.0, -eta) / np.pi, EPS, 1.0 - EPS)


def _cauchit_slope(eta: Array) -> Array:
    xp = namespace(eta)
    return 1.0 / (np.pi * (1.0 + xp.square(xp.clip(eta, -1e150, 1e150))))


def _cauchit_tails(eta: Array) -> tuple[Array, Array, Array]:
    xp = namespace(eta)
    log_pi = np.log(np.pi)
    lower, upper = xp.log(xp.arctan2(1.0, -eta)) - log_pi, xp.log(xp.arctan2(1.0, eta)) - log_pi
    return lower, upper, xp.log(_cauchit_slope(eta))


# inverse ---------------------------------------------------------
def _reciprocal(x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return 1.0 / _float(x)


def _inverse_slope(eta: Array) -> Array:
    xp = namespace(eta)
    with np.errstate(divide="ignore", over="ignore"):
        return -1.0 / xp.square(_float(eta))


# sqrt ---------------------------------------------------------
def _sqrt(mu: Array) -> Array:
    xp = namespace(mu)
    with np.errstate(invalid="ignore"):
        return xp.sqrt(mu)


def _square(eta: Array) -> Array:
    xp = namespace(eta)
    return xp.square(xp.clip(eta, -1e150, 1e150))


def _twice(eta: Array) -> Array:
    return 2.0 * _float(eta)


# inverse squared ---------------------------------------------------------
def _inverse_squared(mu: Array) -> Array:
    xp = namespace(mu)
    with np.errstate(divide="ignore", over="ignore"):
        return 1.0 / xp.square(_float(mu))


def _inverse_squared_inverse(eta: Array) -> Array:
    xp = namespace(eta)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1.0 / xp.sqrt(_float(eta))


def _inverse_squared_slope(eta: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return -0.5 * _float(eta) ** -1.5


LINKS = MappingProxyType({
    link.name: link
    for link in (
        Link("identity", _same, _same, _ones, log_tails=_identity_tails),
        Link("log", _log, _exp, _exp, log_tails=_log_tails),
        Link("logit", _logit, _expit, _logit_slope, log_tails=_logit_tails),
        Link("probit", _ndtri, _ndtr, _normal_pdf, log_tails=_probit_tails),
        Link("cloglog", _cloglog, _cloglog_inverse, _cloglog_slope, log_tails=_cloglog_tails),
        Link("cauchit", _cauchit, _cauchit_inverse, _cauchit_slope, log_tails=_cauchit_tails),
        Link("inverse", _reciprocal, _reciprocal, _inverse_slope),
        Link("sqrt", _sqrt, _square, _twice, eta_range=(0.0, np.inf)),
        Link("inverse_squared", _inverse_squared, _inverse_squared_inverse, _inverse_squared_slope,
             eta_range=(0.0, np.inf)),
    )
})  # fmt: skip

LINK_ALIASES = MappingProxyType({"1/mu^2": "inverse_squared", "reciprocal": "inverse", "ident": "identity"})
