"""Each rule of section 2 of SENTENCES.md, with its own example from the file."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.sentences import Labels, Situation, TermWords, numbers
from bossaviz.sentences.figures import Figures
from bossaviz.sentences.ink import bare
from bossaviz.sentences.units import readable

MPG = Labels(response="fuel economy", unit="mpg", terms={"x": TermWords(step="horsepower")})
GRAMS = Labels(response="mass", unit="g", terms={"x": TermWords(step="day")})


def figures(labels: Labels = MPG, **values) -> Figures:
    return Figures(Situation(term="x", **values), labels)


def test_estimate_and_limits_show_two_digits_of_the_se():
    f = figures(estimate=10.467, lower=7.2153, upper=13.7193, se=1.546)
    assert (bare(f.estimate), bare(f.interval)) == ("10.5", "7.2 to 13.7")
    f = figures(estimate=-3.87783, lower=-5.17, upper=-2.58, se=0.633)
    assert bare(f.estimate) == "3.88"
    f = figures(estimate=-0.0318, lower=-0.0502, upper=-0.0133, se=0.00903)
    assert (bare(f.estimate), bare(f.interval)) == ("0.0318", "0.0133 to 0.0502")


def test_without_an_se_a_quarter_of_the_width_stands_for_it():
    f = figures(estimate=10.467, lower=7.2153, upper=13.7193)
    assert (bare(f.estimate), bare(f.interval)) == ("10.5", "7.2 to 13.7")


@pytest.mark.parametrize(("se", "decimals"), [(22.4, 0), (9.96, 0), (9.94, 1), (0.0996, 2), (0.00994, 4), (146.0, 0)])
def test_decimals_follow_the_se_as_it_is_shown(se, decimals):
    assert numbers.decimals_of_estimate(se) == decimals


def test_simulated_limits_show_what_the_draws_support():
    f = figures(how="boot", estimate=-3.88, lower=-5.29, upper=-2.44, se=0.73, mcse_lower=0.08, mcse_upper=0.08)
    assert bare(f.interval) == "2.4 to 5.3"
    f = figures(how="boot", estimate=-3.88, lower=-5.29, upper=-2.44, se=0.73, mcse_lower=0.01, mcse_upper=0.01)
    assert bare(f.interval) == "2.44 to 5.29"


def test_a_limit_is_never_rounded_onto_or_across_the_null():
    f = figures(estimate=3.7, lower=0.004, upper=7.4, se=1.9)
    assert bare(f.interval) == "0.004 to 7.400"
    f = figures(scale="odds", estimate=math.log(1.437), lower=math.log(1.0152), upper=math.log(2.034), se=0.18)
    assert bare(f.interval) == "1.02 to 2.03"
    f = figures(estimate=3.7, lower=1e-12, upper=7.4, se=1.9)
    assert bare(f.interval) == "just above 0 to 7.4"
    f = figures(estimate=3.7, lower=2.9996, upper=7.4, se=1.9, null=3.0)
    assert bare(f.interval).startswith("2.9996 to")


def test_an_interval_that_holds_zero_speaks_in_directions():
    assert bare(figures(estimate=-3.7, lower=-7.567, upper=0.167, se=1.93).interval) == "7.6 lower to 0.2 higher"
    assert bare(figures(estimate=2.0, lower=0.0, upper=4.0, se=1.0).interval) == "0.0 to 4.0"


def test_ratios_show_two_digits_three_at_the_ends_and_the_same_decimals():
    ratio = {"scale": "odds", "se": 0.4}
    f = figures(estimate=math.log(0.206), lower=math.log(0.0906), upper=math.log(0.468), **ratio)
    assert (bare(f.estimate), bare(f.interval)) == ("0.21", "0.09 to 0.47")
    f = figures(estimate=math.log(4.87), lower=math.log(2.14), upper=math.log(11.2), **ratio)
    assert (bare(f.estimate), bare(f.interval)) == ("4.9", "2.1 to 11.2")
    f = figures(estimate=math.log(0.00432), lower=math.log(0.0004), upper=math.log(0.02), **ratio)
    assert (bare(f.estimate), bare(f.interval)) == ("0.00432", "0.00040 to 0.02000")
    f = figures(estimate=math.log(123.4), lower=math.log(0.4), upper=math.log(38000), **ratio)
    assert (bare(f.estimate), bare(f.interval)) == ("123", "0.4 to 38,000")
    f = figures(estimate=40.0, lower=2.0, upper=90.0, **ratio)
    assert (bare(f.estimate), bare(f.interval)) == ("more than 1,000,000", "7 to more than 1,000,000")


@pytest.mark.parametrize(
    ("x", "text"),
    [(0.704, "0.70"), (0.0043, "0.004"), (0.9962, "0.996"), (0.0001, "less than 0.001"), (0.99999, "more than 0.999")],
)
def test_probabilities(x, text):
    assert numbers.probability(x) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.2045, "p = 0.20"), (0.0604, "p = 0.060"), (0.0161, "p = 0.016"), (0.00145, "p = 0.001"),
        (0.0009, "p < 0.001"), (0.0, "p < 0.001"), (0.996, "p > 0.99"), (1.0, "p > 0.99"), (0.0497, "p = 0.0497"),
        (0.0503, "p = 0.0503"), (0.05, "p = 0.050"), (0.104, "p = 0.10"),
    ],
)  # fmt: skip
def test_p_of_a_formula(p, text):
    assert numbers.p_equals(p) == text


def test_p_stays_on_its_side_of_the_level():
    assert numbers.p_equals(0.1002, conf_level=0.9) == "p = 0.1002"
    assert numbers.p_equals(0.0998, conf_level=0.9) == "p = 0.0998"


@pytest.mark.parametrize(
    ("p", "draws", "sides", "text"),
    [
        (0.0, 999, 2, "p = 0.002"), (0.002, 999, 2, "p = 0.002"), (1 / 10_001, 10_000, 1, "p = 0.0001"),
        (0.0005, 10_000, 2, "p < 0.001"), (597 / 10_000, 9_999, 1, "p = 0.060"), (0.0, 199, 1, "p = 0.005"),
    ],
)  # fmt: skip
def test_p_of_draws_stops_at_its_floor(p, draws, sides, text):
    assert numbers.p_equals(p, floor=sides / (draws + 1)) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0604, "about 6 in 100"), (0.2045, "about 20 in 100"), (0.009, "about 9 in 1,000"),
        (0.0099, "about 1 in 100"), (0.0009, "fewer than 1 in 1,000"), (0.999, "nearly 100 in 100"),
        (0.6, "about 60 in 100"),
    ],
)  # fmt: skip
def test_frequencies(p, text):
    assert numbers.frequency(p) == text


def test_one_sided_frequencies_follow_at_most():
    assert numbers.frequency(0.1016, one_sided=True) == "about 10 in 100"
    assert numbers.frequency(0.0007, one_sided=True) == "1 in 1,000"


def test_range_of_a_simulated_p():
    assert numbers.p_range(597 / 10_000, 9_999) == ("0.055", "0.064")
    assert numbers.p_range(1 / 1000, 999)[0] == "0.001"


@pytest.mark.parametrize(("level", "text"), [(0.95, "95%"), (0.999, "99.9%"), (0.9, "90%"), (0.975, "97.5%")])
def test_level(level, text):
    assert numbers.level(level) == text
    assert numbers.alpha(level) == f"{round(1 - level, 3):g}"


def test_counts_and_shares():
    assert (numbers.count(999), numbers.count(9999), numbers.count(1_000_000)) == ("999", "9,999", "1,000,000")
    assert [numbers.count_of(c, 1999) for c in (0, 1, 596, 1999)] == [
        "none of 1,999", "1 of 1,999", "596 of 1,999", "all 1,999"
    ]  # fmt: skip
    assert (numbers.share(67, 1000), numbers.share(395, 1000)) == ("6.7", "40")
    assert [numbers.plural(n, "resample", "resamples") for n in (0, 1, 2)] == [
        "no resamples", "1 resample", "2 resamples"
    ]


@pytest.mark.parametrize(
    ("spoken", "word"),
    [("8", "an"), ("80", "an"), ("11", "an"), ("18", "an"), ("11,000", "an"), ("1,100", "a"), ("110", "a"), ("7", "a"),
     ("odds ratio", "an"), ("unit", "a"), ("hour", "an"), ("slope", "a"), ("0.8", "a")],
)  # fmt: skip
def test_articles(spoken, word):
    assert numbers.article(spoken) == word


@pytest.mark.parametrize(
    ("size", "unit", "name", "divisor"),
    [
        (3733.0, "g", "g", 1.0), (2.5e6, "g", "kg", 1e3), (5e-5, "kg", "mg", 1e-6),
        (3e-6, "mpg", "millionths of 1 mpg", 1e-6),
        (4.1e9, "", "billion", 1e9), (2e7, "mpg", "million mpg", 1e6), (0.0, "g", "g", 1.0),
    ],
)  # fmt: skip
def test_units_keep_numbers_readable(size, unit, name, divisor):
    found = readable(size, unit)
    assert found.name == name
    assert math.isclose(found.divisor, divisor)


def test_rescaled_numbers_and_their_unit_change_together():
    f = figures(GRAMS, estimate=2.51e6, lower=2.2e6, upper=2.8e6, se=1.5e5)
    assert (bare(f.estimate), f.unit, bare(f.interval)) == ("2,510", "kg", "2,200 to 2,800")


def test_minus_is_a_minus_and_zero_has_none():
    assert numbers.fixed(-4.7, 2) == "\u22124.70"
    assert numbers.fixed(-0.001, 1) == "0.0"


@pytest.mark.parametrize(
    ("null", "se", "text"), [(0.0, 0.6, "0"), (-4.7, 0.63, "−4.70"), (25.0, 2.2, "25"), (0.125, 0.6, "0.125")]
)
def test_a_stated_null_keeps_its_digits(null, se, text):
    assert figures(estimate=3.0, se=se, null=null).null == text


def test_se_of_draws_shows_what_so_many_draws_support():
    assert bare(figures(how="boot", estimate=10.0, se=1.5432, draws=2000).se) == "1.54"
    assert bare(figures(how="boot", estimate=-3.9, se=0.7331, draws=999).se) == "0.73"
    assert bare(figures(how="boot", estimate=-3.9, se=0.7331, draws=100_000).se) == "0.733"


@given(
    x=st.floats(-1e9, 1e9, allow_nan=False),
    null=st.floats(-1e3, 1e3, allow_nan=False),
    decimals=st.integers(0, 6),
)
def test_guarded_digits_never_touch_or_cross_the_null(x, null, decimals):
    places = numbers.guard(x, null, decimals)
    if x != null and places >= 0:
        shown = numbers.rounded(x, places)
        assert shown != null
        assert (shown < null) == (x < null)
        assert places >= decimals


@given(p=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_p_is_never_zero_nor_on_the_wrong_side_of_the_level(p, level):
    text = numbers.p_number(p, conf_level=level)
    assert "e" not in text
    if text[0] not in "<>":
        bar = round(1 - level, 10)
        assert float(text) > 0
        if p != bar:
            assert (float(text) < bar) == (p < bar)
