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
    perm_samples: Array | None = None  # (B, p) t*, NaN columns of what is not tested
    exact: bool = False  # the draws are all arrangements there are
    pre: Array | None = None
    pre_sd: Array | None = None
    pre_ratio: Array | None = None
    pre_lower: Array | None = None  # limits of pre, paired by fold
    pre_upper: Array | None = None
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
    signs_of: Callable[[int], Array] | None = None  # or the sign of each row, where signs are flipped

    def draw(self, i: int) -> Array:
        """(n,) row positions of draw ``i``, its new response, or signs; rebuilt from (seed, i), nothing was stored."""
        rebuild = self.indices_of or self.response_of or self.signs_of
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
    """Cross-validation of a model: k folds over n rows, R times over; F = R k folds in all.

    ``metrics`` are pooled over all held-out rows, ``fold_metrics`` one number a fold, in the order of the repeats.
    ``terms`` maps a column name to one value per source term: what is lost without it.
    """

    k: int
    scheme: str  # "rows", "groups" or "given"
    folds: Array  # (n,) int, of the first repeat
    metrics: Mapping[str, float] = field(default_factory=dict)
    fold_metrics: Mapping[str, Array] = field(default_factory=dict)  # each (F,)
    oos_predictions: Array | None = None  # (n,) of the first repeat, response scale; NaN where there is none
    oos_residuals: Array | None = None  # (n,)
    group_rule: str | None = None  # what the held-out rows stand for, in words
    conditional: bool = False  # held-out rows are predicted with the effects of their groups
    loo: bool = False
    seed: int | None = None
    repeats: int = 1
    assignment: Array | None = None  # (R, n) int
    predictions: Array | None = None  # (R, n)
    rows: Array | None = None  # (n,) positions of the rows in the data
    y: Array | None = None  # (n,) what was predicted
    n_unscored: int = 0  # rows without a prediction, over all repeats
    failures: Mapping[str, int] = field(default_factory=dict)  # why, and how many rows
    terms: Mapping[str, Any] = field(default_factory=dict)
    fold_pre: Mapping[str, Array] = field(default_factory=dict)  # term -> (F,) loss of held-out R2 in each fold
    conf_level: float = 0.95
    cancelled: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SimulationInferenceState(Frozen):
    """Summary of simulated responses, or of a power study.

    ``sim_type`` is "post_fit" (arrays (n,), one number a row of the data, NaN where a row has no response), "generated"
    (data made before any fit: nothing to summarise) or "power" (arrays (k,), one number a row of ``table``).
    ``mcse`` maps "mean", "sd", "quantile_0.025", "power", ... to Monte-Carlo standard errors of the same shape.
    """

    sim_type: str
    n_sims: int
    sim_mean: Array | None = None
    sim_sd: Array | None = None
    sim_quantiles: Mapping[float, Array] | None = None
    power: Array | None = None
    coverage: Array | None = None
    bias: Array | None = None
    rmse: Array | None = None
    conf_level: float = 0.95
    mcse: Mapping[str, Array] = field(default_factory=dict)
    table: Any = None  # frame of a power study, one row per cell of its grid and term
    seed: int | None = None
    cancelled: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SimulationState(Frozen):
    """What ``simulate`` made: a frame, and how to make it again."""

    frame: Any  # post_fit: n_total rows, columns sim_1 ...; generated: predictors and response
    sim_type: str  # "post_fit" or "generated"
    n_sims: int
    seed: int
    random: str | None = None  # "new" or "fitted" effects of a mixed model
    truth: Mapping[str, Any] = field(default_factory=dict)  # of generated data: coefficients, sigma, spread
