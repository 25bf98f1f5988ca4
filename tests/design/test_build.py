"""From formula and data to the bundle: rows, responses, weights, offsets, kinds of columns, refusals."""

from __future__ import annotations

import pickle
import warnings
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import DataError, FormulaError, InferenceCoreWarning

N = 12
RNG = np.random.default_rng(11)
FRAME = pl.DataFrame(
    {
        "y": RNG.normal(size=N),
        "x": RNG.uniform(1, 5, N),
        "k": [1, 2, 3, 4] * 3,
        "g": list("aabbcc") * 2,
        "b": [True, False, False] * 4,
        "s": [0, 1] * 6,
        "n": [10.0, 20.0, 5.0] * 4,
        "w": RNG.uniform(0.5, 2, N),
        "Sepal.Length": RNG.normal(size=N),
        "my col": RNG.normal(size=N),
    }
)


def bundle(formula, frame=FRAME, **options):
    return build_bundle(formula, frame, **options)[1]


# ---- what is in the bundle -----------------------------------------------------------------------------------------


def test_the_source_term_of_a_column_is_data():
    made = bundle("y ~ x * g + poly(k, 2)")
    assert made.source_terms == ("x", "g", "poly(k, 2)", "x:g")
    assert made.X_names == (
        "(Intercept)", "x", "g[b]", "g[c]", "poly(k, 2)[1]", "poly(k, 2)[2]", "x:g[b]", "x:g[c]",
    )  # fmt: skip
    assert made.term_of_column.tolist() == [-1, 0, 1, 1, 2, 2, 3, 3]


def test_the_specification_says_what_was_asked_for():
    spec, _ = build_bundle("log(w) ~ x + g + (1 | k)", FRAME, contrasts={"g": "sum"}, link="identity", method="reml")
    assert (spec.response_var, spec.response_transform) == ("w", "log")
    assert spec.fixed_terms == ("x", "g")
    assert spec.random_terms == ("(1 | k)",)
    assert spec.has_random_effects
    assert spec.contrasts == {"g": "sum"}
    assert (spec.family, spec.link, spec.method) == ("gaussian", "identity", "reml")
    assert not build_bundle("y ~ x - 1", FRAME)[0].has_intercept


def test_the_design_is_in_c_order_read_only_and_complete():
    made = bundle("y ~ x * g")
    assert made.X.flags.c_contiguous
    assert made.X.dtype == np.float64
    with pytest.raises(ValueError):
        made.X[0, 0] = 1.0
    assert (made.n, made.p, made.n_total) == (N, 6, N)
    assert made.factor_levels == {"g": ("a", "b", "c")}


def test_the_state_of_a_design_is_picklable():
    state = bundle("y ~ poly(x, 2) * g + ns(w, df = 3) + offset(log(n))", contrasts={"g": "helmert"}).design_state
    assert pickle.loads(pickle.dumps(state)).X_names == state.X_names


def test_dotted_and_quoted_names():
    made = bundle("y ~ Sepal.Length + `my col` + Sepal.Length:`my col`")
    assert made.X_names[1:] == ("Sepal.Length", "`my col`", "Sepal.Length:`my col`")
    np.testing.assert_array_equal(made.X[:, 3], made.X[:, 1] * made.X[:, 2])


def test_more_rows_than_one_block():
    """Blocks of rows are an implementation detail."""
    n = 20_001
    frame = pl.DataFrame({"y": np.zeros(n), "x": np.arange(n, dtype=float), "g": ["u", "v", "v"] * (n // 3)})
    made = bundle("y ~ x * g", frame)
    v = (frame["g"] == "v").to_numpy()
    np.testing.assert_array_equal(made.X, np.column_stack([np.ones(n), frame["x"], v, frame["x"].to_numpy() * v]))


# ---- rows ----------------------------------------------------------------------------------------------------------


def test_incomplete_rows_go_before_anything_is_learned():
    x = [1.0, None, 3.0, float("nan"), 5.0, 6.0]
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4, None, 6], "x": x, "other": [None] * 6})
    made = bundle("y ~ center(x)", frame)
    assert made.valid_mask.tolist() == [True, False, True, False, False, True]
    assert made.missing_in == ("y", "x")
    assert made.design_state.lacking == {"y": 1, "x": 2}
    np.testing.assert_allclose(made.X[:, 1], np.array([1, 3, 6]) - 10 / 3, rtol=1e-15)
    np.testing.assert_array_equal(made.y, [1, 3, 6])


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + g",
        "y ~ g",
        "y ~ I(m + 1)",
        "y ~ offset(m)",
        "y ~ 1 + (1 | g)",
        "y ~ (m | k)",
        "m ~ 1",
        "y ~ poly(m, 2)",
    ],
)
def test_every_column_that_is_looked_at_counts(formula):
    frame = FRAME.with_columns(
        m=pl.Series([None, 1.0, *np.arange(2.0, N)]),
        g=pl.Series([None, *FRAME["g"][1:]]),
        x=pl.Series([None, *FRAME["x"][1:]]),
    )
    made = bundle(formula, frame)
    assert made.n == N - 1
    assert not made.valid_mask[0]


def test_named_weights_and_offset_cost_rows_too():
    frame = FRAME.with_columns(w=pl.Series([None, *FRAME["w"][1:]]), o=pl.Series([*FRAME["w"][:-1], None]))
    assert bundle("y ~ x", frame, weights="w", offset="o").n == N - 2


def test_missing_can_be_refused():
    frame = pl.DataFrame({"y": [1.0, 2, 3], "x": [1.0, None, 3.0]})
    with pytest.raises(DataError) as caught:
        bundle("y ~ x", frame, missing="raise")
    assert caught.value.found == '1 of 3 rows lack a value: "x" (1)'
    with pytest.raises(DataError, match="missing is"):
        bundle("y ~ x", frame, missing="ignore")
    assert bundle("y ~ 1", frame, missing="raise").n == 3


def test_the_text_na_is_missing_unless_it_is_a_level_by_choice():
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4, 5], "g": ["a", "NA", "b", "a", "b"]})
    assert bundle("y ~ g", frame).n == 4
    chosen = frame.with_columns(pl.col("g").cast(pl.Enum(["a", "b", "NA"])))
    assert bundle("y ~ g", chosen).factor_levels["g"] == ("a", "b", "NA")


@pytest.mark.parametrize("rows", [0, 3])
def test_no_rows_are_named(rows):
    frame = pl.DataFrame({"y": [1.0] * rows, "x": [None] * rows}, schema={"y": pl.Float64, "x": pl.Float64})
    with pytest.raises(DataError, match="no rows" if rows == 0 else 'none of the 3 rows has a value.*"x"'):
        bundle("y ~ x", frame)


@given(seed=st.integers(0, 2**32 - 1))
def test_row_order_changes_nothing_but_the_order_of_rows(seed):
    order = np.random.default_rng(seed).permutation(N)
    formula = "y ~ poly(x, 2) * g + scale(w)"
    np.testing.assert_allclose(bundle(formula, FRAME[order]).X, bundle(formula).X[order], atol=1e-12)  # sums reordered


# ---- kinds of columns ----------------------------------------------------------------------------------------------


def test_levels_of_text_are_sorted_and_those_of_an_enum_are_not():
    text = FRAME.with_columns(g=pl.Series(list("cabcab") * 2))
    assert bundle("y ~ g", text).factor_levels["g"] == ("a", "b", "c")
    chosen = text.with_columns(pl.col("g").cast(pl.Enum(["c", "unused", "a", "b"])))
    made = bundle("y ~ g", chosen)
    assert made.factor_levels["g"] == ("c", "a", "b")  # R's lm drops levels that no row has
    assert made.X_names == ("(Intercept)", "g[a]", "g[b]")
    categorical = text.with_columns(pl.col("g").cast(pl.Categorical))
    assert set(bundle("y ~ g", categorical).factor_levels["g"]) == {"a", "b", "c"}


def test_truth_is_a_factor_with_true_last():
    made = bundle("y ~ b")
    assert made.X_names == ("(Intercept)", "b[True]")
    np.testing.assert_array_equal(made.X[:, 1], FRAME["b"].cast(pl.Float64).to_numpy())
    assert bundle("y ~ I(x > 2)").X_names[1] == "I(x > 2)[True]"
    np.testing.assert_array_equal(bundle("y ~ I(b * 2)").X[:, 1], 2 * FRAME["b"].cast(pl.Float64).to_numpy())


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt32, pl.Int64, pl.Float32, pl.Float64, pl.Decimal(10, 2)])
def test_numbers_of_any_width(dtype):
    made = bundle("y ~ k", FRAME.with_columns(pl.col("k").cast(dtype)))
    np.testing.assert_array_equal(made.X[:, 1], FRAME["k"].to_numpy())


@pytest.mark.parametrize("values", [[date(2020, 1, 1)] * N, [[1.0]] * N, [{"a": 1}] * N])
def test_columns_that_no_model_can_use_are_named(values):
    with pytest.raises(DataError, match='column "d"'):
        bundle("y ~ d", FRAME.with_columns(d=pl.Series(values)))


def test_text_among_numbers_warns_and_says_what_to_write():
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4, 6], "x": ["1", "2", "oops", "4", "7"]})
    with pytest.warns(InferenceCoreWarning, match=r'Column "x" holds text \(oops\) among numbers'):
        made = bundle("y ~ x", frame)
    assert made.p == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = bundle("y ~ as_number(x)", frame)
    np.testing.assert_array_equal(made.X[:, 1], [1, 2, 4, 7])
    assert made.missing_in == ("x",)
    np.testing.assert_array_equal(bundle("y ~ log(as_number(x))", frame).X[:, 1], np.log([1, 2, 4, 7]))


def test_a_factor_with_one_level_is_named():
    with pytest.raises(DataError) as caught:
        bundle("y ~ x + g", FRAME.filter(pl.col("g") == "a"))
    assert caught.value.found == '"g" has only one level ("a") in the 4 rows used'


def test_a_level_seen_once_is_fine():
    assert bundle("y ~ g", FRAME.with_columns(g=pl.Series(["once", *["often"] * (N - 1)]))).p == 2


@pytest.mark.parametrize(
    ("formula", "row"),
    [("y ~ log(z)", 2), ("y ~ I(1/z)", 3), ("log(z) ~ x", 2), ("y ~ x + offset(sqrt(z))", 2), ("y ~ inf", 4)],
)
def test_what_is_not_finite_is_named_with_its_row(formula, row):
    z = np.arange(1.0, N + 1)
    z[2], z[3] = -1.0, 0.0
    if "1/z" in formula:
        z[2] = 1.0
    frame = FRAME.with_columns(z=pl.Series(z), inf=pl.Series([1.0, 2, 3, 4, float("inf"), *range(7)], strict=False))
    with pytest.raises(DataError, match=f"first in row {row} "):
        bundle(formula, frame)


def test_the_row_named_counts_the_rows_left_out():
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4], "x": [None, 1.0, -1.0, 2.0]})
    with pytest.raises(DataError, match="first in row 2 "):
        bundle("y ~ log(x)", frame)


def test_a_factor_with_a_level_for_each_row_is_refused():
    n = 5_000
    frame = pl.DataFrame({"y": np.zeros(n), "id": [f"i{j}" for j in range(n)]})
    with pytest.raises(DataError, match='"id" has 5,000 levels in 5,000 rows'):
        bundle("y ~ id", frame)


def test_a_design_that_would_not_fit_into_memory_is_refused():
    n = 1_500
    frame = pl.DataFrame({"y": np.zeros(n), **{c: [f"{c}{j % 1_200}" for j in range(n)] for c in "abc"}})
    with pytest.raises(DataError, match="a design of 1,500 rows and 1,440,000 columns"):
        bundle("y ~ a * b", frame)


# ---- rank ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "dropped"),
    [
        ("y ~ x + I(2 * x)", ("I(2 * x)",)),
        ("y ~ I(2 * x) + x", ("x",)),
        ("y ~ one + x", ("one",)),
        ("y ~ g:b", ("g[c]:b[True]",)),
        ("y ~ factor(s) + s", ("s",)),
    ],
)
def test_the_later_column_goes(formula, dropped):
    made = bundle(formula, FRAME.with_columns(one=1.0, b=pl.Series([True, False] * 6)))
    assert made.rank_info.dropped_names == dropped
    assert made.p == made.rank_info.rank + 1


# ---- responses -----------------------------------------------------------------------------------------------------


def test_responses_of_a_binomial():
    assert bundle("g2 ~ x", FRAME.with_columns(g2=pl.Series(["no", "yes"] * 6)), family="binomial").response_levels == (
        "no",
        "yes",
    )
    made = bundle("b ~ x", family="binomial")
    assert made.response_levels == ("False", "True")
    np.testing.assert_array_equal(made.y, FRAME["b"].cast(pl.Float64).to_numpy())
    enum = FRAME.with_columns(e=pl.Series(["no", "yes"] * 6).cast(pl.Enum(["yes", "no"])))
    made = bundle("e ~ x", enum, family="binomial")  # the second level is the event
    assert made.response_levels == ("yes", "no")
    np.testing.assert_array_equal(made.y, [1, 0] * 6)
    assert bundle('I(g == "b") ~ x', family="binomial").response_levels == ("False", "True")
    assert bundle("s ~ x", family="binomial").response_levels is None


def test_counts_of_successes_and_failures():
    made = bundle("cbind(k, n - k) ~ x", family="binomial")
    np.testing.assert_array_equal(made.trials, FRAME["n"].to_numpy())
    np.testing.assert_array_equal(made.y, FRAME["k"].to_numpy() / FRAME["n"].to_numpy())
    assert made.y_name == "cbind(k, n - k)"
    frame = pl.DataFrame({"a": [0.0, 1], "b": [0.0, 1], "x": [1.0, 2]})
    np.testing.assert_array_equal(bundle("cbind(a, b) ~ x", frame, family="binomial").y, [0, 0.5])  # no trials, no NaN
    both = bundle("cbind(k, n - k) ~ x", family="binomial", weights="w")
    np.testing.assert_array_equal(both.prior_weights, FRAME["w"].to_numpy() * FRAME["n"].to_numpy())


@pytest.mark.parametrize("given", ["weights", "offset"])
def test_complex_numbers_are_refused_and_not_cut(given):
    with pytest.raises(DataError, match="they are no numbers"):
        bundle("y ~ x", **{given: np.ones(N) * 1j})


def test_weights_of_proportions_are_their_trials():
    frame = FRAME.with_columns(p=pl.col("k") / pl.col("n"))
    made = bundle("p ~ x", frame, family="binomial", weights="n")
    assert made.weights is None
    np.testing.assert_array_equal(made.trials, FRAME["n"].to_numpy())
    np.testing.assert_array_equal(bundle("I(k/n) ~ x", family="binomial", weights="n").trials, made.trials)
    assert bundle("s ~ x", family="binomial", weights="w").trials is None


@pytest.mark.parametrize(
    ("formula", "family", "words"),
    [
        ("g ~ x", "gaussian", "holds groups \\(a, b, c\\), and a gaussian response is a number"),
        ("g ~ x", "poisson", "a poisson response is a number"),
        ("g ~ x", "binomial", "has 3 levels"),
        ("cbind(k, n) ~ x", "gaussian", "is a binomial response"),
        ("cbind(k, k - n) ~ x", "binomial", "counts are 0 or more"),
        ("cbind(g, n) ~ x", "binomial", "holds no counts"),
        ("poly(x, 2) ~ k", "gaussian", "makes several columns"),
    ],
)
def test_responses_that_cannot_be_are_refused_kindly(formula, family, words):
    with pytest.raises(DataError, match=words):
        bundle(formula, family=family)


@pytest.mark.parametrize("formula", ["y ~ y", "y ~ x + y", "log(x) ~ log(x)", "~ x"])
def test_the_response_stands_on_the_left_only(formula):
    with pytest.raises(FormulaError):
        bundle(formula)


def test_the_response_may_be_transformed():
    np.testing.assert_array_equal(bundle("I(log(x) * 2 + k) ~ g").y, np.log(FRAME["x"]) * 2 + FRAME["k"].to_numpy())
    np.testing.assert_allclose(bundle("rank(x) ~ g").y, FRAME["x"].rank().to_numpy())
    np.testing.assert_array_equal(bundle("b ~ x").y, FRAME["b"].cast(pl.Float64).to_numpy())


# ---- weights and offset --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["name", "expression", "array", "list", "series", "backticks"])
def test_weights_and_offset_as_name_expression_or_array(kind):
    w = FRAME["w"].to_numpy()
    given_ = {
        "name": "w", "expression": "I(2 * w) / 2", "array": w, "list": w.tolist(),
        "series": FRAME["w"], "backticks": "`w`",
    }[kind]  # fmt: skip
    made = bundle("y ~ x", weights=given_, offset=given_)
    np.testing.assert_array_equal(made.weights, w)
    np.testing.assert_array_equal(made.offset, w)


def test_offsets_add_up():
    made = bundle("y ~ x + offset(log(n)) + offset(-3 * w)", offset="k")
    expected = np.log(FRAME["n"]) - 3 * FRAME["w"].to_numpy() + FRAME["k"].to_numpy()
    np.testing.assert_allclose(made.offset, expected, rtol=1e-15)  # three terms, added in one order
    assert made.p == 2


def test_arrays_follow_the_rows_that_are_kept():
    frame = FRAME.with_columns(x=pl.Series([None, *FRAME["x"][1:]]))
    w = np.arange(1.0, N + 1)
    made = bundle("y ~ x", frame, weights=w, offset=-w)
    np.testing.assert_array_equal(made.weights, w[1:])
    np.testing.assert_array_equal(made.offset, -w[1:])


@pytest.mark.parametrize(
    ("weights", "error", "words"),
    [
        (np.ones(N - 1), DataError, r"weights of shape \(11,\)"),
        (np.ones((N, 1)), DataError, r"weights of shape \(12, 1\)"),
        (np.full(N, -1.0), DataError, "the weight of row 0 is -1"),
        (np.full(N, np.nan), DataError, "not a finite number"),
        (np.zeros(N), DataError, "every weight is 0"),
        ("wt", FormulaError, '"wt" is not a column'),
        ("g", DataError, "they are no numbers"),
        ("-w", DataError, "the weight of row 0"),
        (["a"] * N, DataError, "they are no numbers"),
        (3.0, DataError, r"weights of shape \(\)"),
        ({"w": 1}, DataError, "they are no numbers"),
    ],
    ids=str,
)
def test_weights_that_cannot_be_are_refused(weights, error, words):
    with pytest.raises(error, match=words):
        bundle("y ~ x", weights=weights)


# ---- data sets -----------------------------------------------------------------------------------------------------


def test_the_dot_takes_every_other_column():
    cars = load_dataset("mtcars").drop("model", "cylf", "gearf", "amf")
    assert bundle("mpg ~ .", cars).X_names == ("(Intercept)", *[c for c in cars.columns if c != "mpg"])
    assert bundle("log(mpg) ~ . - wt", cars).p == 10


def test_data_may_be_a_dict():
    np.testing.assert_array_equal(bundle("y ~ x", {"y": [1, 2, 4], "x": [1, 2, 3]}).X, [[1, 1], [1, 2], [1, 3]])
