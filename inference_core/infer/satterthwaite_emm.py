"""Satterthwaite degrees of freedom for contrast rows of a linear mixed model."""

from __future__ import annotations

import numpy as np

from inference_core.fit.mixed_df import mixed_df
from inference_core.states import Array, DataBundle, FitState, ModelSpec


def compute_satterthwaite_emm_df(bundle: DataBundle, fit: FitState, spec: ModelSpec, L: np.ndarray) -> Array:
    """Satterthwaite denominator degrees of freedom, one per contrast row.

    Matches two moments of the estimated variance of l'b to a scaled chi-square; the derivatives in the covariance
    parameters and sigma are exact. Always at the REML optimum.

    Parameters
    ----------
    bundle, fit, spec
        A fitted linear mixed model with p columns.
    L : (m, p) array
        Contrast rows; weights of columns that the design dropped do not count.

    Returns
    -------
    (m,) array
        Degrees of freedom; NaN for a row of zeros.

    Raises
    ------
    InferenceError
        Not a Gaussian mixed model, rows of another width, or more random effects of several factors than the dense
        kernel takes.
    """
    return mixed_df(spec, bundle, fit).satterthwaite(L)
