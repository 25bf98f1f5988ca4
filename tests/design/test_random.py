"""Random terms to blocks: columns, groups, order and masks as lme4 has them; groups of new rows."""

import pickle

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle
from inference_core.design.random import random_new
from inference_core.errors import DataError, FormulaError

N = 60
RNG = np.random.default_rng(0)
FRAME = pl.DataFrame(
    {
        "y": RNG.standard_normal(N),
        "x": RNG.standard_normal(N),
        "z": RNG.standard_normal(N),
        "f": pl.Series([("low", "mid", "high")[i % 3] for i in range(N)], dtype=pl.Enum(["low", "mid", "high"])),
        "g": np.repeat(np.arange(12), 5) * 10,
        "h": [f"h{i % 4}" for i in range(N)],
        "a": np.repeat(list("pqrs"), 15),
        "b": np.tile(np.repeat(list("uvw"), 5), 4),
    }
)


def blocks(term, frame=FRAME, **options):
    _, bundle = build_bundle(f"y ~ x + {term}", frame, **options)
    return bundle.re_metadata


@pytest.mark.parametrize(
    ("term", "names", "theta"),
    [
        ("(1 | g)", ["(Intercept)"], ["g.(Intercept)"]),
        ("(x | g)", ["(Intercept)", "x"], ["g.(Intercept)", "g.x.(Intercept)", "g.x"]),
        ("(1 + x | g)", ["(Intercept)", "x"], ["g.(Intercept)", "g.x.(Intercept)", "g.x"]),
        ("(x || g)", ["(Intercept)", "x"], ["g.(Intercept)", "g.x"]),
        ("(0 + x | g)", ["x"], ["g.x"]),
        ("(x - 1 | g)", ["x"], ["g.x"]),
        ("(1 | g) + (0 + x | g)", ["(Intercept)", "x"], ["g.(Intercept)", "g.x"]),
        (
            "(x | g) + (0 + z | g)",
            ["(Intercept)", "x", "z"],
            ["g.(Intercept)", "g.x.(Intercept)", "g.x", "g.z"],
        ),
        (
            "(f | g)",
            ["(Intercept)", "f[mid]", "f[high]"],
            ["g.(Intercept)", "g.f[mid].(Intercept)", "g.f[high].(Intercept)", "g.f[mid]", "g.f[high].f[mid]",
             "g.f[high]"],
        ),
        (
            "(0 + f | g)",
            ["f[low]", "f[mid]", "f[high]"],
            ["g.f[low]", "g.f[mid].f[low]", "g.f[high].f[low]", "g.f[mid]", "g.f[high].f[mid]", "g.f[high]"],
        ),
        # lme4's (f || g) is (1 | g) + (0 + f | g): the levels keep their correlations
        (
            "(f || g)",
            ["(Intercept)", "f[low]", "f[mid]", "f[high]"],
            ["g.(Intercept)", "g.f[low]", "g.f[mid].f[low]", "g.f[high].f[low]", "g.f[mid]", "g.f[high].f[mid]",
             "g.f[high]"],
        ),
        ("(poly(x, 2) || g)", ["(Intercept)", "poly(x, 2)[1]", "poly(x, 2)[2]"],
         ["g.(Intercept)", "g.poly(x, 2)[1]", "g.poly(x, 2)[2].poly(x, 2)[1]", "g.poly(x, 2)[2]"]),
    ],
)  # fmt: skip
def test_one_factor(term, names, theta):
    re = blocks(term)
    (block,) = re.blocks
    assert list(block.column_names) == names and list(re.theta_names) == theta
    assert block.n_levels == 12 and block.levels[:3] == ("0", "10", "20")
    np.testing.assert_array_equal(block.group_index, np.repeat(np.arange(12), 5))


def test_columns_of_effects():
    block = blocks("(1 + x + I(z^2) | g)").blocks[0]
    x, z = FRAME["x"].to_numpy(), FRAME["z"].to_numpy()
    np.testing.assert_array_equal(block.X_re, np.column_stack([np.ones(N), x, z**2]))
    summed = blocks("(f | g)", contrasts={"f": "sum"}).blocks[0]
    assert np.unique(summed.X_re[:, 1]).tolist() == [-1, 0, 1]


@pytest.mark.parametrize(
    ("term", "structure", "groups", "nested"),
    [
        ("(1 | g)", "intercept", ["g"], [None]),
        ("(0 + x | g)", "slope", ["g"], [None]),
        ("(x | g)", "slope", ["g"], [None]),
        ("(x || g)", "diagonal", ["g"], [None]),
        ("(1 | a) + (1 | b)", "crossed", ["a", "b"], [None, None]),
        ("(1 | a/b)", "nested", ["a:b", "a"], [1, None]),
        ("(1 | a:b)", "intercept", ["a:b"], [None]),
        ("(1 | h) + (x | g)", "mixed", ["g", "h"], [None, None]),
        ("(1 | b) + (x | g)", "mixed", ["g", "b"], [1, None]),
        ("(1 | a/b) + (1 | h)", "mixed", ["a:b", "h", "a"], [2, None, None]),
    ],
)
def test_structure_and_order(term, structure, groups, nested):
    """Falling number of levels; where lme4 has to sort, equal numbers come out in reverse."""
    re = blocks(term)
    assert (re.structure, list(re.group_names), list(re.nested_in)) == (structure, groups, nested)


def test_levels_of_an_interaction_run_like_those_of_r():
    block = blocks("(1 | a:b)").blocks[0]
    assert block.levels[:4] == ("p:u", "p:v", "p:w", "q:u") and block.n_levels == 12
    frame = FRAME.filter(~((pl.col("a") == "p") & (pl.col("b") == "v")))
    assert blocks("(1 | a:b)", frame).blocks[0].levels[:3] == ("p:u", "p:w", "q:u")


@pytest.mark.parametrize("term", ["(x | g)", "(f || g) + (1 | h)", "(1 | a/b) + (0 + z | h)"])
def test_z_times_b(term):
    re = blocks(term)
    Z = re.z_matrix()
    assert Z.format == "csc" and Z.shape == (N, re.q)
    b = np.random.default_rng(1).standard_normal((2, re.q))
    np.testing.assert_allclose((Z @ b.T).T, re.random_part(b), atol=1e-13)
    at = 0
    for block in re.blocks:  # by block, level, effect
        dense = np.zeros((N, block.n_levels, block.k))
        dense[np.arange(N), block.group_index] = block.X_re
        np.testing.assert_array_equal(Z[:, at : at + block.q].toarray(), dense.reshape(N, -1))
        at += block.q


def test_a_row_without_a_group_is_left_out():
    frame = FRAME.with_columns(pl.when(pl.col("y") > 1).then(None).otherwise(pl.col("h")).alias("h"))
    _, bundle = build_bundle("y ~ x + (1 | h)", frame)
    assert bundle.n == int((FRAME["y"] <= 1).sum()) and bundle.missing_in == ("h",)
    assert bundle.re_metadata.n == bundle.n
    with pytest.raises(DataError, match='"h"'):
        build_bundle("y ~ x + (1 | h)", frame, missing="raise")


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("(0 | g)", "no effects to the left of the bar"),
        ("(1 | g) + (x | g)", "stands in several terms"),
        ("(1 | nosuch)", '"nosuch" is not a column'),
        ("(nosuch | g)", '"nosuch" is not a column'),
    ],
)
def test_refused(term, words):
    with pytest.raises(FormulaError, match=words.replace("|", r"\|")):
        blocks(term)


def test_one_level_is_no_factor():
    with pytest.raises(DataError, match='"a" has only one level'):
        blocks("(1 | a)", FRAME.head(15))


@pytest.mark.parametrize("term", ["(x | g)", "(log(x + 10) || g) + (1 | h)", "(scale(z) | a/b)", "(f | factor(g))"])
def test_the_training_rows_come_back(term):
    _, bundle = build_bundle(f"y ~ x + {term}", FRAME)
    part = slice(20, 33)  # what scale() learned is not learned again
    for new, block in zip(random_new(bundle, FRAME[part]), bundle.re_metadata.blocks, strict=True):
        np.testing.assert_allclose(new.X_re, block.X_re[part], rtol=1e-14)
        np.testing.assert_array_equal(new.group_index, block.group_index[part])


def test_new_groups():
    _, bundle = build_bundle("y ~ x + (x | g) + (1 | a:b)", FRAME)
    rows = pl.DataFrame(
        {"x": [1.0, 2.0, 3.0], "g": [30, 31, None], "a": ["p", "q", "nowhere"], "b": ["u", None, "u"]}
    )
    by_group, by_pair = random_new(bundle, rows, allow_new_levels=True)
    assert by_pair.group_index.tolist() == [0, -1, -1]
    assert by_group.group_index.tolist() == [3, -1, -1] and by_group.unseen == ("31",)
    with pytest.raises(DataError, match='"g" lacks a value'):
        random_new(bundle, rows)
    with pytest.raises(DataError, match='level "31" of g'):
        random_new(bundle, rows.head(2).with_columns(b=pl.lit("u")))
    with pytest.raises(DataError, match='"x" lacks a value'):
        random_new(bundle, rows.with_columns(x=pl.lit(None, dtype=pl.Float64)), allow_new_levels=True)


def test_the_design_survives_pickling():
    _, bundle = build_bundle("y ~ x + (scale(x) | g)", FRAME)
    again = pickle.loads(pickle.dumps(bundle))
    np.testing.assert_array_equal(random_new(again, FRAME)[0].X_re, bundle.re_metadata.blocks[0].X_re)


def test_no_random_terms_no_blocks():
    _, bundle = build_bundle("y ~ x", FRAME)
    assert bundle.re_metadata is None and random_new(bundle, FRAME) == ()
