"""Impossible responses are refused with their number and the first row."""

import numpy as np
import pytest

from inference_core.errors import DataError
from inference_core.families import get_family


@pytest.mark.parametrize(("family", "y", "words"), [
    ("gamma", [1.0, 0.0, -2.0],
     'A Gamma model needs values above 0; "dose" has 2 at or below 0 (the first is 0, in row 1'),
    ("inverse_gaussian", [1.0, -1.0], "An inverse Gaussian model needs values above 0"),
    ("poisson", [1.0, -1.0], '"dose" has 1 below 0 (the first is -1, in row 1'),
    ("poisson", [1.0, 0.5, 2.0], '"dose" has 1 that are not (the first is 0.5, in row 1'),
    ("negative_binomial", [1.0, 2.5], "needs whole counts"),
    ("binomial", [0.0, 1.0, 2.0], '"dose" has 1 outside (the first is 2, in row 2'),
    ("gaussian", [0.0, np.inf], "not finite"),
    ("quasipoisson", [0.5, -0.5], "needs counts of 0 or more"),
])  # fmt: skip
def test_refusals_name_count_and_row(family, y, words):
    with pytest.raises(DataError) as caught:
        get_family(family).check_response(np.array(y), y_name="dose")
    assert words in str(caught.value)


def test_rows_are_those_of_the_data_given():
    with pytest.raises(DataError, match="in row 17"):
        get_family("gamma").check_response(np.array([1.0, -1.0]), rows=np.array([3, 17]))


def test_trials_must_not_be_negative():
    with pytest.raises(DataError, match="number of trials"):
        get_family("binomial").check_response(np.array([0.0, 1.0]), np.array([3.0, -1.0]))


@pytest.mark.parametrize(("family", "y"), [
    ("poisson", [0.0, 3.0]), ("quasipoisson", [0.5, 3.0]), ("binomial", [0.0, 0.4]), ("gamma", [1e-300, 4.0]),
])  # fmt: skip
def test_possible_responses_pass(family, y):
    get_family(family).check_response(np.array(y))
