"""The data that ship: what R wrote, with words and units for every column."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from inference_core.datasets import dataset_info, dataset_of, list_datasets, load_dataset
from inference_core.design import build_bundle
from inference_core.errors import DataError

REFERENCE = Path(__file__).parents[1] / "reference" / "data"
SCHEMA = json.loads((REFERENCE / "schema.json").read_text())
EXPECTED = {
    "mtcars", "penguins", "penguins_na", "chickwts", "toothgrowth", "warpbreaks", "sleepstudy",
    "cbpp", "infert", "esoph",
    "cake", "chickweight", "grouseticks", "pastes", "penicillin", "guimmun",
}  # fmt: skip


def test_the_list():
    assert set(list_datasets()) == EXPECTED
    assert list(list_datasets()) == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_frame_is_what_r_wrote(name):
    frame, schema = load_dataset(name), SCHEMA[name]
    assert frame.height == schema["rows"] == dataset_info(name)["rows"]
    assert frame.columns == list(schema["columns"])
    for column, spec in schema["columns"].items():
        if "levels" in spec:
            assert frame.schema[column] == pl.Enum(spec["levels"])
    written = pl.read_csv(REFERENCE / schema["file"], infer_schema=False, null_values=[""])
    shown = frame.with_columns(pl.col(c).cast(pl.String) for c, s in schema["columns"].items() if "levels" in s)
    numbers = [c for c, s in schema["columns"].items() if s["type"] in ("double", "integer")]
    assert_frame_equal(
        shown.with_columns(pl.col(numbers).cast(pl.Float64)), written.with_columns(pl.col(numbers).cast(pl.Float64))
    )


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_column_is_described(name):
    info = dataset_info(name)
    frame = load_dataset(name)
    assert info["origin"] in ("experiment", "observational", "case-control")
    for field in ("title", "description", "source", "licence", "unit_name", "units"):
        assert info[field]
    assert info["response"] in frame.columns
    assert info["response"] in info["labels"]
    assert set(info["columns"]) == set(frame.columns)
    assert all(c["description"] for c in info["columns"].values())
    assert set(info["labels"]) <= set(frame.columns)
    for column, label in info["labels"].items():
        if "levels" in label:
            assert list(label["levels"]) == info["columns"][column]["levels"]
    ordered = {c for c, s in SCHEMA[name]["columns"].items() if s["type"] == "ordered"}
    assert info["contrasts"] == dict.fromkeys(ordered, "poly")


def test_ordered_factors_get_rs_contrasts_when_asked():
    cake = load_dataset("cake")
    names = build_bundle("angle ~ temperature", cake, contrasts=dataset_info("cake")["contrasts"])[1].X_names
    assert names[1:] == ("temperature.L", "temperature.Q", "temperature.C", "temperature^4", "temperature^5")
    assert build_bundle("angle ~ temperature", cake)[1].X_names[1] == "temperature[185]"


def test_a_loaded_frame_is_the_callers_own():
    first = load_dataset("mtcars")
    first.insert_column(0, pl.Series("mine", [0] * 32))
    assert "mine" not in load_dataset("mtcars").columns
    info = dataset_info("mtcars")
    info["labels"].clear()
    assert dataset_info("mtcars")["labels"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_frame_is_recognised(name):
    frame = load_dataset(name)
    assert dataset_of(frame) == name
    assert dataset_of(frame.with_columns(new=1)) == name
    assert dataset_of(frame[:, 1:]) is None


def test_a_misspelt_name_is_recognised():
    with pytest.raises(DataError) as caught:
        load_dataset("penguin")
    assert caught.value.remedy == 'did you mean "penguins"?'
    with pytest.raises(DataError):
        load_dataset(3)  # type: ignore[arg-type]
