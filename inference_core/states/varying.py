"""Variance components as a table, with limits once a profile has given them."""

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
