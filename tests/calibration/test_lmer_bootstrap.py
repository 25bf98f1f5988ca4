"""Coverage of 95 % bootstrap limits of fixed effects with 10 groups: what is said to hold, does."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.errors import InferenceCoreWarning

SETS, GROUPS, ROWS = 400, 10, 6

DRAWS = {"parametric": 999, "cluster": 399, "wild": 399}

# Scheme and type: coverage of the effect between groups and of the one within, in percent. From 1,500 data sets of
# another program with closed-form REML of a balanced design.
EXPECTED = {
    ("parametric", "expanded"): (94.7, 95.5),
    ("cluster", "expanded"): (94.7, 94.9),
    ("wild", "percentile"): (91.7, 90.4),
}


def data(rng: np.random.Generator) -> pl.DataFrame:
    """Random intercepts and slopes, SDs 1 and 1, noise 1; both effects 0; z between groups and x within."""
    g = np.repeat(np.arange(GROUPS), ROWS)
    z, x = rng.standard_normal(GROUPS)[g], rng.standard_normal(GROUPS * ROWS)
    u, v = rng.standard_normal((2, GROUPS))
    return pl.DataFrame({"y": u[g] + v[g] * x + rng.standard_normal(x.size), "z": z, "x": x, "g": g})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_coverage_of_fixed_effects_with_ten_groups():
    rng = np.random.default_rng(20261123)
    covered = {ask: np.zeros(2) for ask in EXPECTED}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceCoreWarning)  # a data set in a hundred has refits that fail
        for i in range(SETS):
            m = model("y ~ z + x + (x | g)", data(rng)).fit()
            for scheme, ci_type in EXPECTED:
                m.infer(how="boot", scheme=scheme, ci_type=ci_type, n_boot=DRAWS[scheme], seed=i)
                limits = m.inference
                # a limit that these draws cannot give (2 degrees of freedom) excludes nothing
                covered[scheme, ci_type] += ~((limits.ci_lower[1:] > 0) | (limits.ci_upper[1:] < 0))
    for ask, expected in EXPECTED.items():
        found = covered[ask] / SETS
        share = np.array(expected) / 100
        error = np.sqrt(share * (1 - share) / SETS)
        print(*ask, (100 * found).round(1))
        assert (np.abs(found - share) < 3 * error).all(), (ask, found)
