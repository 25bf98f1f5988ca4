"""Formula text: the documented examples, R's grammar, and laws of leaving a term out."""

import doctest
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.design.terms import expand_terms
from inference_core.errors import FormulaError
from inference_core.formula.parse import parse_formula
from inference_core.infer import formula_utils
from inference_core.infer.formula_utils import (
    build_ablated_formula,
    parse_value,
    remove_predictor_from_formula,
    unwrap,
)


def test_documented_examples():
    assert doctest.testmod(formula_utils).failed == 0
    assert doctest.testmod(formula_utils).attempted >= 9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.14", 3.14), (" -2e3 ", -2000.0), (".5", 0.5), ("7.", 7.0), ("hello", "hello"), ("'quoted'", "quoted"),
        ('"3"', "3"), ("nan", "nan"), ("inf", "inf"), ("1_000", "1_000"), ("", ""), ("'", "'"), ("'a\"", "'a\""),
        ("0x10", "0x10"),
    ],
)  # fmt: skip
def test_values(text, value):
    parsed = parse_value(text)
    assert parsed == value and type(parsed) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_exactly(number):
    assert parse_value(repr(number)) == number


@pytest.mark.parametrize(
    ("terms", "ablate", "random", "expected"),
    [
        (["x", "z", "x:z"], "x", (), "y ~ z"),
        (["x", "z", "x:z"], "x:z", (), "y ~ x + z"),
        (["x", "z", "x:z"], " z : x ", (), "y ~ x + z"),
        (["x"], "x", (), "y ~ 1"),
        (["x"], "x", ("(1 | g)",), "y ~ 1 + (1 | g)"),
        (["x", "z"], "x", ("(1|group)",), "y ~ z + (1|group)"),
        (["poly(x, 2)", "z", "poly(x, 2):z"], "poly(x,2)", (), "y ~ z"),
        (["factor(a)", "b", "factor(a):b"], "a", (), "y ~ b"),
        (["C(a, sum)", "b"], "factor(a)", (), "y ~ b"),
        (["`my col`", "b", "`my col`:b"], "`my col`", (), "y ~ b"),
        (["a", "b", "c", "a:b", "a:c", "b:c", "a:b:c"], "a:b", (), "y ~ a + b + c + a:c + b:c + a:b:c"),
        (["x", "log(x)"], "x", (), "y ~ log(x)"),
        (["x1", "x", "x1:x"], "x", (), "y ~ x1"),
    ],
)
def test_ablation(terms, ablate, random, expected):
    assert build_ablated_formula("y", terms, ablate, random) == expected


def test_a_term_that_is_not_there_is_named():
    with pytest.raises(FormulaError) as refusal:
        build_ablated_formula("y", ["weight", "height"], "wieght")
    assert str(refusal.value) == (
        "asked: the model without 'wieght'\nfound: its terms are weight, height\ntry:   did you mean 'weight'?"
    )


@pytest.mark.parametrize(
    ("formula", "predictor", "expected"),
    [
        ("y ~ a + b + c", "b", "y ~ a + c"),
        ("y ~ factor(a) + b", "a", "y ~ b"),
        ("y ~ C(a, sum) + b", "a", "y ~ b"),
        ("y ~ C(a, contr.sum):b + b", "a", "y ~ b"),
        ("y ~ c(a) + b", "a", "y ~ b"),
        ("y ~ factor(a) + b", "factor(a)", "y ~ b"),
        ("y~a*b+c", "a", "y ~ b + c"),
        ("y ~ a*b", "b:a", "y ~ a + b"),
        ("y ~ a*b*c", "a", "y ~ b + c + b:c"),
        ("y ~ b:a + a + b", "a:b", "y ~ a + b"),
        ("y ~ (a + b + c)^2", "c", "y ~ a + b + a:b"),
        ("y ~ a/b", "b", "y ~ a"),
        ("y ~ a/b", "a", "y ~ 1"),
        ("y ~ a %in% b + c", "b", "y ~ c"),
        ("y ~ a*b - a:b", "b", "y ~ a"),
        ("y ~ a", "a", "y ~ 1"),
        ("y ~ 0 + a", "a", "y ~ 0"),
        ("y ~ a - 1", "a", "y ~ 0"),
        ("y ~ -1 + a + b", "a", "y ~ -1 + b"),
        ("y ~ . ", "b", "y ~ . - b"),
        ("y ~ .", "my col", "y ~ . - `my col`"),
        ("y ~ `my col` + b", "my col", "y ~ b"),
        ("y ~ `my col` + b", "`my col`", "y ~ b"),
        ("y ~ `a:b` + b", "a:b", "y ~ b"),
        ("y ~ a + (a | g) + (1|h)", "a", "y ~ (a | g) + (1|h)"),
        ("y ~ a + offset(log(a))", "a", "y ~ offset(log(a))"),
        ("log(y) ~ I(z|w)+b", "b", "log(y) ~ I(z|w)"),
        ("cbind(s, f) ~ a + b", "b", "cbind(s, f) ~ a"),
        ("~ a + b", "a", "~ b"),
        ("y ~ x + log(x) + poly(x, 2)", "x", "y ~ log(x) + poly(x, 2)"),
        ("y ~ x + log( x )", "log(x)", "y ~ x"),
    ],
)
def test_removal(formula, predictor, expected):
    assert remove_predictor_from_formula(formula, predictor) == expected


@pytest.mark.parametrize(
    ("formula", "predictor"),
    [
        ("y ~  a +  b", "q"), ("y ~ ab + b1", "a"), ("no tilde", "a"), ("y ~ a ~ b", "a"), ("y ~ a[1] + b", "a"),
        ("y ~ a +", "a"),
        ("y ~ (a", "a"), ("", "a"), ("y ~ b", ""), ("y ~ a + b", "y"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_cannot_be_read_is_handed_back(formula, predictor):
    assert remove_predictor_from_formula(formula, predictor) == formula


NAMES = "abcd"
TERMS = [":".join(c) for size in (1, 2, 3) for c in itertools.combinations(NAMES, size)]


def terms_of(formula):
    parsed = parse_formula(formula)
    if parsed.fixed_text in ("1", "0"):
        return set()
    return {frozenset(label.split(":")) for label in expand_terms(parsed.fixed, [], set(), formula).labels}


@given(
    st.lists(st.sampled_from([*TERMS, "a*b", "(b + c)^2", "a/d", "c*d*a"]), min_size=1, max_size=5),
    st.sampled_from(NAMES),
)
def test_removal_takes_every_term_with_the_predictor_and_no_other(pieces, predictor):
    formula = "y ~ " + " + ".join(pieces)
    left = {term for term in terms_of(formula) if predictor not in term}
    assert terms_of(remove_predictor_from_formula(formula, predictor)) == left


@given(st.lists(st.sampled_from(TERMS), min_size=1, max_size=6, unique=True), st.data())
def test_ablation_is_hierarchical_downwards_only(terms, data):
    gone = data.draw(st.sampled_from(terms))
    shuffled = ":".join(data.draw(st.permutations(gone.split(":"))))
    main = ":" not in gone
    expected = [t for t in terms if not (gone in t.split(":") if main else t == gone)]
    assert build_ablated_formula("y", terms, shuffled) == f"y ~ {' + '.join(expected) or '1'}"


@given(st.text(max_size=40), st.text(max_size=10))
def test_no_text_breaks_it(formula, predictor):
    assert isinstance(remove_predictor_from_formula(formula, predictor), str)


@pytest.mark.parametrize(
    ("text", "column"),
    [("factor(a)", "a"), ("C(a, sum)", "a"), ("`my col`", "my col"), (" a ", "a"),
     ("log(a)", "log(a)"), ("a[1]", "a[1]"),
     ("factor(a + b)", "factor(a + b)")],
)  # fmt: skip
def test_unwrap(text, column):
    assert unwrap(text) == column
