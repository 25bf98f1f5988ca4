"""Parameter inference: a table of methods and a lookup."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import polars as pl

from inference_core.errors import InferenceError
from inference_core.states import DataBundle, FitState, InferenceState, ModelSpec

from .asymptotic import compute_params_asymptotic, resolve_error_type
from .bootstrap import compute_params_bootstrap, compute_params_bootstrap_mixed
from .cells import require_cell


def _asymptotic(*, spec: ModelSpec, bundle: DataBundle, fit: FitState, ask: dict[str, Any]) -> InferenceState:
    wanted = ("conf_level", "errors", "data", "null", "alternative", "cluster")
    return compute_params_asymptotic(spec, bundle, fit, **{name: ask[name] for name in wanted})


def _bootstrap(*, spec: ModelSpec, bundle: DataBundle, fit: FitState, ask: dict[str, Any]) -> InferenceState:
    wanted = (
        "conf_level", "n_boot", "ci_type", "seed", "save_resamples", "n_jobs", "null", "alternative",
        "scheme", "verbose", "progress", "cancel",
    )  # fmt: skip
    if spec.has_random_effects:
        return compute_params_bootstrap_mixed(spec, bundle, fit, **{name: ask[name] for name in wanted})
    errors = resolve_error_type(ask["errors"], spec.family)
    return compute_params_bootstrap(spec, bundle, fit, errors=errors, **{name: ask[name] for name in wanted})


def _permutation(*, spec: ModelSpec, bundle: DataBundle, fit: FitState, ask: dict[str, Any]) -> InferenceState:
    from .permutation import compute_params_permutation

    wanted = (
        "conf_level", "n_perm", "seed", "save_resamples", "n_jobs", "null", "alternative", "scheme", "data", "verbose",
        "progress", "cancel",
    )  # fmt: skip
    errors = resolve_error_type(ask["errors"], spec.family)
    return compute_params_permutation(
        spec, bundle, fit, errors=errors, means=False, every=True, **{name: ask[name] for name in wanted}
    )


def _cross_validation(*, spec: ModelSpec, bundle: DataBundle, fit: FitState, ask: dict[str, Any]) -> InferenceState:
    from .cv import compute_params_cv_inference

    wanted = ("link_override", "k", "seed", "n_jobs", "scheme", "verbose", "progress", "cancel")
    return compute_params_cv_inference(
        spec, bundle, ask["data"], ask["conf_level"], fit=fit, **{name: ask[name] for name in wanted}
    )[0]


# To add a method: its function here, its cell in ``cells.BUILT``.
PARAMS_METHODS: MappingProxyType[str, Callable[..., InferenceState]] = MappingProxyType(
    {"asymp": _asymptotic, "boot": _bootstrap, "cv": _cross_validation, "perm": _permutation}
)


def dispatch_params_inference(
    *,
    how: str,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None,
    conf_level: float,
    errors: str = "iid",
    null: Any = 0.0,
    alternative: str = "two-sided",
    link_override: str | None = None,
    n_boot: int = 1000,
    n_perm: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    n_jobs: int = 1,
    save_resamples: bool = True,
    k: int | str = 10,
    scheme: str | None = None,
    verbose: bool = False,
    progress: Any = None,
    cancel: Any = None,
    cluster: Any = None,
) -> InferenceState:
    """Inference for the parameters of a fitted model, by the method that ``how`` names.

    Parameters
    ----------
    how : str
        "asymp", "boot" or "perm".
    spec, bundle, fit
        The fitted model.
    data : polars.DataFrame or None
        The original frame; Welch errors read the factors' columns from it.
    conf_level, errors, null, alternative, cluster
        As in ``asymptotic.compute_params_asymptotic``.
    link_override, n_perm, k
        Of methods that are not built yet.
    n_boot, ci_type, seed, n_jobs, save_resamples, scheme, verbose, progress, cancel
        As in ``bootstrap.compute_params_bootstrap``.

    Returns
    -------
    InferenceState
        One row per parameter.

    Raises
    ------
    InferenceError
        An unknown method, or one that this model does not have.
    """
    ask = locals()
    require_cell("fit", how, spec)
    if how not in PARAMS_METHODS:
        raise InferenceError(
            asked=f"a table of parameters by how={how!r}",
            found=f"tables of parameters come from {', '.join(PARAMS_METHODS)}; how={how!r} is more than a table",
            remedy=f"dispatch_infer(how={how!r}, ...), or model.infer",
        )
    return PARAMS_METHODS[how](spec=spec, bundle=bundle, fit=fit, ask=ask)
