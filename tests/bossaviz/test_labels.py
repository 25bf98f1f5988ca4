"""Words for columns: who wins, what is recognised, and what a model says with them."""

from __future__ import annotations

import polars as pl
import pytest

from bossaviz.labels import forget_labels, labels, labels_for, vocabulary_for
from bossaviz.sentences.ink import finish
from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.errors import DataError


@pytest.fixture(autouse=True)
def nothing_said():
    """Labels are kept for a session; each test begins without any."""
    forget_labels()
    yield
    forget_labels()


def nouns(frame: pl.DataFrame) -> dict[str, str]:
    return {column: words.noun for column, words in vocabulary_for(frame).columns.items()}


def test_a_shipped_data_set_is_recognised_and_so_are_its_parts():
    penguins = load_dataset("penguins")
    assert nouns(penguins)["flipper_length_mm"] == "flipper length"
    some = penguins.filter(pl.col("species") == "Chinstrap").select("species", "body_mass_g")
    assert nouns(some) == {"species": "species", "body_mass_g": "body mass"}
    assert vocabulary_for(some).rows == ("penguin", "penguins")
    more = penguins.with_columns(kg=pl.col("body_mass_g") / 1000)
    assert "kg" not in nouns(more) and "body_mass_g" in nouns(more)
    assert nouns(penguins.with_columns(pl.col("species").cast(pl.String)))["species"] == "species"


def test_other_values_under_the_same_name_do_not_wear_its_unit():
    cars = load_dataset("mtcars").with_columns(wt=pl.col("wt") / 2.2046)
    assert "wt" not in nouns(cars) and "hp" in nouns(cars)
    assert nouns(pl.DataFrame({"weight": [71.2, 80.1], "height": [1.8, 1.7]})) == {}
    assert nouns(pl.DataFrame({"x": [1.0], "y": [2.0]})) == {}


def test_what_the_reader_says_wins_and_survives_a_filter():
    cars = load_dataset("mtcars")
    assert labels(cars, wt=("mass", "thousand lb"), rows=("motor car", "motor cars")) is cars
    heavy = vocabulary_for(cars.filter(pl.col("wt") > 3))
    assert (heavy.columns["wt"].noun, heavy.columns["hp"].noun) == ("mass", "horsepower")
    assert heavy.rows == ("motor car", "motor cars")
    labels(cars, wt="weight in the books")
    assert vocabulary_for(cars).columns["wt"].noun == "weight in the books"
    assert vocabulary_for(cars).rows == ("motor car", "motor cars")
    assert "wt" not in vocabulary_for(load_dataset("sleepstudy")).columns


def test_forms_of_words():
    frame = pl.DataFrame({"Days": [0, 1], "Reaction": [1.0, 2.0], "g": ["a", "b"]})
    labels(
        frame, {"g": {"noun": "group", "levels": {"a": "in the first group"}}},
        Days="day of deprivation", Reaction=("reaction time", "ms"), origin="experiment",
    )  # fmt: skip
    words = vocabulary_for(frame)
    assert words.columns["Days"].one_step == "day of deprivation"
    assert (words.columns["Reaction"].noun, words.columns["Reaction"].unit) == ("reaction time", "ms")
    assert [words.columns["g"].level(level) for level in "ab"] == ["in the first group", "for b"]
    assert words.origin == "experiment"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"Dys": "day"}, 'did you mean "Days"'),
        ({"Days": ("a", "b", "c", "d")}, "is not a noun"),
        ({"Days": {"nuon": "day"}}, 'did you mean "noun"'),
        ({"Days": 3}, "is not a noun"),
        ({"rows": "car"}, "two words"),
        ({"origin": "survey"}, "an origin is one of"),
    ],
)
def test_words_that_make_no_sense_are_refused(said, message):
    with pytest.raises(DataError, match=message):
        labels(pl.DataFrame({"Days": [0, 1]}), **said)


def test_any_frame_can_be_labelled():
    pandas = pytest.importorskip("pandas")
    labels(pandas.DataFrame({"a": [1], "b": [2]}), a="first")
    labels({"c": [1], "b": [2]}, c="third")
    assert nouns(pl.DataFrame({"a": [1], "b": [2]})) == {"a": "first"}
    assert nouns(pl.DataFrame({"c": [1], "b": [2]})) == {"c": "third"}
    with pytest.raises(DataError, match="without columns"):
        labels(3, a="first")


def said(formula: str, data: object, **more) -> dict[str, dict[str, str]]:
    """The filled words of each term, as they are spoken."""
    words = labels_for(model(formula, data, **more))
    out: dict[str, dict[str, str]] = {}
    for name, term in words.terms.items():
        spoken = {f: getattr(term, f) for f in term.__slots__}
        out[name] = {f: finish(str(v))[0] for f, v in spoken.items() if v and f in KEPT}
    return out


KEPT = ("step", "level", "reference", "condition", "zeros", "first", "second", "level_name", "reference_name")


def test_words_of_terms():
    words = said("mpg ~ wt * factor(cyl) + log(hp)", load_dataset("mtcars"))
    assert words["wt"] == {"step": "1,000 lb of weight", "condition": "with 4 cylinders"}
    assert words["log(hp)"] == {"step": "doubling of horsepower"}
    assert words["factor(cyl)[6]"]["level"] == "with 6 cylinders"
    assert words["factor(cyl)[6]"]["reference"] == "with 4 cylinders"
    assert words["factor(cyl)[6]"]["condition"] == "where weight is 0"
    assert words["wt:factor(cyl)[8]"]["first"] == "with 4 cylinders"
    assert words["wt:factor(cyl)[8]"]["second"] == "with 8 cylinders"
    assert words["(Intercept)"]["zeros"] == "weight is 0, horsepower is 1 and cylinders are 4"


def test_codings_name_what_is_compared():
    frame = load_dataset("warpbreaks")
    total = said("breaks ~ tension", frame, contrasts={"tension": "sum"})
    assert total["tension[S.L]"]["reference"] == "the average of the 3 tension groups"
    helmert = said("breaks ~ tension", frame, contrasts={"tension": "helmert"})
    assert helmert["tension[H.M]"]["reference"] == "at low tension"
    assert helmert["tension[H.H]"]["reference"] == "the average of L and M"
    steps = said("breaks ~ tension", frame, contrasts={"tension": "sequential"})
    assert (steps["tension[H-M]"]["level"], steps["tension[H-M]"]["reference"]) == (
        "at high tension", "at medium tension"
    )  # fmt: skip


def test_others_are_held_fixed_without_the_partners_of_an_interaction():
    words = labels_for(model("mpg ~ wt * hp + qsec + poly(disp, 2)", load_dataset("mtcars")))
    assert words.terms["wt"].others == ("quarter-mile time", "displacement")
    assert words.terms["qsec"].others == ("weight", "horsepower", "displacement")
    assert words.terms["wt:hp"].others == ("quarter-mile time", "displacement")


def test_words_of_the_response():
    chinstraps = load_dataset("penguins").filter(pl.col("species") == "Chinstrap")
    assert labels_for(model("body_mass_g ~ 1", chinstraps)).mean_subject == "Chinstrap penguins"
    assert labels_for(model("body_mass_g ~ 1", load_dataset("penguins"))).mean_subject == "penguins"
    am = labels_for(model("am ~ wt", load_dataset("mtcars"), family="binomial"))
    assert (am.event, am.response) == ("a manual gearbox", "the probability of a manual gearbox")
    own = labels_for(model("y ~ x", {"y": ["no", "yes", "no", "yes"], "x": [1.0, 2.0, 3.0, 4.0]}, family="binomial"))
    assert finish(own.event)[0] == '"y" = yes'
    root = labels_for(model("sqrt(mpg) ~ wt", load_dataset("mtcars")))
    assert (finish(root.response)[0], root.unit) == ('"sqrt(mpg)"', "")


def test_import_leaves_the_function_where_the_module_is():
    import bossaviz
    import bossaviz.panels.bootstrap

    assert callable(bossaviz.labels)
