"""New rows through a saved design: the same columns, and nothing unseen let through."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle, design_new
from inference_core.errors import DataError, FormulaError

N = 30
RNG = np.random.default_rng(5)
FRAME = pl.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.uniform(1, 5, N),
        "k": RNG.integers(1, 4, N),
        "g": RNG.choice(["a", "b", "c"], N),
        "b": RNG.choice([True, False], N),
        "n": RNG.uniform(5, 9, N),
    }
)
FORMULAS = [
    "y ~ x", "y ~ 0 + g", "y ~ g * x", "y ~ g:b", "y ~ poly(x, 3) * g", "y ~ ns(x, df = 4) + bs(n, df = 5)",
    "y ~ factor(k) * b", "y ~ scale(x) + center(n) + rank(x)", "y ~ C(g, sum):x", 'y ~ I(g == "a") + I(x > 2)',
    "y ~ ordered(k) + log(x)", "y ~ x + offset(log(n))", "y ~ unclass(ordered(g))", "y ~ poly(scale(log(x)), 2)",
    "y ~ 1",
    "y ~ (x + g + b)^2",
]  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
def test_training_rows_come_back(formula):
    bundle = build_bundle(formula, FRAME)[1]
    X, offset = design_new(bundle, FRAME.drop("y"))
    np.testing.assert_allclose(X, bundle.X, rtol=1e-12, atol=1e-12)  # the same operations on the same rows
    if bundle.offset is None:
        assert offset is None
    else:
        np.testing.assert_array_equal(offset, bundle.offset)


@pytest.mark.parametrize("formula", FORMULAS)
def test_one_row_at_a_time_is_the_same(formula):
    """Nothing is learned from the new rows."""
    bundle = build_bundle(formula, FRAME)[1]
    rows = [design_new(bundle, FRAME[[i]])[0] for i in (0, 9, 29)]
    np.testing.assert_allclose(np.vstack(rows), bundle.X[[0, 9, 29]], rtol=1e-12, atol=1e-12)


def test_a_pickled_state_serves_as_well():
    bundle = build_bundle("y ~ poly(x, 3) * g + offset(log(n))", FRAME)[1]
    again = replace(bundle, design_state=pickle.loads(pickle.dumps(bundle.design_state)))
    np.testing.assert_array_equal(design_new(again, FRAME)[0], design_new(bundle, FRAME)[0])


def test_no_rows_give_no_rows():
    bundle = build_bundle("y ~ g * x + ns(x, df = 3)", FRAME)[1]
    assert design_new(bundle, FRAME.clear())[0].shape == (0, bundle.p)


@pytest.mark.parametrize(
    ("formula", "new", "level"),
    [
        ("y ~ g", {"g": ["a", "z"]}, "z"),
        ("y ~ factor(k)", {"k": [1, 7]}, "7"),
        ("y ~ C(g, sum)", {"g": ["q"]}, "q"),
        ("y ~ unclass(g)", {"g": ["q"]}, "q"),
        ("y ~ g:x", {"g": ["q"], "x": [1.0]}, "q"),
    ],
)
def test_unseen_levels_are_refused_by_name(formula, new, level):
    bundle = build_bundle(formula, FRAME)[1]
    with pytest.raises(DataError, match=f'level "{level}".* was not in the data that made the fit'):
        design_new(bundle, new)


def test_the_refusal_of_an_unseen_level_names_the_known_ones():
    with pytest.raises(DataError) as caught:
        design_new(build_bundle("y ~ g", FRAME)[1], {"g": ["A"]})
    assert caught.value.found == 'level "A" of g was not in the data that made the fit'
    assert caught.value.remedy == "use one of a, b, c, or allow_new_levels=True for a grouping factor"


def test_a_level_of_an_enum_that_no_training_row_had_is_unseen():
    frame = FRAME.with_columns(pl.col("g").cast(pl.Enum(["a", "b", "c", "d"])))
    with pytest.raises(DataError, match='level "d"'):
        design_new(build_bundle("y ~ g", frame)[1], {"g": ["d"]})


@pytest.mark.parametrize(
    ("new", "error", "words"),
    [
        ({"x": [1.0]}, FormulaError, '"g" is not a column'),
        ({"x": [None, 1.0], "g": ["a", "a"]}, DataError, 'missing values in "x" \\(1\\)'),
        ({"x": ["1"], "g": ["a"]}, DataError, "they are text, and the fit had numbers"),
        ({"x": [1.0], "g": [1]}, DataError, "the fit had groups"),
        ({"x": [0.0], "g": ["a"]}, DataError, "is not a finite number"),
    ],
)
def test_new_rows_that_do_not_fit_are_refused(new, error, words):
    bundle = build_bundle("y ~ log(x) + g", FRAME)[1]
    with pytest.raises(error, match=words):
        design_new(bundle, new)


def test_an_offset_given_as_array_has_to_be_given_again():
    bundle = build_bundle("y ~ x", FRAME, offset=FRAME["n"].to_numpy())[1]
    with pytest.raises(DataError, match="given its offset as an array"):
        design_new(bundle, {"x": [1.0, 2.0]})
    np.testing.assert_array_equal(design_new(bundle, {"x": [1.0, 2.0]}, offset=[3.0, 4.0])[1], [3, 4])
    named = build_bundle("y ~ x", FRAME, offset="n")[1]
    np.testing.assert_array_equal(design_new(named, {"x": [1.0], "n": [7.0]})[1], [7.0])


def test_the_order_and_type_of_new_columns_do_not_matter():
    bundle = build_bundle("y ~ g * x", FRAME)[1]
    new = FRAME.select(pl.col("g").cast(pl.Categorical), "x")
    np.testing.assert_array_equal(design_new(bundle, new)[0], bundle.X)
    np.testing.assert_array_equal(design_new(bundle, FRAME.select("x", "g").to_pandas())[0], bundle.X)
