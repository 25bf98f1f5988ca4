"""Forbidden phrasings (section 6) in everything a reader meets, and the reading level of rule 12."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from bossaviz.sentences import templates
from bossaviz.sentences.lint import (
    forbidden,
    forbidden_in_notebook,
    forbidden_in_sentence,
    reading_grade,
    syllables,
)

from . import specification
from .test_templates import MAIN, SHORTENED, STATES, pattern

ROOT = Path(__file__).parents[3]
GRADES = json.loads((Path(__file__).parent / "grades.json").read_text(encoding="utf-8"))
# Names that stand for words of the data, not of ours, and the names of intervals that the course teaches.
LABEL_NAMES = frozenset(
    """ci_name effect event step response units unit_name unit group groups term x x_unit who level_a ref a b A B
    condition zeros at_settings At_settings what in_a in_b a0 a1 b0 b1 count held""".split()  # noqa: SIM905
)

CAUGHT = {
    1: "There is no effect of wool.", 2: "So we accept the null.", 3: "p is the probability that the null is true",
    4: "the probability that the result is due to chance is 0.03", 5: "with 95% probability that the slope lies there",
    6: "We are 95% confident that it is", 7: "95% of the data lie in the interval", 8: "a significant slope",
    9: "highly significant", 10: "the slope is not significant", 11: "a trend towards more", 12: "p = 0.000",
    13: "this proves that sleep matters", 14: "the bigger effect has the smaller p",
    15: "A is significant, B is not, so A differs from B", 16: "the intervals overlap, so nothing is there",
    17: "more resamples make the estimate more accurate", 18: "the bootstrap creates new data",
    19: "the bootstrap needs no assumptions", 20: "the null distribution is centred on the estimate",
    21: "odds twice as likely", 22: "the effect of wool causes breaks", 23: "the prediction is 95% certain",
    24: "the model is correct", 25: "outliers were removed to improve the fit",
}  # fmt: skip


@pytest.mark.parametrize("number", CAUGHT)
def test_each_phrasing_of_the_file_is_caught(number):
    assert forbidden(CAUGHT[number])
    assert forbidden(CAUGHT[number].upper())


def test_every_line_of_the_file_has_a_phrase_here():
    assert [number for number, _ in specification.forbidden()] == list(CAUGHT)


@pytest.mark.parametrize(
    "text", ["p = 0.0001", "to three significant digits", "as if supplement made no difference", "p = 0.05", "unproved"]
)
def test_what_is_not_forbidden_passes(text):
    assert not forbidden(text)


def test_quotations_of_misreadings_are_allowed(tmp_path):
    assert not forbidden("Do not say:\n```misreading\nThe result is highly significant.\n```\nSay:")
    cell = {"cell_type": "markdown", "source": ["It is significant."], "metadata": {"tags": ["misreading"]}}
    book = {"cells": [cell, {"cell_type": "code", "source": [], "metadata": {}, "outputs": [{"text": ["p = 0.00"]}]}]}
    path = tmp_path / "book.ipynb"
    path.write_text(json.dumps(book))
    assert [f.number for f in forbidden_in_notebook(path)] == [12]


STORED = {**templates.ROWS, **templates.STATES, **templates.MORE, **templates.STATUS, **templates.CHARTS}


@pytest.mark.parametrize("code", STORED)
def test_templates_say_nothing_forbidden(code):
    assert not forbidden_in_sentence(STORED[code])


def test_labels_say_nothing_forbidden():
    from bossaviz import vocabulary
    from inference_core.datasets import list_datasets

    for name in list_datasets():
        assert not forbidden_in_sentence(repr(vocabulary.shipped(name)))


@pytest.mark.parametrize(
    "path",
    sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("notebooks/**/*.md")}),
    ids=lambda path: path.name,
)
def test_documents_say_nothing_forbidden(path):
    assert forbidden(path.read_text(encoding="utf-8")) == []


def test_notebooks_say_nothing_forbidden():
    found = {path.name: forbidden_in_notebook(path) for path in ROOT.glob("notebooks/**/*.ipynb")}
    assert {name: findings for name, findings in found.items() if findings} == {}


# ---- reading level --------------------------------------------------------------------------------------------------

EXAMPLES = {line.id: line.example for line in [*MAIN, *STATES]}


def masked(line) -> str:
    """The example with each word of the data replaced by a short one."""
    if line.id in SHORTENED:
        return line.example
    found = pattern(line.template).fullmatch(line.example)
    assert found is not None
    return line.template.format_map(
        {name: " ".join("it" for _ in text.split()) if name in LABEL_NAMES else text
         for name, text in found.groupdict().items()}
    )  # fmt: skip


def test_reading_level_of_the_worked_examples():
    grades = [reading_grade(text) for text in EXAMPLES.values()]
    assert statistics.mean(grades) <= 9


@pytest.mark.parametrize("line", [*MAIN, *STATES], ids=lambda line: line.id)
def test_no_row_is_above_grade_14_with_labels_masked(line):
    assert reading_grade(masked(line)) <= 14


@pytest.mark.parametrize("row", EXAMPLES)
def test_no_row_gets_harder_to_read(row):
    assert reading_grade(EXAMPLES[row]) <= GRADES[row] + 0.05  # grades are stored with one decimal


@pytest.mark.parametrize(
    ("word", "count"),
    [("fuel", 1), ("economy", 4), ("confidence", 3), ("interval", 3), ("made", 1), ("slope", 1), ("resamples", 3),
     ("drawn", 1), ("0.73", 1), ("table", 2), ("scattered", 2), ("rise", 1)],
)  # fmt: skip
def test_syllables(word, count):
    assert syllables(word) == count


def test_grade_of_a_known_text():
    """The formula by hand: 6 words, 1 sentence, 6 syllables."""
    text = "The cat sat on the mat."
    assert re.fullmatch(r"-1\.4\d*", str(reading_grade(text)))
