"""Permutation tests: shuffled rows and flipped signs, studentised inside every draw."""

from .effects import compute_mee_permutation
from .hypotheses import Hypothesis, term_hypothesis
from .run import PermutationTests, permutation_tests
from .stream import PermutationStream, open_permutation_stream
from .table import compute_params_permutation, permutation_resamples

__all__ = [
    "Hypothesis", "PermutationStream", "PermutationTests", "compute_mee_permutation", "compute_params_permutation",
    "open_permutation_stream", "permutation_resamples", "permutation_tests", "term_hypothesis",
]  # fmt: skip
