"""The tables of SENTENCES.md are the authority: templates in the code are those of the file, to the character."""

from __future__ import annotations

import re

import pytest

from bossaviz.sentences import rows, status_line, templates

from . import specification

MAIN = specification.rows()
STATES = specification.states()
MORE = specification.more()
STATUS = specification.status()
CHARTS = specification.charts()

# Section 8 and section 5 give some examples in a shorter form than their templates. What differs, by id:
SHORTENED = {
    "M2": "the template has no braces", "M9": "the template has no braces", "M12": "the template has no braces",
    "M14": "only the units are named", "M15": "a numerical illustration", "M17": "only the numbers are given",
    "M19": "only the data set is named", "M21": "the end only",
    "C2": "groups counted with their rows", "C3": "without the most repeated row", "C4": "binned: no extremes",
    "C5": "kind in the singular", "C6": "the estimate is named", "C9": "the trace is abbreviated",
    "C10": "begins with another chart's words", "C11": "without the count of intervals", "C12": "without a superlative",
    "C14": "bars for bands", "C15": "levels left out",
}  # fmt: skip


def pattern(template: str) -> re.Pattern[str]:
    """The template as a pattern: one group a brace, the same text wherever a name comes again."""
    out, seen = "", set()
    for piece in re.split(r"(\{\w+\})", template):
        name = piece[1:-1]
        if not re.fullmatch(r"\{\w+\}", piece):
            out += re.escape(piece)
        elif name in seen:
            out += f"(?P={name})"
        else:
            seen.add(name)
            out += f"(?P<{name}>.*?)"
    return re.compile(out)


@pytest.mark.parametrize(
    ("lines", "stored"),
    [
        (MAIN, templates.ROWS), (STATES, templates.STATES), (MORE, templates.MORE), (STATUS, templates.STATUS),
        (CHARTS, templates.CHARTS),
    ],
    ids=["rows", "states", "more", "status", "charts"],
)  # fmt: skip
def test_templates_are_those_of_the_file(lines, stored):
    assert {line.id: line.template for line in lines} == stored


def test_the_file_was_read_whole():
    assert (len(MAIN), len(STATES), len(MORE), len(STATUS), len(CHARTS)) == (112, 7, 21, 35, 16)


@pytest.mark.parametrize("line", [*MAIN, *STATES, *MORE, *CHARTS], ids=lambda line: line.id)
def test_template_filled_with_its_example_is_the_example(line):
    found = pattern(line.template).fullmatch(line.example)
    if line.id in SHORTENED:
        assert found is None, "the example fits its template by now: take it off the list"
        return
    assert found is not None
    assert line.template.format_map(found.groupdict()) == line.example


@pytest.mark.parametrize("line", [*MAIN, *STATES], ids=lambda line: line.id)
def test_examples_keep_45_words_and_two_sentences(line):
    assert len(line.example.split()) <= 45
    assert len(re.findall(r"[.!?](?=\s|$)", line.example)) <= 2


@pytest.mark.parametrize("line", STATUS, ids=lambda line: line.id)
def test_status_messages_have_the_kind_of_the_file(line):
    kinds = {"i": "info", "w": "warning", "r": "refusal"}
    assert status_line.kind_of(line.id) == kinds[line.example]


def test_rows_without_a_selection_are_counted():
    """Rows that no situation reaches yet; they come with the operations they speak about."""
    waiting = (templates.ROWS.keys() | templates.STATES.keys()) - rows.selected()
    by_table = {prefix: sum(re.match(r"[A-Z]+", row)[0] == prefix for row in waiting) for prefix in
                ("PA", "PB", "PP", "EA", "RA", "VA", "FP", "CV", "SM", "ST")}  # fmt: skip
    # PA15 and PA20 need mixed models; ST1-ST3, ST6 and ST7 join as states (test_rows reaches them)
    assert by_table == {
        "PA": 2, "PB": 0, "PP": 14, "EA": 16, "RA": 11, "VA": 8, "FP": 5, "CV": 8, "SM": 6, "ST": 5
    }  # fmt: skip
