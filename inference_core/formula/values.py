"""What an expression can be: numbers, a factor, or several columns that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.states import Array


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A categorical variable: ``codes[i]`` points into ``levels``; -1 stands for a missing value."""

    codes: Array  # (n,) int32
    levels: tuple[str, ...]
    ordered: bool = False
    coding: Any = None  # what C() asked for: a name, (name, reference), or None

    def used(self) -> Factor:
        """The same factor without the levels that no row has, as R's lm drops them."""
        counts = np.bincount(self.codes, minlength=len(self.levels))
        if np.all(counts):
            return self
        keep = np.flatnonzero(counts)
        lookup = np.full(len(self.levels), -1, dtype=np.int32)
        lookup[keep] = np.arange(keep.size, dtype=np.int32)
        return Factor(lookup[self.codes], tuple(self.levels[j] for j in keep), self.ordered, self.coding)


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Columns that one call made, such as a polynomial or a spline: (n, k), one label each."""

    matrix: Array  # (n, k)
    labels: tuple[str, ...]  # (k,)


Value = np.ndarray | Factor | Basis
