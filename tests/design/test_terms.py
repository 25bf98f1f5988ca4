"""The algebra of terms and R's coding rule, against formulaic and by brute force."""

from __future__ import annotations

import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.design.terms import dummy_coded, expand_terms
from inference_core.errors import FormulaError
from inference_core.formula import parse_formula

COLUMNS = ["y", "a", "b", "c", "d"]


def terms_of(text, columns=COLUMNS):
    return expand_terms(parse_formula(text).fixed, columns, {"y"}, text)


@pytest.mark.parametrize(
    ("text", "intercept", "labels"),
    [
        ("y ~ 1", True, ()),
        ("y ~ 0", False, ()),
        ("y ~ a", True, ("a",)),
        ("y ~ a + a", True, ("a",)),
        ("y ~ a - 1", False, ("a",)),
        ("y ~ -1 + a", False, ("a",)),
        ("y ~ 0 + a", False, ("a",)),
        ("y ~ a + 0", False, ("a",)),
        ("y ~ 0 + a + 1", True, ("a",)),
        ("y ~ a - 0", True, ("a",)),
        ("y ~ a*b", True, ("a", "b", "a:b")),
        ("y ~ a*b - a", True, ("b", "a:b")),
        ("y ~ a:b + a", True, ("a", "a:b")),
        ("y ~ b + a:b", True, ("b", "b:a")),
        ("y ~ a:a", True, ("a",)),
        ("y ~ a*b*c - a:b:c", True, ("a", "b", "c", "a:b", "a:c", "b:c")),
        ("y ~ a*b:c", True, ("a", "b:c", "a:b:c")),
        ("y ~ (a + b + c)^2", True, ("a", "b", "c", "a:b", "a:c", "b:c")),
        ("y ~ (a + b)**3", True, ("a", "b", "a:b")),
        ("y ~ (a + b + c)^2 - a:b", True, ("a", "b", "c", "a:c", "b:c")),
        ("y ~ a/b", True, ("a", "a:b")),
        ("y ~ a/b/c", True, ("a", "a:b", "a:b:c")),
        ("y ~ (a + b)/c", True, ("a", "b", "a:b:c")),
        ("y ~ a/(b + c)", True, ("a", "a:b", "a:c")),
        ("y ~ b %in% a", True, ("b:a",)),
        ("y ~ a + b %in% a", True, ("a", "a:b")),
        ("y ~ c %in% (a + b)", True, ("c:a:b",)),
        ("y ~ (a + b):(c + d)", True, ("a:c", "a:d", "b:c", "b:d")),
        ("y ~ .", True, ("a", "b", "c", "d")),
        ("y ~ . - a", True, ("b", "c", "d")),
        ("y ~ .:a", True, ("a", "a:b", "a:c", "a:d")),
        ("y ~ . + log(a)", True, ("a", "b", "c", "d", "log(a)")),
        ("y ~ log(a)*b", True, ("log(a)", "b", "log(a):b")),
        ("y ~ poly(a,2) + poly( a, 2 )", True, ("poly(a, 2)",)),
        ("y ~ a + (b)", True, ("a", "b")),
        ("y ~ a - b", True, ("a",)),
        ("y ~ a + b - (a + b)", True, ()),
    ],
)
def test_terms_are_rs(text, intercept, labels):
    """Order by degree, factors of a term by first appearance: what R's terms() gives."""
    terms = terms_of(text)
    assert (terms.intercept, terms.labels) == (intercept, labels)


def test_the_dot_leaves_out_the_response_and_needs_a_column():
    assert terms_of("log(y) ~ .").labels == ("a", "b", "c", "d")
    with pytest.raises(FormulaError, match="no columns are left"):
        terms_of("y ~ .", ["y"])


PRODUCTS = st.lists(
    st.tuples(
        st.sampled_from("+-"), st.lists(st.sampled_from("abcd"), min_size=1, max_size=4), st.sampled_from([":", "*"])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150)
@given(products=PRODUCTS)
def test_sums_of_products_equal_formulaics_expansion(products):
    """The light way (no library) and formulaic's parser agree on which terms there are."""
    from formulaic import Formula

    text = "y ~ d" + "".join(f" {sign} {op.join(names)}" for sign, names, op in products)
    ours = {frozenset(label.split(":")) for label in terms_of(text).labels}
    theirs = {frozenset(str(t).split(":")) for t in Formula(text).rhs if str(t) != "1"}
    assert ours == theirs


@settings(max_examples=60)
@given(products=PRODUCTS)
def test_parentheses_change_nothing(products):
    """``(a*b) + (c)`` takes the other way, through the bridge, and comes to the same terms in the same order."""
    flat = "y ~ d" + "".join(f" {sign} {op.join(names)}" for sign, names, op in products)
    bracketed = "y ~ (d)" + "".join(f" {sign} ({op.join(names)})" for sign, names, op in products)
    assert set(terms_of(flat).labels) == set(terms_of(bracketed).labels)


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "*".join(f"x{i}" for i in range(30)),
        "y ~ (" + "*".join(f"x{i}" for i in range(30)) + ")",
        "y ~ (" + "+".join(f"x{i}" for i in range(64)) + ")^3",
        "y ~ (" + "+".join(f"x{i}" for i in range(100)) + "):(" + "+".join(f"z{i}" for i in range(100)) + ")",
    ],
    ids=["flat product", "bracketed product", "cube of 64", "100 by 100"],
)
def test_an_expansion_without_end_stops_early(text):
    start = time.thread_time()
    with pytest.raises(FormulaError, match="more than 2,000 terms"):
        terms_of(text)
    assert time.thread_time() - start < 0.5


def test_a_large_but_reasonable_power_is_expanded():
    assert len(terms_of("y ~ (" + "+".join(f"x{i}" for i in range(20)) + ")^3").labels) == 20 + 190 + 1140


# ---- R's coding rule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "factors", "dummy"),
    [
        ("y ~ a", "a", [(False,)]),
        ("y ~ 0 + a", "a", [(True,)]),
        ("y ~ 0 + a + b", "ab", [(True,), (False,)]),
        ("y ~ 0 + c + a", "a", [(False,), (True,)]),
        ("y ~ a:b", "ab", [(True, True)]),
        ("y ~ a*b", "ab", [(False,), (False,), (False, False)]),
        ("y ~ a + a:b", "ab", [(False,), (True, False)]),
        ("y ~ b + a:b", "ab", [(False,), (True, False)]),
        ("y ~ a + a:c", "a", [(False,), (True, False)]),
        ("y ~ c + a:c", "a", [(False,), (False, False)]),
        ("y ~ a:c", "a", [(True, False)]),
        ("y ~ 0 + a:c", "a", [(True, False)]),
        ("y ~ a*b*c - a:b", "abc", [(False,)] * 3 + [(False, False)] * 2 + [(False, False, True)]),
    ],
)
def test_which_factors_get_a_column_for_each_level(text, factors, dummy):
    terms = terms_of(text)
    is_factor = [o.text in factors for o in terms.operands]
    assert dummy_coded(terms, is_factor) == dummy


@given(chosen=st.sets(st.sampled_from([s for r in (1, 2, 3) for s in combinations("abc", r)]), min_size=1))
def test_a_margin_that_an_earlier_term_spans_is_coded_by_contrasts(chosen):
    """The rule by brute force over sets of names, intercept present."""
    text = "y ~ " + " + ".join(":".join(t) for t in sorted(chosen))
    terms = terms_of(text)
    sets = [frozenset(terms.operands[i].text for i in t) for t in terms.members]
    for t, flags in enumerate(dummy_coded(terms, [True] * len(terms.operands))):
        for i, flag in zip(terms.members[t], flags, strict=True):
            margin = sets[t] - {terms.operands[i].text}
            spanned = not margin or any(margin <= other for other in sets[:t])
            assert flag is not spanned
