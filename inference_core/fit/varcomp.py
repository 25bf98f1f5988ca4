"""Variance components, random effects and shares of variance of a fitted mixed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference_core.errors import InferenceError
from inference_core.states import Array, DataBundle, FitState, REInfo

if TYPE_CHECKING:
    import polars as pl


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
    """Where the variance of a Gaussian mixed model goes."""

    fixed: float  # variance of the fixed part over the rows (n - 1)
    random: float  # mean variance of the random part
    residual: float

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


def variance_shares(bundle: DataBundle, fit: FitState) -> VarianceShares:
    """R2 and ICC come from here and nowhere else.

    The offset is no part of the variance explained. Source: Nakagawa, Johnson & Schielzeth (2017), J. R. Soc.
    Interface 14.
    """
    if fit.fitted_marginal is None:
        raise InferenceError("shares of variance", "the model has no random effects", "use its R2")
    fixed = fit.fitted_marginal if bundle.offset is None else fit.fitted_marginal - bundle.offset
    return VarianceShares(float(np.var(fixed, ddof=1)), random_variance(bundle, fit), fit.sigma**2)


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
