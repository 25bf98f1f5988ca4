"""What ``predict`` gives: fitted values for m rows, and their two kinds of interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Array, Frozen
from .inference import InferenceState


@dataclass(frozen=True, slots=True, eq=False)
class PredictionState(Frozen):
    """Predictions for m rows.

    ``config`` holds what was asked: ``type`` ("response" or "link"), ``varying`` ("exclude": population, "include":
    conditional on the groups), ``allow_new_levels``, ``newdata`` (whether rows were given), ``formula`` of a grid.
    """

    fitted: Array  # (m,) on the scale asked for; NaN where not estimable
    link: Array  # (m,) linear predictor
    X_pred: Array  # (m, p)
    grid: Any  # frame of m rows
    config: Mapping[str, Any] = field(default_factory=dict)
    offset: Array | None = None  # (m,) part of ``link``
    weights: Array | None = None  # (m,) prior weights, or trials, of a new observation; None: none were named
    random: tuple[Any, ...] | None = None  # ``design.random.RandomRows`` of each block; None: the rows lack columns
    training: bool = False  # the rows are those of the fit
    se: Array | None = None
    ci_lower: Array | None = None  # of the expected value
    ci_upper: Array | None = None
    pi_lower: Array | None = None  # of a new observation
    pi_upper: Array | None = None
    df: Array | None = None
    conf_level: float | None = None
    method: str | None = None  # asymp, boot or cv
    cv_fitted: Array | None = None
    cv_residual: Array | None = None
    cv_fold: Array | None = None
    notes: tuple[str, ...] = ()  # of the prediction itself; those of its limits are in ``inference``
    inference: InferenceState | None = None  # how the limits of the expected value were found

    @property
    def conditional(self) -> bool:
        """Whether the effects of the groups take part."""
        return self.config.get("varying") == "include"

    @property
    def on_response(self) -> bool:
        """Whether ``fitted`` is on the scale of the response."""
        return self.config.get("type", "response") == "response"
