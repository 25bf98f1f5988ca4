"""Inference for predictions: a table of methods and a lookup."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.states import CVState, DataBundle, FitState, ModelSpec, ResamplesState
from inference_core.states.prediction import PredictionState

from .cells import require_cell
from .prediction_asymptotic import predictions_asymptotic

_Found = tuple[PredictionState, CVState | None, ResamplesState | None]


def _bootstrap(ask: dict[str, Any]) -> _Found:
    from .prediction_bootstrap import predictions_bootstrap

    wanted = (
        "pred", "spec", "bundle", "fit", "data", "conf_level", "n_boot", "ci_type", "seed", "alternative",
        "save_resamples", "scheme", "n_jobs", "verbose", "progress", "cancel",
    )  # fmt: skip
    found, resamples = predictions_bootstrap(**{name: ask[name] for name in wanted})
    return found, None, resamples


def _cross_validation(ask: dict[str, Any]) -> _Found:
    from .prediction_cv import predictions_held_out

    wanted = (
        "pred", "spec", "bundle", "fit", "data", "k", "seed", "holdout_group_ids", "scheme", "repeats", "n_jobs",
        "verbose", "progress", "cancel",
    )  # fmt: skip
    return *predictions_held_out(**{name: ask[name] for name in wanted}), None


def _asymptotic(ask: dict[str, Any]) -> _Found:
    wanted = ("pred", "spec", "bundle", "fit", "conf_level", "errors", "data", "alternative", "cluster")
    return predictions_asymptotic(**{name: ask[name] for name in wanted}), None, None


# To add a method: its function here, its cells in ``cells.BUILT``.
PREDICTION_METHODS: MappingProxyType[str, Callable[[dict[str, Any]], _Found]] = MappingProxyType(
    {"asymp": _asymptotic, "boot": _bootstrap, "cv": _cross_validation}
)


def infer_predictions(
    *,
    how: str,
    pred: PredictionState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None = None,
    conf_level: float = 0.95,
    errors: str = "iid",
    alternative: str = "two-sided",
    cluster: Any = None,
    n_boot: int = 1000,
    ci_type: str = "percentile",
    seed: int | None = None,
    n_jobs: int = 1,
    save_resamples: bool = True,
    scheme: str | None = None,
    k: int | str | None = 10,
    holdout_group_ids: np.ndarray | None = None,
    repeats: int = 1,
    verbose: bool = False,
    progress: Any = None,
    cancel: Any = None,
) -> _Found:
    """Predictions with inference by the method that ``how`` names, the scores of how="cv", and the draws behind it.

    Parameters are those of :func:`dispatch_prediction_inference`, and the protocol of every long loop.
    """
    ask = locals()
    require_cell("predict", how, spec)
    if how not in PREDICTION_METHODS:
        raise InferenceError(
            f"predictions by how={how!r}", f"predictions have {', '.join(PREDICTION_METHODS)}", "how='asymp'"
        )
    return PREDICTION_METHODS[how](ask)


def dispatch_prediction_inference(
    *,
    how: str,
    pred: PredictionState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float,
    n_boot: int = 1000,
    ci_type: str = "percentile",
    seed: int | None = None,
    k: int | str = 10,
    holdout_group_ids: np.ndarray | None = None,
) -> tuple[PredictionState, CVState | None]:
    """Inference for predictions by the method that ``how`` names.

    Parameters
    ----------
    how : {"asymp", "boot", "cv"}
    pred : PredictionState
        From ``model.predict``.
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_boot, ci_type, seed
        As in ``prediction_bootstrap.compute_prediction_bootstrap``.
    k, holdout_group_ids
        As in ``cv.compute_cv_metrics``.

    Returns
    -------
    pred : PredictionState
        With inference.
    cv : CVState or None
        Scores of held-out rows, of how="cv".

    Raises
    ------
    InferenceError
        A method that predictions do not have.
    """
    found, cv, _ = infer_predictions(
        how=how, pred=pred, spec=spec, bundle=bundle, fit=fit, conf_level=conf_level, n_boot=n_boot, ci_type=ci_type,
        seed=seed, k=k, holdout_group_ids=holdout_group_ids,
    )  # fmt: skip
    return found, cv
