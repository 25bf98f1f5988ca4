"""Cross-validation of linear models against one fit of the same data, in turns."""

from __future__ import annotations

import numpy as np
import polars as pl

from inference_core import model
from inference_core.infer.cv import compute_cv_metrics

from .bench_ratios import formula_of, random_frame
from .floors import side_by_side


def held_out(m, folds: np.ndarray, fold: int) -> np.ndarray:
    """Plain least squares on the training rows, and its predictions of one fold."""
    X, y, test = m.bundle.X, m.bundle.y, folds == fold
    return X[test] @ np.linalg.lstsq(X[~test], y[~test], rcond=None)[0]


def cross_validation(benchmark, ratios, frame: pl.DataFrame, k: int | str, at_most: float, name: str) -> None:
    m = model(formula_of(frame), frame).fit()

    def ours():
        return compute_cv_metrics(m.spec, m.bundle, k, 1, fit=m.fit_state)

    state = benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
    for fold in (0, state.k - 1):
        # Cross-products of a design whose condition is below 10, against an SVD.
        found = state.oos_predictions[state.folds == fold]
        np.testing.assert_allclose(found, held_out(m, state.folds, fold), rtol=1e-9, atol=1e-10)
    row = ratios.add(f"cross-validation, {name}", *side_by_side(ours, m.fit, rounds=21), "one fit", at_most=at_most)
    assert row.ratio <= at_most


def test_leaving_out_single_rows(benchmark, ratios):
    cross_validation(benchmark, ratios, random_frame(10_000, 20), "loo", 2.0, "leave-one-out, n = 10,000, p = 21")


def test_ten_folds_of_a_tall_lm(benchmark, ratios):
    cross_validation(benchmark, ratios, random_frame(100_000, 20), 10, 3.0, "10 folds, n = 100,000, p = 21")
