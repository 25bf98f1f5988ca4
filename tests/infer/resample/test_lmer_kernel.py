"""Parametric draws of linear mixed models: single refits, slices, growth, workers, weights, moments, singular draws."""

import pickle
import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit import fit_lm, fit_lmer
from inference_core.fit.varcomp import variance_components
from inference_core.infer.resample.lmer_kernel import LmerKernel, singular_draws
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG
from inference_core.states.inference import DRAW_NOT_CONVERGED

SLEEP = "Reaction ~ Days + (Days | Subject)"


def frame(seed=1, n=120):
    rng = np.random.default_rng(seed)
    g, h = np.r_[np.arange(10), rng.integers(0, 10, n - 10)], rng.integers(0, 6, n)
    x = rng.standard_normal(n)
    y = 2 + x + rng.standard_normal(10)[g] + 0.7 * x * rng.standard_normal(10)[g] + rng.standard_normal(6)[h]
    y = y + 0.8 * rng.standard_normal(n)
    w = rng.uniform(0.3, 3.0, n)
    return pl.DataFrame({"y": y, "x": x, "x2": 2 * x, "g": g, "h": h, "w": w, "z": np.where(g == 3, 0.0, w), "o": x**2})


def fitted(formula=SLEEP, data=None, method="reml", **options):
    spec, bundle = build_bundle(formula, load_dataset("sleepstudy") if data is None else data, method=method, **options)
    return spec, bundle, fit_lmer(spec, bundle)


@pytest.fixture(scope="module")
def sleep():
    return fitted()


def stream_of(m, seed=11):
    return open_stream("boot", "parametric", *m, seed=seed)


MODELS = {
    "slopes": dict(),
    "ml": dict(method="ml"),
    "diagonal": dict(formula="Reaction ~ Days + (Days || Subject)"),
    "weights and offset": dict(formula="y ~ x + (x | g)", data=frame(), weights="w", offset="o"),
    "rows of weight 0": dict(formula="y ~ x + (1 | h)", data=frame(), weights="z"),
    "a dropped column": dict(formula="y ~ x + x2 + (1 | g)", data=frame()),
    "crossed": dict(formula="y ~ x + (1 | g) + (1 | h)", data=frame()),
    "crossed with slopes": dict(formula="y ~ x + (x | g) + (1 | h)", data=frame(), weights="w", method="ml"),
}


@pytest.mark.parametrize("name", MODELS)
def test_batched_refits_equal_single_fits(name):
    """The response of a draw, fitted alone and from many starts, gives the statistics of the batch."""
    spec, bundle, fit = fitted(**MODELS[name])
    stream = stream_of((spec, bundle, fit))
    draws = stream.collect(40)
    assert draws.n_failed == 0
    kept = np.isfinite(fit.coef)
    assert np.isnan(draws.samples[:, : bundle.p][:, ~kept]).all()
    se = np.sqrt(np.diag(fit.vcov))
    for i in (0, 7, 39):
        y = draws.draw(i)
        np.testing.assert_array_equal(y, stream.response_of(i))
        one = fit_lmer(spec, replace(bundle, y=y))
        # a replicate stops at a decrement of 1e-8: T is within 1e-6 of its spread, and so is what follows from it
        apart = np.abs(draws.samples[i, : bundle.p] - one.coef)[kept]
        assert (apart <= 1e-6 * se[kept]).all()
        sdcor = [c.sdcor for c in variance_components(bundle, one)]
        np.testing.assert_allclose(draws.samples[i, bundle.p :], sdcor, rtol=1e-4, atol=1e-4)  # near 0 a root of 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_the_statistics_of_the_fit_itself(name):
    spec, bundle, fit = fitted(**MODELS[name])
    stream = stream_of((spec, bundle, fit))
    table = variance_components(bundle, fit)
    np.testing.assert_allclose(stream.observed[: bundle.p], fit.coef)
    np.testing.assert_allclose(stream.observed[bundle.p :], [c.sdcor for c in table], rtol=1e-10)  # the same algebra
    for label, c in zip(stream.names[bundle.p :], table, strict=True):
        both = f"cor_{c.term2}.{c.term}|{c.group}" if c.term2 else f"sd_{c.term}|{c.group}"
        swapped = f"cor_{c.term}.{c.term2}|{c.group}"
        assert label in (both, swapped) or (label, c.group) == ("sigma", "Residual")


def test_rows_of_weight_0_keep_their_response():
    _, bundle, _ = m = fitted(**MODELS["rows of weight 0"])
    out = bundle.prior_weights == 0
    assert out.any()
    y = stream_of(m).response_of(3)
    np.testing.assert_array_equal(y[out], bundle.y[out])
    assert not np.any(y[~out] == bundle.y[~out])


@settings(max_examples=15, deadline=None)  # each draws up to 1,200 refits
@given(cuts=st.lists(st.integers(0, 1200), min_size=2, max_size=5, unique=True))
def test_any_slice_in_any_order_is_the_same_to_the_last_bit(sleep, whole, cuts):
    pieces = stream_of(sleep)
    for start, stop in zip(sorted(cuts), sorted(cuts)[1:], strict=False):
        np.testing.assert_array_equal(pieces.batch(start, stop).samples, whole.samples[start:stop])


@pytest.fixture(scope="module")
def whole(sleep):
    return stream_of(sleep).batch(0, 1200)


def test_growth_workers_and_pickles_leave_every_draw(sleep, whole):
    stream = stream_of(sleep)
    np.testing.assert_array_equal(stream.collect(500).samples, whole.samples[:500])
    np.testing.assert_array_equal(stream.collect(700, start=500).samples, whole.samples[500:])
    np.testing.assert_array_equal(stream_of(sleep).collect(1200, n_jobs=2).samples, whole.samples)
    copied = pickle.loads(pickle.dumps(stream_of(sleep)))
    np.testing.assert_array_equal(copied.batch(100, 103).samples, whole.samples[100:103])
    assert not np.array_equal(stream_of(sleep, seed=12).batch(0, 1).samples, whole.samples[:1])
    assert open_stream("boot", None, *sleep, seed=1).scheme == "parametric"  # what a mixed model draws by itself


def test_a_cancelled_run_returns_what_it_has(sleep):
    cancel = threading.Event()
    draws = stream_of(sleep).collect(5000, progress=lambda done, n: cancel.set(), cancel=cancel)
    assert draws.cancelled
    assert 0 < len(draws.samples) < 5000


def test_moments_of_the_responses_are_those_of_the_model():
    """Mean X beta + offset, covariance sigma^2 (Z T T' Z' + 1/w) in closed form."""
    spec, bundle, fit = fitted(**MODELS["weights and offset"])
    kernel, B = LmerKernel.of(spec, bundle, fit), 20_000
    Y = kernel.simulate(RNG.from_seed(5), 0, B)
    block = bundle.re_metadata.blocks[0]
    Z = bundle.re_metadata.z_matrix().toarray()
    L = np.kron(np.eye(block.n_levels), block.t_matrix(fit.theta))
    V = fit.sigma**2 * (Z @ L @ L.T @ Z.T + np.diag(1 / bundle.weights))
    mean = bundle.X @ fit.coef
    assert np.abs((Y.mean(0) - mean) / np.sqrt(np.diag(V) / B)).max() < 4.5  # 120 rows
    E = Y - mean
    errors = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / B)
    assert np.abs((E.T @ E / B - V) / errors).max() < 5.5  # 7,260 covariances
    np.testing.assert_allclose(stream_of((spec, bundle, fit), 5).response_of(9), Y[9] + bundle.offset, rtol=1e-13)


def test_singular_draws_are_those_that_a_fit_flags():
    spec, bundle, fit = fitted("y ~ x + (x | g)", noise_without_groups())
    stream = stream_of((spec, bundle, fit))
    draws = stream.collect(60)
    flags = singular_draws(bundle.re_metadata, draws.samples[:, bundle.p :])
    single = [fit_lmer(spec, replace(bundle, y=draws.draw(i))).is_singular for i in range(60)]
    assert 10 < flags.sum() < 60  # the scene has many, and others
    np.testing.assert_array_equal(flags, single)


def noise_without_groups():
    rng = np.random.default_rng(2)
    x = rng.standard_normal(80)
    return pl.DataFrame({"y": x + rng.standard_normal(80), "x": x, "g": np.repeat(np.arange(8), 10)})


def test_refits_that_do_not_settle_are_nan_rows_with_a_code():
    uneven = fitted(data=load_dataset("sleepstudy")[:-3])  # an even design begins where it ends
    kernel = replace(LmerKernel.of(*uneven), max_iter=1)
    samples, status, se = kernel.refit(kernel.simulate(RNG.from_seed(1), 0, 4))
    assert se is None
    assert np.isnan(samples).all()
    np.testing.assert_array_equal(status, DRAW_NOT_CONVERGED)


def test_a_thousand_draws_need_a_fraction_of_a_second(sleep):
    """0.06 s of CPU time where it was measured; ten times that still is two orders below lme4."""
    import time

    stream_of(sleep).collect(10)
    begin = time.process_time()
    stream_of(sleep, seed=2).collect(1000)
    assert time.process_time() - begin < 0.6


def test_refusals(sleep):
    spec, bundle, fit = sleep
    with pytest.raises(InferenceError, match="no random effects"):
        plain, rows = build_bundle("Reaction ~ Days", load_dataset("sleepstudy"))
        open_stream("boot", "parametric", plain, rows, fit_lm(plain, rows))
    for scheme in ("residual", "wild"):
        with pytest.raises(InferenceError, match="generalized mixed model"):
            open_stream("boot", scheme, replace(spec, family="poisson", link="log"), bundle, fit)
    with pytest.raises(InferenceError, match="standard errors of the model itself"):
        open_stream("boot", "parametric", spec, bundle, fit, errors="CR2")
    with pytest.raises(InferenceError, match="rows of the data and a new response"):
        stream_of(sleep).indices_of(3)
    with pytest.raises(InferenceError, match="choice of rows"):
        cars, rows = build_bundle("mpg ~ wt", load_dataset("mtcars"))
        open_stream("boot", "case", cars, rows, fit_lm(cars, rows)).response_of(3)
