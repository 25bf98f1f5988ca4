"""The truth behind simulated data: coefficients by name, noise, and how much groups differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families import Family, with_params
from inference_core.formula.names import first_few
from inference_core.infer.resample.glmer_draws import GlmerDraws, block_of
from inference_core.infer.spelling import nearest
from inference_core.solvers.lmm.dense import Term
from inference_core.states import Array, DataBundle, RandomBlock, REInfo

from .responses import MeanDraws

INTERCEPT = ("Intercept", "(Intercept)", "intercept", "const")
_SCALE = {"gaussian": "sigma", "tdist": "sigma", "gamma": "dispersion", "inverse_gaussian": "dispersion"}
_PSD = 1e-10  # share of the largest eigenvalue by which rounding may make one negative


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One truth on one design: p coefficients, dispersion phi, and for each block of groups T (k, k), b = T u."""

    beta: Array  # (p,)
    phi: float
    T: tuple[Array, ...]  # link units
    family: Family  # at its parameters
    eta: Array  # (m,) fixed part, the offset included, rows of positive weight
    rows: Array  # (m,) of the bundle
    weights: Array | None  # (m,) prior weights, trials included
    terms: tuple[Term, ...]

    @classmethod
    def on(
        cls, bundle: DataBundle, family: Family, coef: Any, sigma: Any = None, dispersion: Any = None,
        spread: Any = None,
    ) -> Truth:  # fmt: skip
        """Put a truth on a design.

        Raises
        ------
        InferenceError
            Names of coefficients, groups or effects that the design does not have; numbers that cannot be; means that
            the family cannot have.
        """
        beta = coefficients(bundle.X_names, coef)
        phi, family = _noise(family, sigma, dispersion)
        w = bundle.prior_weights
        if family.name == "binomial" and w is not None and np.any(np.abs(w - np.rint(w)) > 1e-7):
            row = int(np.argmax(np.abs(w - np.rint(w))))
            raise InferenceError(
                "simulated binomial responses",
                f"row {row} (counting from 0) has {w[row]:g} trials, which is not a whole number",
                "whole numbers of trials",
            )
        rows = np.arange(bundle.n) if w is None else np.flatnonzero(w > 0)
        eta = bundle.X[rows] @ beta
        eta = eta if bundle.offset is None else eta + bundle.offset[rows]
        _refuse_means(family, eta)
        re: REInfo | None = bundle.re_metadata
        T = _factors(re, spread)
        blocks = () if re is None else re.blocks
        terms = tuple(Term(b.X_re[rows], b.group_index[rows], b.n_levels, b.mask) for b in blocks)
        return cls(beta, phi, T, family, eta, rows, None if w is None else np.asarray(w, float)[rows], terms)

    def draws(self) -> MeanDraws | GlmerDraws:
        """Responses of the rows of positive weight."""
        if not self.terms:
            return MeanDraws(self.family.link.inverse(self.eta), self.family, self.phi, self.weights)
        q = sum(term.q for term in self.terms)
        size = block_of(self.eta.size + q, len(self.terms) == 1)
        return GlmerDraws(self.eta, self.terms, self.T, self.family, self.phi, self.weights, size)


def coefficients(names: Sequence[str], coef: Any) -> Array:
    """(p,) coefficients by name; what is not named is 0.

    Raises
    ------
    InferenceError
        A name that the design does not have, or a value that is no number.
    """
    if not isinstance(coef, Mapping) or not coef:
        raise InferenceError(
            f"coef={coef!r}", f"coefficients are named: {first_few(names, 8)}", f"coef={{{names[-1]!r}: 0.5}}"
        )
    beta = np.zeros(len(names))
    for name, value in coef.items():
        found = name
        if name not in names and name in INTERCEPT:
            found = next((word for word in INTERCEPT if word in names), name)
        if found not in names:
            near = nearest(name, names)
            raise InferenceError(
                f"coef={{{name!r}: ...}}",
                f"no coefficient {name!r}; coefficients are {first_few(names, 8)}",
                f"did you mean {near!r}?" if near else "name one of them",
            )
        beta[names.index(found)] = number(f"coef={{{name!r}: ...}}", value)
    return beta


def number(what: str, value: Any, *, above: float = -np.inf, least: float = -np.inf) -> float:
    """A finite number, above a bound or at least another."""
    fine = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not fine or not np.isfinite(value) or not value > above or not value >= least:
        rule = "above 0" if above == 0 else "of 0 or more" if least == 0 else "that is finite"
        raise InferenceError(f"{what} = {value!r}", f"this is a number {rule}", "a number, as 0.5")
    return float(value)


def _noise(family: Family, sigma: Any, dispersion: Any) -> tuple[float, Family]:
    """The dispersion, and the family at its parameters."""
    wanted = _SCALE.get(family.name)
    for name, value in (("sigma", sigma), ("dispersion", dispersion)):
        if value is not None and name != wanted:
            raise InferenceError(
                f"{name}={value!r} of a {family.name} model",
                f"its noise is said by {wanted}" if wanted else "its noise follows from its means",
                f"{wanted}=1.0" if wanted else f"leave {name} out",
            )
    if family.name == "negative_binomial" and not family.params:
        raise InferenceError(
            "simulated negative binomial counts", "nothing is said of theta", "family='negative_binomial(theta=2)'"
        )
    if not family.dispersion_known and wanted is None:
        raise InferenceError(
            f"simulated {family.name} responses",
            "a quasi family has a mean and a variance but no distribution to draw from",
            "family='negative_binomial(theta=2)' for spread counts",
        )
    if wanted is None:
        return 1.0, family
    value = sigma if wanted == "sigma" else dispersion
    if value is None:
        raise InferenceError(
            f"simulated {family.name} responses", f"nothing is said of their noise ({wanted})", f"{wanted}=1.0"
        )
    value = number(wanted, value, above=0.0)
    if family.name == "tdist":
        return value**2, with_params(family, (family.params[0], value))
    return (value**2 if wanted == "sigma" else value), family


def _refuse_means(family: Family, eta: Array) -> None:
    low, high = family.eta_bounds
    bad = ~(np.isfinite(eta) & (eta > low) & (eta < high))
    if bad.any():
        row = int(np.argmax(bad))
        raise InferenceError(
            f"simulated {family.name} responses with these coefficients",
            f"the mean of {int(bad.sum())} of {eta.size} rows is impossible under the {family.link.name} link (the "
            f"first in row {row} counting from 0, linear predictor {eta[row]:.4g})",
            "other coefficients, or link='log' (binomial: 'logit'), under which every one is possible",
        )


# ---- random effects ----------------------------------------------------------------------------------------


def _factors(re: REInfo | None, spread: Any) -> tuple[Array, ...]:
    if re is None:
        if spread:
            raise InferenceError(f"spread={spread!r}", "the formula has no random effects", "leave spread out")
        return ()
    example = f"spread={{{re.blocks[0].group_name!r}: 1.0}}"
    if not isinstance(spread, Mapping):
        raise InferenceError(
            f"spread={spread!r}", f"SDs of the random effects by group: {', '.join(re.group_names)}", example
        )
    for name in spread:
        if name not in re.group_names:
            near = nearest(name, re.group_names)
            raise InferenceError(
                f"spread={{{name!r}: ...}}",
                f"groups of this formula are {', '.join(re.group_names)}",
                f"did you mean {near!r}?" if near else example,
            )
    missing = [name for name in re.group_names if name not in spread]
    if missing:
        raise InferenceError("simulated groups", f"nothing is said of the spread of {missing[0]!r}", example)
    return tuple(_factor(block, spread[block.group_name]) for block in re.blocks)


def _factor(block: RandomBlock, value: Any) -> Array:
    """T (k, k) lower triangular with T T' the covariance asked for."""
    asked = f"spread={{{block.group_name!r}: {value!r}}}"
    k, names = block.k, block.column_names
    cor: Any = 0.0
    if isinstance(value, Mapping):
        value = dict(value)
        cor = value.pop("cor", 0.0)
        sd = np.zeros(k)
        for name, one in value.items():
            found = next((w for w in INTERCEPT if w in names), name) if name in INTERCEPT else name
            if found not in names:
                near = nearest(name, names)
                raise InferenceError(
                    asked,
                    f"effects of {block.group_name} are {', '.join(names)} (and 'cor')",
                    f"did you mean {near!r}?" if near else f"{{{names[0]!r}: 1.0}}",
                )
            sd[names.index(found)] = number(f"the SD of {name}", one, least=0.0)
    elif k == 1:
        sd = np.array([number(f"the SD of {names[0]}", value, least=0.0)])
    else:
        raise InferenceError(
            asked, f"{block.group_name} has {k} effects", f"{{{', '.join(f'{n!r}: 1.0' for n in names)}, 'cor': 0.0}}"
        )
    return _lower_root(asked, block, sd, _correlations(asked, cor, k))


def _correlations(asked: str, cor: Any, k: int) -> Array:
    R = np.asarray(cor, dtype=float)
    if R.ndim == 0:
        R = np.where(np.eye(k, dtype=bool), 1.0, R)
    fine = R.shape == (k, k) and np.allclose(R, R.T) and np.allclose(np.diagonal(R), 1.0) and np.all(np.abs(R) <= 1.0)
    if not fine or np.linalg.eigvalsh(R)[0] < -_PSD * k:
        raise InferenceError(
            asked,
            f"'cor' is one number between -1 and 1, or a ({k}, {k}) matrix of correlations that go together",
            "'cor': 0.2",
        )
    return R


def _lower_root(asked: str, block: RandomBlock, sd: Array, R: Array) -> Array:
    free = np.asarray(block.mask) | np.asarray(block.mask).T
    if np.any(~free & (R != 0)):
        raise InferenceError(
            asked, f"effects of {', '.join(block.terms)} do not covary", "leave 'cor' out, or write | for ||"
        )
    values, vectors = np.linalg.eigh(np.outer(sd, sd) * R)
    half = vectors * np.sqrt(np.maximum(values, 0.0))  # any root, then turned into a lower triangle
    L = np.asarray(np.linalg.qr(half.T, mode="r")).T
    L = L * np.where(np.diagonal(L) < 0, -1.0, 1.0)
    return np.where(block.mask, L, 0.0)
