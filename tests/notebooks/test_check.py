"""The checks of the exercises: tolerances, slips and words."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def load_check():
    found = importlib.util.spec_from_file_location("course_check", NOTEBOOKS / "check.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


check = load_check()


@pytest.mark.parametrize("key", check.ANSWERS)
def test_the_expected_value_passes_and_its_edges(key):
    answer = check.ANSWERS[key]
    for value in (answer.value, answer.value - 0.999 * answer.within, answer.value + 0.999 * answer.within):
        assert check.outcome(answer, value) == f"ok: {answer}"


@pytest.mark.parametrize("key", check.ANSWERS)
def test_a_slip_gets_its_hint(key):
    answer = check.ANSWERS[key]
    for slip in answer.slips:
        assert check.outcome(answer, slip.value) == f"not yet. {slip.hint}"


@given(value=st.floats(-1e6, 1e6), key=st.sampled_from(sorted(check.ANSWERS)))
def test_every_value_gets_one_sentence(value, key):
    said = check.outcome(check.ANSWERS[key], value)
    assert said.startswith("ok: ") == (abs(value - check.ANSWERS[key].value) <= check.ANSWERS[key].within)
    assert "nan" not in said and "\n" not in said


def test_an_unknown_key_names_the_known_ones():
    with pytest.raises(KeyError, match=r"01\.1 formula"):
        check.check("01.9", 1.0)


def test_it_prints(capsys):
    check.check("01.1 formula", 46.6)
    assert capsys.readouterr().out == "ok: 46.6\n"


def test_no_answer_yet_is_an_invitation(capsys):
    check.check("01.1 formula", ...)
    assert capsys.readouterr().out == "your turn: write a number instead of ...\n"
