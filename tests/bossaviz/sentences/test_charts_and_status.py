"""Text summaries of charts and messages of the status line, against the examples of the file."""

# ruff: noqa: E501 - sentences are written out as they are said

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bossaviz.sentences import one_dot, status, templates
from bossaviz.sentences.charts import (
    MAX_WORDS,
    chart_summary,
    distribution_summary,
    intervals_summary,
    resample_summary,
    scatter_summary,
    strip_summary,
)
from bossaviz.sentences.ink import bare
from bossaviz.sentences.status_line import MAX_WORDS as STATUS_WORDS
from bossaviz.sentences.status_line import placeholders

from . import examples, specification

EXAMPLES = specification.examples()


def test_scatter_says_its_example():
    from inference_core.datasets import load_dataset

    cars = load_dataset("mtcars")
    said = scatter_summary(
        examples.CARS, n=32, x="weight", x_unit="thousand lb", x_values=cars["wt"].to_numpy(),
        y_values=cars["mpg"].to_numpy(), line=(29.2, 8.3),
    )  # fmt: skip
    assert said == EXAMPLES["C1"]


def test_strip_says_its_example():
    counts, means = {"OJ": 30, "VC": 30}, {"OJ": 20.66, "VC": 16.96}
    assert strip_summary(examples.TOOTH, factor="supplements", means=means, counts=counts) == EXAMPLES["C2"]
    uneven = strip_summary(examples.TOOTH, factor="supplements", means=means, counts={"OJ": 28, "VC": 30})
    assert "2 supplements, 28 to 30 animals each;" in uneven


def test_resample_says_its_example_and_its_template():
    said = resample_summary(
        examples.CARS, draw=1, distinct=21, statistic="slope", value="\u22121.84", unit="mpg per 1,000 lb"
    )
    assert said == EXAMPLES["C3"]
    said = resample_summary(examples.CARS, draw=7, distinct=20, statistic="slope", value="\u22123.1", most=4)
    assert said == (
        "Simulated: resample 7, same axes; 20 different cars, the most repeated appears 4 times; its line has slope \u22123.1."
    )


def draws_like(centre: float, sd: float, n: int) -> np.ndarray:
    """Draws with exactly this mean and standard deviation."""
    z = np.random.default_rng(1).standard_normal(n)
    z = (z - z.mean()) / z.std(ddof=1)
    return centre + sd * z


def test_distribution_says_its_example():
    assert distribution_summary(examples.DRAWN, examples.CARS, draws_like(-3.89, 0.73, 999)) == EXAMPLES["C4"]


def test_distribution_of_few_draws_is_of_dots_and_names_the_extremes():
    said = distribution_summary(examples.DRAWN, examples.CARS, np.array([-3.0, -4.0, np.nan, -5.0]))
    assert said.startswith("Dot plot of 3 simulated slopes, \u22125.00 to \u22123.00, centre \u22124.00, standard deviation 1.00.")
    one = replace(examples.DRAWN, lower=None, upper=None)
    assert "Dot plot of 1 simulated slope, " in distribution_summary(one, examples.CARS, np.array([-3.0]))
    assert "interval" not in distribution_summary(one, examples.CARS, np.array([-3.0]))


def test_intervals_say_their_example():
    limits = {"percentile": (-5.4, -2.5), "basic": (-5.2, -2.3), "normal": (-5.3, -2.4), "bca": (-5.3, -2.4),
              "studentized": (-5.2, -2.4)}  # fmt: skip
    assert intervals_summary(examples.DRAWN, examples.CARS, limits, "the slope of weight") == EXAMPLES["C6"]


@pytest.mark.parametrize(
    ("limits", "agree"),
    [
        ({"basic": (-1.0, 1.0), "bca": (-1.0, 0.5)}, "All hold 0."),
        ({"basic": (-1.0, 1.0), "bca": (0.2, 0.5)}, "One of two holds 0."),
        ({"basic": (0.1, 1.0), "bca": (0.2, 0.5)}, "All lie above 0."),
        ({"basic": (0.1, 1.0)}, "It lies above 0."),
    ],
)
def test_intervals_say_whether_they_agree(limits, agree):
    assert intervals_summary(examples.DRAWN, examples.CARS, limits, "the slope").endswith(agree)


def test_summaries_are_short_and_name_real_or_simulated():
    for code in ("C1", "C2", "C3", "C4", "C6"):
        assert len(EXAMPLES[code].split()) <= MAX_WORDS
    for code in ("C1", "C2", "C3", "C4"):
        assert "real" in templates.CHARTS[code] or "imulated" in templates.CHARTS[code]


def test_any_chart_can_be_filled_by_name():
    values = {"k": 5, "sizes": "6 or 7", "units": "cars", "list": "2.3, 4.4, 0.9, 2.0, 2.2 mpg"}
    assert chart_summary("C8", **values) == EXAMPLES["C8"]
    with pytest.raises(TypeError, match="C8 lacks sizes, units, list"):
        chart_summary("C8", k=5)


# ---- the status line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", templates.STATUS)
def test_every_message_fits_thirty_words_and_names_its_values(code):
    said = status(code, **{name: f"<{name}>" for name in placeholders(code)})
    assert said.code == code
    assert len(said.text.split()) <= STATUS_WORDS
    assert all(f"<{name}>" in said.text for name in placeholders(code))
    assert "{" not in said.text


def test_messages_read_as_in_the_file():
    assert status("S15", done=412, B=2000, rest=1588) == (
        "S15", "info", "Stopped at 412 of 2,000 draws. The results shown use those; press +1,588 to go on."
    )  # fmt: skip
    assert status("S30", value="1.5").text == "A level of 1.5 is outside 0.50 to 0.999. Type 0.95 for 95%."


def test_wrong_codes_and_values_are_refused_by_name():
    with pytest.raises(KeyError, match="S99"):
        status("S99")
    with pytest.raises(TypeError, match="S15 lacks rest"):
        status("S15", done=1, B=2)
    with pytest.raises(TypeError, match="no place for colour"):
        status("S16", colour="red")


# ---- what one dot is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "the slope from one resample: 32 cars picked from the real 32, with replacement"),
        ({"scheme": "parametric"}, "the slope from one data set that the fitted model made up"),
        (
            {"scheme": "cluster", "groups": 18},
            "the slope when 18 subjects are picked with replacement, each with all its rows",
        ),
        ({"scale": "odds", "estimate": math.log(2)}, "the odds ratio from one resample: 32 cars picked from the real 32,"),
    ],
)
def test_one_dot(changes, text):
    assert bare(one_dot(replace(examples.DRAWN, **changes), "cars", "subjects")).startswith(text)
