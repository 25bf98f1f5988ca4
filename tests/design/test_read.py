"""Whatever holds a table becomes a polars frame, or is refused in three parts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from inference_core.design import build_bundle, read_frame
from inference_core.errors import DataError

FRAME = pl.DataFrame({"y": [1.5, 2.5, None], "k": [1, 2, 3], "g": ["a", "b", "a"]})


@pytest.mark.parametrize(
    "table",
    [
        FRAME,
        FRAME.lazy(),
        FRAME.to_pandas(),
        FRAME.to_arrow(),
        FRAME.to_arrow().to_batches()[0],
        FRAME.to_dict(),
        FRAME.to_dict(as_series=False),
        {"y": np.array([1.5, 2.5, np.nan]), "k": np.array([1, 2, 3]), "g": np.array(["a", "b", "a"], dtype=object)},
        {"y": pd.Series([1.5, 2.5, None]), "k": pd.Series([1, 2, 3], index=[7, 8, 9]), "g": ("a", "b", "a")},
    ],
    ids=["polars", "lazy", "pandas", "pyarrow", "record batch", "dict of series", "dict of lists", "dict of arrays",
         "dict of pandas"],
)
def test_tables_of_every_kind(table):
    read = read_frame(table)
    assert_frame_equal(read.with_columns(pl.col("y").fill_nan(None)), FRAME)


def test_a_polars_frame_is_not_copied():
    assert read_frame(FRAME) is FRAME


WRITERS = {
    "d.csv": lambda p: FRAME.write_csv(p),
    "d.CSV": lambda p: FRAME.write_csv(p),
    "d.tsv": lambda p: FRAME.write_csv(p, separator="\t"),
    "d.parquet": lambda p: FRAME.write_parquet(p),
    "d.json": lambda p: FRAME.write_json(p),
    "d.ndjson": lambda p: FRAME.write_ndjson(p),
    "d.jsonl": lambda p: FRAME.write_ndjson(p),
    "d.v2.csv": lambda p: FRAME.write_csv(p),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", [str, Path])
def test_files(name, kind, tmp_path):
    WRITERS[name](tmp_path / name)
    assert_frame_equal(read_frame(kind(tmp_path / name)), FRAME)


@pytest.mark.parametrize("name", [n for n in WRITERS if not n.endswith("parquet")])
def test_packed_files(name, tmp_path):
    WRITERS[name](tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert_frame_equal(read_frame(packed), FRAME)


def test_cells_that_mean_no_value(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("x,g\n1,NA\nNA,b\n,a\nNaN,\n")
    read = read_frame(path)
    assert read["x"].to_list() == [1, None, None, None]
    assert read["g"].to_list() == [None, "b", "a", None]


def test_pandas_categories_keep_their_order():
    table = pd.DataFrame({"g": pd.Categorical(["lo", "hi", None], categories=["lo", "mid", "hi"], ordered=True)})
    read = read_frame(table)
    assert read.schema["g"] == pl.Enum(["lo", "mid", "hi"])
    assert read["g"].to_list() == ["lo", "hi", None]
    numbers = pd.DataFrame({"g": pd.Categorical([3, 1, 2])})
    assert read_frame(numbers).schema["g"] == pl.Enum(["1", "2", "3"])


def test_a_pandas_model_is_the_polars_model():
    frame = pl.DataFrame(
        {"y": [1.0, 2, 4, 3], "x": [1, 2, 3, 5], "g": ["u", "v", "v", "u"], "b": [True, False, True, True]}
    )
    table = frame.to_pandas()
    table.index = pd.Index([5, 5, 6, 7])
    ours, theirs = (build_bundle("y ~ x * g + b", data)[1] for data in (frame, table))
    assert ours.X_names == theirs.X_names
    np.testing.assert_array_equal(ours.X, theirs.X)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "data is None"),
        (42, "it is not a table"),
        (object(), "it is not a table"),
        ([{"y": 1}], "data as a list of rows"),
        ([1, 2], "data as a list"),
        (np.ones((3, 2)), r"an array of shape \(3, 2\)"),
        ({"y": [1, 2], "x": [1]}, "differ in length: y 2, x 1"),
        ({"y": 3}, "it is one int, not a column"),
        ({"y": "abc"}, "it is one str, not a column"),
        ({"y": np.ones((2, 2))}, r"an array of shape \(2, 2\)"),
        ({"y": [1, "a"]}, 'column "y"'),
        (pd.DataFrame({"y": [1, "a"]}), 'column "y" of a pandas frame'),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), 'more than one column is called "a"'),
        ("nowhere/data.csv", "there is no folder nowhere"),
        ("data.xlsx", 'the ending ".xlsx" is not one that can be read'),
        ("data", 'the ending "data" is not one'),
        ("data.parquet.gz", "is not one that can be read"),
        (pa.table({"y": [1]})["y"], "it is not a table"),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) else v[:20],
)
def test_what_is_no_table_is_refused(data, words):
    with pytest.raises(DataError, match=words) as caught:
        read_frame(data)
    assert caught.value.remedy


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    FRAME.write_csv(tmp_path / "penguins.csv")
    with pytest.raises(DataError) as caught:
        read_frame(tmp_path / "pengiuns.csv")
    assert caught.value.found == 'there is no such file; there is "penguins.csv"'


@pytest.mark.parametrize(
    ("name", "content"),
    [("d.csv.gz", b"not gzip"), ("d.parquet", b"not parquet"), ("d.json", b"{"), ("d.csv", b""), ("d.ndjson", b"{]\n")],
)
def test_a_broken_file_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="it cannot be read as"):
        read_frame(tmp_path / name)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="a folder of that name"):
        read_frame(tmp_path / "d.csv")


def test_a_list_may_mix_whole_and_fractional_numbers():
    frame = read_frame({"y": [1, 2, 3.5, None], "x": [1, 2, 3, None], "flag": [True, False, True, None]})
    assert frame["y"].to_list() == [1.0, 2.0, 3.5, None]
    assert frame["y"].dtype == pl.Float64
    assert frame["x"].dtype == pl.Int64
    assert frame["flag"].dtype == pl.Boolean


def test_a_list_of_numbers_and_truths_or_words_is_refused():
    for values in ([1, True, 2.5], [1, "a"]):
        with pytest.raises(DataError, match="make it all numbers or all text"):
            read_frame({"y": values})


@pytest.mark.parametrize("make", [lambda y: {"y": y}, lambda y: pd.DataFrame({"y": y}, copy=False)])
def test_data_changed_afterwards_change_nothing(make):
    y = np.arange(5.0)
    read = read_frame(make(y))
    y[:] = -1.0
    assert read.columns == ["y"] and read["y"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_complex_numbers_of_pandas_are_refused_by_name():
    with pytest.raises(DataError, match='column "x" of a pandas frame'):
        read_frame(pd.DataFrame({"x": np.ones(3) * 1j}))
