"""Linear predictor and mean at new rows of the design."""

from __future__ import annotations

import numpy as np

from inference_core.states import Array, FitState, ModelSpec

from .common import fitted_family


def linear_predictor(fit: FitState, X: Array, offset: Array | None = None) -> Array:
    """Eta = X b + offset over the estimable columns: X (m, p) in the columns of the fit -> (m,), link
    units.
    """
    kept = np.flatnonzero(~np.isnan(fit.coef))
    eta = X[:, kept] @ fit.coef[kept]
    return eta if offset is None else eta + offset


def link_se(fit: FitState, X: Array) -> Array:
    """Standard error of the linear predictor, sqrt(x'Vx): X (m, p) -> (m,), link units."""
    kept = np.flatnonzero(~np.isnan(fit.coef))
    A = X[:, kept]
    return np.sqrt(np.maximum(np.einsum("ij,ij->i", A @ fit.vcov[np.ix_(kept, kept)], A), 0.0))


def mean(spec: ModelSpec, fit: FitState, X: Array, offset: Array | None = None) -> Array:
    """Expected response at new rows: X (m, p) -> (m,), response units."""
    return fitted_family(spec, fit).link.inverse(linear_predictor(fit, X, offset))
