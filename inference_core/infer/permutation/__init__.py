"""Permutation tests: shuffled rows and flipped signs, studentised inside every draw."""

from .stream import PermutationStream, open_permutation_stream
from .table import compute_params_permutation, permutation_resamples

__all__ = ["PermutationStream", "compute_params_permutation", "open_permutation_stream", "permutation_resamples"]
