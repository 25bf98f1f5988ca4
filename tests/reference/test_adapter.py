"""The adapter's own parts: reading R's subsets, applying a schema, and the comparison that judges."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from .adapter.answer import Answer
from .adapter.case import CODINGS, read_data
from .adapter.compare import compare
from .adapter.subset import read_subset

CARS = pl.DataFrame({"cyl": [4, 6, 8, 8], "am": [True, False, True, False], "gear": ["g3", "g4", "g5", "g3"]})


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("cyl != 8", [0, 1]),
        ("cyl == 8", [2, 3]),
        ("cyl > 4 & cyl < 8", [1]),
        ("cyl <= 4 | cyl >= 8", [0, 2, 3]),
        ("gear == 'g3'", [0, 3]),
        ('gear != "g3" & cyl == 8', [2]),
        ("cyl %in% c(4, 6)", [0, 1]),
        ("am == TRUE", [0, 2]),
    ],
)
def test_subsets_of_r(text, rows):
    assert CARS.with_row_index().filter(read_subset(text))["index"].to_list() == rows


@pytest.mark.parametrize("text", ["system('ls')", "cyl", "cyl ~ 8", "cyl == f(8)", "cyl %in% 4"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        read_subset(text)


def test_schema_types_and_missing_cells(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("x,n,f,o,t,s\n1.5,2,b,lo,TRUE,u\n,,,,,\n")
    schema = {
        "x": {"type": "double"}, "n": {"type": "integer"}, "f": {"type": "factor", "levels": ["b", "a"]},
        "o": {"type": "ordered", "levels": ["lo", "hi"]}, "t": {"type": "logical"}, "s": {"type": "string"},
    }  # fmt: skip
    frame = read_data(path, schema)
    assert frame.dtypes == [
        pl.Float64,
        pl.Int64,
        pl.Enum(["b", "a"]),
        pl.Enum(["lo", "hi"]),
        pl.Boolean,
        pl.String,
    ]
    assert frame.row(0) == (1.5, 2, "b", "lo", True, "u")
    assert frame.row(1) == (None,) * 6


def test_every_coding_of_r_has_a_name_here():
    assert set(CODINGS.values()) == {"treatment", "sum", "helmert", "poly", "sequential"}


TOLERANCE = {"rel": 1e-3, "abs": 1e-6, "by_field": {"loose": 0.5}}


def judged(values, got, **answer):
    return compare(values, Answer(got, **answer), TOLERANCE)


def test_within_tolerance_and_just_outside():
    assert not judged({"a": [1.0, 1000.0]}, {"a": [1.0009, 1000.9]}).failures
    failed = judged({"a": [1.0, 1000.0]}, {"a": [1.0, 1001.1]}).failures
    assert len(failed) == 1 and failed[0].startswith("a: 1 of 2 differ; first at [1]")


def test_a_field_may_have_its_own_tolerance():
    assert not judged({"loose": 1.0, "tables": {"loose": 1.0}}, {"loose": 1.4, "tables": {"loose": 0.6}}).failures
    assert judged({"loose": 1.0}, {"loose": 1.6}).failures


def test_non_finite_numbers_match_only_themselves():
    same = {"a": [np.nan, np.inf, -np.inf]}
    assert not judged(same, same).failures
    assert judged({"a": [np.nan]}, {"a": [1.0]}).failures
    assert judged({"a": [1.0]}, {"a": [np.nan]}).failures
    assert judged({"a": [np.inf]}, {"a": [1e300]}).failures


def test_shapes_and_words_are_compared():
    assert judged({"a": [1.0, 2.0]}, {"a": [1.0]}).failures
    assert judged({"a": ["x", "y"]}, {"a": ["x", "z"]}).failures
    assert not judged({"a": "z", "b": ["x"]}, {"a": "z", "b": ["x"]}).failures


def test_what_is_not_answered_is_counted_never_dropped():
    values = {"a": 1.0, "b": 2.0, "c": {"d": 3.0, "e": 4.0}, "B": 99}
    found = judged(values, {"a": 1.0, "c": {"d": 3.0}}, inputs=frozenset({"B"}), apart={"b": "reason"})
    assert (found.compared, found.apart, found.waiting, found.inputs) == (["a", "c.d"], ["b"], ["c.e"], ["B"])


def test_an_answer_to_a_field_that_does_not_exist_is_an_error():
    assert judged({"a": 1.0}, {"a": 1.0, "z": 1.0}).failures


def test_monte_carlo_errors_replace_the_tolerance():
    assert not judged({"a": [10.0]}, {"a": [10.3]}, mcse={"a": [0.1]}).failures
    assert judged({"a": [10.0]}, {"a": [10.5]}, mcse={"a": [0.1]}).failures
