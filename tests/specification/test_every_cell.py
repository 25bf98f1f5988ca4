"""Every operation with every kind of inference, for every kind of model and the things that data bring along.

Each cell gives finite, consistent numbers, or a refusal that names the way out; none gives something else.
"""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.errors import InferenceCoreError, InferenceCoreWarning
from inference_core.infer.cells import HOWS, LAST_OPS

KINDS = ("lm", "glm", "lmer", "glmer")
VARIANTS = ("plain", "weights", "offset", "missing", "rank", "link", "poly", "spline", "factor")


def frame(spread, seed=4, groups=14, size=10):
    """Two numbers, a factor, weights, exposure and groups; a response of each kind."""
    rng = np.random.default_rng(seed)
    n = groups * size
    g = np.repeat(np.arange(groups), size)
    x, z = rng.normal(size=n), rng.uniform(1, 3, n)
    f = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    u = rng.normal(0, spread, groups)[g]
    eta = 0.4 + 0.5 * x - 0.3 * z + 0.4 * (f == "b") + u
    y = eta + rng.normal(size=n)
    count = rng.poisson(np.exp(eta + 0.5))
    return pl.DataFrame({
        "y": y, "count": count, "hit": (y > 0).astype(int), "x": x, "z": z, "f": f, "w": rng.uniform(0.5, 2, n),
        "e": rng.uniform(0.8, 1.2, n), "twice": 2 * x, "g": [f"g{i:02d}" for i in g],
    })  # fmt: skip


def build(kind, variant, size=10):
    data = frame(0.7 if kind in ("lmer", "glmer") else 0.0, size=size)
    response = "y" if kind in ("lm", "lmer") else "count"
    terms, options = ["x", "z"], {}
    if kind in ("glm", "glmer"):
        options["family"] = "poisson"
    if variant == "weights":
        options["weights"] = "w"
    elif variant == "offset":
        terms.append("offset(log(e))" if kind in ("glm", "glmer") else "offset(e)")
    elif variant == "missing":
        data = data.with_columns(x=pl.when(pl.int_range(pl.len()) % 10 == 3).then(None).otherwise(pl.col("x")))
    elif variant == "rank":
        terms.append("twice")
    elif variant == "link":
        if kind in ("glm", "glmer"):
            response, options = "hit", {"family": "binomial", "link": "probit"}
        else:
            terms = ["x * z"]
    elif variant == "poly":
        terms = ["poly(x, 2)", "z"]
    elif variant == "spline":
        terms = ["bs(x, 4)", "z"]
    elif variant == "factor":
        terms = ["x * f"]
    if kind in ("lmer", "glmer"):
        terms.append("(1 | g)")
    return model(f"{response} ~ {' + '.join(terms)}", data, **options).fit()


FOCAL = {"factor": "pairwise(f)", "rank": "z"}  # x and its double cannot be told apart
OPERATE = {
    "fit": lambda m, variant: m,
    "explore": lambda m, variant: m.explore(FOCAL.get(variant, "x"), effect_scale="link"),
    "predict": lambda m, variant: m.predict(m.data.drop_nulls().head(5)),
    "simulate": lambda m, variant: m.simulate(nsim=20, seed=1),
}
DRAWN = {
    "boot": {"n_boot": 199, "seed": 1, "ci_type": "percentile"}, "perm": {"n_perm": 199, "seed": 1},
    "cv": {"k": 4, "seed": 1},
}  # fmt: skip


def table_after(m, operation, how):
    fixed = {"cv": "cv", "joint": "effects", "profile": "params"}
    names = {"fit": "params", "explore": "effects", "predict": "predictions", "simulate": "simulation_summary"}
    return getattr(m, fixed.get(how, names[operation]))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell(kind, variant):
    fitted = build(kind, variant)
    answered = 0
    for operation in LAST_OPS:
        for how in HOWS:
            fitted.fit()
            m = OPERATE[operation](fitted, variant)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", InferenceCoreWarning)
                    m.infer(how=how, **DRAWN.get(how, {}))
            except InferenceCoreError as refusal:
                assert refusal.remedy.strip() and refusal.found.strip(), (operation, how)
                assert "not built" not in str(refusal), (operation, how)
                continue
            answered += 1
            check(m, operation, how, variant)
    assert answered >= 10


def check(m, operation, how, variant):
    """Numbers where numbers are due; limits around estimates; p-values in their range."""
    table = table_after(m, operation, how)
    assert table.height > 0, (operation, how)
    where = (operation, how, table)
    numbers = {name: table[name].to_numpy() for name in table.columns if table[name].dtype == pl.Float64}
    for name, values in numbers.items():
        assert not np.isnan(values[~table[name].is_null().to_numpy()]).any(), (name, *where)
    if "estimate" in numbers:
        known = ~table["estimate"].is_null().to_numpy()
        assert known.sum() >= table.height - (variant == "rank"), where
    if {"ci_lower", "ci_upper", "estimate"} <= set(numbers):
        given = ~(table["ci_lower"].is_null() | table["ci_upper"].is_null()).to_numpy()
        assert given.any() or how == "perm", where
        low, high = numbers["ci_lower"][given], numbers["ci_upper"][given]
        assert np.all(low < high), where
        if how != "boot":  # a bootstrap interval need not hold the estimate
            estimate = numbers["estimate"][given]
            assert np.all((low <= estimate) & (estimate <= high)), where
    if "p_value" in numbers:
        p = numbers["p_value"][~table["p_value"].is_null().to_numpy()]
        assert np.all((p >= 0) & (p <= 1)), where
        if how in ("boot", "perm"):
            assert np.all(p > 0), where


@pytest.mark.parametrize("kind", KINDS)
def test_bootstrap_and_delta_errors_agree(kind):
    """On well-behaved data the bootstrap SE of every parameter, effect and prediction is the Wald SE, within a fifth.

    The Monte-Carlo error of an SE from 499 draws is 3 %, so 10 % is beyond it; the rest is that rows are drawn, which
    allows unequal scatter, and that a variance of 14 groups is redrawn.
    """
    m = build(kind, "factor", size=40)
    for ask, read in (
        (lambda: m.fit(), lambda: m.params),
        (lambda: m.explore("pairwise(f)", effect_scale="link"), lambda: m.effects),
        (lambda: m.explore("f"), lambda: m.effects),
        (lambda: m.explore("x ~ f"), lambda: m.effects),
        (lambda: m.predict(m.data.head(4)), lambda: m.predictions),
    ):
        ask()
        wald = m.infer() and read()["se"].to_numpy()
        drawn = m.infer(how="boot", n_boot=499, seed=2, ci_type="percentile") and read()["se"].to_numpy()
        np.testing.assert_allclose(drawn, wald, rtol=0.2)  # see above
