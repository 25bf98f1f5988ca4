"""What a profile likelihood gives: limits, and the traces they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Array, Frozen

Limits = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class ProfileState(Frozen):
    """Profile likelihood of every parameter of a model.

    Parameters are named as lme4 does: ``sd_Days|Subject``, ``cor_Days.(Intercept)|Subject``, ``sigma``, and the fixed
    effects by their columns. zeta is the signed root of the rise of the deviance above its minimum.
    """

    table: Any  # frame: parameter, value, zeta, then every parameter along the trace (null at a boundary)
    spline_forward: Mapping[str, Callable[[Any], Array]]  # value -> zeta, within the trace
    spline_reverse: Mapping[str, Callable[[Any], Array]]  # zeta -> value
    ci: Mapping[str, Limits]  # NaN where a limit could not be found or the parameter is not identified
    ci_sd: Mapping[str, Limits]  # the SDs of random effects and sigma alone
    ci_theta: Mapping[str, Limits]  # relative SDs, theta = SD / sigma, of effects that covary with no other
    conf_level: float  # with ``threshold`` given, the level that it amounts to
    threshold: float  # rise of the deviance at the limits
    dev_opt: float  # -2 log L at the maximum-likelihood estimates
    at_boundary: Mapping[str, tuple[bool, bool]]  # a limit where the range ends: SD 0, correlation +-1
    estimate: Mapping[str, float] = field(default_factory=dict)  # maximum-likelihood estimates
    notes: tuple[str, ...] = ()
    cancelled: bool = False  # stopped early: limits that were not reached are NaN, traces end where they stood
