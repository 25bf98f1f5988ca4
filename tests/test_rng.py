"""Replicate i is a function of (seed, i): whatever is asked around it, and whoever asks."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import InferenceError
from inference_core.rng import BLOCK_VALUES, MAX_NARROW, RNG, Purpose, block_rows, count_rows

widths = st.integers(1, 400)
seeds = st.integers(0, 2**40)


@given(seed=seeds, n=widths, start=st.integers(0, 6000), size=st.integers(1, 300))
def test_a_slice_of_the_draws_is_the_same_slice_of_all_of_them(seed, n, start, size):
    rng = RNG.from_seed(seed)
    first = start - start % 7
    wide = rng.indices(first, start + size + 5, n)
    np.testing.assert_array_equal(rng.indices(start, start + size, n), wide[start - first : start - first + size])


@given(seed=seeds, n=widths)
def test_counts_are_the_counts_of_the_indices(seed, n):
    rng = RNG.from_seed(seed)
    counts = rng.counts(3, 40, n)
    expected = np.array([np.bincount(row, minlength=n) for row in rng.indices(3, 40, n)])
    assert counts.dtype == float
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(counts.sum(1), n)


def test_counts_can_be_written_into_an_array_that_is_there():
    out = np.full((10, 8), np.nan)
    returned = RNG(5).counts(0, 10, 8, out=out)
    assert returned is out
    np.testing.assert_array_equal(out, RNG(5).counts(0, 10, 8))


@pytest.mark.parametrize("n", [1, 2, 7, 1000, MAX_NARROW + 1])
def test_indices_lie_inside_the_data_and_reach_its_ends(n):
    drawn = RNG(1).indices(0, 40 if n < 10_000 else 4, n)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < n
    if 1 < n <= 1000:
        assert drawn.min() == 0
        assert drawn.max() == n - 1


@pytest.mark.parametrize("n", [3, 10, 33])
def test_every_row_is_drawn_equally_often(n):
    B = 20_000
    total = RNG(2).counts(0, B, n).sum(0)
    chi2 = ((total - B) ** 2 / B).sum()
    # chi-square with n - 1 df: mean n - 1, sd sqrt(2 (n - 1)); 5 sd is beyond 1e-6 for these seeds' one look
    assert abs(chi2 - (n - 1)) < 5 * np.sqrt(2 * (n - 1))


def test_draws_of_one_block_and_of_two_blocks_are_uncorrelated():
    n, B = 50, 4000
    counts = RNG(3).counts(0, 2 * B, n)
    assert block_rows(n) < B
    for lag in (1, block_rows(n)):
        a, b = counts[:B].ravel(), counts[lag : B + lag].ravel()
        # 200,000 pairs: the correlation of independent ones has sd .0022
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.011


def test_purposes_seeds_and_children_do_not_share_streams():
    def first(rng, purpose=Purpose.STREAM):
        return rng.stream(0, purpose).random(4).tolist()

    root = RNG(9)
    child, other = root.split(2)
    grandchild = child.split(1)[0]
    seen = [first(root), first(root, Purpose.SIGN), first(child), first(other), first(RNG(10)), first(grandchild)]
    assert len({tuple(s) for s in seen}) == len(seen)
    assert first(root.split(5)[1]) == first(other), "a child does not depend on how many there are"


def test_an_rng_survives_pickling_and_carries_no_state():
    rng = RNG.from_seed(4)
    before = rng.indices(0, 3, 5)
    rng.stream(1).random(1000)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rng)).indices(0, 3, 5), before)


def test_no_seed_picks_one_that_can_be_typed():
    first, second = RNG.from_seed(), RNG.from_seed(None)
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**32
    np.testing.assert_array_equal(RNG.from_seed(first.seed).indices(0, 2, 9), first.indices(0, 2, 9))
    assert RNG.from_seed(np.int64(7)).seed == 7


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_a_seed_that_is_no_seed_is_refused(seed):
    with pytest.raises(InferenceError, match="whole number"):
        RNG.from_seed(seed)


@given(n=st.integers(1, 10**7))
def test_the_block_depends_on_the_width_alone_and_stays_small(n):
    rows = block_rows(n)
    assert rows & (rows - 1) == 0, "a power of two, so that chunks and blocks align"
    assert rows == 1 or rows * n <= BLOCK_VALUES


@given(seed=seeds, n=st.integers(1, 60), start=st.integers(0, 3000))
def test_permutations_are_permutations_and_keep_their_place(seed, n, start):
    rng = RNG.from_seed(seed)
    shuffled = rng.permutations(start, start + 5, n)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.tile(np.arange(n), (5, 1)))
    np.testing.assert_array_equal(rng.permutations(start + 2, start + 4, n), shuffled[2:4])


def test_every_order_is_as_likely_as_every_other():
    shuffled = RNG.from_seed(3).permutations(0, 24_000, 4)
    counts = np.unique(shuffled @ [64, 16, 4, 1], return_counts=True)[1]
    assert len(counts) == 24
    # chi-square on 23 degrees of freedom: mean 23, SD 6.8; 50 is passed once in a thousand seeds
    assert ((counts - 1000.0) ** 2 / 1000.0).sum() < 50


@given(seed=seeds, n=st.integers(1, 200), start=st.integers(0, 3000))
def test_signs_are_signs_and_keep_their_place(seed, n, start):
    rng = RNG.from_seed(seed)
    signs = rng.signs(start, start + 5, n)
    assert signs.shape == (5, n) and set(np.unique(signs)) <= {-1.0, 1.0}
    np.testing.assert_array_equal(rng.signs(start + 2, start + 4, n), signs[2:4])


def test_signs_are_fair_coins():
    signs = RNG.from_seed(3).signs(0, 10_000, 70)
    # means of 10,000 fair signs have an SD of 0.01; the largest of 70 (and of 2,415 products) stays below 5 of them
    assert np.abs(signs.mean(0)).max() < 0.05
    products = signs.T @ signs / 10_000
    assert np.abs(products - np.eye(70)).max() < 0.05


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, b: g.standard_normal((b, 70)),
        lambda g, b: g.standard_gamma(0.3, (b, 70)),
        lambda g, b: g.poisson(3.0, (b, 70)),
        lambda g, b: g.binomial(14, 0.3, (b, 70)),
        lambda g, b: g.integers(0, 2, (b, 70), dtype=np.int8),
    ],
    ids=["normal", "gamma", "poisson", "binomial", "sign"],
)
def test_samplers_with_a_variable_appetite_keep_their_place_too(draw):
    rng = RNG(6)
    rows = rng.rows(0, 3000, 70, draw, Purpose.NORMAL)
    for lo, hi in ((0, 1), (1023, 1026), (2999, 3000), (500, 2500)):
        np.testing.assert_array_equal(rng.rows(lo, hi, 70, draw, Purpose.NORMAL), rows[lo:hi])


def test_no_draws_are_an_empty_array():
    assert RNG(1).indices(5, 5, 4).shape == (0, 4)
    assert RNG(1).permutations(5, 5, 4).shape == (0, 4)
    assert RNG(1).signs(5, 5, 4).shape == (0, 4)
    assert RNG(1).counts(5, 5, 4).shape == (0, 4)


def test_counting_leaves_the_indices_alone_unless_they_are_handed_over():
    indices = RNG(1).indices(0, 6, 5)
    copy = indices.copy()
    count_rows(indices, 5)
    np.testing.assert_array_equal(indices, copy)
