"""What inference adds to a fit: one row per parameter, and the draws it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .base import Array, Frozen

# Status of one draw. 0 is good; everything else is a NaN row that is counted, shown and left out of intervals.
DRAW_OK, DRAW_NOT_CONVERGED, DRAW_SEPARATED, DRAW_RANK_DEFICIENT, DRAW_FAILED = 0, 1, 2, 3, 4
DRAW_NO_MEAN = 5
DRAW_REASONS = {
    DRAW_OK: "ok",
    DRAW_NOT_CONVERGED: "no convergence",
    DRAW_SEPARATED: "separation",
    DRAW_RANK_DEFICIENT: "a column lost its variation",
    DRAW_FAILED: "the refit failed",
    DRAW_NO_MEAN: "a mean the family cannot have",
}


@dataclass(frozen=True, slots=True, eq=False)
class InferenceState(Frozen):
    """Inference for p parameters; arrays are (p,), NaN for a column that the design dropped.

    ``df`` is the reference distribution's (inf for the normal), None where none is used (resampling).
    ``mcse`` maps "se", "ci_lower", "ci_upper", "p_value" to (p,) Monte-Carlo standard errors.
    ``notes`` are sentences a reader must see under the table. ``status`` maps a reason to a count of failed draws.
    """

    se: Array
    ci_lower: Array
    ci_upper: Array
    statistic: Array | None = None
    df: Array | None = None
    p_value: Array | None = None
    conf_level: float = 0.95
    method: str = "asymp"
    ci_type: str | None = None
    errors: str = "iid"
    scheme: str | None = None
    null: float | Array = 0.0
    alternative: str = "two-sided"
    n_resamples: int | None = None
    n_requested: int | None = None
    n_failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    cancelled: bool = False
    mcse: Mapping[str, Array] = field(default_factory=dict)
    seed: int | None = None
    bias: Array | None = None
    boot_samples: Array | None = None  # (B, p)
    draw_status: Array | None = None  # (B,) int8 of boot_samples, see DRAW_REASONS
    perm_samples: Array | None = None  # (B, p)
    pre: Array | None = None
    pre_sd: Array | None = None
    pre_ratio: Array | None = None
    notes: tuple[str, ...] = ()
    spread: InferenceState | None = None  # SDs, correlations and sigma of a mixed model, from the same draws
    n_singular: int | None = None  # draws of a mixed model with a covariance at its limit; they are kept


@dataclass(frozen=True, slots=True, eq=False)
class ResamplesState(Frozen):
    """The draws behind a table: B draws of k statistics."""

    samples: Array  # (B, k), NaN rows where status != 0
    observed: Array  # (k,)
    names: tuple[str, ...]
    method: str  # "boot", "perm"
    context: str  # "params", "effects", "predictions"
    status: Array  # (B,) int8, see DRAW_REASONS
    seed: int
    n_requested: int
    scheme: str = "case"
    se: Array | None = None  # (B, k) standard error of each draw, where it was computed
    cancelled: bool = False
    indices_of: Callable[[int], Array] | None = None  # rebuilds the rows of draw i from (seed, i)
    response_of: Callable[[int], Array] | None = None  # or its new response, where rows stay and responses are drawn

    def draw(self, i: int) -> Array:
        """(n,) row positions of draw ``i``, or its new response; rebuilt from (seed, i), nothing of it was stored."""
        rebuild = self.indices_of or self.response_of
        if rebuild is None:
            raise LookupError("these resamples do not carry the means to rebuild a draw")
        return rebuild(i)

    @property
    def n_failed(self) -> int:
        """Draws that gave no usable estimate."""
        return int(np.count_nonzero(self.status))

    @property
    def failures(self) -> dict[str, int]:
        """How many draws failed for which reason."""
        codes, counts = np.unique(self.status[self.status != DRAW_OK], return_counts=True)
        return {DRAW_REASONS[int(code)]: int(count) for code, count in zip(codes, counts, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Frozen):
    """Draws ``start .. start + b - 1`` of one stream: an immutable step of a long loop."""

    start: int
    samples: Array  # (b, k)
    status: Array  # (b,) int8
    se: Array | None = None  # (b, k)
    total: int = 0  # how many were asked for

    @property
    def stop(self) -> int:
        """One past the last draw of this batch."""
        return self.start + self.samples.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class CVState(Frozen):
    """Cross-validation of a model: k folds over n rows."""

    k: int
    scheme: str
    folds: Array  # (n,) int
    metrics: Mapping[str, float] = field(default_factory=dict)
    fold_metrics: Mapping[str, Array] = field(default_factory=dict)
    oos_predictions: Array | None = None
    oos_residuals: Array | None = None
    group_rule: str | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SimulationInferenceState(Frozen):
    """Summary of simulated responses, or of a power study."""

    sim_type: str
    n_sims: int
    sim_mean: Array | None = None
    sim_sd: Array | None = None
    sim_quantiles: Mapping[float, Array] | None = None
    power: Any = None
    coverage: Any = None
    bias: Any = None
    rmse: Any = None
