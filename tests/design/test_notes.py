"""The short messages about a design."""

from __future__ import annotations

import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.design.notes import bundle_notes
from inference_core.errors import InferenceCoreWarning


def notes_of(formula, frame, **options):
    return [(n.code, n.kind, n.text) for n in bundle_notes(build_bundle(formula, frame, **options)[1])]


def test_rows_left_out():
    assert notes_of("body_mass_g ~ sex + flipper_length_mm", load_dataset("penguins_na")) == [
        (
            "S1",
            "i",
            "11 of 344 rows lack a value in body_mass_g, sex, flipper_length_mm and were left out. To keep them, drop "
            "that column from the formula.",
        )
    ]
    assert notes_of("y ~ x", {"y": [1.0, 2, 3], "x": [1.0, None, 2]})[0][2].startswith(
        "1 of 3 rows lacks a value in x and was"
    )


def test_text_among_numbers():
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4], "x": ["1", "2", "?", "1"]})
    with pytest.warns(InferenceCoreWarning):
        notes = notes_of("y ~ x", frame)
    assert notes == [
        (
            "S2",
            "w",
            'Column "x" holds text (?) among numbers, so it is treated as groups. Clean it, or write `as_number(x)` '
            "before the fit.",
        )
    ]


def test_numbers_used_as_groups():
    frame = load_dataset("sleepstudy").with_columns(id=pl.col("Subject").to_physical())
    assert notes_of("Reaction ~ Days + (1 | id)", frame) == [
        ("S3", "w", '"id" is a number with 18 values used as a group. Write `factor(id)` if that is meant.')
    ]
    assert notes_of("Reaction ~ Days + (1 | Subject)", frame) == []


def test_columns_without_an_estimate():
    cars = load_dataset("mtcars")
    assert notes_of("mpg ~ wt + I(2 * wt) + hp", cars) == [
        ("S6", "w", '"I(2 * wt)" repeats other columns and gets no estimate. Remove it, or one of wt.')
    ]
    assert notes_of("mpg ~ cylf + factor(cyl)", cars)[0][2].endswith("or one of cylf[c6].")


def test_nothing_to_say():
    assert notes_of("mpg ~ wt", load_dataset("mtcars")) == []
