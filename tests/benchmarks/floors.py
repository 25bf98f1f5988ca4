"""What each operation is measured against: the least work it could be, or the peer people use today."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

CHUNK = 1 << 17  # indices drawn at a time: the fastest of the powers of two tried for both sizes below


def draw_and_count(n: int, n_boot: int, seed: int = 1) -> np.ndarray:
    """The floor of a case bootstrap: ``integers``, then one flat ``bincount`` a chunk. Gives the last one."""
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // n)
    for start in range(0, n_boot, rows):
        b = min(rows, n_boot - start)
        index = rng.integers(0, n, size=(b, n))
        index += np.arange(b)[:, None] * n
        counts = np.bincount(index.ravel(), minlength=b * n).reshape(b, n)
    return counts


def timed(job: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, of so many in a row."""
    start = time.perf_counter()
    for _ in range(times):
        job()
    return (time.perf_counter() - start) / times


def side_by_side(ours: Callable[[], object], floor: Callable[[], object], rounds: int = 9) -> tuple[float, float]:
    """Median seconds of both, run in turns so that a busy machine slows both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    ours(), floor()  # first calls pay for imports and caches
    for _ in range(rounds):
        for job, kept in zip((ours, floor), seconds, strict=True):
            kept.append(timed(job))
    return statistics.median(seconds[0]), statistics.median(seconds[1])
