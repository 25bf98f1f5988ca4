"""Answers that are known: enumerated by others, or small enough to enumerate here another way."""

from itertools import combinations, permutations, product

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.infer.permutation.arrangements import Shuffles, Signs, identity_number, n_arrangements, unrank

# Fisher (1935), The Design of Experiments, section 17: crossed less self-fertilised maize, eighths of an inch
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Student (1908): hours of sleep gained by ten patients under two drugs
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def p_of(formula, data, term, **options):
    m = model(formula, data).fit().infer(how="perm", seed=1, **options)
    assert m.inference.exact
    return m.params.filter(term=term)["p_value"].item(), m


@pytest.mark.parametrize(("alternative", "count"), [("two-sided", 2 * 863), ("greater", 863)])
def test_darwins_maize(alternative, count):
    p, m = p_of("d ~ 1", {"d": DARWIN}, "(Intercept)", scheme="sign_flip", n_perm=32_768, alternative=alternative)
    assert p == count / 32_768
    assert m.inference.n_resamples == 32_768
    assert "exact: all 32,768 patterns of signs" in repr(m)


def test_students_sleep_paired():
    d = np.subtract(SLEEP[1], SLEEP[0])
    p, _ = p_of("d ~ 1", {"d": d}, "(Intercept)", scheme="sign_flip")
    assert p == 4 / 1024


def test_students_sleep_as_two_groups():
    data = {"y": [*SLEEP[0], *SLEEP[1]], "g": ["1"] * 10 + ["2"] * 10}
    term = model("y ~ g", data).fit().params["term"][1]
    p, _ = p_of("y ~ g", data, term, n_perm=184_756)
    np.testing.assert_allclose(p, 0.0814480, atol=5e-8)  # the digits given; all 184,756 splits, enumerated in R


def test_lady_tasting_tea():
    data = {"said": [1, 1, 1, 0, 1, 0, 0, 0], "milk": [1, 1, 1, 1, 0, 0, 0, 0]}
    p, m = p_of("said ~ milk", data, "milk", alternative="greater")
    assert p == 17 / 70
    assert m.inference.n_resamples == 70


def test_three_against_three():
    p, m = p_of("y ~ g", {"y": [1, 2, 3, 4, 5, 9], "g": [0, 0, 0, 1, 1, 1]}, "g")
    assert p == 2 / 20
    assert m.inference.n_resamples == 20


def test_a_slope_of_five_points():
    p, m = p_of("y ~ x", {"y": [1, 2, 4, 3, 5], "x": [0, 1, 2, 3, 4]}, "x")
    assert p == 10 / 120
    assert m.inference.n_resamples == 120


def test_sleepstudy_slopes_of_the_subjects():
    """All 2^18 sign flips of each subject's own least-squares slope: 6 are as far from 0."""
    data = load_dataset("sleepstudy")
    slopes = [
        model("Reaction ~ Days", part).fit().params["estimate"][1]
        for part in data.partition_by("Subject", maintain_order=True)
    ]
    p, m = p_of("s ~ 1", {"s": slopes}, "(Intercept)", scheme="sign_flip", n_perm=2**18)
    assert p == 6 / 2**18
    np.testing.assert_allclose(m.params["statistic"].item(), 6.77148, atol=5e-6)  # the digits given


def test_exact_p_of_a_glm_is_the_share_of_its_refits():
    """A Poisson mean in two groups: z of every split by a fit of its own."""
    data = pl.DataFrame({"y": [0, 2, 1, 4, 3, 7], "g": [0, 0, 0, 1, 1, 1]})
    m = model("y ~ g", data, family="poisson").fit().infer(how="perm", n_perm=99)
    z = []
    for chosen in combinations(range(6), 3):
        split = data.with_columns(g=pl.Series([int(i in chosen) for i in range(6)]))
        z.append(model("y ~ g", split, family="poisson").fit().infer().params["statistic"][1])
    share = np.mean(np.abs(z) >= abs(m.params["statistic"][1]) - 1e-7)
    assert m.inference.scheme == "y"
    assert m.params["p_value"][1] == share


def test_every_arrangement_comes_once():
    classes = np.array([0, 1, 0, 2, 1, 0])
    total = n_arrangements(np.bincount(classes), 100)
    assert total == 60  # 6! / (3! 2! 1!)
    rows = unrank(np.arange(60), classes)
    assert {tuple(sorted(r)) for r in rows.tolist()} == {tuple(range(6))}
    # who sits with whom, as sets per class
    seats = {tuple(frozenset(r[classes == c].tolist()) for c in range(3)) for r in rows}
    assert seats == {
        tuple(frozenset(q[i] for i in np.flatnonzero(classes == c)) for c in range(3)) for q in permutations(range(6))
    }
    assert len(seats) == 60
    shuffles = Shuffles(6, classes, 60)
    np.testing.assert_array_equal(unrank(np.array([identity_number(shuffles)]), classes)[0], np.arange(6))


def test_every_pattern_of_signs_comes_once():
    signs = Signs.of(5, 10)
    rows = signs.draw(None, 0, 32)  # no generator is needed
    assert {tuple(r) for r in rows} == set(product((-1.0, 1.0), repeat=5))
    assert (rows[identity_number(signs)] == 1).all()


def test_rows_of_one_unit_share_their_sign():
    units = np.array([0, 0, 1, 2, 2, 2])
    rows = Signs.of(6, 10, units).draw(None, 0, 8)
    assert len({tuple(r) for r in rows}) == 8
    assert (rows[:, 0] == rows[:, 1]).all()
    assert (rows[:, 3:] == rows[:, [3]]).all()
