"""Two workers beside one, in turns: what the engine makes of a second core.

The first call pays for the start of the processes, a second or so; it is not part of the figures, as they wait for the
next call. Where other work keeps the cores busy no second worker can show its worth: each run is beside one of
the same minute, and the best pair counts.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from inference_core import load_dataset, model

from .floors import timed

ROUNDS = 5


def pairs(stream, n: int) -> list[tuple[float, float]]:
    """Seconds of one and of two workers, in turns."""
    alone, together = stream.collect(n), stream.collect(n, n_jobs=2)
    np.testing.assert_array_equal(together.samples, alone.samples)
    return [(timed(lambda: stream.collect(n)), timed(lambda: stream.collect(n, n_jobs=2))) for _ in range(ROUNDS)]


@pytest.mark.parametrize("scheme", ["parametric", "cluster"])
def test_two_workers_on_refits_of_a_glmer(ratios, scheme):
    if (os.cpu_count() or 1) < 2:
        ratios.absent.append("two workers: this machine has one core")
        return
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    stream = model(formula, load_dataset("cbpp"), family="binomial").fit().draw_stream(scheme=scheme, seed=1)
    n = 40 * stream.kernel.chunk_rows  # some 2 seconds
    one, two = max(pairs(stream, n), key=lambda pair: pair[0] / pair[1])
    row = ratios.add(f"{n:,} refits of cbpp, {scheme}, two workers", two, one, "one worker", at_least=1.7)
    assert row.ratio >= 1.7
