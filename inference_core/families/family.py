"""The Family container: a distribution and a link, as pure functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from inference_core.states.base import Array

from .links import Link

T_DF_DEFAULT = 4.0  # Lange, Little & Taylor (1989), JASA 84: a robust choice when df is not to be estimated

ScoreWeight = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A response distribution with its link.

    All functions work on leading axes: ``y`` (n,) against ``mu`` or ``eta`` (..., n). Prior weights w_i act
    as if row i were observed w_i times, with dispersion phi / w_i.

    Attributes
    ----------
    name, link
        Names as the user types them; ``link`` is a :class:`Link`.
    variance : mu -> V(mu)
        Var(y) = dispersion * V(mu) / w.
    unit_deviance : (y, mu) -> d
        Twice the log-likelihood lost against mu = y, per unit of dispersion.
    loglik : (y, mu, weights=None, dispersion=None, trials=None) -> float array over the leading axes
        The log-likelihood as R's ``logLik`` counts it; ``dispersion=None`` puts R's own (maximum-likelihood)
        value.
    initialize : (y, weights) -> mu
        R's starting means.
    simulate : (rng, mu, weights=None, dispersion=1.0) -> y
        One response for every element of ``mu``. For the binomial ``weights`` are the numbers of trials and
        the result is a proportion.
    check_response : (y, trials=None, *, y_name, rows) -> None
        Raises :class:`DataError` naming how many values are impossible, and the first row.
    dispersion_known : bool
        True where the dispersion is 1 by definition; otherwise Pearson chi-square / df.
    counts_dispersion : bool
        Whether ``logLik`` counts the dispersion as a parameter.
    mean_range : (lo, hi)
        Open interval of possible means.
    params, param_names, estimated
        Values of further parameters (theta of the negative binomial; df and scale of Student's t), empty
        while unknown; ``estimated`` names those that a fit estimates, so that a refit has to estimate them
        again.
    """

    name: str
    link: Link
    variance: Callable[[Array], Array]
    unit_deviance: Callable[[Array, Array], Array]
    loglik: Callable[..., Array]
    initialize: Callable[[Array, Array | None], Array]
    simulate: Callable[..., Array]
    check_response: Callable[..., None]
    dispersion_known: bool
    counts_dispersion: bool
    mean_range: tuple[float, float]
    params: tuple[float, ...] = ()
    param_names: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()
    score_weight_rule: ScoreWeight | None = None
    deviance_rule: Callable[[Array, Array], Array] | None = None
    has_loglik: bool = True

    @property
    def label(self) -> str:
        """The name with what the user fixed, ``negative_binomial(theta=2.5)``: `get_family` reads it back."""
        fixed = [
            f"{k}={v!r}"
            for k, v in zip(self.param_names, self.params, strict=False)
            if k not in self.estimated and (k, v) != ("df", T_DF_DEFAULT)
        ]
        return f"{self.name}({', '.join(fixed)})" if fixed else self.name

    def score_weight(self, eta: Array, y: Array) -> tuple[Array, Array]:
        """Score and Fisher weight per row, for unit prior weight and unit dispersion.

        ``s = (y - mu) (dmu/deta) / V(mu)`` and ``w = (dmu/deta)^2 / V(mu)``, both shaped like ``eta``. Where
        eta is outside what the link and the family allow the values are NaN or infinite, never a warning.
        """
        if self.score_weight_rule is not None:
            return self.score_weight_rule(eta, y)
        with np.errstate(all="ignore"):
            mu, slope = self.link.inverse(eta), self.link.derivative(eta)
            ratio = slope / self.variance(mu)
            return (y - mu) * ratio, slope * ratio

    def deviance_rows(self, eta: Array, y: Array) -> Array:
        """Unit deviance of every row from eta; no overflow, no clipped tails."""
        if self.deviance_rule is not None:
            return self.deviance_rule(eta, y)
        with np.errstate(all="ignore"):
            return self.unit_deviance(y, self.link.inverse(eta))

    def eta_valid(self, eta: Array) -> bool:
        """Whether every eta is finite, inside the link's range, and gives a mean the family allows."""
        lo, hi = self.eta_bounds
        return bool(np.all(np.isfinite(eta)) and np.all(eta > lo) and np.all(eta < hi))

    @property
    def eta_bounds(self) -> tuple[float, float]:
        """Open interval of eta in which link and family are both defined."""
        lo, hi = self.link.eta_range
        with np.errstate(all="ignore"):
            if self.link.name == "identity":
                lo, hi = max(lo, self.mean_range[0]), min(hi, self.mean_range[1])
            elif self.link.name == "log" and self.mean_range[1] < np.inf:
                hi = min(hi, float(np.log(self.mean_range[1])))
            elif self.link.name == "inverse" and self.mean_range[0] >= 0.0:
                lo = max(lo, 0.0)
        return lo, hi

    def dispersion_from(self, y: Array, eta: Array, weights: Array | None, df_resid: float) -> float:
        """Pearson chi-square over ``df_resid``, or 1 where the family fixes it; NaN when no df is left."""
        if self.dispersion_known:
            return 1.0
        if df_resid <= 0:
            return float("nan")
        with np.errstate(all="ignore"):
            s, w = self.score_weight(eta, y)
            chi2 = np.where(w > 0, s * s / w, 0.0)
        return float(np.sum(chi2 if weights is None else chi2 * weights)) / df_resid
