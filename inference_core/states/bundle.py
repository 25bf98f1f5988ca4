"""The data of one model as arrays: what every solver and every resampler starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .base import Array, Frozen


@dataclass(frozen=True, slots=True, eq=False)
class RankInfo(Frozen):
    """Which columns of the design can be estimated; R's rule: the later column goes."""

    rank: int
    kept: Array  # (rank,) int: positions of the estimable columns
    dropped: Array  # (p - rank,) int
    dropped_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DataBundle(Frozen):
    """One model's data: n rows kept, p design columns (the dropped ones of ``rank_info`` included).

    ``y`` is the response the solver sees: transformed if the formula says so; 0/1 for a two-level binomial response;
    the *proportion* of successes for ``cbind(successes, failures)`` and for proportions, with ``trials`` beside it.
    ``weights`` are the user's prior weights (for proportions the user's weights *are* the trials, and ``weights`` is
    None). ``term_of_column[j]`` indexes ``source_terms``; -1 is the intercept.
    """

    y: Array  # (n,)
    X: Array  # (n, p) float64, C order
    X_names: tuple[str, ...]
    term_of_column: Array  # (p,) int
    source_terms: tuple[str, ...]
    y_name: str
    valid_mask: Array  # (n_total,) bool
    n_total: int
    rank_info: RankInfo
    weights: Array | None = None  # (n,)
    offset: Array | None = None  # (n,)
    trials: Array | None = None  # (n,)
    factor_levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    contrast_matrices: Mapping[str, Array] = field(default_factory=dict)
    response_levels: tuple[str, ...] | None = None  # (failure, success) of a text or boolean response
    missing_in: tuple[str, ...] = ()  # columns that cost rows
    Z: Any = None  # csc (n, q) or None
    re_metadata: Any = None
    design_state: Any = None

    @property
    def n(self) -> int:
        """Rows kept."""
        return self.y.shape[0]

    @property
    def p(self) -> int:
        """Design columns, the dropped ones included."""
        return self.X.shape[1]

    @property
    def prior_weights(self) -> Array | None:
        """(n,) weights times trials, or None when every row counts once."""
        if self.weights is None:
            return self.trials
        return self.weights if self.trials is None else self.weights * self.trials

    @property
    def X_estimable(self) -> Array:
        """(n, rank) the columns that can be estimated, in design order."""
        return self.X if self.rank_info.rank == self.p else np.ascontiguousarray(self.X[:, self.rank_info.kept])
