"""Our own way to the design gives formulaic's model matrices wherever formulaic follows R."""

from __future__ import annotations

import numpy as np
import pandas
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.design import build_bundle

FORMULAS = [
    "x1", "x1 + x2", "0 + x1 + x2", "f", "f + x1", "f * x1", "f * g", "f + g + x1", "f * g * x1", "x1 * x2 * x3",
    "x1:x2", "f + f:g", "g + x1 + g:x1", "0 + f", "0 + f + g + x1", "(x1 + f + g)^2", "f/g", "x1 + f * g - f:g",
    "f + log(x1) + x2:log(x1)", "poly(x1, 3)", "poly(x1, 2, raw=True) + f",
    "center(x1) * f", "scale(x2)", "bs(x1, df=5)", "bs(x1, df=6, degree=2) + x2", "f * poly(x2, 2)",
]  # fmt: skip


def frame_of(seed: int, n: int = 40) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "y": rng.normal(size=n),
            "x1": rng.uniform(1, 3, n),
            "x2": rng.normal(size=n),
            "x3": rng.integers(0, 5, n),
            "f": np.concatenate([list("abc"), rng.choice(list("abc"), n - 3)]),
            "g": np.concatenate([list("uv"), rng.choice(list("uv"), n - 2)]),
        }
    )


def formulaics(formula: str, frame: pl.DataFrame) -> np.ndarray:
    import formulaic

    table = pandas.DataFrame({name: frame[name].to_numpy() for name in frame.columns})
    return np.asarray(formulaic.model_matrix(formula, table), dtype=float)


@pytest.mark.parametrize("formula", FORMULAS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_matrix(formula, seed):
    frame = frame_of(seed)
    ours = build_bundle(f"y ~ {formula}", frame)[1].X
    theirs = formulaics(formula, frame)
    # formulaic orders the columns of an interaction as R does; splines and polynomials differ by rounding only
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coding", ["sum", "helmert", "poly"])
@pytest.mark.parametrize("formula", ["f", "f * g", "f * x1"])
def test_the_same_codings(formula, coding):
    frame = frame_of(3)
    ours = build_bundle(f"y ~ {formula}", frame, contrasts={"f": coding})[1].X
    theirs = formulaics(formula.replace("f", f"C(f, contr.{coding})"), frame)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)  # rounding of the polynomial contrasts
