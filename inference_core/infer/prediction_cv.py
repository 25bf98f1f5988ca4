"""Held-out predictions of the rows of the fit: each from the folds that it is not in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.states import CVState, DataBundle, FitState, ModelSpec
from inference_core.states.prediction import PredictionState

from .cv import compute_cv_metrics, resolve_holdout_group_ids

if TYPE_CHECKING:
    import polars as pl


def predictions_held_out(
    pred: PredictionState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None = None,
    k: int | str | None = 10,
    seed: int | None = None,
    holdout_group_ids: np.ndarray | None = None,
    scheme: str | None = None,
    **loop: Any,
) -> tuple[PredictionState, CVState]:
    """Predictions of every row by a fit without it, and their scores.

    Parameters
    ----------
    pred : PredictionState
        Of the rows of the fit. Population predictions of a mixed model hold out whole groups, those of groups single
        rows.
    spec, bundle, fit, data, k, seed, holdout_group_ids, scheme
        As in ``cv.compute_cv_metrics``.
    **loop
        ``repeats, n_jobs, verbose, progress, cancel``; of several repeats the first is shown.

    Returns
    -------
    pred : PredictionState
        With ``cv_fitted`` on the scale of ``fitted``, ``cv_residual`` (response less prediction, response scale) and
        ``cv_fold``.
    cv : CVState
        The scores.

    Raises
    ------
    InferenceError
        Predictions of new rows, which have no response; a scheme that asks another question.
    """
    if not pred.training:
        raise InferenceError(
            ".infer(how='cv') after predict(newdata)",
            "new rows have no response to be held against",
            "predict() without newdata, then infer(how='cv')",
        )
    if spec.has_random_effects:
        scheme = _scheme(pred, scheme)
        if scheme == "rows":
            holdout_group_ids = None
        elif holdout_group_ids is None:
            holdout_group_ids = resolve_holdout_group_ids(None, data, spec, bundle)  # type: ignore[arg-type]
    cv = compute_cv_metrics(
        spec, bundle, k, seed, holdout_group_ids, data=data, fit=fit, scheme=scheme, **loop  # type: ignore[arg-type]
    )
    assert cv.oos_predictions is not None
    fitted = cv.oos_predictions
    if not pred.on_response:
        with np.errstate(all="ignore"):
            fitted = fitted_family(spec, fit).link.link(fitted)
    found = replace(
        pred, se=None, ci_lower=None, ci_upper=None, pi_lower=None, pi_upper=None, df=None, conf_level=None,
        method="cv", inference=None, cv_fitted=fitted, cv_residual=cv.oos_residuals, cv_fold=cv.folds,
        notes=(*(note for note in pred.notes if not note.startswith("held out:")), *cv.notes),
    )  # fmt: skip
    return found, cv


def _scheme(pred: PredictionState, scheme: str | None) -> str:
    """Population predictions are those of new groups, conditional ones of new rows of known groups."""
    natural = "rows" if pred.conditional else "groups"
    if scheme in (None, natural):
        return natural
    raise InferenceError(
        f"{'conditional' if pred.conditional else 'population'} predictions with {scheme} held out",
        "with single rows held out the groups are known, and with whole groups they are not",
        f"leave scheme and holdout_group out, or predict(varying={'exclude' if pred.conditional else 'include'!r})",
    )
