"""A resample that never drew a level of a factor is a counted NaN row, never a number of the order 1e15."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core import load_dataset, model
from inference_core.states import DRAW_RANK_DEFICIENT


@pytest.mark.parametrize("ci_type", ["percentile", "studentized"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("mpg ~ factor(gear)", {}),
        ("mpg ~ wt * factor(gear)", {}),
        ("mpg ~ 0 + factor(gear)", {"weights": "qsec"}),
        ("mpg ~ factor(gear)", {"family": "gamma"}),
    ],
)
def test_draws_without_a_level_are_marked_and_the_others_are_single_fits(formula, options, ci_type):
    cars = load_dataset("mtcars")
    m = model(formula, cars, **options).fit().infer(how="boot", n_boot=600, ci_type=ci_type, conf_level=0.9, seed=1)
    draws, X = m.state.resamples, m.bundle.X
    ranks = np.array([np.linalg.matrix_rank(X[draws.draw(i)]) for i in range(600)])
    lost = ranks < X.shape[1]
    assert lost.any()
    np.testing.assert_array_equal(draws.status == DRAW_RANK_DEFICIENT, lost)
    assert np.isnan(draws.samples[lost]).all()
    assert np.abs(draws.samples[~lost]).max() < 1e3  # of the size of the estimates: nothing blew up
    assert m.inference.n_failed == lost.sum()
