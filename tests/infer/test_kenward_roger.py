"""Kenward-Roger standard errors and degrees of freedom by ``infer(errors="kenward-roger")``."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError

SLEEP = "Reaction ~ Days + (Days | Subject)"


def uneven() -> pl.DataFrame:
    """R: sleepstudy[-c(3, 17, 18, 19, 20, 45, 46, 90, 91, 92), ]."""
    frame = load_dataset("sleepstudy").with_row_index("row", offset=1)
    return frame.filter(~pl.col("row").is_in([3, 17, 18, 19, 20, 45, 46, 90, 91, 92]))


def test_agrees_with_lmertest_where_groups_are_uneven():
    """R: coef(summary(lmer(Reaction ~ Days + (Days | Subject), ...), ddf = "Kenward-Roger")) of lmerTest."""
    table = model(SLEEP, uneven()).fit().infer(errors="kenward-roger").params
    np.testing.assert_allclose(table["estimate"], [250.84412523, 10.61505161], rtol=1e-6)  # lme4's optimiser
    np.testing.assert_allclose(table["se"], [6.681889114, 1.606978540], rtol=1e-5)
    np.testing.assert_allclose(table["df"], [16.90083882, 16.82127424], rtol=1e-5)
    np.testing.assert_allclose(table["statistic"], [37.540899130, 6.605596373], rtol=1e-5)
    np.testing.assert_allclose(table["p_value"], [1.013957730e-17, 4.700087729e-06], rtol=1e-4)  # of t^17


def test_after_ml_the_errors_are_those_of_reml_and_the_table_says_so():
    reml = model(SLEEP, uneven()).fit().infer(errors="kenward-roger")
    ml = model(SLEEP, uneven(), method="ml").fit().infer(errors="kenward-roger")
    assert reml.inference.notes == ()
    (note,) = ml.inference.notes
    assert "REML optimum" in note and note in repr(ml)
    np.testing.assert_allclose(ml.params["se"], reml.params["se"], rtol=1e-6)  # two searches for one optimum
    np.testing.assert_allclose(ml.params["df"], reml.params["df"], rtol=1e-5)
    assert (ml.params["se"] > ml.infer().params["se"]).all()  # ML's own errors are too small


def test_levels_nulls_and_directions():
    m = model(SLEEP, uneven()).fit()
    two = m.infer(errors="kenward-roger", null=[0.0, 8.0]).params
    one = m.infer(errors="kenward-roger", null=[0.0, 8.0], alternative="greater").params
    np.testing.assert_allclose(2 * one["p_value"][1], two["p_value"][1], rtol=1e-12)
    np.testing.assert_allclose(two["statistic"][1], (two["estimate"][1] - 8) / two["se"][1], rtol=1e-12)
    assert np.isinf(one["ci_upper"][1]) and one["ci_lower"][1] > two["ci_lower"][1]
    assert "kenward-roger errors" in repr(m)


@pytest.mark.parametrize(
    ("formula", "options", "asked", "words"),
    [
        ("mpg ~ wt", {}, {}, "this model has no random effects"),
        ("carb ~ wt + (1 | gear)", {"family": "poisson"}, {}, "this model is a generalized one"),
        ("mpg ~ wt + (1 | carb)", {}, {"how": "boot"}, "go with how='asymp'"),
        ("mpg ~ wt + (1 | carb)", {}, {"cluster": "carb"}, "CR0, CR1, CR1S, CR2 alone"),
        ("mpg ~ wt + (1 | carb)", {}, {"errors": "kenward_roger"}, "did you mean 'kenward-roger'"),
        ("mpg ~ wt + (1 | carb)", {}, {"errors": "KR"}, "did you mean 'kenward-roger'"),
    ],
)
def test_refused(formula, options, asked, words):
    m = model(formula, load_dataset("mtcars"), **options).fit()
    with pytest.raises(InferenceError, match=words):
        m.infer(**({"errors": "kenward-roger"} | asked))
