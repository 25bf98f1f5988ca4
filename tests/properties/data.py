"""Random but well-behaved data for laws: every level occurs, nothing is separated, designs have full rank."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)
LEVELS = ("low", "mid", "high")


def frame(seed: int, n: int = 36) -> pl.DataFrame:
    """Rows with two numeric predictors, a factor of three levels, weights, and responses of four kinds."""
    rng = np.random.default_rng(seed)
    x, z = rng.standard_normal((2, n))
    codes = np.arange(n) % 3
    eta = 0.3 + 0.5 * x - 0.3 * z + 0.4 * (codes == 1)
    hit = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    hit[:6] = [0, 0, 0, 1, 1, 1]  # both outcomes at every level of g
    return pl.DataFrame(
        {
            "x": x,
            "z": z,
            "g": pl.Series([LEVELS[c] for c in codes], dtype=pl.Enum(LEVELS)),
            "w": rng.integers(1, 4, n).astype(float),
            "y": eta + rng.standard_normal(n),
            "count": rng.poisson(np.exp(eta)).astype(float),
            "time": rng.gamma(5.0, np.exp(eta) / 5.0),
            "hit": hit,
        }
    )


# One model of each kind: formula and keywords.
MODELS = {
    "lm": ("y ~ x + z + g", {}),
    "weighted lm": ("y ~ x * g", {"weights": "w"}),
    "lm with offset": ("y ~ x + g + offset(z)", {}),
    "logistic": ("hit ~ x", {"family": "binomial"}),
    "Poisson with offset": ("count ~ x + g", {"family": "poisson", "offset": "log(w)"}),
    "gamma": ("time ~ x + g", {"family": "gamma", "link": "log", "weights": "w"}),
}
