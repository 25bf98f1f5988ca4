"""Inference by every way there is; the modules carry the names of the specification.

``model.infer() -> dispatch_infer() -> dispatch_params_inference() -> asymptotic, bootstrap, ...``. Names are
imported when they are first asked for, so that ``import inference_core`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .asymptotic import compute_params_asymptotic, compute_prediction_asymptotic
    from .bootstrap import (
        build_emm_reference_grid,
        compute_bootstrap_params,
        compute_bootstrap_pvalue,
        compute_jackknife_coefs,
        compute_mee_bootstrap,
        compute_params_bootstrap,
        compute_params_bootstrap_mixed,
        compute_prediction_bootstrap,
    )
    from .cv import (
        compute_cv_metrics,
        compute_params_cv_inference,
        generate_group_kfold_splits,
        generate_kfold_splits,
        resolve_holdout_group_ids,
    )
    from .dispatch import InferResult, dispatch_infer
    from .mee import dispatch_mee_inference
    from .params import dispatch_params_inference
    from .permutation import compute_mee_permutation, compute_params_permutation
    from .prediction import dispatch_prediction_inference
    from .profile import compute_profile_inference
    from .satterthwaite_emm import compute_satterthwaite_emm_df
    from .simulation import compute_simulation_inference
    from .spread import augment_spread_with_profile_ci

__all__ = [
    "InferResult", "augment_spread_with_profile_ci", "build_emm_reference_grid", "compute_bootstrap_params",
    "compute_bootstrap_pvalue", "compute_cv_metrics", "compute_jackknife_coefs", "compute_mee_bootstrap",
    "compute_mee_permutation", "compute_params_asymptotic", "compute_params_bootstrap",
    "compute_params_bootstrap_mixed", "compute_params_cv_inference", "compute_params_permutation",
    "compute_prediction_asymptotic", "compute_prediction_bootstrap", "compute_profile_inference",
    "compute_satterthwaite_emm_df", "compute_simulation_inference", "dispatch_infer",
    "dispatch_mee_inference", "dispatch_params_inference", "dispatch_prediction_inference",
    "generate_group_kfold_splits", "generate_kfold_splits", "resolve_holdout_group_ids",
]  # fmt: skip

_HOME = MappingProxyType(
    {
        "InferResult": "dispatch",
        "augment_spread_with_profile_ci": "spread",
        "build_emm_reference_grid": "bootstrap",
        "compute_bootstrap_params": "bootstrap",
        "compute_mee_bootstrap": "bootstrap",
        "dispatch_mee_inference": "mee",
        "compute_bootstrap_pvalue": "bootstrap",
        "compute_jackknife_coefs": "bootstrap",
        "compute_params_asymptotic": "asymptotic",
        "compute_params_bootstrap": "bootstrap",
        "compute_params_permutation": "permutation",
        "compute_mee_permutation": "permutation",
        "compute_params_bootstrap_mixed": "bootstrap",
        "compute_profile_inference": "profile",
        "compute_satterthwaite_emm_df": "satterthwaite_emm",
        "compute_simulation_inference": "simulation",
        "compute_prediction_asymptotic": "asymptotic",
        "compute_prediction_bootstrap": "bootstrap",
        "dispatch_prediction_inference": "prediction",
        "resolve_holdout_group_ids": "cv",
        "generate_kfold_splits": "cv",
        "generate_group_kfold_splits": "cv",
        "compute_params_cv_inference": "cv",
        "compute_cv_metrics": "cv",
        "dispatch_infer": "dispatch",
        "dispatch_params_inference": "params",
    }
)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
