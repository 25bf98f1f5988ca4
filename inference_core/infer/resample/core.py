"""Index generation, permutation p-values, and the three intervals of the specification, each one line on the engine."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.intervals import BCa_MIN_NBOOT, interval
from inference_core.infer.intervals.requirements import check_alternative
from inference_core.rng import RNG, Purpose

__all__ = [
    "BCa_MIN_NBOOT", "compute_bootstrap_ci_basic", "compute_bootstrap_ci_bca", "compute_bootstrap_ci_percentile",
    "compute_pvalues", "generate_bootstrap_indices", "generate_kfold_indices", "generate_loo_indices",
    "generate_permutation_indices",
]  # fmt: skip

ArrayLike = Any
TIE_SLACK = 1e-9  # relative: statistics of two arrangements that are equal in truth differ by rounding


def generate_bootstrap_indices(rng: RNG, n: int, n_boot: int) -> np.ndarray:
    """(n_boot, n) row numbers drawn with replacement; row i is a function of the seed and i alone.

    Examples
    --------
    >>> from inference_core.rng import RNG
    >>> generate_bootstrap_indices(RNG.from_seed(42), n=5, n_boot=3).shape
    (3, 5)
    """
    return rng.indices(0, n_boot, n)


def generate_permutation_indices(rng: RNG, n: int, n_perm: int) -> np.ndarray:
    """(n_perm, n) row numbers, each row a permutation of 0 .. n - 1.

    Examples
    --------
    >>> from inference_core.rng import RNG
    >>> sorted(generate_permutation_indices(RNG.from_seed(42), n=4, n_perm=1)[0].tolist())
    [0, 1, 2, 3]
    """
    return rng.permutations(0, n_perm, n)


def generate_kfold_indices(rng: RNG, n: int, k: int, shuffle: bool = True) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return k pairs (train, test) of sorted row numbers; the test sets part the rows, sizes differ by one at most.

    Raises
    ------
    InferenceError
        Unless 2 <= k <= n.

    Examples
    --------
    >>> from inference_core.rng import RNG
    >>> [len(test) for _, test in generate_kfold_indices(RNG.from_seed(42), n=10, k=4)]
    [3, 3, 2, 2]
    """
    if not 2 <= k <= n:
        raise InferenceError(
            asked=f"k={k} folds of {n} rows",
            found=f"every fold holds a row and leaves one: k lies between 2 and {n}",
            remedy=f"k={min(10, n)}",
        )
    fold = fold_of_rows(rng, n, k, shuffle)
    return [(np.flatnonzero(fold != j), np.flatnonzero(fold == j)) for j in range(k)]


def fold_of_rows(rng: RNG, n: int, k: int, shuffle: bool = True) -> np.ndarray:
    """(n,) fold of each row, the first n % k folds one row larger."""
    fold = np.repeat(np.arange(k), np.bincount(np.arange(n) % k, minlength=k))
    return rng.stream(0, Purpose.FOLD).permutation(fold) if shuffle else fold


def generate_loo_indices(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return n pairs (train, test), test holding row i alone.

    Examples
    --------
    >>> generate_loo_indices(3)[1]
    (array([0, 2]), array([1]))
    """
    rows = np.arange(n)
    return [(np.delete(rows, i), rows[i : i + 1]) for i in range(n)]


def compute_pvalues(
    observed_stats: ArrayLike,
    null_stats: ArrayLike,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> np.ndarray:
    """Permutation p-values (1 + #{T* at least as extreme}) / (B + 1), never below 1 / (B + 1).

    Parameters
    ----------
    observed_stats : (p,) or scalar
    null_stats : (B, p) or (B,)
        Statistics under the null. NaN (a refit without spread) counts as extreme.
    alternative : {"two-sided", "greater", "less"}
        Two-sided compares absolute values.

    Returns
    -------
    (p,)
        NaN where the observed statistic is NaN. Ties count as extreme, with a relative slack of 1e-9 for rounding.
    """
    observed = np.atleast_1d(np.asarray(observed_stats, float))
    null = _columns(null_stats)
    count = count_extreme(observed, null, alternative)
    return np.where(np.isnan(observed), np.nan, (1.0 + count) / (len(null) + 1.0))


def count_extreme(observed: np.ndarray, null: np.ndarray, alternative: str = "two-sided") -> np.ndarray:
    """(p,) how many of the draws (B, p) are at least as extreme as ``observed`` (p,); ties and NaN count."""
    check_alternative(alternative)
    if alternative == "two-sided":
        observed, null = np.abs(observed), np.abs(null)
    elif alternative == "less":
        observed, null = -observed, -null
    size = np.abs(observed)
    # A statistic of size t has lost t times the rounding of the data, which counts beyond 10^5.
    slack = np.maximum(TIE_SLACK, 1e-14 * size) * np.maximum(1.0, size)
    return np.count_nonzero(~(null < observed - slack), axis=0)


def compute_bootstrap_ci_percentile(boot_stats: ArrayLike, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile limits: quantiles of the draws at (1 - level)/2 and (1 + level)/2, by the rule of ``boot.ci``.

    Parameters
    ----------
    boot_stats : (n_boot,) or (n_boot, p)
    level : float

    Returns
    -------
    (lower, upper)
        Each (p,).
    """
    boot = _columns(boot_stats)
    found = interval("percentile", boot, np.zeros(boot.shape[1]), level)
    return found.lower, found.upper


def compute_bootstrap_ci_basic(
    observed: ArrayLike, boot_stats: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Basic (pivotal) limits: 2 theta - q_upper and 2 theta - q_lower.

    Parameters
    ----------
    observed : (p,) or scalar
    boot_stats : (n_boot,) or (n_boot, p)
    level : float

    Returns
    -------
    (lower, upper)
        Each (p,).
    """
    found = interval("basic", _columns(boot_stats), np.atleast_1d(np.asarray(observed, float)), level)
    return found.lower, found.upper


def compute_bootstrap_ci_bca(
    boot_stats: ArrayLike, observed: ArrayLike, jackknife_stats: ArrayLike | None = None, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Bias-corrected and accelerated limits.

    Parameters
    ----------
    boot_stats : (n_boot, p)
    observed : (p,)
    jackknife_stats : (n, p), optional
        Leave-one-out statistics for the acceleration; without them it is 0.
    level : float

    Returns
    -------
    (lower, upper)
        Each (p,). Where BCa is undefined (all draws on one side of the estimate, few distinct values, no
        acceleration) the percentile limits.

    Notes
    -----
    Efron, B. (1987). Better bootstrap confidence intervals. DiCiccio, T. J. & Efron, B. (1996). Bootstrap confidence
    intervals.
    """
    found = interval(
        "bca", _columns(boot_stats), np.atleast_1d(np.asarray(observed, float)), level,
        jackknife=None if jackknife_stats is None else _columns(jackknife_stats),
    )  # fmt: skip
    return found.lower, found.upper


def _columns(stats: ArrayLike) -> np.ndarray:
    stats = np.asarray(stats, float)
    return stats.reshape(len(stats), -1)
