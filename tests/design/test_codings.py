"""Contrast matrices and their labels, against R's tables and by what they mean."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.design import build_bundle
from inference_core.design.codings import CODINGS, make_coding
from inference_core.errors import DataError, FormulaError

LEVELS = ("A", "B", "C", "D")


@pytest.mark.parametrize(
    ("request_", "matrix", "suffixes"),
    [
        ("treatment", [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], ("[B]", "[C]", "[D]")),
        (("treatment", "C"), [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], ("[A]", "[B]", "[D]")),
        ("sum", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], ("[S.A]", "[S.B]", "[S.C]")),
        ("helmert", [[-1, -1, -1], [1, -1, -1], [0, 2, -1], [0, 0, 3]], ("[H.B]", "[H.C]", "[H.D]")),
        (
            "sequential",
            [[-0.75, -0.5, -0.25], [0.25, -0.5, -0.25], [0.25, 0.5, -0.25], [0.25, 0.5, 0.75]],
            ("[B-A]", "[C-B]", "[D-C]"),
        ),
    ],
    ids=str,
)
def test_matrices_are_rs(request_, matrix, suffixes):
    """contr.treatment, contr.sum, contr.helmert (unscaled) and MASS::contr.sdif of four levels."""
    coding = make_coding(request_, LEVELS, "g")
    np.testing.assert_allclose(coding.matrix, matrix, atol=1e-15)  # small fractions, exact in binary
    assert coding.suffixes == suffixes


@given(k=st.integers(2, 9))
def test_polynomial_contrasts_are_orthonormal_and_named_as_in_r(k):
    coding = make_coding("poly", tuple(f"l{j}" for j in range(k)), "g")
    np.testing.assert_allclose(coding.matrix.T @ coding.matrix, np.eye(k - 1), atol=1e-12)  # rounding of a k x k QR
    np.testing.assert_allclose(coding.matrix.sum(axis=0), 0, atol=1e-12)
    assert coding.matrix[-1, 0] > 0  # rising
    assert coding.suffixes == (".L", ".Q", ".C", "^4", "^5", "^6", "^7", "^8")[: k - 1]


def test_linear_contrast_of_three_levels_is_the_textbook_one():
    matrix = make_coding("poly", ("l", "m", "h"), "g").matrix
    np.testing.assert_allclose(matrix[:, 0], np.array([-1, 0, 1]) / np.sqrt(2), atol=1e-15)
    np.testing.assert_allclose(matrix[:, 1], np.array([1, -2, 1]) / np.sqrt(6), atol=1e-15)


@pytest.mark.parametrize("word", ["contr.sum", "Contr.Sum", "sum", "SUM", "contr_sum", "deviation"])
def test_names_of_codings_are_forgiving(word):
    assert make_coding(word, LEVELS, "g").kind == "sum"


def test_ordered_factors_are_polynomial_and_others_treatment_coded():
    assert make_coding(None, LEVELS, "g", ordered=True).kind == "poly"
    assert make_coding(None, LEVELS, "g").kind == "treatment"


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ("helmart", FormulaError, 'did you mean "helmert"?'),
        (3, FormulaError, "is not a coding"),
        (("treatment", "E"), DataError, '"E" is not a level'),
        (("helmert", "A"), FormulaError, "only treatment and sum"),
        (("treatment", None), FormulaError, "NoneType"),
        (np.eye(3), DataError, r"shape \(3, 3\) for 4 levels"),
        (np.eye(4), DataError, "1 to 3 columns"),
        (np.full((4, 2), np.nan), DataError, "finite"),
        ([[1], [2], ["x"], [4]], DataError, "does not hold numbers"),
    ],
    ids=str,
)
def test_codings_that_do_not_fit_are_refused(request_, error, words):
    with pytest.raises(error, match=words.replace("?", r"\?")):
        make_coding(request_, LEVELS, "g")


FRAME = pl.DataFrame(
    {"y": np.random.default_rng(0).normal(size=24), "g": list("ABCD") * 6, "h": list("xyz") * 8, "k": [1, 2, 3, 4] * 6}
)


@pytest.mark.parametrize(
    "coding", [*CODINGS, np.array([[3.0, 1], [-1, 2], [0, 0], [1, 1]]), ("treatment", "D"), ("sum", "A")], ids=str
)
def test_recoding_a_factor_leaves_fitted_values(coding):
    """Every coding of full rank spans the same space, interactions included."""
    X = build_bundle("y ~ g * h", FRAME, contrasts={"g": coding})[1].X
    if isinstance(coding, np.ndarray):  # two columns for four levels span less, by choice
        assert X.shape[1] == 1 + 2 + 2 + 4
        return
    base = build_bundle("y ~ g * h", FRAME)[1].X
    y = FRAME["y"].to_numpy()
    fitted = [M @ np.linalg.lstsq(M, y, rcond=None)[0] for M in (base, X)]
    np.testing.assert_allclose(fitted[1], fitted[0], atol=1e-12)  # the same projection of values of order 1


@pytest.mark.parametrize(
    ("formula", "contrasts"),
    [
        ("y ~ C(g, sum)", None),
        ("y ~ C(g, contr.sum)", None),
        ('y ~ C(g, "sum")', None),
        ("y ~ g", {"g": "sum"}),
        ("y ~ factor(g)", {"g": "sum"}),
        ("y ~ factor(g)", {"factor(g)": "sum"}),
        ("y ~ factor( g )", {"factor(g)": "contr.sum"}),
    ],
)
def test_a_coding_can_be_asked_for_in_several_places(formula, contrasts):
    bundle = build_bundle(formula, FRAME, contrasts=contrasts)[1]
    expected = build_bundle("y ~ g", FRAME, contrasts={"g": "sum"})[1]
    np.testing.assert_array_equal(bundle.X, expected.X)


def test_the_reference_level_can_be_named_in_the_formula():
    assert build_bundle('y ~ C(g, ref = "C")', FRAME)[1].X_names[1:] == (
        'C(g, ref = "C")[A]', 'C(g, ref = "C")[B]', 'C(g, ref = "C")[D]',
    )  # fmt: skip
    assert build_bundle("y ~ C(k, treatment, 3)", FRAME)[1].design_state.operands[0].coding.reference == "3"


@pytest.mark.parametrize("name", ["ordered(g)", "C(g, poly)"])
def test_an_ordered_factor_can_be_made_in_the_formula(name):
    names = build_bundle(f"y ~ {name}", FRAME)[1].X_names
    assert names == ("(Intercept)", f"{name}.L", f"{name}.Q", f"{name}.C")


def test_numbers_have_no_coding():
    with pytest.raises(DataError, match="numbers have no coding"):
        build_bundle("y ~ k", FRAME, contrasts={"k": "sum"})


def test_contrasts_of_columns_that_the_formula_does_not_use_are_left_alone():
    """The same contrasts serve nested models that are compared."""
    assert build_bundle("y ~ g", FRAME, contrasts={"g": "sum", "h": "sum"})[1].p == 4


def test_a_misspelt_contrast_is_recognised():
    frame = FRAME.rename({"g": "species"})
    with pytest.raises(FormulaError) as caught:
        build_bundle("y ~ species", frame, contrasts={"speceis": "sum"})
    assert caught.value.remedy == 'did you mean "species"?'


def test_columns_say_what_they_stand_for():
    state = build_bundle("y ~ g + h + k", FRAME, contrasts={"g": "sequential"})[1].design_state
    described = [[(p.operand, p.coding, p.level, p.reference) for p in parts] for parts in state.parts]
    assert described == [
        [],
        [("g", "sequential", "B", "A")],
        [("g", "sequential", "C", "B")],
        [("g", "sequential", "D", "C")],
        [("h", "treatment", "y", "x")],
        [("h", "treatment", "z", "x")],
        [("k", None, None, None)],
    ]
