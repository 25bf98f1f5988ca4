"""Folds part the rows, keep groups whole and levels known, and are functions of (seed, repeat) alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.cv import generate_group_kfold_splits, generate_kfold_splits, resolve_holdout_group_ids
from inference_core.infer.cv.plan import make_plan
from inference_core.infer.cv.splits import group_folds, row_folds
from inference_core.rng import RNG

seeds = st.integers(0, 2**32 - 1)


@given(n=st.integers(2, 60), k=st.integers(2, 60), seed=seeds)
@settings(max_examples=40)
def test_rows_are_parted(n, k, seed):
    if k > n:
        with pytest.raises(InferenceError, match=f"between 2 and {n}"):
            generate_kfold_splits(n, k, seed)
        return
    splits = generate_kfold_splits(n, k, seed)
    assert sorted(np.concatenate([test for _, test in splits]).tolist()) == list(range(n))
    assert all(sorted(np.concatenate(pair).tolist()) == list(range(n)) for pair in splits)
    sizes = [len(test) for _, test in splits]
    assert max(sizes) - min(sizes) <= 1


@given(sizes=st.lists(st.integers(1, 9), min_size=2, max_size=20), k=st.integers(2, 8), seed=seeds)
@settings(max_examples=60)
def test_groups_are_never_split_and_folds_have_like_sizes(sizes, k, seed):
    ids = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    ids = ids[np.random.default_rng(seed).permutation(ids.size)]
    if k > len(sizes):
        with pytest.raises(InferenceError, match="groups"):
            generate_group_kfold_splits(ids, k, seed)
        return
    splits = generate_group_kfold_splits(ids, k, seed)
    assert sorted(np.concatenate([test for _, test in splits]).tolist()) == list(range(ids.size))
    for train, test in splits:
        assert not set(ids[train]) & set(ids[test])
    rows = [len(test) for _, test in splits]
    # the fullest fold was the emptiest when it got its last group, the smallest so far
    assert max(rows) - min(rows) <= max(sizes)


def test_folds_balance_rows_not_groups():
    """One group of 50 rows and ten of 5: by number of groups the folds would hold 70 and 30 rows, or worse."""
    ids = np.repeat(np.arange(11), [50, *[5] * 10])
    for seed in range(5):
        assert sorted(len(test) for _, test in generate_group_kfold_splits(ids, 2, seed)) == [50, 50]


def test_a_fold_is_a_function_of_seed_and_repeat():
    ids = np.repeat(np.arange(12), 3)
    for make in (lambda s, r: row_folds(36, 5, RNG(s), (ids,), r), lambda s, r: group_folds(ids, 5, RNG(s), r)):
        np.testing.assert_array_equal(make(1, 0), make(1, 0))
        assert np.any(make(1, 0) != make(2, 0)) and np.any(make(1, 0) != make(1, 1))


@given(seed=seeds, k=st.integers(2, 6))
@settings(max_examples=60)
def test_no_level_lies_in_one_fold_alone_where_it_has_two_rows(seed, k):
    rng = np.random.default_rng(seed)
    n = 24
    factors = [rng.integers(0, 10, size=n), rng.integers(0, 7, size=n)]
    factors = [np.unique(f, return_inverse=True)[1] for f in factors]
    folds = row_folds(n, k, RNG(seed), factors)
    sizes = np.bincount(folds, minlength=k)
    assert sizes.max() - sizes.min() <= 1
    for codes in factors:
        for level in np.flatnonzero(np.bincount(codes) > 1):
            assert np.ptp(folds[codes == level]) > 0


def test_levels_of_a_model_stay_known_where_they_can():
    """Two rows of a rare level: plain shuffles put both into one of two folds half of the time."""
    d = pl.DataFrame({"g": ["a"] * 20 + ["b"] * 2, "y": np.random.default_rng(0).normal(size=22)})
    m = model("y ~ g", d).fit()
    for seed in range(30):
        plan = make_plan(m.spec, m.bundle, k=2, seed=seed)
        assert plan.folds[0, 20] != plan.folds[0, 21]


# ---- which groups ------------------------------------------------------------------------------------------


def test_the_outermost_factor_is_held_out():
    d = load_dataset("pastes")
    m = model("strength ~ 1 + (1 | batch / cask)", d)
    ids = resolve_holdout_group_ids(None, d, m.spec, m.bundle)
    assert np.unique(ids).size == d["batch"].n_unique()
    assert resolve_holdout_group_ids(None, d, *_lm(d)) is None


def _lm(d):
    m = model("strength ~ batch", d)
    return m.spec, m.bundle


def test_crossed_factors_want_a_choice():
    d = load_dataset("penicillin")
    m = model("diameter ~ 1 + (1 | plate) + (1 | sample)", d)
    with pytest.raises(InferenceError, match="crossed") as caught:
        resolve_holdout_group_ids(None, d, m.spec, m.bundle)
    assert caught.value.remedy == "say which one new data bring: holdout_group='plate', or scheme='rows'"
    assert np.unique(resolve_holdout_group_ids("plate", d, m.spec, m.bundle)).size == 24


def test_a_column_that_the_model_does_not_use_may_hold_the_groups():
    d = pl.DataFrame({"x": [1.0, 2, None, 4, 5, 3], "y": [1.0, 3, 2, 5, 4, 4], "g": ["a", "a", "b", "b", "c", "c"]})
    m = model("y ~ x", d)
    assert resolve_holdout_group_ids("g", d, m.spec, m.bundle).tolist() == [0, 0, 1, 2, 2]  # the row of null is gone


def test_refused_groups():
    d = pl.DataFrame({"x": [1.0, 2, 3, 5], "y": [1.0, 3, 2, 6], "g": ["a", None, "b", "b"], "one": [1, 1, 1, 1]})
    m = model("y ~ x", d)
    refused = {"G": "no column of that name", "g": "1 of the 4 rows used have no group", "one": "one group"}
    for name, words in refused.items():
        with pytest.raises(InferenceError, match=words):
            resolve_holdout_group_ids(name, d, m.spec, m.bundle)
    with pytest.raises(InferenceError, match="did you mean 'g'"):
        resolve_holdout_group_ids("G", d, m.spec, m.bundle)
