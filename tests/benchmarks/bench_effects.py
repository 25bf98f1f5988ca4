"""Effects beside emmeans, in turns; effects of bootstrap draws beside the draws; small questions in milliseconds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.infer.mee_bootstrap import effect_draws
from inference_core.infer.resample.stream import open_stream

from .floors import side_by_side, timed
from .lme4 import ABSENT

DRAWS = 1_000


def cake():
    data = load_dataset("cake").with_columns(pl.col("temperature").cast(pl.String))
    return model("angle ~ recipe * temperature + (1 | recipe:replicate)", data).fit()


@pytest.mark.parametrize(
    ("errors", "ddf", "promise"), [("iid", "satterthwaite", 5), ("kenward-roger", "kenward-roger", 10)]
)
def test_cells_and_pairs_of_cake(benchmark, ratios, lme4, errors, ddf, promise):
    """18 means, and 18 differences with Tukey's limits: three recipes at each of six temperatures."""
    m = cake()

    def ours():
        m.explore("recipe ~ temperature").infer(errors=errors)
        m.explore("pairwise(recipe) ~ temperature", p_adjust="tukey").infer(errors=errors)

    benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
    title = f"emmeans and pairs of cake, {ddf}"
    found = [] if lme4 is None else lme4.ask("cells_cake", ddf)
    if len(found) < 2:
        ratios.absent.append(f"{title}: {ABSENT if lme4 is None else 'emmeans is not installed (make bench-r)'}")
        return
    seconds, others, values = lme4.beside(ours, "cells_cake", ddf, rounds=5, times=3)
    table = m.effects.sort("temperature", maintain_order=True)
    theirs = np.array(values).reshape(4, 18)
    for name, column in zip(("estimate", "se", "df"), theirs[:3], strict=True):
        # lme4's optimiser stops within 1e-5 of the optimum of theta
        np.testing.assert_allclose(table[name].to_numpy(), column, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(table["p_value"].to_numpy(), theirs[3], atol=2e-4)  # R's ptukey, and as above
    row = ratios.add(title, seconds, others, "R's emmeans", at_least=promise)
    assert row.ratio >= promise


@pytest.mark.parametrize(
    ("formula", "family", "text", "ask"),
    [
        ("mpg ~ wt * cylf + hp", "gaussian", "pairwise(cylf) ~ wt@range(5)", {}),
        ("am ~ wt", "binomial", "wt", {"how": "ame"}),
        ("am ~ wt", "binomial", "wt@range(10)", {"how": "ame"}),
    ],
    ids=["contrasts", "slope", "means"],
)
def test_effects_cost_less_than_their_draws(ratios, formula, family, text, ask):
    data = load_dataset("mtcars").with_columns(cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String))
    m = model(formula, data, family=family).fit().explore(text, **ask)
    mee = m.state.mee
    assert mee is not None

    def drawn():
        return open_stream("boot", None, m.spec, m.bundle, m.fit_state, seed=1).collect(DRAWS)

    draws = drawn()
    mine, theirs = side_by_side(lambda: effect_draws(draws, mee, m.bundle.p), drawn, rounds=11)
    title = f"{len(mee.estimate)} effects of {DRAWS:,} draws ({text})"
    assert ratios.add(title, mine, theirs, "the draws", at_most=1.0).ratio <= 1.0


def test_a_small_question(ratios):
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
    m.explore("pairwise(tension)").infer()
    seconds = min(timed(lambda: m.explore("pairwise(tension)").infer(), 5) for _ in range(5))
    ratios.facts.append(f"explore and infer of three contrasts: {1e3 * seconds:.1f} ms")
    assert seconds < 0.02  # as long as a frame of a film; a panel redraws at each step of a slider
