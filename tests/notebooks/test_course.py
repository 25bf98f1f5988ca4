"""The notebooks of the course: their shape, and what is stored in them. Their numbers are checked by running them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SESSIONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
SHAPE = ["Predict", "One by one", "Thousands", "Shade", "The sentence", "Code", "Check against theory", "Exercises",
         "What could go wrong"]  # fmt: skip

every_session = pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def tagged(book: dict, tag: str) -> list[dict]:
    return [cell for cell in book["cells"] if tag in cell["metadata"].get("tags", ())]


@every_session
def test_sections_come_in_the_order_of_the_course(path):
    text = "\n".join("".join(c["source"]) for c in read(path)["cells"] if c["cell_type"] == "markdown")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == SHAPE


@every_session
def test_a_misreading_is_quoted_and_the_teacher_s_note_is_folded_away(path):
    book = read(path)
    assert tagged(book, "misreading")
    (note,) = tagged(book, "teacher")
    assert note is book["cells"][-1]
    assert note["metadata"]["jupyter"] == {"source_hidden": True}


@every_session
def test_outputs_are_stored_and_widget_state_is_not(path):
    book = read(path)
    assert "widgets" not in book["metadata"]
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]


@every_session
def test_a_panel_leaves_a_picture_and_words_for_readers_without_a_kernel(path):
    shown = [
        output["data"]
        for cell in read(path)["cells"]
        for output in cell.get("outputs", ())
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert shown
    assert all("image/png" in data and "bootstrap of" in "".join(data["text/plain"]) for data in shown)


@every_session
def test_solutions_pass_every_check_of_the_session(path):
    solutions = NOTEBOOKS / "solutions" / path.name
    said = [
        line
        for cell in read(solutions)["cells"]
        for output in cell.get("outputs", ())
        for line in "".join(output.get("text", "")).splitlines()
    ]
    asked = "".join("".join(c["source"]) for c in read(path)["cells"] if c["cell_type"] == "code").count("check(")
    assert len(said) == asked
    assert all(line.startswith("ok: ") for line in said)
