"""What varies between groups: variance components, with limits where there are any, and the groups themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Array, Frozen


@dataclass(frozen=True, slots=True, eq=False)
class VaryingSpreadState(Frozen):
    """Variance components of a mixed model.

    ``components`` has a row per variance, SD and correlation: ``group`` ("Residual" for the noise), ``term`` (two terms
    of a correlation are joined by a dot), ``metric`` ("variance", "sd" or "correlation"), ``estimate``.
    """

    components: Any  # frame of r rows: group, term, metric, estimate
    sigma2: float
    tau2: Mapping[str, float]  # "group.term" -> variance
    rho: Mapping[str, float] = field(default_factory=dict)  # "group.term.term" -> correlation
    icc: float = float("nan")
    ci_lower: Array | None = None  # (r,) NaN where there is no limit
    ci_upper: Array | None = None
    conf_level: float | None = None
    ci_method: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VaryingState(Frozen):
    """The groups of a mixed model: one row per level of each grouping factor, r rows.

    The mappings go from a term ("(Intercept)", "Days") to (r,) numbers on the link scale, NaN where a grouping factor
    has no effect of that name. ``se`` is the root of the joint prediction variance of fixed and random effects, and the
    limits are the interval that it gives.
    """

    grid: Any  # frame of r rows: group, level
    effects: Mapping[str, Array]
    cond_sd: Mapping[str, Array] = field(default_factory=dict)  # with the fixed effects taken as known, as lme4's
    se: Mapping[str, Array] = field(default_factory=dict)
    pi_lower: Mapping[str, Array] = field(default_factory=dict)
    pi_upper: Mapping[str, Array] = field(default_factory=dict)
    conf_level: float | None = None
