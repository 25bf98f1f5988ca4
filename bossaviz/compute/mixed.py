"""Draws of a mixed model as a table: coefficients first, the numbers of the random part behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bossaviz.spreads import spreads_of
from inference_core.states import InferenceState, ResamplesState


def mixed_summary(
    resamples: ResamplesState, stream: Any, bundle: Any, *, ci_type: str, conf_level: float, null: float,
    alternative: str,
) -> InferenceState:  # fmt: skip
    """Return the table that ``model.infer`` gives for these draws, ``spread`` included."""
    from inference_core.infer.bootstrap_mixed import mixed_inference

    return mixed_inference(
        resamples, stream, bundle.p, ci_type=ci_type, conf_level=conf_level, null=null, alternative=alternative,
        save_resamples=False,
    )  # fmt: skip


def whole(inference: InferenceState | None) -> InferenceState | None:
    """Return a table with a row for every number of a draw: that of the random part behind the coefficients."""
    if inference is None or inference.spread is None:
        return inference
    spread = inference.spread
    s = len(spread.se)

    def behind(first: Any, last: Any) -> np.ndarray:
        return np.concatenate([np.asarray(first, float), np.full(s, np.nan) if last is None else np.asarray(last)])

    p = len(inference.se)
    names = ("se", "ci_lower", "ci_upper", "bias")
    parts = {name: behind(getattr(inference, name), getattr(spread, name)) for name in names}
    mcse = {name: behind(values, spread.mcse.get(name)) for name, values in inference.mcse.items()}
    null = np.concatenate([np.broadcast_to(np.asarray(inference.null, float), p), np.zeros(s)])
    return replace(
        inference, **parts, mcse=mcse, null=null, statistic=behind(inference.statistic, None),
        p_value=behind(inference.p_value, None), spread=None,
    )  # fmt: skip


def singular_count(bundle: Any, samples: np.ndarray) -> int:
    """Return how many of the draws (B, k) have a covariance at its limit: an SD at 0, or effects tied to each other."""
    if bundle.re_metadata is None or samples.shape[0] == 0 or samples.shape[1] <= bundle.p:
        return 0
    from inference_core.infer.resample.lmer_kernel import singular_draws

    spread, known = samples[:, bundle.p :], spreads_of(bundle)
    if spread.shape[1] < len(known):  # a family without a residual SD
        spread = np.column_stack([spread, np.ones(len(spread))])
    return int(np.count_nonzero(singular_draws(bundle.re_metadata, spread)))
