"""A panel shows the coefficients, whatever the model was asked last."""

import numpy as np

import bossaviz as bv
from inference_core import load_dataset, model


def test_a_panel_of_a_model_that_was_explored():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
    plain = bv.bootstrap(m, n_boot=99, ci_type="percentile", seed=1)
    m.explore("pairwise(wool) ~ tension").infer()
    before = m.effects
    explored = bv.bootstrap(m, n_boot=99, ci_type="percentile", seed=1)
    for panel in (plain, explored):
        panel.wait()
    assert explored.sentence == plain.sentence
    np.testing.assert_array_equal(explored.resamples.to_numpy(), plain.resamples.to_numpy())
    assert m.effects.equals(before)
