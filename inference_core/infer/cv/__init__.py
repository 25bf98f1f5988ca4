"""Cross-validation: how well a model predicts what it has not seen, and what each term contributes to that.

``splits`` divides the rows, ``plan`` checks a request, ``ablation`` leaves terms out, ``run`` sends each model the
fastest exact way (``closed`` least squares, ``batched`` kernels, ``refits``), ``scores`` and ``compute`` make states.
"""

from __future__ import annotations

from .compute import compute_cv_metrics, compute_params_cv_inference
from .splits import generate_group_kfold_splits, generate_kfold_splits, resolve_holdout_group_ids

__all__ = [
    "compute_cv_metrics",
    "compute_params_cv_inference",
    "generate_group_kfold_splits",
    "generate_kfold_splits",
    "resolve_holdout_group_ids",
]
