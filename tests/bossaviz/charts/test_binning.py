"""Bins pass through the limits, and what they shade is what is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.charts.binning import MAX_BARS, bins_through, nice_ceiling, stack

draws = st.lists(st.floats(-6, 6), min_size=0, max_size=300).map(np.array)
# Multiples of 1/8 are exact in binary, so ties with a limit really are ties.
tied = st.lists(st.integers(-40, 40).map(lambda k: k / 8), min_size=1, max_size=200).map(np.array)


@given(values=draws, low=st.floats(-3, -0.1), span=st.floats(0.01, 5), width=st.floats(0.01, 2))
def test_no_bar_straddles_a_limit_and_the_shaded_count_is_exact(values, low, span, width):
    high = low + span
    bins = bins_through(values, low, high, width, (-5.0, 5.0))
    assert low in bins.edges
    assert high in bins.edges or high >= 5
    straddles = (bins.edges[:-1] < low) & (low < bins.edges[1:]) | (bins.edges[:-1] < high) & (high < bins.edges[1:])
    assert not straddles.any()
    on_axis = (values >= -5) & (values <= 5)
    strictly = (values > low) & (values < high) & on_axis
    assert bins.counts[bins.inside].sum() == strictly.sum()


@given(values=tied, a=st.integers(-20, -1), k=st.integers(1, 24), width=st.integers(1, 8))
def test_a_tie_belongs_to_the_tail(values, a, k, width):
    low, high = a / 8, (a + k) / 8
    bins = bins_through(values, low, high, width / 8, (-4.0, 4.0))
    on_axis = (values >= -4) & (values <= 4)
    assert bins.counts[bins.inside].sum() == ((values > low) & (values < high) & on_axis).sum()
    assert bins.counts[~bins.inside].sum() == (((values <= low) | (values >= high)) & on_axis).sum()


@given(values=draws, low=st.floats(-3, 0), span=st.floats(0.01, 3), width=st.floats(1e-6, 2))
def test_every_draw_is_counted_once(values, low, span, width):
    bins = bins_through(values, low, low + span, width, (-4.0, 4.0))
    assert bins.counts.sum() + bins.below + bins.above == values.size
    assert bins.below == (values < -4).sum()
    assert bins.above == (values > 4).sum()
    assert bins.counts.size <= 2 * MAX_BARS + 2
    inside = bins.index >= 0
    assert (values[inside] >= bins.edges[bins.index[inside]]).all()
    assert (values[inside] <= bins.edges[bins.index[inside] + 1]).all()


def test_widths_are_equal_but_for_the_ends_of_the_axis():
    bins = bins_through(np.array([0.0]), -1.0, 1.3, 0.25, (-3.0, 3.1))
    inner = np.diff(bins.edges)[1:-1]
    # rounding of edges built from either limit
    np.testing.assert_allclose(inner, inner[0], rtol=1e-12)
    assert (bins.edges[0], bins.edges[-1]) == (-3.0, 3.1)


def test_one_limit_is_enough():
    values = np.array([-1.0, 0.5, 0.5, 2.0])
    bins = bins_through(values, 0.5, np.inf, 0.3, (-2.0, 3.0))
    assert 0.5 in bins.edges
    assert bins.counts[bins.inside].sum() == 1  # 2.0; the two ties belong to the tail


def test_limits_closer_than_a_bar_can_show_keep_the_number_of_bars():
    bins = bins_through(np.linspace(-1, 1, 50), 0.0, 1e-9, 1e-9, (-1.0, 1.0))
    assert bins.counts.size <= 2 * MAX_BARS + 2
    assert bins.counts.sum() == 50


@given(index=st.lists(st.integers(-1, 5), max_size=60).map(lambda v: np.array(v, int)))
def test_piles_have_no_gaps_and_keep_the_order_drawn(index):
    place = stack(index)
    assert (place[index < 0] == -1).all()
    for bin_ in set(index[index >= 0]):
        assert place[index == bin_].tolist() == list(range((index == bin_).sum()))


@pytest.mark.parametrize(("value", "top"), [(0, 5), (5, 5), (5.1, 6), (12, 12), (81, 100), (100, 100), (106, 120)])
def test_nice_ceiling(value, top):
    assert nice_ceiling(value) == top


@given(value=st.floats(0, 1e7))
def test_the_ceiling_is_near_and_never_below(value):
    # no step of the ladder is wider than 1.5
    assert value <= nice_ceiling(value) * (1 + 1e-9)
    assert nice_ceiling(value) <= max(5.0, 1.5 * value) * (1 + 1e-9)
