"""Streams of draws of generalized linear mixed models: what is drawn, and the refits behind it."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from inference_core.errors import InferenceError
from inference_core.rng import RNG
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .glmer_cluster import GlmerClusterKernel, whole_groups, without_groups
from .glmer_kernel import GlmerKernel
from .mixed_limits import refuse_residuals
from .stream import DrawStream
from .whole_groups import FEWEST


def parametric(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """New random effects and new responses of the model's family in every draw."""
    asked = "a parametric bootstrap"
    _refuse_parts_of_trials(spec, bundle, asked)
    kernel, common = _begin(asked, spec, bundle, fit, **options)
    return DrawStream(
        kernel=kernel, scheme="parametric", drawn=kernel.simulate, responses=partial(kernel.response, bundle=bundle),
        interval_df=kernel.interval_df, inflation=1.0, **common,
    )  # fmt: skip


def cluster(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """Whole groups of the outermost factor, drawn with replacement; a group drawn twice is two groups."""
    asked = "a cluster bootstrap"
    base, common = _begin(asked, spec, bundle, fit, **options)
    kernel = GlmerClusterKernel(base, whole_groups(base, asked, FEWEST))
    J = kernel.groups.J
    return DrawStream(
        kernel=kernel, scheme="cluster", drawn=kernel.counts, rows_of=kernel.drawn_rows, inflation=J / (J - 1.0),
        interval_df=partial(_between_groups, kernel), **common,
    )  # fmt: skip


def _refused(scheme: str, *_: Any, **__: Any) -> NoReturn:
    refuse_residuals(scheme)


SCHEMES = MappingProxyType({
    "parametric": parametric, "cluster": cluster, "residual": partial(_refused, "residual"),
    "wild": partial(_refused, "wild"),
})  # fmt: skip


def _begin(
    asked: str, spec: ModelSpec, bundle: DataBundle, fit: FitState, *, seed: int | None = None, errors: str = "iid",
    want_se: bool = False,
) -> tuple[GlmerKernel, dict[str, Any]]:  # fmt: skip
    """The kernel, and what streams of every scheme have in common."""
    if want_se or errors != "iid":
        raise InferenceError(
            f"{asked} with errors={errors!r}" + (" and their standard errors" if want_se else ""),
            "refits of a generalized mixed model carry no standard errors of their own",
            "ci_type='expanded' or 'percentile' with errors='iid'",
        )
    kernel = GlmerKernel.of(spec, bundle, fit)
    return kernel, {
        "rng": RNG.from_seed(seed),
        "names": (*bundle.X_names, *kernel.spread_names),
        "observed": kernel.observed,
        "leave_one_out": partial(without_groups, kernel),
    }


def _refuse_parts_of_trials(spec: ModelSpec, bundle: DataBundle, asked: str) -> None:
    trials = bundle.prior_weights
    if not spec.family.startswith("binomial") or trials is None:
        return
    parts = np.abs(trials - np.rint(trials)) > 1e-7  # whole numbers that went through a float division
    if np.any(parts):
        row = int(np.argmax(parts))
        raise InferenceError(
            asked,
            f"row {np.flatnonzero(bundle.valid_mask)[row]} (counting from 0) has {trials[row]:g} trials, weights "
            "included: a response of part of a trial cannot be drawn",
            "scheme='cluster' draws whole groups as they are, weights included",
        )


def _between_groups(kernel: GlmerClusterKernel) -> Array:
    """(k,) J - 1 for coefficients, infinite for the spread, whose limits are percentiles."""
    spread = kernel.base.observed.size - kernel.p
    return np.concatenate([np.full(kernel.p, kernel.groups.J - 1.0), np.full(spread, np.inf)])
