"""The language of explore: what it reads, what it refuses and where, and the weights of every contrast."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import FormulaError
from inference_core.formula.explore import METHODS, At, parse_explore
from inference_core.formula.explore.contrasts import contrast_rows

CELLS = [("A",), ("B",), ("C",)]


def weights(text, cells=CELLS):
    return contrast_rows(parse_explore(text).focal[0].contrast, cells, text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("x", None),
        ("x@3", At("values", (3.0,))),
        ("x@[1, -2.5]", At("values", (1.0, -2.5))),
        ('g@["two words", b]', At("values", ("two words", "b"))),
        ("x@range(5)", At("range", count=5)),
        ("x@quantile(3)", At("quantile", count=3)),
    ],
)
def test_values(text, at):
    assert parse_explore(text).focal[0].variables[0].at == at


def test_conditions_and_interactions():
    query = parse_explore("pairwise(a:b) ~ `the z` + w@[1, 2] + pairwise(v)")
    assert [v.name for v in query.variables] == ["a", "b", "the z", "w", "v"]
    assert [part.contrast.method if part.contrast else None for part in query.conditions] == [None, None, "pairwise"]
    assert [v.name for v in parse_explore("a:b").focal[0].variables] == ["a", "b"]
    both = parse_explore("pairwise(a):treatment(b, ref = B)").focal
    assert [part.contrast.method for part in both] == ["pairwise", "treatment"]
    assert both[1].contrast.ref == "B"


# Signs, order and weights as emmeans prints them: coef(contrast(EM, method)) of three means.
@pytest.mark.parametrize(
    ("text", "labels", "rows"),
    [
        ("pairwise(g)", ["A - B", "A - C", "B - C"], [[1, -1, 0], [1, 0, -1], [0, 1, -1]]),
        ("revpairwise(g)", ["B - A", "C - A", "C - B"], [[-1, 1, 0], [-1, 0, 1], [0, -1, 1]]),
        ("sequential(g)", ["B - A", "C - B"], [[-1, 1, 0], [0, -1, 1]]),
        ("treatment(g)", ["B - A", "C - A"], [[-1, 1, 0], [-1, 0, 1]]),
        ("treatment(g, ref=C)", ["A - C", "B - C"], [[1, 0, -1], [0, 1, -1]]),
        ("poly(g)", ["linear", "quadratic"], [[-1, 0, 1], [1, -2, 1]]),
        ("sum(g)", ["A effect", "B effect", "C effect"], np.eye(3) - 1 / 3),
        ("helmert(g)", ["B - A", "C - mean(A, B)"], [[-1, 1, 0], [-0.5, -0.5, 1]]),
        ("g[A - B, C - B]", ["A - B", "C - B"], [[1, -1, 0], [0, -1, 1]]),
        ("g[* - B]", ["A - B", "C - B"], [[1, -1, 0], [0, -1, 1]]),
        ("g[(A + B) - C]", ["(A + B) - C"], [[0.5, 0.5, -1]]),
        ("g[2*A - 1*B]", ["2*A - 1*B"], [[2, -1, 0]]),
    ],
)  # fmt: skip
def test_weights(text, labels, rows):
    found, matrix = weights(text)
    assert found == labels
    np.testing.assert_allclose(matrix, rows, atol=1e-15)  # thirds and halves, rounded once


def test_everything_and_slopes():
    assert parse_explore("1").focal == ()
    assert parse_explore("1 ~ g").conditions[0].variables[0].name == "g"
    slope = parse_explore("slope(x@[1, 2]) ~ g").focal[0]
    assert (slope.contrast.method, slope.variables[0].at.values) == ("slope", (1.0, 2.0))


def test_cells_of_two_factors():
    cells = [("A", "C"), ("A", "D"), ("B", "C"), ("B", "D")]
    labels, matrix = weights("a:b[A:C - B:D]", cells)
    assert labels == ["A:C - B:D"]
    np.testing.assert_array_equal(matrix, [[1, 0, 0, -1]])


# R: contr.poly up to scale; emmeans::poly.emmc(5) and (7) print these integers
@pytest.mark.parametrize(
    ("k", "rows"),
    [
        (4, [[-3, -1, 1, 3], [1, -1, -1, 1], [-1, 3, -3, 1]]),
        (5, [[-2, -1, 0, 1, 2], [2, -1, -2, -1, 2], [-1, 2, 0, -2, 1], [1, -4, 6, -4, 1]]),
        (7, [[-3, -2, -1, 0, 1, 2, 3], [5, 0, -3, -4, -3, 0, 5], [-1, 1, 1, 0, -1, -1, 1]]),
    ],
)
def test_polynomials_are_integers(k, rows):
    np.testing.assert_array_equal(METHODS["poly"]([str(i) for i in range(k)], len(rows))[1], rows)


@given(k=st.integers(2, 9), method=st.sampled_from(sorted(METHODS)))
def test_named_contrasts_compare(k, method):
    """Weights of a contrast sum to 0, and adding a constant to every mean changes nothing."""
    labels, matrix = METHODS[method]([f"g{i}" for i in range(k)])
    assert len(labels) == len(matrix) == len(set(labels))
    np.testing.assert_allclose(matrix.sum(1), 0, atol=1e-11)  # rounding of up to nine thirds or polynomial weights


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", 1, "nothing to explore"),
        ("pairwse(x)", 1, "did you mean pairwise"),
        ("x@", 3, "where a value should stand"),
        ("x@[1,", 6, "where a value should stand"),
        ("x@[1", 5, "close the bracket"),
        ("x@rng(3)", 3, "@range(n)"),
        ("x@range(0)", 9, "whole number"),
        ("x ~", 4, "column's name"),
        ("x ~ a*b", 6, "a:b"),
        ("x ~ a ~ b", 7, "joined by +"),
        ("x ~ x", 5, "named twice"),
        ("a:pairwise(b)", 1, "~ a"),
        ("pairwise(x", 11, "close the parenthesis"),
        ("pairwise(x, 2)", 1, "pairwise(x)"),
        ("g[A - B", 8, "joined by + and -"),
        ("g[* - *]", 3, "two *"),
        ("slope(x):pairwise(g)", 1, "x ~ pairwise(group)"),
        ("x;y", 2, "no meaning"),
        ("x'", 2, "close the '"),
        ("__import__('os').system('x')", 1, "no function"),
    ],
)
def test_refusals_point_at_the_character(text, place, words):
    with pytest.raises(FormulaError) as caught:
        parse_explore(text)
    message = str(caught.value)
    assert f"at character {place}" in message
    assert words in message
    if text:
        lines = message.splitlines()
        caret = next(i for i, line in enumerate(lines) if line.strip() == "^")
        assert lines[caret].index("^") - lines[caret - 1].index(text) == place - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g[A + B - C]", "(A + B) - C"),
        ("g[D - A]", "there are A, B, C"),
        ("g[a - B]", "did you mean 'A'"),
        ("poly(g, 3)", "poly(x, 2) is the highest"),
        ("treatment(g, ref=Z)", "no level 'Z'"),
        ("g[A:B - C]", "each cell has 1"),
    ],
)
def test_refusals_that_need_the_levels(text, words):
    with pytest.raises(FormulaError, match="at character") as caught:
        weights(text)
    assert words in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    """No text raises anything but our own refusal."""
    with contextlib.suppress(FormulaError):
        parse_explore(text)


def test_not_text():
    with pytest.raises(FormulaError, match="said in text"):
        parse_explore(5)
