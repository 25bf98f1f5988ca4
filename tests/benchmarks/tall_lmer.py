"""A million rows in 100,000 groups with a random slope, in a process of its own: its seconds, memory and estimates."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

FORMULA = "y ~ x + (x | g)"


def rows(n: int, n_groups: int, seed: int = 1) -> pl.DataFrame:
    """Slopes and intercepts of spread 1 and 0.58, correlated 0.51; unit noise; labels of groups are text."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, n_groups, n)
    g[:n_groups] = np.arange(n_groups)
    x = rng.standard_normal(n)
    b = rng.standard_normal((n_groups, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    y = 1.0 + 2.0 * x + b[g, 0] + b[g, 1] * x + rng.standard_normal(n)
    return pl.DataFrame({"y": y, "x": x, "g": np.char.add("g", g.astype(str))})


def peak_bytes() -> int:
    """Largest resident size of this process: of its own program where Linux tells, not of what started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(n: int, n_groups: int) -> None:
    """Fit twice and print one line of JSON."""
    from inference_core import load_dataset, model

    data = rows(n, n_groups)
    model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()  # imports are paid here
    seconds, cpu = [], []
    for _ in range(3):
        start, begin = time.perf_counter(), time.process_time()
        m = model(FORMULA, data).fit()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - begin)
    theta = m.fit_state.theta
    assert theta is not None
    found = {"seconds": seconds, "cpu": cpu, "peak": peak_bytes(), "coef": m.params["estimate"].to_list()}
    print(json.dumps(found | {"theta": theta.tolist(), "sigma": m.fit_state.sigma}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
