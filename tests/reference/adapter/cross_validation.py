"""Cross-validation on given folds, and leaving out one row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inference_core.infer import compute_cv_metrics, resolve_holdout_group_ids

from .answer import Answer
from .case import Case
from .table import column, estimable

POISSON_NAMES = {"mean_neg_loglik": "log_score"}  # R's name: ours


def cross_validation(case: Case) -> Answer:
    """``resample.cross_validation``: predictions, scores of folds and pooled, coefficients of the training rows."""
    m, folds = case.fitted(), np.array(case.values["fold"])
    state = compute_cv_metrics(m.spec, m.bundle, data=m.data, fit=m.fit_state, folds=folds)
    per_fold = _scores(state, case.values["per_fold"])
    values = {
        "k": state.k,
        "prediction": state.oos_predictions,
        "coef_per_fold": [_coef_without(case, folds == j) for j in range(state.k)],
        "per_fold": per_fold,
        "mean_over_folds": {name: np.mean(per_fold[name]) for name in case.values["mean_over_folds"]},
        "pooled": {name: state.metrics[name] for name in case.values["pooled"]},
    }
    return Answer(values, inputs=frozenset({"fold"}))


def _coef_without(case: Case, held: np.ndarray) -> np.ndarray:
    m = case.fitted(case.frame.filter(pl.Series(~held)))
    return column(m.params, "estimate")[estimable(m)]


def cross_validation_lmer(case: Case) -> Answer:
    """``resample.cross_validation_lmer``: whole groups by the fixed effects, rows with the effects of their groups."""
    m = case.fitted()
    values: dict[str, Any] = {"k": case.values["k"]}
    for name, given in case.values.items():
        if not isinstance(given, dict):
            continue
        folds = np.array(given["fold"])
        whole = name.startswith("leave_groups_out")
        ids = resolve_holdout_group_ids(None, m.data, m.spec, m.bundle) if whole else None
        state = compute_cv_metrics(
            m.spec, m.bundle, data=m.data, fit=m.fit_state, folds=folds, holdout_group_ids=ids,
            scheme="groups" if whole else "rows",
        )  # fmt: skip
        values[name] = {
            "fold": state.folds,
            "prediction": state.oos_predictions,
            "per_fold": _scores(state, given["per_fold"]),
        }
    return Answer(values)


def leave_one_out(case: Case) -> Answer:
    """``resample.loo``: held-out residuals, PRESS and predicted R2, from ``infer(how="cv", k="loo")``."""
    m = case.fitted().infer(how="cv", k="loo")
    rows = m.cv_predictions
    pooled = dict(zip(m.cv["metric"], m.cv["pooled"], strict=True))
    residual = column(rows, "residual")
    values = {
        "loo_residual": residual,
        "loo_prediction": column(rows, "prediction"),
        "press": np.sum(residual**2),
        "rmse": pooled["rmse"],
        "mae": pooled["mae"],
        "r2_press": pooled["r2"],
    }
    return Answer(values)


def _scores(state, wanted: dict[str, Any]) -> dict[str, Any]:
    """Scores of folds under R's names; the folds are R's, numbered from 0."""
    ours = {"fold": np.arange(state.k), **state.fold_metrics}
    return {name: ours[POISSON_NAMES.get(name, name)] for name in wanted}
