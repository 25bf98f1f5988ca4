"""Streams of draws of linear mixed models: what is drawn, the refits behind it, and what its limits need."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.mixed_df import mixed_df
from inference_core.rng import RNG
from inference_core.states import Array, DataBundle, FitState, ModelSpec

from .lmer_cluster import ClusterKernel, without_groups
from .lmer_kernel import LmerKernel, refuse_without_lmer
from .lmer_residual import ResidualDraws
from .lmer_wild import WildDraws
from .stream import DrawStream
from .whole_groups import FEWEST, WholeGroups


def parametric(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """New random effects and new noise from the fitted model."""
    kernel, common = _begin("a parametric bootstrap", spec, bundle, fit, **options)
    return DrawStream(
        kernel=kernel, scheme="parametric", drawn=kernel.simulate, inflation=1.0,
        responses=partial(kernel.response, bundle=bundle),
        interval_df=partial(_satterthwaite, kernel, spec, bundle, fit), **common,
    )  # fmt: skip


def residual(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """The fit's own effects and residuals, centred, reflated and drawn again."""
    kernel, common = _begin("a residual bootstrap", spec, bundle, fit, **options)
    draws = ResidualDraws.of(kernel, fit)
    return DrawStream(
        kernel=kernel, scheme="residual", drawn=draws.simulate, inflation=1.0,
        responses=partial(kernel.response, bundle=bundle, simulate=draws.simulate),
        interval_df=partial(_satterthwaite, kernel, spec, bundle, fit), **common,
    )  # fmt: skip


def wild(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """Whole groups of adjusted residuals with random signs; coefficients only."""
    asked = "a wild bootstrap"
    kernel, common = _begin(asked, spec, bundle, fit, with_spread=False, **options)
    if not kernel.problem.kept.size:
        raise InferenceError(
            asked, f"{spec.formula!r} has no fixed effects, and flips say nothing of SDs", "scheme='parametric'"
        )
    groups = WholeGroups.outermost(kernel.problem, asked, FEWEST)
    draws = WildDraws.of(kernel, fit, groups)
    return DrawStream(
        kernel=kernel, scheme="wild", drawn=draws.simulate, inflation=1.0,
        responses=partial(kernel.response, bundle=bundle, simulate=draws.simulate),
        interval_df=partial(_between_groups, kernel, groups.J), **common,
    )  # fmt: skip


def cluster(spec: ModelSpec, bundle: DataBundle, fit: FitState, **options: Any) -> DrawStream:
    """Whole groups of the outermost factor, drawn with replacement; a group drawn twice is two groups."""
    asked = "a cluster bootstrap"
    base, common = _begin(asked, spec, bundle, fit, **options)
    kernel = ClusterKernel(base, WholeGroups.outermost(base.problem, asked, FEWEST))
    J = kernel.groups.J
    return DrawStream(
        kernel=kernel, scheme="cluster", drawn=kernel.counts, inflation=J / (J - 1.0), rows_of=kernel.drawn_rows,
        interval_df=partial(_between_groups, base, J), **common,
    )  # fmt: skip


def _begin(
    asked: str, spec: ModelSpec, bundle: DataBundle, fit: FitState, *, seed: int | None = None, errors: str = "iid",
    want_se: bool = False, with_spread: bool = True,
) -> tuple[LmerKernel, dict[str, Any]]:  # fmt: skip
    """The kernel, and what streams of every scheme have in common."""
    refuse_without_lmer(spec, asked)
    if errors != "iid":
        raise InferenceError(
            f"{asked} with errors={errors!r}",
            "refits of a mixed model carry the standard errors of the model itself",
            "leave errors out; scheme='cluster' or 'wild' draws whole groups as these errors see them",
        )
    kernel = LmerKernel.of(spec, bundle, fit, asked=asked, want_se=want_se, with_spread=with_spread)
    spread = len(kernel.spread_names)
    se = np.concatenate([np.sqrt(np.diagonal(fit.vcov)), np.full(spread, np.nan)]) if want_se else None
    return kernel, {
        "rng": RNG.from_seed(seed),
        "names": (*bundle.X_names, *kernel.spread_names),
        "observed": kernel.observed,
        "observed_se": se,
        "want_se": want_se,
        "leave_one_out": partial(without_groups, kernel),
    }


# ---- degrees of freedom of expanded limits: (k,), infinite for what has none ---------------------------------


def _satterthwaite(kernel: LmerKernel, spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Array:
    return _widened(mixed_df(spec, bundle, fit).satterthwaite(), kernel)


def _between_groups(kernel: LmerKernel, J: int) -> Array:
    return _widened(np.full(kernel.p, J - 1.0), kernel)


def _widened(df: Array, kernel: LmerKernel) -> Array:
    return np.concatenate([np.where(df > 0, df, np.inf), np.full(len(kernel.spread_names), np.inf)])


SCHEMES = MappingProxyType({"parametric": parametric, "cluster": cluster, "residual": residual, "wild": wild})
