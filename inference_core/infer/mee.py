"""Inference for marginal effects: a table of methods and a lookup."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.states import DataBundle, FitState, MeeState, ModelSpec, ResamplesState

from .cells import require_cell
from .mee_asymptotic import compute_mee_asymptotic
from .mee_bootstrap import mee_bootstrap

_Found = tuple[MeeState, ResamplesState | None]


def _asymptotic(ask: dict[str, Any]) -> _Found:
    wanted = ("mee", "spec", "bundle", "fit", "data", "conf_level", "errors", "null", "alternative", "cluster")
    return compute_mee_asymptotic(**{name: ask[name] for name in wanted}), None


def _bootstrap(ask: dict[str, Any]) -> _Found:
    wanted = (
        "mee", "spec", "bundle", "fit", "data", "conf_level", "n_boot", "ci_type", "seed", "null", "alternative",
        "save_resamples", "scheme", "n_jobs", "verbose", "progress", "cancel",
    )  # fmt: skip
    return mee_bootstrap(**{name: ask[name] for name in wanted})


def _permutation(ask: dict[str, Any]) -> _Found:
    from .permutation.effects import mee_permutation

    wanted = (
        "mee", "spec", "bundle", "fit", "data", "conf_level", "n_perm", "seed", "null", "alternative",
        "save_resamples", "scheme", "errors", "n_jobs", "verbose", "progress", "cancel",
    )  # fmt: skip
    return mee_permutation(**{name: ask[name] for name in wanted})


# To add a method: its function here, its cells in ``cells.BUILT``.
MEE_METHODS: MappingProxyType[str, Callable[[dict[str, Any]], _Found]] = MappingProxyType(
    {"asymp": _asymptotic, "boot": _bootstrap, "perm": _permutation}
)


def infer_mee(
    *,
    how: str,
    mee: MeeState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame | None,
    conf_level: float = 0.95,
    errors: str = "iid",
    null: Any = 0.0,
    alternative: str = "two-sided",
    n_boot: int = 1000,
    n_perm: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    save_resamples: bool = True,
    scheme: str | None = None,
    n_jobs: int = 1,
    verbose: bool = False,
    progress: Any = None,
    cancel: Any = None,
    cluster: Any = None,
) -> _Found:
    """Marginal effects with inference by the method that ``how`` names, and the draws behind it.

    Parameters are those of :func:`dispatch_mee_inference`, and the protocol of every long loop.
    """
    ask = locals()
    require_cell("explore", how, spec)
    if how not in MEE_METHODS:
        raise InferenceError(f"effects by how={how!r}", f"effects have {', '.join(MEE_METHODS)}", "how='asymp'")
    return MEE_METHODS[how](ask)


def dispatch_mee_inference(
    *,
    how: str,
    mee: MeeState,
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    data: pl.DataFrame,
    conf_level: float,
    errors: str = "iid",
    null: float = 0.0,
    alternative: str = "two-sided",
    n_boot: int = 1000,
    n_perm: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    save_resamples: bool = True,
) -> tuple[MeeState, np.ndarray | None]:
    """Inference for marginal effects by the method that ``how`` names.

    Parameters
    ----------
    how : {"asymp", "boot", "perm"}
    mee : MeeState
        From ``marginal.explore``.
    spec, bundle, fit, data
        The fitted model and its original frame.
    conf_level, errors, null, alternative
        As in ``mee_asymptotic.compute_mee_asymptotic``.
    n_boot, n_perm, ci_type, seed, save_resamples
        As in ``mee_bootstrap.mee_bootstrap``.

    Returns
    -------
    mee : MeeState
        With inference.
    samples : (B, m) array or None
        Raw draws of boot and perm, if they are saved.

    Raises
    ------
    InferenceError
        A method that this model does not have.
    """
    found, resamples = infer_mee(
        how=how, mee=mee, spec=spec, bundle=bundle, fit=fit, data=data, conf_level=conf_level, errors=errors, null=null,
        alternative=alternative, n_boot=n_boot, n_perm=n_perm, ci_type=ci_type, seed=seed,
        save_resamples=save_resamples,
    )  # fmt: skip
    return found, np.asarray(resamples.samples) if resamples is not None and save_resamples else None
