"""Resampling: draws, refits of all draws at once, and what they share."""

from .core import (
    BCa_MIN_NBOOT,
    compute_bootstrap_ci_basic,
    compute_bootstrap_ci_bca,
    compute_bootstrap_ci_percentile,
    compute_pvalues,
    generate_bootstrap_indices,
    generate_kfold_indices,
    generate_loo_indices,
    generate_permutation_indices,
)
from .glm_operators import compute_batched_glm_bootstrap
from .glmer import glmer_bootstrap
from .lm_operators import build_lm_coefficient_operator, compute_batched_ols_bootstrap
from .lmer import lmer_bootstrap
from .results import BootstrapResult
from .simulate import simulate_response

__all__ = [
    "BCa_MIN_NBOOT",
    "BootstrapResult",
    "build_lm_coefficient_operator",
    "compute_batched_glm_bootstrap",
    "compute_batched_ols_bootstrap",
    "compute_bootstrap_ci_basic",
    "compute_bootstrap_ci_bca",
    "compute_bootstrap_ci_percentile",
    "compute_pvalues",
    "generate_bootstrap_indices",
    "generate_kfold_indices",
    "generate_loo_indices",
    "generate_permutation_indices",
    "glmer_bootstrap",
    "lmer_bootstrap",
    "simulate_response",
]
