"""Permutation inference for the coefficients of a model: the table, and the draws behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inference_core.infer.coefficient import check_level, resolve_null
from inference_core.infer.intervals.requirements import check_alternative
from inference_core.progress import Cancel, Progress
from inference_core.solvers.threads import one_blas_thread
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.inference import InferenceState, ResamplesState
from inference_core.states.spec import ModelSpec

from .run import permutation_tests
from .stream import open_permutation_stream


def compute_params_permutation(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float,
    n_perm: int = 1000,
    seed: int | None = None,
    save_resamples: bool = True,
    null: float | Array = 0.0,
    alternative: str = "two-sided",
    *,
    scheme: str | None = "y",
    errors: str = "iid",
    means: bool = True,
    every: bool = False,
    data: Any = None,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> InferenceState:
    """Permutation tests of the coefficients of an lm or glm, studentised inside every draw.

    Called as specified it shuffles the response itself and tests every coefficient, those included whose p-value says
    little because shuffling leaves the mean where it is. ``model.infer(how="perm")`` calls it with ``scheme=None,
    means=False, every=True``.

    Parameters
    ----------
    spec, bundle, fit
        The fitted model.
    conf_level : float
        Between 0 and 1.
    n_perm : int
        Number of draws.
    seed : int, optional
        Draw i is a function of (seed, i), so a larger ``n_perm`` keeps the earlier draws.
    save_resamples : bool
        Keep the null distribution, ``perm_samples``.
    null : float, sequence or mapping
        The values tested: one for all, p of them, or by parameter name.
    alternative : {"two-sided", "greater", "less"}
    scheme : {"y", "freedman_lane", "ter_braak", "score_flip", "sign_flip"}, optional
        What is exchanged; None picks by the model.
    errors : str
        Standard error inside and outside the draws.
    means : bool
        Whether to test what shuffling cannot move; False gives null rows and says why.
    every : bool
        Try all arrangements where there are no more than ``n_perm`` or 5,000 of them; p is then a share, and exact.
    data : frame, optional
        The original frame, for Welch errors.
    n_jobs, verbose, progress, cancel
        The protocol of every long loop; a cancelled run returns what it has, marked so.

    Returns
    -------
    InferenceState
        p = (1 + #{T* as extreme as T}) / (B + 1), ties included; limits are the null values that the draws do not
        reject. ``perm_samples`` (B, p) hold t*, NaN in columns that are not tested.

    Raises
    ------
    InferenceError
        A scheme or errors that this model cannot have; no draw gave a statistic.

    Warns
    -----
    InferenceCoreWarning
        Too few draws for the level, before any is made; more than 10 % of the refits failed.
    """
    check_alternative(alternative)
    level = check_level(conf_level)
    null = resolve_null(null, bundle.X_names)
    with one_blas_thread():
        stream = open_permutation_stream(
            spec, bundle, fit, scheme=scheme, seed=seed, errors=errors, null=null, n_perm=n_perm, means=means,
            every=every, data=data,
        )  # fmt: skip
    tests = permutation_tests(
        stream, spec, bundle, fit, n_perm, level, alternative, n_jobs=n_jobs, progress=progress, cancel=cancel,
        verbose=verbose,
    )  # fmt: skip
    draws = tests.draws
    columns = np.array([bundle.X_names.index(name) for name in stream.names], int)

    def wide(values: Array) -> Array:
        out = np.full((*values.shape[:-1], bundle.p), np.nan)
        out[..., columns] = values
        return out

    return InferenceState(
        se=wide(tests.se),
        ci_lower=wide(tests.lower),
        ci_upper=wide(tests.upper),
        statistic=wide(tests.statistic),
        p_value=wide(tests.p_value),
        conf_level=level,
        method="perm",
        ci_type="inverted",
        errors=errors,
        scheme=stream.scheme,
        null=null,
        alternative=alternative,
        n_resamples=len(draws.status),
        n_requested=draws.n_requested,
        n_failed=draws.n_failed,
        failures=draws.failures,
        cancelled=draws.cancelled,
        mcse={name: wide(values) for name, values in tests.mcse.items()},
        seed=stream.seed,
        perm_samples=wide(draws.samples) if save_resamples else None,
        draw_status=draws.status if save_resamples else None,
        exact=tests.exact,
        notes=tests.notes,
    )


def permutation_resamples(
    inference: InferenceState, spec: ModelSpec, bundle: DataBundle, fit: FitState, data: Any = None
) -> ResamplesState | None:
    """The stored draws of a permutation table as a container that can rebuild each; None without draws."""
    if inference.perm_samples is None or inference.draw_status is None:
        return None
    tested = np.flatnonzero(~np.isnan(np.asarray(inference.statistic)))
    requested = inference.n_requested or len(inference.draw_status)
    stream = open_permutation_stream(
        spec, bundle, fit, scheme=inference.scheme, seed=inference.seed, errors=inference.errors, null=inference.null,
        n_perm=requested, data=data,
    )  # fmt: skip
    made = stream.resamples(
        inference.perm_samples[:, tested], inference.draw_status, n_requested=requested, cancelled=inference.cancelled
    )
    observed = np.asarray(inference.statistic)[tested]
    return replace(made, observed=observed, names=tuple(bundle.X_names[j] for j in tested))
