"""Variance components of a mixed model as a state, and their profile limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inference_core.fit.varcomp import variance_components, variance_shares
from inference_core.states import DataBundle, FitState, ModelSpec
from inference_core.states.profile import ProfileState
from inference_core.states.varying import VaryingSpreadState

from .profile import profile_limits


def varying_spread_state(bundle: DataBundle, fit: FitState, spec: ModelSpec | None = None) -> VaryingSpreadState:
    """Variances, SDs and correlations of a fitted mixed model, the residual last; ``spec`` None is a linear one.

    Raises
    ------
    InferenceError
        The model has no random effects.
    """
    import polars as pl

    rows: list[tuple[str, str, str, float]] = []
    tau2: dict[str, float] = {}
    rho: dict[str, float] = {}
    for c in variance_components(bundle, fit):
        if c.term2:
            rho[f"{c.group}.{c.term2}.{c.term}"] = c.sdcor
            rows.append((c.group, f"{c.term2}.{c.term}", "correlation", c.sdcor))
        else:
            rows += [(c.group, c.term, "variance", c.vcov), (c.group, c.term, "sd", c.sdcor)]
            if c.group != "Residual":
                tau2[f"{c.group}.{c.term}"] = c.vcov
    frame = pl.DataFrame(rows, schema=["group", "term", "metric", "estimate"], orient="row")
    return VaryingSpreadState(frame, fit.sigma**2, tau2, rho, variance_shares(bundle, fit, spec).icc)


def augment_spread_with_profile_ci(
    spread: VaryingSpreadState, profile: ProfileState, conf_level: float
) -> VaryingSpreadState:
    """Variance components with profile likelihood limits.

    Limits of an SD are the profile's; those of its variance are their squares; correlations have their own.

    Parameters
    ----------
    spread : VaryingSpreadState
        Components, r rows.
    profile : ProfileState
        Of the same model.
    conf_level : float
        Level of the limits. Another than the profile's own is read off its traces.

    Returns
    -------
    VaryingSpreadState
        With ``ci_lower`` and ``ci_upper`` (r,), NaN where the profile has none, ``conf_level`` and ``ci_method``.

    Raises
    ------
    InferenceError
        A level outside (0, 1), or beyond the end of the traces.
    """
    limits = profile_limits(profile, conf_level)
    lower, upper = [], []
    for row in spread.components.iter_rows(named=True):
        low, high = limits.get(_key(row), (float("nan"), float("nan")))
        if row["metric"] == "variance":
            low, high = low**2, high**2
        lower.append(low)
        upper.append(high)
    return replace(
        spread, ci_lower=np.array(lower), ci_upper=np.array(upper), conf_level=float(conf_level), ci_method="profile"
    )


def _key(row: dict[str, str]) -> str:
    """The profile's name of a component."""
    if row["group"] == "Residual":
        return "sigma"
    kind = "cor" if row["metric"] == "correlation" else "sd"
    return f"{kind}_{row['term']}|{row['group']}"
