"""What every resampling loop shares: running it, stacking its draws, counting its failures."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from inference_core.errors import DataError
from inference_core.progress import Monitor
from inference_core.rng import RNG, count_rows
from inference_core.states.base import Array

from .engine import batches

__all__ = [
    "Array", "RefitKernel", "collect_boot_samples", "compute_bootstrap_ci", "refit_indices",
    "run_bootstrap_iterations", "warn_on_failures",
]  # fmt: skip

# More than this share of failed refits, and a reader must know.
FAILURE_SHARE = 0.10


class RefitKernel(Protocol):
    """A model that can be refitted on any batch of resamples: a pure function of the counts of its rows."""

    @property
    def n(self) -> int:
        """Rows of the data."""
        ...

    @property
    def p(self) -> int:
        """Columns of the design."""
        ...

    @property
    def chunk_rows(self) -> int:
        """Resamples that one call should bring."""
        ...

    # A kernel that leaves the interpreter lock alone most of the time says so with ``threads = True``.

    def refit(self, counts: Array, /) -> tuple[Array, Array, Array | None]:
        """(coef (b, p), status (b,), se (b, p) or None) for counts (b, n), or for whatever else the stream draws."""
        ...


def refit_indices(
    kernel: RefitKernel, indices: Array, chunk_size: int | None = None
) -> tuple[Array, Array, Array | None]:
    """Refit on resamples given as row numbers (B, m): coefficients (B, p), status (B,), standard errors or None.

    Raises
    ------
    DataError
        If a row number lies outside the data.
    """
    indices = np.asarray(indices)
    if indices.ndim != 2 or not np.issubdtype(indices.dtype, np.integer):
        raise DataError(
            asked="refits of given resamples",
            found=f"an array of shape {indices.shape} and type {indices.dtype}",
            remedy="whole row numbers, one resample a row: shape (n_boot, n)",
        )
    if indices.size and (indices.min() < 0 or indices.max() >= kernel.n):
        raise DataError(
            asked="refits of given resamples",
            found=f"row numbers from {indices.min()} to {indices.max()}, data with {kernel.n} rows",
            remedy=f"row numbers count from 0 to {kernel.n - 1}",
        )
    step = chunk_size or kernel.chunk_rows
    parts = [
        kernel.refit(count_rows(indices[at : at + step], kernel.n).astype(float))
        for at in range(0, len(indices), step)
    ]
    if not parts:
        return np.empty((0, kernel.p)), np.empty(0, np.int8), None
    coef, status, se = zip(*parts, strict=True)
    return np.concatenate(coef), np.concatenate(status), None if se[0] is None else np.concatenate(se)


def run_bootstrap_iterations(
    iteration_fn: Callable[..., np.ndarray],
    rngs: list[RNG],
    n_boot: int,
    iter_kwargs: dict[str, Any],
    n_jobs: int = 1,
    verbose: bool = False,
    desc: str = "Bootstrap",
) -> list[np.ndarray]:
    """Call ``iteration_fn(rng, **iter_kwargs)`` once per generator, here or on joblib's workers.

    Parameters
    ----------
    iteration_fn : callable
        Returns the statistics of one replicate; a module-level function, so that workers can import it.
    rngs : list of RNG
        One per iteration: the draws then do not depend on who computes them.
    n_boot : int
        How many of ``rngs`` to use.
    iter_kwargs : dict
        Passed on to every call.
    n_jobs : int
        1 runs here, -1 on all cores; ``joblib.parallel_config`` chooses another backend.
    verbose : bool
        Show a progress bar.
    desc : str
        Its label.

    Returns
    -------
    list of arrays
        In the order of ``rngs``.
    """
    out: list[np.ndarray] = []
    compute = partial(_iterate, iteration_fn, iter_kwargs)
    with (
        closing(Monitor(n_boot, verbose=verbose, desc=desc)) as monitor,
        closing(batches(compute, rngs[:n_boot], n_jobs=n_jobs)) as work,
    ):
        for results in work:
            out += results
            monitor.tick(len(out))
    return out


def _iterate(iteration_fn: Callable[..., np.ndarray], iter_kwargs: dict[str, Any], rng: RNG) -> np.ndarray:
    return iteration_fn(rng, **iter_kwargs)


def collect_boot_samples(
    boot_samples_list: list[np.ndarray], n_boot: int, context: str = "Bootstrap"
) -> tuple[np.ndarray, np.ndarray, int]:
    """Stack per-iteration statistics and find the failed ones.

    Returns
    -------
    boot_samples : (n_boot, k)
    valid_mask : (n_boot,) bool
        False for rows that are NaN throughout; a column that the design drops is NaN in every row and fails nobody.
    n_failed : int
        Rows that failed; more than 10 % of ``n_boot`` warn.
    """
    samples = np.asarray(boot_samples_list, float).reshape(len(boot_samples_list), -1)
    valid = np.asarray(~np.isnan(samples).all(axis=1))
    n_failed = int(n_boot - np.count_nonzero(valid))
    warn_on_failures(n_failed, n_boot, context)
    return samples, valid, n_failed


def warn_on_failures(n_failed: int, n_total: int, context: str = "Bootstrap") -> None:
    """Warn (RuntimeWarning) when more than 10 % of the iterations failed."""
    if n_total and n_failed > FAILURE_SHARE * n_total:
        warnings.warn(
            f"{context}: {n_failed} of {n_total} refits failed ({n_failed / n_total:.0%}); "
            "limits and p-values rest on the others",
            RuntimeWarning,
            stacklevel=2,
        )


def compute_bootstrap_ci(
    coef_obs: np.ndarray,
    boot_samples_valid: np.ndarray,
    ci_type: Literal["percentile", "basic", "bca"],
    level: float,
    jackknife_stats: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of one type, (lower (p,), upper (p,)).

    ``ci_type="bca"`` takes its acceleration from ``jackknife_stats`` (n, p); without them it is 0.
    """
    from inference_core.infer.intervals import interval

    result = interval(ci_type, boot_samples_valid, coef_obs, level, jackknife=jackknife_stats)
    return result.lower, result.upper
