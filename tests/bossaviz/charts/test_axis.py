"""Axes are fixed by the fit and hold what must be seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.charts.axis import data_axis, decimals_for, distribution_axis, nice_ticks, number

sizes = st.floats(1e-3, 1e3)


@given(estimate=st.floats(-1e3, 1e3), se=sizes)
def test_the_axis_reaches_four_and_a_half_standard_errors(estimate, se):
    low, high = distribution_axis(estimate, se, None)
    # rounding of estimate +- 4.5 se
    assert low <= estimate - 4.5 * se + 1e-9 * abs(estimate)
    assert high == pytest.approx(estimate + 4.5 * se, rel=1e-12, abs=1e-9)


@given(estimate=st.floats(-100, 100), se=sizes, away=st.floats(-15, 15))
def test_a_near_null_is_on_the_axis_and_a_far_one_does_not_stretch_it(estimate, se, away):
    null = estimate + away * se
    low, high = distribution_axis(estimate, se, null)
    if abs(null - estimate) <= 10 * se:
        assert low < null < high
    else:
        assert (low, high) == distribution_axis(estimate, se, None)


@given(scale=st.floats(1e-2, 1e2), shift=st.floats(-100, 100))
def test_the_axis_follows_the_units(scale, shift):
    low, high = distribution_axis(2.0, 0.5, 0.0)
    scaled = distribution_axis(scale * 2.0 + shift, scale * 0.5, shift)
    # one affine map, in floating point
    np.testing.assert_allclose(scaled, (scale * low + shift, scale * high + shift), rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("se", [0.0, math.nan, math.inf, -1.0])
def test_without_a_standard_error_there_still_is_an_axis(se):
    low, high = distribution_axis(3.0, se, 0.0)
    assert low < 3.0 < high
    assert math.isfinite(low) and math.isfinite(high)


def test_data_axis_holds_the_data_and_survives_a_constant():
    assert data_axis(np.array([1.0, 3.0, math.nan])) == pytest.approx((0.9, 3.1))
    low, high = data_axis(np.array([2.0, 2.0]))
    assert low < 2 < high
    assert data_axis(np.array([])) == (0.0, 1.0)


@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e4), count=st.integers(2, 9))
def test_ticks_are_round_inside_and_not_too_many(low, span, count):
    ticks = nice_ticks(low, low + span, count)
    assert all(low - 1e-6 * span <= t <= low + span + 1e-6 * span for t in ticks)
    assert 1 <= len(ticks) + 1 <= count + 2


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(-5.344, 2, "−5.34"), (1234.5, 1, "1,234.5"), (-0.001, 2, "0.00"), (math.inf, 2, "∞"), (math.nan, 2, "")],
)
def test_number(value, decimals, text):
    assert number(value, decimals) == text


@pytest.mark.parametrize(
    ("se", "decimals"), [(1.546, 1), (0.633, 2), (0.0096, 4), (12.0, 0), (150.0, 0), (math.nan, 2)]
)
def test_decimals_show_two_digits_of_the_standard_error(se, decimals):
    assert decimals_for(se) == decimals
