"""Formulas in parts: canonical text, offsets, random terms."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inference_core.errors import FormulaError
from inference_core.formula import parse_formula, suggest
from inference_core.formula.tokens import quote_name, spell, tokenize


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("poly(wt,3,raw=TRUE)", "poly(wt, 3, raw = TRUE)"),
        ("I(2*wt)", "I(2 * wt)"),
        ("I(hp**2)", "I(hp^2)"),
        ("-3*wt", "-3 * wt"),
        ("log( size )", "log(size)"),
        ("a/b", "a/b"),
        ("x>1&!z", "x > 1 & !z"),
        ("`my col`+`x`", "`my col` + x"),
        ("C(g,'sum')", 'C(g, "sum")'),
        ("x*-1", "x * -1"),
    ],
)
def test_text_is_spelt_as_r_deparses_it(text, canonical):
    assert spell(tokenize(text)) == canonical
    assert spell(tokenize(canonical)) == canonical


def test_parts_of_a_formula():
    parsed = parse_formula("log(y) ~ x*g + offset(log(n)) + (1|s) - 1 + offset(z)")
    assert parsed.response_text == "log(y)"
    assert parsed.fixed_text == "x * g - 1"
    assert [o.text for o in parsed.offsets] == ["log(n)", "z"]
    assert parsed.random_terms == ("(1 | s)",)


def test_cbind_is_a_pair_of_expressions():
    parsed = parse_formula("cbind(incidence, size - incidence) ~ period")
    assert parsed.cbind is not None
    assert [e.text for e in parsed.cbind] == ["incidence", "size - incidence"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("(1|g)", [("1", "g", True)]),
        ("(x | g)", [("x", "g", True)]),
        ("(x || g)", [("x", "g", False)]),
        ("(0+x|g)", [("0 + x", "g", True)]),
        ("(1|a/b)", [("1", "a", True), ("1", "a:b", True)]),
        ("(1|a/b/c)", [("1", "a", True), ("1", "a:b", True), ("1", "a:b:c", True)]),
        ("(x||a/b)", [("x", "a", False), ("x", "a:b", False)]),
        ("(1|a:b)", [("1", "a:b", True)]),
        ("(1|a) + (1|b)", [("1", "a", True), ("1", "b", True)]),
        ("((1 | Subject) + (0 + Days | Subject))", [("1", "Subject", True), ("0 + Days", "Subject", True)]),
        ("(1 | `my group`/`b|c`)", [("1", "`my group`", True), ("1", "`my group`:`b|c`", True)]),
        ("(1 | factor(g))", [("1", "factor(g)", True)]),
        ("(t10 + I(t10^2) | Chick)", [("t10 + I(t10^2)", "Chick", True)]),
        ("(poly(x, 2) * z | g)", [("poly(x, 2) * z", "g", True)]),
        ("(1 | (a:b))", [("1", "a:b", True)]),
    ],
)
def test_random_terms(text, terms):
    parsed = parse_formula(f"y ~ x + {text}")
    assert [(t.effects_text, t.group_name, t.correlated) for t in parsed.random] == terms
    assert parsed.fixed_text == "x"
    assert parse_formula(f"y ~ {text} + x").fixed_text == "x"
    assert parse_formula(f"y ~ {text}").fixed_text == "1"


def test_fixed_terms_inside_parentheses_with_random_ones_are_kept():
    parsed = parse_formula("y ~ a + (b + (1 | g) - 1)")
    assert parsed.fixed_text == "a + b - 1"
    assert parsed.random_terms == ("(1 | g)",)


def test_a_bar_inside_a_call_is_not_a_random_term():
    parsed = parse_formula("y ~ I(z|w) + x")
    assert parsed.random == ()
    assert parsed.fixed_text == "I(z | w) + x"


@pytest.mark.parametrize(
    "text",
    [
        "y ~ x:(1|g)", "y ~ x*(1|g)", "y ~ (1|g)^2", "y ~ (1|g)/x", "y ~ 1|g", "y ~ x + z|g", "y ~ x - (1|g)",
        "y ~ (1|g|h)",
        "y ~ (|g)", "y ~ (1|)", "y ~ (1|g+h)", "y ~ (1|2)", "y ~ (1|log(g))", "y ~ ((1|g)|h)", "y ~ (1|g) %in% x",
        "y ~ (1|.)", "y ~ (x + (1|g)):z", "(1|g) ~ x",
    ],
)  # fmt: skip
def test_bars_out_of_place_are_refused(text):
    with pytest.raises(FormulaError):
        parse_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "y", "y ~", "~", "y ~ x ~ z", "y ~ x +", "y ~ x + + * z", "y ~ * x", "y ~ x z", "y ~ ()", "y ~ x ()",
        "y ~ (x", "y ~ x)", "y ~ x:", "y ~ x^0", "y ~ x^z", "y ~ x^1.5", "y ~ offset(x):z", "y ~ x - offset(z)",
        "y ~ cbind(x, z)",
        "y ~ I(3)", "y ~ 'a'", "y ~ x, z", "y ~ (x ~ z)", "x = 3", "y ~ log(x", "y ~ offset()", "y ~ cbind(x)",
    ],
)  # fmt: skip
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    assert caught.value.asked
    assert caught.value.remedy


def test_something_that_is_no_text_is_refused():
    with pytest.raises(FormulaError, match="a formula is text"):
        parse_formula(42)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "names", "near"),
    [("mgp", ["mpg", "wt"], "mpg"), ("WT", ["mpg", "wt"], "wt"), ("q", ["mpg", "wt"], None), ("x", [], None)],
)
def test_the_nearest_name(word, names, near):
    assert suggest(word, names) == near


def test_names_that_are_no_words_are_quoted():
    assert [quote_name(n) for n in ("x", "a.b", "my col", "1a", "TRUE", "é")] == [
        "x", "a.b", "`my col`", "`1a`", "`TRUE`", "é",
    ]  # fmt: skip


def test_parsing_needs_no_formula_library():
    """Parsing and a plain design load neither formulaic nor pandas, which take most of a second."""
    code = (
        "import sys; from inference_core.formula import parse_formula; parse_formula('y ~ x + (1|g)');"
        "import polars as pl; from inference_core.design import build_bundle;"
        "build_bundle('y ~ log(x)*g + ns(x, df=2)',"
        "pl.DataFrame({'y': [1.,2,4,3,7,9], 'x': [1.,2,3,4,5,6], 'g': list('ababba')}));"
        "print([m for m in ('formulaic', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
