"""Tails of the F reference; infinite denominators are chi-square over its degrees of freedom."""

from __future__ import annotations

import numpy as np
from scipy import special

from inference_core.states import Array


def f_tail(statistic: Array | float, df1: Array | float, df2: Array | float) -> Array:
    """P(F >= statistic), element by element; NaN in, NaN out."""
    statistic, df1, df2 = np.broadcast_arrays(*(np.asarray(x, float) for x in (statistic, df1, df2)))
    normal = np.isposinf(df2)
    known = np.maximum(statistic, 0.0)
    return np.where(
        normal, special.chdtrc(df1, known * df1), special.fdtrc(df1, np.where(normal, 1.0, df2), known)
    )
