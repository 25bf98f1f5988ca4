"""Names to families: what may be asked for, what it is called, and which link goes with which family."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from inference_core.errors import FitError

from . import distributions as d
from . import responses as r
from .family import T_DF_DEFAULT, Family
from .links import LINK_ALIASES, LINKS, Link

_REAL, _UNIT, _POSITIVE = (-np.inf, np.inf), (0.0, 1.0), (0.0, np.inf)
_ANY = tuple(LINKS)
_PROBABILITY = ("logit", "probit", "cloglog", "cauchit", "log", "identity")
_MEAN_ABOVE_0 = ("log", "identity", "inverse", "sqrt", "inverse_squared")


@dataclass(frozen=True, slots=True)
class _Entry:
    """What does not depend on the link. ``param_names`` may be typed by the user, ``unknown`` only a fit can
    know.
    """

    links: tuple[str, ...]
    default_link: str
    mean_range: tuple[float, float]
    functions: dict[str, Callable[..., Any]]
    dispersion_known: bool = False
    counts_dispersion: bool = False
    has_loglik: bool = True
    param_names: tuple[str, ...] = ()


def _functions(variance, deviance, loglik, start, simulate, check) -> dict[str, Callable[..., Any]]:
    return {
        "variance": variance,
        "unit_deviance": deviance,
        "loglik": loglik,
        "initialize": start,
        "simulate": simulate,
        "check_response": check,
    }


_BINOMIAL = _functions(
    d.binomial_variance,
    d.binomial_deviance,
    d.binomial_loglik,
    d.binomial_start,
    d.binomial_simulate,
    r.proportion,
)
_POISSON = _functions(
    d.poisson_variance,
    d.poisson_deviance,
    d.poisson_loglik,
    d.poisson_start,
    d.poisson_simulate,
    partial(r.count, label="Poisson"),
)
_QUASI = {"loglik": d.quasi_loglik, "simulate": d.quasi_simulate}

_TABLE = MappingProxyType({
    "gaussian": _Entry(_ANY, "identity", _REAL, _functions(
        d.gaussian_variance, d.gaussian_deviance, d.gaussian_loglik, d.gaussian_start, d.gaussian_simulate,
        r.any_number), counts_dispersion=True),
    "binomial": _Entry(_PROBABILITY, "logit", _UNIT, _BINOMIAL, dispersion_known=True),
    "poisson": _Entry(_MEAN_ABOVE_0, "log", _POSITIVE, _POISSON, dispersion_known=True),
    "gamma": _Entry(_MEAN_ABOVE_0, "inverse", _POSITIVE, _functions(
        d.gamma_variance, d.gamma_deviance, d.gamma_loglik, d.gaussian_start, d.gamma_simulate,
        partial(r.positive, label="Gamma")), counts_dispersion=True),
    "inverse_gaussian": _Entry(_MEAN_ABOVE_0, "inverse_squared", _POSITIVE, _functions(
        d.inverse_gaussian_variance, d.inverse_gaussian_deviance, d.inverse_gaussian_loglik, d.gaussian_start,
        d.inverse_gaussian_simulate, partial(r.positive, label="inverse Gaussian")), counts_dispersion=True),
    "negative_binomial": _Entry(_MEAN_ABOVE_0, "log", _POSITIVE, _functions(
        d.negbin_variance, d.negbin_deviance, d.negbin_loglik, d.negbin_start, d.negbin_simulate,
        partial(r.count, label="negative binomial")), dispersion_known=True, param_names=("theta",)),
    "tdist": _Entry(_ANY, "identity", _REAL, _functions(
        d.gaussian_variance, d.t_deviance, d.t_loglik, d.gaussian_start, d.t_simulate, r.any_number),
        counts_dispersion=True, param_names=("df", "scale")),
    "quasibinomial": _Entry(_PROBABILITY, "logit", _UNIT, {**_BINOMIAL, **_QUASI}, has_loglik=False),
    "quasipoisson": _Entry(_MEAN_ABOVE_0, "log", _POSITIVE, {
        **_POISSON, **_QUASI, "check_response": r.not_negative}, has_loglik=False),
})  # fmt: skip

FAMILIES = tuple(_TABLE)
FAMILY_ALIASES = MappingProxyType({
    "normal": "gaussian", "bernoulli": "binomial", "inverse.gaussian": "inverse_gaussian",
    "inversegaussian": "inverse_gaussian", "invgauss": "inverse_gaussian", "negbin": "negative_binomial",
    "negativebinomial": "negative_binomial", "nbinom": "negative_binomial", "t": "tdist", "student": "tdist",
})  # fmt: skip


def canonical_family(name: str) -> str:
    """The house's name of a family typed as in R, in any case; raises :class:`FitError` with the nearest
    name.
    """
    word = str(name).strip()
    key = word.lower().split("(")[0].strip().replace("-", "_").replace(" ", "_")
    key = FAMILY_ALIASES.get(key, FAMILY_ALIASES.get(key.replace("_", ""), key))
    if key in _TABLE:
        return key
    near = difflib.get_close_matches(key, [*_TABLE, *FAMILY_ALIASES], n=1)
    hint = f"did you mean '{FAMILY_ALIASES.get(near[0], near[0])}'? " if near else ""
    raise FitError(
        f"family={name!r}",
        f"there is no family of that name; families are {', '.join(FAMILIES)}",
        f"{hint}family='gaussian' is the default",
    )


def get_link(name: str | Link) -> Link:
    """A link by name (R's ``1/mu^2`` included); raises :class:`FitError` listing the links there are."""
    if isinstance(name, Link):
        return name
    key = str(name).strip().lower()
    key = LINK_ALIASES.get(key, key)
    if key in LINKS:
        return LINKS[key]
    near = difflib.get_close_matches(key, LINKS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "link=None takes the family's own"
    raise FitError(f"link={name!r}", f"there is no link of that name; links are {', '.join(LINKS)}", hint)


def links_of(family: str) -> tuple[str, ...]:
    """Links defined for a family: those whose means the family can have, for some eta at least."""
    return _TABLE[canonical_family(family)].links


def default_link(family: str) -> str:
    """R's default link of a family."""
    return _TABLE[canonical_family(family)].default_link


def get_family(family: str | Family, link: str | Link | None = None) -> Family:
    """The family of that name with a link.

    Parameters
    ----------
    family : str or Family
        A name as in DESIGN or in R (``"Gamma"``, ``"inverse.gaussian"``), possibly with a fixed parameter,
        ``"negative_binomial(theta=2)"``, ``"tdist(df=6)"``. Without it theta is estimated and df is 4.
    link : str, Link or None
        None takes R's default for the family.

    Raises
    ------
    FitError
        Unknown names, a parameter that is no positive number, or a link the family does not take.
    """
    if isinstance(family, Family):
        return family if link is None else _build(family.name, get_link(link), family.params, family.estimated)
    name = canonical_family(family)
    params, estimated = _typed_params(name, str(family))
    chosen = get_link(_TABLE[name].default_link if link is None else link)
    if chosen.name not in _TABLE[name].links:
        raise FitError(
            f"family='{name}' with link='{chosen.name}'",
            f"links defined for {name} are {', '.join(_TABLE[name].links)}",
            f"link='{_TABLE[name].default_link}' is the default",
        )
    return _build(name, chosen, params, estimated)


def with_params(family: Family, params: tuple[float, ...]) -> Family:
    """The same family at given parameters, e.g. at the theta a fit found."""
    return _build(family.name, family.link, tuple(params), family.estimated) if params else family


_PARAM = re.compile(r"^\s*(?:([A-Za-z_]\w*)\s*=\s*)?([-+.\deEinfINF]+)\s*$")


def _typed_params(name: str, text: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Parameters typed in parentheses, and the names that are left for the fit to estimate."""
    names = _TABLE[name].param_names
    typed: float | None = None
    if "(" in text:
        match = _PARAM.match(text.partition("(")[2].rstrip().rstrip(")"))
        try:
            typed = float(match.group(2)) if match else None
        except ValueError:
            typed = None
        valid = typed is not None and 0 < typed < np.inf
        if match is None or not valid or not names or match.group(1) not in (None, names[0]):
            takes = f"{names[0]}, a number above 0" if names else "no parameter"
            raise FitError(
                f"family={text!r}",
                f"{name} takes {takes}",
                f"family='{name}({names[0]}=2)'" if names else f"family='{name}'",
            )
    if name == "tdist":
        return (T_DF_DEFAULT if typed is None else typed,), ("scale",)
    if name == "negative_binomial":
        return ((), ("theta",)) if typed is None else ((typed,), ())
    return (), ()


def _build(name: str, link: Link, params: tuple[float, ...], estimated: tuple[str, ...]) -> Family:
    entry = _TABLE[name]
    functions: dict[str, Any] = dict(entry.functions)
    if name == "negative_binomial":
        for key in ("variance", "unit_deviance", "loglik", "simulate"):
            rule = functions[key]
            functions[key] = partial(rule, theta=params[0]) if params else partial(_unknown, name, "theta")
    elif name == "tdist":
        known = _t_params(params)
        functions["unit_deviance"] = partial(functions["unit_deviance"], **known)
        functions["loglik"] = partial(functions["loglik"], **known)
        functions["simulate"] = partial(functions["simulate"], df=known["df"])
    score, deviance = _fast_rules(name, link, params)
    return Family(
        name=name,
        link=link,
        dispersion_known=entry.dispersion_known,
        counts_dispersion=entry.counts_dispersion,
        mean_range=entry.mean_range,
        params=params,
        param_names=entry.param_names,
        estimated=estimated,
        has_loglik=entry.has_loglik,
        score_weight_rule=score,
        deviance_rule=deviance,
        **functions,
    )


def _fast_rules(name: str, link: Link, params: tuple[float, ...]):
    """Score and deviance straight from eta, for the pairs that have a better way than through mu."""
    if name in ("binomial", "quasibinomial"):
        if link.name == "logit":
            return d.logit_score_weight, d.logit_deviance
        return partial(d.tails_score_weight, link=link), partial(d.tails_deviance, link=link)
    if name in ("poisson", "quasipoisson") and link.name == "log":
        return d.log_poisson_score_weight, None
    if name == "tdist":
        return partial(d.t_score_weight, link=link, **_t_params(params)), None
    return None, None


def _t_params(params: tuple[float, ...]) -> dict[str, float]:
    """Df and scale; a scale that was not estimated yet counts as 1."""
    return dict(zip(("df", "scale"), (*params, 1.0)[:2], strict=True))


def _unknown(family: str, param: str, *args: Any, **kwargs: Any):
    raise FitError(
        f"a {family} family whose {param} was neither given nor estimated",
        f"{param} is known only after a fit",
        f"take the family from the fit (fitted_family), or write '{family}({param}=2)'",
    )
