"""Comparisons by resampling: a likelihood ratio against its own distribution, and held-out error fold by fold."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from inference_core.errors import InferenceCoreError, InferenceCoreWarning, InferenceError
from inference_core.fit import fit_model
from inference_core.fit.common import fitted_family
from inference_core.infer.cv import compute_cv_metrics
from inference_core.infer.cv.compute import nadeau_bengio
from inference_core.infer.simulation.responses import simulate_fitted
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.rng import RNG
from inference_core.states import Array, CVState

from .steps import Step, Tested, likelihood_ratio

if TYPE_CHECKING:
    from .compare import Side

BLOCK = 25  # responses drawn at a time


def bootstrap_ratio(
    step: Step, n_boot: int, seed: int | None, progress: Progress | None = None, cancel: Cancel | None = None
) -> Tested:
    """The likelihood ratio against that of responses which the smaller model made up: both models are refitted to each.

    p = (1 + draws with a ratio at least as large) / (1 + draws). Source: Davison & Hinkley (1997), section 4.2.

    Raises
    ------
    InferenceError
        More than one draw in ten could not be fitted.
    """
    observed = likelihood_ratio(step)
    rng = RNG.from_seed(seed)
    monitor = Monitor(n_boot, progress=progress, cancel=cancel)
    at_least = done = failed = 0
    for start in range(0, n_boot, BLOCK):
        Y, _ = simulate_fitted(step.small.spec, step.small.bundle, step.small.fit, min(start + BLOCK, n_boot), rng)
        for y in Y[:, start:].T:
            ratio = _ratio(step, y)
            failed += np.isnan(ratio)
            at_least += bool(ratio >= observed.statistic * (1 - 1e-9))
            done += 1
        if not monitor.tick(done):
            break
    monitor.close()
    if failed > 0.1 * done:
        found = f"{failed:,} could not be fitted by both models"
        raise InferenceError(f"a bootstrap likelihood ratio with {done:,} draws", found, "test='lrt'")
    p = (1 + at_least) / (1 + done - failed)
    return Tested(observed.df, observed.statistic, np.nan, float(p))


def _ratio(step: Step, y: Array) -> float:
    try:
        with warnings.catch_warnings():  # a draw that separates or stands at a boundary is a draw like any other
            warnings.simplefilter("ignore", InferenceCoreWarning)
            small, large = (_refitted(side, y) for side in (step.small, step.large))
    except InferenceCoreError:
        return np.nan
    return max(small.criterion - large.criterion, 0.0)


def _refitted(side: Side, y: Array) -> Side:
    """The same model with another response; rows of weight 0, which have none, keep their own."""
    bundle = replace(side.bundle, y=np.where(np.isnan(y), side.bundle.y, y))
    return replace(side, bundle=bundle, fit=fit_model(side.spec, bundle, n_agq=side.fit.n_agq or 1))


def cross_validated(sides: list[Side], k: int, repeats: int, seed: int | None) -> list[CVState]:
    """Every model on the same folds: those of the first."""
    first = _validated(sides[0], k=k, repeats=repeats, seed=RNG.from_seed(seed).seed)
    return [first, *(_validated(side, folds=first.assignment) for side in sides[1:])]


def _validated(side: Side, **options) -> CVState:
    return compute_cv_metrics(side.spec, side.bundle, data=side.data, fit=side.fit, **options)


def fold_errors(side: Side, state: CVState) -> Array:
    """(R k,) mean unit deviance of each fold's held-out rows; for a gaussian response the mean squared error."""
    family = fitted_family(side.spec, side.fit)
    weights = side.bundle.prior_weights
    weights = np.ones(side.bundle.n) if weights is None else weights
    assert state.predictions is not None and state.assignment is not None
    out = []
    for prediction, fold in zip(state.predictions, state.assignment, strict=True):
        known = np.isfinite(prediction)
        lost = np.zeros(len(prediction))
        lost[known] = family.unit_deviance(side.bundle.y[known], prediction[known]) * weights[known]
        k = int(fold.max()) + 1
        out.append(np.bincount(fold, lost, k) / np.bincount(fold, weights * known, k))
    return np.concatenate(out)


def paired(small: Array, large: Array, k: int, repeats: int) -> dict[str, float]:
    """What the larger model saves, fold by fold, with Nadeau and Bengio's corrected t on k - 1 degrees of freedom."""
    saved = small - large
    difference, se = float(saved.mean()), float(saved.std(ddof=1) * nadeau_bengio(k, repeats))
    t = difference / se if se > 0 else np.nan
    p = 2 * float(special.stdtr(k - 1, -abs(t))) if np.isfinite(t) else np.nan
    return {"cv_difference": difference, "cv_se": se, "df": float(k - 1), "statistic": t, "p_value": p}
