"""Variance components, random effects and shares of variance of a fitted mixed model."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families import Family, get_family, with_params
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo

if TYPE_CHECKING:
    import polars as pl

_LATENT = MappingProxyType({"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0})


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One row of lme4's table of variance components: a variance and its SD, or a covariance and its correlation."""

    group: str  # "Residual" for the noise
    term: str
    term2: str  # "" for a variance
    vcov: float
    sdcor: float


def covariances(re: REInfo, theta: Array, sigma: float | Array) -> tuple[Array, ...]:
    """Covariance matrix (..., k, k) of the effects of each block: sigma^2 T T' for theta (..., m), sigma (...)."""
    scale = np.square(np.asarray(sigma, dtype=float))[..., None, None]
    return tuple(scale * (T @ np.swapaxes(T, -1, -2)) for T in re.t_matrices(theta))


def sds_and_correlations(S: Array) -> tuple[Array, Array]:
    """SDs (..., k) and correlations (..., k, k) of covariance matrices; NaN where an SD is 0."""
    sd = np.sqrt(np.maximum(np.diagonal(S, axis1=-2, axis2=-1), 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = S / (sd[..., :, None] * sd[..., None, :])
    return sd, np.clip(correlation, -1.0, 1.0)


def variance_components(bundle: DataBundle, fit: FitState) -> tuple[Component, ...]:
    """Variances, then covariances of what may covary, block by block, then the residual variance, as lme4 has them."""
    re = random_effects(bundle)
    out: list[Component] = []
    assert fit.theta is not None
    for block, S in zip(re.blocks, covariances(re, fit.theta, fit.sigma), strict=True):
        sd, correlation = sds_and_correlations(S)
        names = block.column_names
        out += [Component(block.group_name, names[a], "", float(S[a, a]), float(sd[a])) for a in range(block.k)]
        out += [
            Component(block.group_name, names[b], names[a], float(S[a, b]), float(correlation[a, b]))
            for a, b in block.entries
            if a != b
        ]
    out.append(Component("Residual", "", "", fit.sigma**2, fit.sigma))
    return tuple(out)


def varcorr_table(bundle: DataBundle, fit: FitState) -> pl.DataFrame:
    """Variance components as a frame: ``group, term, term2, vcov, sdcor`` (null where a correlation is undefined)."""
    import polars as pl

    rows = variance_components(bundle, fit)
    return pl.DataFrame(
        {
            "group": [r.group for r in rows],
            "term": [r.term or None for r in rows],
            "term2": [r.term2 or None for r in rows],
            "vcov": [r.vcov for r in rows],
            "sdcor": pl.Series([r.sdcor for r in rows], dtype=pl.Float64).fill_nan(None),
        },
        schema={"group": pl.String, "term": pl.String, "term2": pl.String, "vcov": pl.Float64, "sdcor": pl.Float64},
    )


def random_variance(bundle: DataBundle, fit: FitState) -> float:
    """Mean over rows of the variance that the random effects give a row: sum of tr(Z_t Sigma_t Z_t') / n.

    For random intercepts the sum of their variances; with slopes the mean over the rows at hand.
    Source: Johnson (2014), Methods Ecol. Evol. 5.
    """
    re = random_effects(bundle)
    assert fit.theta is not None
    total = 0.0
    for block, S in zip(re.blocks, covariances(re, fit.theta, fit.sigma), strict=True):
        total += float(np.einsum("na,ab,nb->", block.X_re, S, block.X_re)) / re.n
    return total


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Where the variance of a mixed model goes, in squared units of the link."""

    fixed: float  # variance of the fixed part over the rows (n - 1)
    random: float  # mean variance of the random part
    residual: float  # sigma^2, or what the family's own spread is worth: see ``observation_variance``

    @property
    def r2_marginal(self) -> float:
        """Share of the fixed part."""
        return self.fixed / (self.fixed + self.random + self.residual)

    @property
    def r2_conditional(self) -> float:
        """Share of the fixed and the random part."""
        return (self.fixed + self.random) / (self.fixed + self.random + self.residual)

    @property
    def icc(self) -> float:
        """Share of the random part in what the fixed part leaves (the adjusted ICC)."""
        return self.random / (self.random + self.residual)


def variance_shares(bundle: DataBundle, fit: FitState, spec: ModelSpec | None = None) -> VarianceShares:
    """R2 and ICC come from here and nowhere else.

    The offset is no part of the variance explained. ``spec`` tells family and link; without it the model is a linear
    one. Source: Nakagawa, Johnson & Schielzeth (2017), J. R. Soc. Interface 14.

    Raises
    ------
    InferenceError
        The model has no random effects.
    """
    random = random_variance(bundle, fit)
    kept = np.isfinite(fit.coef)
    fixed = float(np.var(bundle.X[:, kept] @ fit.coef[kept], ddof=1))
    if spec is None or spec.is_lmer:
        return VarianceShares(fixed, random, fit.sigma**2)
    weights = bundle.prior_weights
    y = bundle.y if weights is None else bundle.y[weights > 0]
    family = with_params(get_family(spec.family, spec.link), fit.family_params)
    return VarianceShares(fixed, random, observation_variance(family, float(np.mean(y)), fit.dispersion))


def observation_variance(family: Family, mean: float, dispersion: float) -> float:
    """What the spread of single responses around their mean is worth on the scale of the link.

    Of the binomial the variance of the latent variable, whatever the number of trials: pi^2 / 3 for logit, 1 for
    probit, pi^2 / 6 for cloglog; NaN for cauchit, which has none. With a log link ln(1 + phi V(mean) / mean^2), the
    variance of the log of a lognormal response with these moments; else phi V(mean) g'(mean)^2 by the delta method.

    Parameters
    ----------
    family : Family
        At its parameters: theta of the negative binomial takes part in V.
    mean : float
        Where it is measured: the mean of the responses.
    dispersion : float
        phi, 1 where the family fixes it.
    """
    if family.name == "binomial":
        return _LATENT.get(family.link.name, float("nan"))
    with np.errstate(all="ignore"):
        variance = dispersion * float(family.variance(np.array(mean)))
        if family.link.name == "log":
            return float(np.log1p(variance / mean**2))
        return variance / float(family.link.derivative(family.link.link(np.array(mean)))) ** 2


def random_effects(bundle: DataBundle) -> REInfo:
    """The random effects of a bundle.

    Raises
    ------
    InferenceError
        It has none.
    """
    if bundle.re_metadata is None:
        raise InferenceError("variance components", "the model has no random effects", "add one, as + (1 | group)")
    return bundle.re_metadata
