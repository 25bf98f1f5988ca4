"""Cluster draws of generalized mixed models: lanes of counts against rows put together, reasons, limits, refusals."""

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.errors import InferenceError
from inference_core.fit.varcomp import variance_components
from inference_core.infer.bootstrap_mixed import compute_params_bootstrap_mixed
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG
from inference_core.states.inference import DRAW_OK, DRAW_RANK_DEFICIENT

from .test_glmer_kernel import fitted, frame

NESTED = frame(6, 14, 12).with_columns(batch=pl.Series(np.tile(np.repeat([0, 1, 2], 4), 14)))
MODELS = {
    "cbind": (dict(), load_dataset("cbpp"), "herd"),
    "five nodes": (dict(n_agq=5), load_dataset("cbpp"), "herd"),
    "without quadrature": (dict(n_agq=0), load_dataset("cbpp"), "herd"),
    "slopes": (dict(formula="count ~ x + (x | g)", data=frame(3, 20, 12), family="poisson"), frame(3, 20, 12), "g"),
    "negative binomial": (
        dict(formula="spread ~ x + (1 | g)", data=frame(), family="negative_binomial"), frame(), "g",
    ),
    "gamma": (dict(formula="time ~ x + (1 | g)", data=frame(), family="gamma", link="log"), frame(), "g"),
    "nested": (dict(formula="count ~ x + (1 | g/batch)", data=NESTED, family="poisson"), NESTED, "g"),
    "nested without quadrature": (
        dict(formula="count ~ x + (1 | g/batch)", data=NESTED, family="poisson", n_agq=0), NESTED, "g",
    ),
}  # fmt: skip


def stream_of(m, seed=11):
    return open_stream("boot", "cluster", *m, seed=seed)


@pytest.mark.parametrize("name", MODELS)
def test_a_draw_is_the_fit_of_its_rows(name):
    """Rows of the groups drawn, every copy under a name of its own, put together and fitted from nothing."""
    options, data, factor = MODELS[name]
    m = fitted(**options)
    stream = stream_of(m)
    draws = stream.collect(9)
    groups = data[factor].unique(maintain_order=False).sort()
    for i in (0, 4, 8):
        rows = stream.indices_of(i)
        chosen = RNG.from_seed(11).indices(i, i + 1, len(groups))[0]
        pieces = [
            data.filter(pl.col(factor) == groups[int(j)]).with_columns(pl.lit(f"c{copy:03d}").alias(factor))
            for copy, j in enumerate(chosen)
        ]
        again = pl.concat(pieces)
        assert again.height == rows.size
        one = fitted(**options | {"data": again})[2]
        se = np.sqrt(np.diag(one.vcov))
        # a refit stops at a decrement of 1e-12 by an approximate Hessian, a fit at 1e-13 by the exact one
        assert (np.abs(draws.samples[i, : len(se)] - one.coef) <= 5e-6 * se).all()
        sdcor = [c.sdcor for c in variance_components(fitted(**options | {"data": again})[1], one)]
        found = draws.samples[i, len(se) :]
        # near an SD of 0 the deviance is flat in the variance: the root of 1e-8
        np.testing.assert_allclose(found, sdcor[: found.size], rtol=1e-4, atol=1e-4)


def test_the_response_of_rows_of_data():
    m = fitted()
    stream = stream_of(m)
    rows = stream.indices_of(3)
    herd = m[1].re_metadata.blocks[0].group_index[rows]
    chosen = RNG.from_seed(11).indices(3, 4, 15)[0]
    assert sorted(set(herd)) == sorted(set(chosen))


@pytest.mark.parametrize("name", ["cbind", "nested"])
def test_a_draw_is_a_function_of_seed_and_number(name):
    m = fitted(**MODELS[name][0])
    whole = stream_of(m).collect(20).samples
    np.testing.assert_array_equal(stream_of(m).batch(7, 11).samples, whole[7:11])
    np.testing.assert_array_equal(stream_of(m).collect(20, n_jobs=2).samples, whole)


def test_every_group_once_is_the_fit():
    for name in ("cbind", "nested", "five nodes", "gamma"):
        m = fitted(**MODELS[name][0])
        stream = stream_of(m)
        samples, status, _ = stream.kernel.refit(np.ones((1, stream.kernel.groups.J)))
        assert status[0] == DRAW_OK
        np.testing.assert_allclose(samples[0], stream.observed, rtol=1e-5, atol=1e-6)  # one step from the optimum


@pytest.mark.parametrize("name", ["cbind", "nested"])
def test_without_a_group_is_the_fit_of_the_others(name):
    options, data, factor = MODELS[name]
    jackknife = stream_of(fitted(**options)).jackknife()
    groups = data[factor].unique().sort()
    assert len(jackknife) == len(groups)
    for j in (0, 5):
        _, _, one = fitted(**options | {"data": data.filter(pl.col(factor) != groups[j])})
        p = one.coef.size
        assert (np.abs(jackknife[j, :p] - one.coef) <= 5e-6 * np.sqrt(np.diag(one.vcov))).all()  # as above


def test_a_level_that_is_not_drawn_is_a_reason():
    data = frame(2, 8, 10).with_columns(kind=pl.when(pl.col("g") < 1).then(1).otherwise(0))
    m = fitted("count ~ kind + (1 | g)", data, "poisson")
    draws = stream_of(m).collect(64)
    without = np.array([not np.any(m[1].X[stream_of(m).indices_of(i), 1]) for i in range(64)])
    assert 5 < without.sum() < 50
    np.testing.assert_array_equal(draws.status == DRAW_RANK_DEFICIENT, without)
    assert draws.failures["a column lost its variation"] == without.sum()


def test_limits():
    m = fitted()
    found = compute_params_bootstrap_mixed(*m, n_boot=400, ci_type="expanded", seed=3, scheme="cluster")
    narrow = compute_params_bootstrap_mixed(*m, n_boot=400, ci_type="percentile", seed=3, scheme="cluster")
    ratio = (found.ci_upper - found.ci_lower) / (narrow.ci_upper - narrow.ci_lower)
    # 15 herds: t(14) times the root of 15/14 against the normal quantile; limits of 400 draws
    assert np.mean(ratio) == pytest.approx(2.1448 * np.sqrt(15 / 14) / 1.96, rel=0.12)
    assert found.scheme == "cluster" and found.spread is not None and found.spread.ci_type == "percentile"
    bca = compute_params_bootstrap_mixed(*m, n_boot=400, ci_type="bca", seed=3, scheme="cluster")
    assert np.all(np.isfinite(bca.ci_lower)) and np.all(bca.ci_lower < m[2].coef)


def test_the_spread_of_draws_is_that_of_the_estimates():
    """60 groups: cluster and parametric standard errors agree where the model is right."""
    m = fitted("count ~ x + (1 | g)", frame(9, 60, 8), "poisson")
    whole = stream_of(m).collect(400).samples.std(axis=0, ddof=1)
    model = open_stream("boot", "parametric", *m, seed=1).collect(400).samples.std(axis=0, ddof=1)
    np.testing.assert_allclose(whole, model, rtol=0.35)  # J = 60: an SE of groups is known to a tenth, its tail wider


def test_refusals():
    crossed = fitted("count ~ x + (1 | g) + (1 | h)", frame(), "poisson")
    with pytest.raises(InferenceError, match="crossed"):
        stream_of(crossed)
    few = fitted("count ~ x + (1 | g)", frame(1, 4, 20), "poisson")
    with pytest.raises(InferenceError, match="g has 4 groups; fewer than 5"):
        stream_of(few)
    m = fitted()
    for scheme in ("wild", "residual"):
        with pytest.raises(InferenceError, match="no spread of their own"):
            open_stream("boot", scheme, *m, seed=1)
    with pytest.raises(InferenceError, match="no standard errors of their own"):
        compute_params_bootstrap_mixed(*m, n_boot=400, ci_type="studentized", scheme="cluster")
    with pytest.raises(InferenceError, match="choice of rows"):
        stream_of(m).response_of(1)


def test_rows_of_weight_0_are_in_no_draw():
    spec, bundle, fit = fitted("share ~ x + (1 | g)", frame(), weights="z")
    stream = stream_of((spec, bundle, fit))
    assert stream.kernel.groups.J == 15
    rows = stream.indices_of(0)
    assert np.all(np.asarray(bundle.prior_weights)[rows] > 0)
    assert stream.collect(4).n_failed == 0
