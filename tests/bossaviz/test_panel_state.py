"""Choices: what makes sense, what is said when it does not, and the way to JSON and back."""

from __future__ import annotations

import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.state import CI_TYPES, BootstrapState

TERMS = ("(Intercept)", "wt", "species[Gentoo]")
choices = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**53),
        "n_boot": st.integers(0, 10**6),
        "term": st.sampled_from(TERMS),
        "ci_type": st.sampled_from(list(CI_TYPES)),
        "conf_level": st.floats(0.5, 0.999).map(lambda level: round(level, 9)),
        "null": st.floats(-1e6, 1e6),
        "alternative": st.sampled_from(["two-sided", "less", "greater"]),
        "shown": st.none() | st.integers(1, 10**6),
        "bins": st.integers(2, 20),
        "overlay": st.booleans(),
        "tab": st.sampled_from(["estimates", "pinned", "draws"]),
    }
)


@given(choices=choices)
def test_json_and_back(choices):
    state = BootstrapState(terms=TERMS, **choices)
    again = BootstrapState.from_json(state.to_json(), TERMS)
    assert again.to_json() == state.to_json()
    assert again.draw_query() == state.draw_query()
    assert again.read_query() == state.read_query()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conf_level", 1.5, "A level of 1.5 is outside 0.50 to 0.999. Type 0.95 for 95%."),
        ("conf_level", 95.0, "A level of 95 is outside 0.50 to 0.999. Type 0.95 for 95%."),
        ("ci_type", "bcaa", '"bcaa" is not a kind of interval. Did you mean "bca"?'),
        ("term", "wtt", '"wtt" is not a term of this model. Did you mean "wt"?'),
        ("n_boot", -1, "-1 draws are outside 0 to 1,000,000."),
        ("shown", 0, "Draws are counted from 1; there is no draw 0."),
    ],
)
def test_a_refused_value_is_a_sentence_and_changes_nothing(name, value, words):
    state = BootstrapState(terms=TERMS, term="wt")
    before = state.to_json()
    with pytest.raises(traitlets.TraitError) as refused:
        setattr(state, name, value)
    assert str(refused.value).startswith(words)
    assert state.to_json() == before


def test_an_unknown_choice_in_json_is_named():
    with pytest.raises(traitlets.TraitError, match='"sed" is not a choice'):
        BootstrapState.from_json('{"sed": 3}')


@pytest.mark.parametrize("seed", [-3, 2**63])
def test_a_seed_that_no_stream_has_is_refused_with_a_sentence(seed):
    with pytest.raises(traitlets.TraitError, match=r"outside 0 to 2\^63 - 1\. Type a whole number such as 7\."):
        BootstrapState(terms=TERMS, term="wt", seed=seed)


def test_only_seed_and_scheme_decide_the_draws():
    state = BootstrapState(terms=TERMS, term="wt", seed=3)
    query = state.draw_query()
    for name, value in {"term": "(Intercept)", "ci_type": "basic", "conf_level": 0.9, "null": 1.0, "shown": 4}.items():
        setattr(state, name, value)
        assert state.draw_query() == query
    state.seed = 4
    assert state.draw_query() != query
