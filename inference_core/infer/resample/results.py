"""The container of a bootstrap procedure that is called directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from inference_core.states.base import Array, Frozen

__all__ = ["BootstrapResult"]


@dataclass(frozen=True, slots=True, eq=False)
class BootstrapResult(Frozen):
    """Draws and limits of k parameters.

    Attributes
    ----------
    observed : (k,)
    boot_samples : (n_boot, k)
        NaN rows where a refit failed.
    ci_lower, ci_upper : (k,)
    param_names : list of str
    n_boot : int
    ci_type : {"percentile", "basic", "bca"}
    level : float
        Confidence level.
    term_types : list of str, optional
        "fixef" or "ranef" for each parameter of a mixed model.
    """

    observed: Array
    boot_samples: Array
    ci_lower: Array
    ci_upper: Array
    param_names: list[str]
    n_boot: int
    ci_type: Literal["percentile", "basic", "bca"]
    level: float
    term_types: list[str] | None = None

    @property
    def ci(self) -> tuple[Array, Array]:
        """(lower, upper)."""
        return self.ci_lower, self.ci_upper

    @property
    def se(self) -> Array:
        """(k,) standard deviations of the draws, failed ones left out."""
        good = ~np.isnan(self.boot_samples).all(axis=1)
        return np.std(self.boot_samples[good], axis=0, ddof=1)
