"""What the functions of a formula do, to the training rows and to new ones."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.interpolate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import DataError, FormulaError, InferenceCoreError
from inference_core.formula import TRANSFORMS, admit
from inference_core.formula.evaluate import apply, learn
from inference_core.formula.smooth import apply_poly, apply_spline, learn_poly, learn_spline
from inference_core.formula.values import Basis, Factor

HEIGHT = np.arange(58, 73.0)  # the heights of datasets::women in R


def value_of(text, **columns):
    first = next(iter(columns.values()))
    n = len(first.codes if isinstance(first, Factor) else first)
    value, _ = learn(admit(text), columns.__getitem__, n)
    return value.matrix if isinstance(value, Basis) else value


def on_new_rows(text, columns, new):
    n = len(next(iter(columns.values())))
    _, states = learn(admit(text), columns.__getitem__, n)
    value = apply(admit(text), new.__getitem__, len(next(iter(new.values()))), states)
    return value.matrix if isinstance(value, Basis) else value


def test_every_function_of_the_design_is_there():
    expected = {
        "factor", "C", "poly", "bs", "ns", "log", "log2", "log10", "log1p", "exp", "sqrt", "center", "scale", "zscore",
        "rank", "offset", "I", "unclass", "as_number", "abs",
    }  # fmt: skip
    assert expected <= set(TRANSFORMS)


X = np.array([1.0, 4.0, 2.5, 8.0, 4.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log(x)", np.log(X)),
        ("log(x, 3)", np.log(X) / np.log(3)),
        ("log(x, base = 3)", np.log(X) / np.log(3)),
        ("log2(x)", np.log2(X)),
        ("log10(x)", np.log10(X)),
        ("log1p(x)", np.log1p(X)),
        ("exp(x)", np.exp(X)),
        ("sqrt(x)", np.sqrt(X)),
        ("abs(-x)", X),
        ("center(x)", X - X.mean()),
        ("scale(x)", (X - X.mean()) / X.std(ddof=1)),
        ("zscore(x)", (X - X.mean()) / X.std(ddof=1)),
        ("scale(x, scale = FALSE)", X - X.mean()),
        ("scale(x, center = FALSE)", X / np.sqrt(np.sum(X**2) / 4)),
        ("scale(x, 5)", (X - 5) / np.sqrt(np.sum((X - 5) ** 2) / 4)),
        ("scale(x, center = 2, scale = 4)", (X - 2) / 4),
        ("rank(x)", scipy.stats.rankdata(X)),
        ("I(x^2)", X**2),
        ("I(x**2)", X**2),
        ("I(2 * x - 1 / x)", 2 * X - 1 / X),
        ("I(-x^2)", -(X**2)),
        ("I(2^x)", 2**X),
        ("I(x > 2 & x < 5)", (X > 2) & (X < 5)),
        ("I(x < 2 | !(x < 5))", (X < 2) | (X >= 5)),
        ("I(x %in% c(1, 8))", (X == 1) | (X == 8)),
        ("unclass(x)", X),
        ("I((x + 1) * log(x))", (X + 1) * np.log(X)),
    ],
)
def test_values(text, expected):
    # the same operations in double precision, in another order at most
    np.testing.assert_allclose(value_of(text, x=X), expected, rtol=1e-14)


def test_power_is_power_and_not_pythons_xor():
    np.testing.assert_array_equal(value_of("I(x^2)", x=np.array([3.0])), [9.0])


@pytest.mark.parametrize(
    "text", ["center(x)", "scale(x)", "zscore(x)", "poly(x, 2)", "bs(x, df = 4)", "ns(x, df = 3)", "rank(x)"]
)
def test_new_rows_are_measured_with_the_training_rows(text):
    """A single training row, seen again alone, gets the value it had."""
    x = np.random.default_rng(0).normal(size=30)
    whole = value_of(text, x=x)
    for i in (0, 7, 29):
        # knots and recurrences are the same numbers; only sums may be taken in another order
        np.testing.assert_allclose(on_new_rows(text, {"x": x}, {"x": x[[i]]})[0], whole[i], rtol=1e-12, atol=1e-13)


# ---- poly ----------------------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**32 - 1),
    degree=st.integers(1, 6),
    shift=st.floats(-1e4, 1e4),
    scale=st.floats(1e-3, 1e3),
)
def test_poly_is_orthonormal_with_positive_leading_coefficients(seed, degree, shift, scale):
    x = np.random.default_rng(seed).normal(size=40)
    basis = apply_poly(x, learn_poly(x, degree))
    # the recurrence loses some orthogonality with the degree; 1e-8 leaves room for degree 6 on 40 normal values
    np.testing.assert_allclose(basis.T @ basis, np.eye(degree), atol=1e-8)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-8)
    for k in range(1, degree + 1):  # divided differences of order k are positive: R's sign
        coefficients = np.polynomial.Polynomial.fit(x, basis[:, k - 1], k).convert().coef
        assert coefficients[-1] > 0
    moved = shift + scale * x
    # a shift of 1e4 on a scale of 1e-3 costs 7 digits of x itself
    np.testing.assert_allclose(apply_poly(moved, learn_poly(moved, degree)), basis, atol=1e-5)


def test_poly_spans_the_powers_and_raw_poly_is_them():
    x = np.array([0.5, 1.0, 2.0, 3.5, 4.0, 7.0])
    powers = np.column_stack([x, x**2, x**3])
    np.testing.assert_array_equal(value_of("poly(x, 3, raw = TRUE)", x=x), powers)
    np.testing.assert_array_equal(value_of("poly(x, degree = 3, raw = True)", x=x), powers)
    np.testing.assert_array_equal(value_of("poly(x, 3, raw = T)", x=x), powers)
    basis = np.column_stack([np.ones(6), value_of("poly(x, 3)", x=x)])
    target = np.column_stack([np.ones(6), powers])
    fitted = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
    np.testing.assert_allclose(fitted, target, rtol=1e-10)  # same space, condition number about 1e4


def test_poly_of_evenly_spaced_values_is_the_textbook_table():
    basis = value_of("poly(x, 4)", x=np.arange(1.0, 6.0))
    table = np.array([[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]).T
    np.testing.assert_allclose(basis, table / np.linalg.norm(table, axis=0), atol=1e-14)  # integers over a root


@pytest.mark.parametrize(
    "text", ["poly(x, 0)", "poly(x, 21)", "poly(x, 2.5)", "poly(x, -1)", "poly(x, TRUE)", 'poly(x, "2")']
)
def test_degrees_that_are_none_are_refused(text):
    with pytest.raises(FormulaError):
        value_of(text, x=X)


def test_too_few_distinct_values_for_the_degree_are_refused():
    with pytest.raises(DataError, match="4 distinct values"):
        value_of("poly(x, 4)", x=X)


# ---- splines -------------------------------------------------------------------------------------------------------


def test_ns_gives_the_basis_printed_in_rs_help_example():
    """splines::ns(women$height, df = 5), rows 2, 3, 8 and 15 as R prints them (7 digits)."""
    basis = apply_spline(HEIGHT, learn_spline(HEIGHT, natural=True, df=5))
    printed = [
        [7.592323e-03, 0.0, -8.670223e-02, 2.601067e-01, -1.734045e-01],
        [6.073858e-02, 0.0, -1.503044e-01, 4.509132e-01, -3.006088e-01],
        [4.791667e-01, 4.791667e-01, 1.406302e-02, 2.031093e-02, -1.354062e-02],
        [0.0, 0.0, -1.428571e-01, 4.285714e-01, 7.142857e-01],
    ]
    np.testing.assert_allclose(basis[[1, 2, 7, 14]], printed, atol=5e-8)  # half a unit of the last printed digit


def test_bs_gives_the_basis_printed_in_rs_help_example():
    """splines::bs(women$height, df = 5), row 2 as R prints it."""
    basis = apply_spline(HEIGHT, learn_spline(HEIGHT, natural=False, df=5))
    np.testing.assert_allclose(basis[1], [0.4534439, 0.05985787, 0.001639942, 0, 0], atol=5e-8)  # printed digits


@given(seed=st.integers(0, 2**32 - 1), df=st.integers(1, 7))
def test_ns_is_linear_beyond_the_boundary_and_smooth_inside(seed, df):
    x = np.sort(np.random.default_rng(seed).uniform(0, 10, 50))
    state = learn_spline(x, natural=True, df=df)
    assert apply_spline(x, state).shape == (50, df)
    for edge, away in ((x[0], -1.0), (x[-1], 1.0)):
        at = apply_spline(edge + away * np.array([0.0, 1.0, 2.0, 5.0]), state)
        np.testing.assert_allclose(at[2] - at[0], 2 * (at[1] - at[0]), atol=1e-9)
        np.testing.assert_allclose(at[3] - at[0], 5 * (at[1] - at[0]), atol=1e-9)
        h = 1e-4  # the second derivative just inside tends to 0 linearly, so h^2 times it is of order h^3
        inside = apply_spline(edge - away * np.array([0.0, h, 2 * h]), state)
        curvature = (inside[0] - 2 * inside[1] + inside[2]) / h**2
        third = 6 * np.max(np.abs(state.transform)) / np.min(np.diff(np.unique(state.knots))) ** 3
        assert np.all(np.abs(curvature) <= 50 * h * third + 1e-5)  # third derivative times the distance, and rounding


@given(seed=st.integers(0, 2**32 - 1))
def test_ns_spans_every_natural_cubic_spline_on_its_knots(seed):
    rng = np.random.default_rng(seed)
    knots = np.array([0.0, 2.0, 3.0, 7.0, 10.0])
    x = np.sort(np.concatenate([knots, rng.uniform(0, 10, 40)]))
    target = scipy.interpolate.CubicSpline(knots, rng.normal(size=5), bc_type="natural")(x)
    basis = apply_spline(x, learn_spline(x, natural=True, knots=(2, 3, 7)))
    design = np.column_stack([np.ones(x.size), basis])
    fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(fitted, target, atol=1e-10)  # an exact representation, up to rounding


@given(seed=st.integers(0, 2**32 - 1), df=st.integers(3, 8))
def test_bs_spans_cubics_and_sums_to_one_with_its_intercept(seed, df):
    x = np.random.default_rng(seed).uniform(-1, 1, 40)
    full = apply_spline(x, learn_spline(x, natural=False, df=df + 1, intercept=True))
    np.testing.assert_allclose(full.sum(axis=1), 1, atol=1e-12)  # a partition of unity
    basis = apply_spline(x, learn_spline(x, natural=False, df=df))
    assert basis.shape == (40, df)
    design = np.column_stack([np.ones(40), basis])
    target = np.column_stack([x, x**2, x**3])
    fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(fitted, target, atol=1e-9)  # an exact representation, up to rounding
    new = np.array([-1.5, 1.5])  # beyond the boundary the end polynomials go on
    beyond = np.column_stack([np.ones(2), apply_spline(new, learn_spline(x, natural=False, df=df))])
    coef = np.linalg.lstsq(design, target, rcond=None)[0]
    np.testing.assert_allclose(beyond @ coef, np.column_stack([new, new**2, new**3]), atol=1e-6)  # extrapolation


@pytest.mark.parametrize(
    "text",
    ["ns(x, df = 0)", "ns(x, df = 51)", "bs(x, df = 2)", "bs(x, degree = 0)",
     "ns(x, knots = 100)", 'ns(x, knots = "a")',
     "ns(x, Boundary.knots = c(2, 1))", "ns(x, boundary_knots = 3)"],
)  # fmt: skip
def test_splines_that_make_no_sense_are_refused(text):
    with pytest.raises(FormulaError):
        value_of(text, x=X)


def test_rs_spelling_of_boundary_knots_is_read():
    np.testing.assert_array_equal(
        value_of("ns(x, df = 2, Boundary.knots = c(0, 9))", x=X),
        value_of("ns(x, df = 2, boundary_knots = c(0, 9))", x=X),
    )


@pytest.mark.parametrize("text", ["ns(x)", "bs(x)", "scale(x)", "poly(x, 1)"])
def test_a_constant_column_has_no_curve(text):
    with pytest.raises(DataError):
        value_of(text, x=np.full(5, 0.1))


@pytest.mark.parametrize(
    "text",
    [
        'log(x, base = "a")', "log(x, base = c(1, 2))", "log(x, base = 0)", "log(x, base = 1)", "log(x, base = TRUE)",
        "factor(x, levels = TRUE)", "factor(x, levels = 5)", "factor(x, levels = c(1, NULL))",
        'factor(x, ordered = "yes")', 'scale(x, center = "a")', "scale(x, c(1, 2))", "scale(x, scale = 0)",
        'poly(x, 2, raw = "no")', "bs(x, intercept = 1)", 'I(x %in% c("a"))', 'I(x %in% "a")', "I(x %in% NULL)",
    ],
)  # fmt: skip
def test_an_option_of_the_wrong_kind_is_refused(text):
    """One family of refusals: no ValueError of Python's own, and no text that silently counts as TRUE."""
    with pytest.raises(InferenceCoreError):
        value_of(text, x=X)


# ---- factors -------------------------------------------------------------------------------------------------------

G = Factor(np.array([0, 1, 1, 2, 0], dtype=np.int32), ("low", "mid", "high"), ordered=True)


def test_factor_of_numbers_sorts_them_as_numbers():
    value = value_of("factor(x)", x=np.array([10.0, 2.0, 2.5, 10.0]))
    assert value.levels == ("2", "2.5", "10")
    np.testing.assert_array_equal(value.codes, [2, 0, 1, 2])


def test_levels_can_be_put_in_order():
    value = value_of("factor(x, levels = c(10, 2.5, 2))", x=np.array([10.0, 2.0, 2.5, 10.0]))
    assert value.levels == ("10", "2.5", "2")
    value = value_of('ordered(g, levels = c("high", "mid", "low"))', g=G)
    assert value.levels == ("high", "mid", "low")
    assert value.ordered
    with pytest.raises(DataError, match='also hold "high"'):
        value_of('factor(g, levels = c("low", "mid"))', g=G)


def test_factor_forgets_the_order_and_ordered_gives_one():
    assert not value_of("factor(g)", g=G).ordered
    assert value_of("ordered(x)", x=X).ordered


def test_unclass_is_the_code_from_one():
    np.testing.assert_array_equal(value_of("unclass(g)", g=G), [1, 2, 2, 3, 1])


def test_a_group_compares_with_its_levels():
    np.testing.assert_array_equal(value_of('I(g == "mid")', g=G), [False, True, True, False, False])
    np.testing.assert_array_equal(value_of('I("mid" != g)', g=G), [True, False, False, True, True])
    np.testing.assert_array_equal(value_of('I(g >= "mid")', g=G), [False, True, True, True, False])
    np.testing.assert_array_equal(value_of('I(g %in% c("low", "high"))', g=G), [True, False, False, True, True])
    with pytest.raises(DataError) as caught:
        value_of('I(g == "hihg")', g=G)
    assert caught.value.remedy == 'did you mean "high"?'


def test_as_number_reads_text():
    text = Factor(np.array([0, 1, 0], dtype=np.int32), ("1.5", " 2e3"))
    np.testing.assert_array_equal(value_of("as_number(x)", x=text), [1.5, 2000.0, 1.5])


@pytest.mark.parametrize(
    "text", ["log(g)", "I(g + 1)", "I(-g)", "poly(g, 2)", "center(g)", "I(g == x)", "I(!g)", 'I(g + "a")']
)
def test_arithmetic_with_groups_is_refused(text):
    with pytest.raises((DataError, FormulaError)):
        value_of(text, g=Factor(G.codes, G.levels), x=X)


@pytest.mark.parametrize(
    "text", ["log(offset(x))", "log(cbind(x, x))", "I(poly(x, 2) + 1)", "factor(poly(x, 2))", 'I(x > "a")']
)
def test_what_stands_alone_is_refused_inside(text):
    with pytest.raises((DataError, FormulaError)):
        value_of(text, x=X)
