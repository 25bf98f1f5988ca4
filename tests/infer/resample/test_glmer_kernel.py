"""Parametric draws of generalized mixed models: single fits, slices, workers, moments, rows of weight 0, failures."""

import pickle
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.families import default_link
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.varcomp import variance_components
from inference_core.infer.resample.glmer_kernel import GlmerKernel
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG
from inference_core.states.inference import DRAW_NO_MEAN, DRAW_NOT_CONVERGED, DRAW_OK, DRAW_SEPARATED
from tests.reference.adapter import load_cases

CASES = Path(__file__).parents[2] / "reference"
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def frame(seed=1, J=16, size=10):
    rng = np.random.default_rng(seed)
    n = J * size
    g, h = np.repeat(np.arange(J), size), rng.integers(0, 6, n)
    x = rng.standard_normal(n)
    eta = 0.6 + 0.4 * x + 0.6 * rng.standard_normal(J)[g] + 0.4 * rng.standard_normal(6)[h]
    mu, trials = np.exp(eta), rng.integers(2, 9, n)
    hits = rng.binomial(trials, 1 / (1 + np.exp(-eta)))
    return pl.DataFrame({
        "x": x, "x2": 2 * x, "g": g, "h": h, "hits": hits, "trials": trials, "share": hits / trials,
        "hit": (hits > 0.6 * trials).astype(int), "count": rng.poisson(mu), "time": rng.gamma(5, mu / 5),
        "wald": rng.wald(mu, 8.0), "spread": rng.poisson(rng.gamma(3, mu / 3)), "w": rng.uniform(0.5, 2.0, n),
        "z": np.where(g == 3, 0, trials), "o": 0.3 * rng.standard_normal(n),
    })  # fmt: skip


def fitted(formula=CBPP, data=None, family="binomial", n_agq=1, link=None, **options):
    data = load_dataset("cbpp") if data is None else data
    spec, bundle = build_bundle(formula, data, family=family, link=link or default_link(family), method="ml", **options)
    return spec, bundle, fit_glmer(spec, bundle, n_agq=n_agq)


@pytest.fixture(scope="module")
def cbpp():
    return fitted()


def stream_of(m, seed=11, block=16):
    """Draws in small blocks: a block is always refitted whole."""
    stream = open_stream("boot", "parametric", *m, seed=seed)
    assert isinstance(stream.kernel, GlmerKernel) and stream.kernel.chunk_rows >= block
    kernel = replace(stream.kernel, draws=replace(stream.kernel.draws, rows_at_once=block))
    return replace(stream, kernel=kernel, drawn=kernel.simulate, responses=partial(kernel.response, bundle=m[1]))


MODELS = {
    "cbind": dict(),
    "without quadrature": dict(n_agq=0),
    "five nodes": dict(n_agq=5),
    "proportions with weights": dict(formula="share ~ x + (1 | g)", data=frame(), weights="trials"),
    "rows of weight 0": dict(formula="share ~ x + (1 | g)", data=frame(), weights="z"),
    "0 and 1, probit, slopes": dict(formula="hit ~ x + (x | g)", data=frame(2, 20, 20), link="probit"),
    "poisson, offset, a dropped column": dict(
        formula="count ~ x + x2 + (1 | g)", data=frame(), family="poisson", offset="o"
    ),
    "independent slopes": dict(formula="count ~ x + (x || g)", data=frame(3), family="poisson"),
    "gamma with weights": dict(formula="time ~ x + (1 | g)", data=frame(), family="gamma", link="log", weights="w"),
    "inverse gaussian": dict(formula="wald ~ x + (1 | g)", data=frame(), family="inverse_gaussian", link="log"),
    "negative binomial": dict(formula="spread ~ x + (1 | g)", data=frame(), family="negative_binomial"),
    "crossed": dict(formula="count ~ x + (1 | g) + (1 | h)", data=frame(), family="poisson"),
    "crossed without quadrature": dict(
        formula="count ~ x + (1 | g) + (1 | h)", data=frame(), family="poisson", n_agq=0
    ),
    "crossed with slopes": dict(formula="hit ~ x + (x | g) + (1 | h)", data=frame(2, 20, 20)),
}


@pytest.mark.parametrize("name", MODELS)
def test_batched_refits_equal_single_fits(name):
    """The response of a draw, fitted alone from a cold start, gives the statistics of the batch."""
    spec, bundle, fit = fitted(**MODELS[name])
    stream = stream_of((spec, bundle, fit))
    draws = stream.collect(9)
    assert draws.n_failed == 0
    kept = np.isfinite(fit.coef)
    assert np.isnan(draws.samples[:, : bundle.p][:, ~kept]).all()
    for i in (0, 3, 8):
        y = draws.draw(i)
        one = fit_glmer(spec, replace(bundle, y=y), n_agq=fit.n_agq)
        se = np.sqrt(np.diag(one.vcov))
        # a refit stops at a decrement of 1e-12 by an approximate Hessian, a fit at 1e-13 by the exact one
        apart = np.abs(draws.samples[i, : bundle.p] - one.coef)[kept]
        assert (apart <= 5e-6 * se[kept]).all()
        sdcor = [c.sdcor for c in variance_components(bundle, one)]
        wanted = sdcor if len(stream.names) == bundle.p + len(sdcor) else sdcor[:-1]
        # near an SD of 0 the deviance is flat in the variance: the root of 1e-8
        np.testing.assert_allclose(draws.samples[i, bundle.p :], wanted, rtol=1e-4, atol=1e-4)


def test_a_row_of_weight_0_keeps_its_value():
    spec, bundle, fit = fitted(**MODELS["rows of weight 0"])
    stream = stream_of((spec, bundle, fit))
    gone = np.asarray(bundle.prior_weights) == 0
    assert gone.sum() == 10
    np.testing.assert_array_equal(stream.response_of(2)[gone], bundle.y[gone])
    assert np.any(stream.response_of(2)[~gone] != bundle.y[~gone])


@pytest.mark.parametrize("name", ["cbind", "crossed", "negative binomial"])
def test_a_draw_is_a_function_of_seed_and_number(name):
    m = fitted(**MODELS[name])
    whole = stream_of(m).collect(40).samples
    for start, stop in ((0, 1), (7, 9), (39, 40), (12, 31)):
        np.testing.assert_array_equal(stream_of(m).batch(start, stop).samples, whole[start:stop])
    np.testing.assert_array_equal(stream_of(m).collect(40, n_jobs=2).samples, whole)
    np.testing.assert_array_equal(np.concatenate([b.samples for b in stream_of(m).batches(40)]), whole)
    assert np.all(stream_of(m, seed=12).collect(3).samples[:, 0] != whole[:3, 0])


def test_a_kernel_travels(cbpp):
    stream = stream_of(cbpp)
    again = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(again.batch(3, 5).samples, stream.batch(3, 5).samples)


def test_progress_and_cancel(cbpp):
    seen, stop = [], threading.Event()

    def progress(done, total):
        seen.append((done, total))
        stop.set()

    draws = stream_of(cbpp).collect(5000, progress=progress, cancel=stop)
    assert draws.cancelled and len(draws.samples) == seen[-1][0] < 5000 == seen[-1][1]


@pytest.mark.parametrize(("name", "variance"), [
    ("cbind", lambda mu, w, fit: mu * (1 - mu) / w),
    ("poisson, offset, a dropped column", lambda mu, w, fit: mu),
    ("gamma with weights", lambda mu, w, fit: fit.dispersion * mu**2 / w),
    ("inverse gaussian", lambda mu, w, fit: fit.dispersion * mu**3),
    ("negative binomial", lambda mu, w, fit: mu + mu**2 / fit.family_params[0]),
])  # fmt: skip
def test_draws_have_the_moments_of_the_model(name, variance):
    """E y and Var y = E Var(y | b) + Var E(y | b), the expectation over b by Gauss-Hermite quadrature."""
    spec, bundle, fit = fitted(**MODELS[name])
    kernel = GlmerKernel.of(spec, bundle, fit)
    B = 16 * kernel.chunk_rows
    Y = kernel.simulate(RNG.from_seed(5), 0, B)
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    weight = weight / weight.sum()
    sd = fit.theta[0] * fit.sigma
    kept = np.isfinite(fit.coef)
    eta = bundle.X[:, kept] @ fit.coef[kept] + (0.0 if bundle.offset is None else bundle.offset)
    means = kernel.draws.family.link.inverse(eta[:, None] + sd * z)
    w = np.ones(bundle.n) if bundle.prior_weights is None else bundle.prior_weights
    mean = means @ weight
    var = variance(means, w[:, None], fit) @ weight + np.square(means - mean[:, None]) @ weight
    error = np.sqrt(var / B)
    assert np.max(np.abs(Y.mean(0) - mean) / error) < 4.5  # of n <= 160 rows: one in 1,000
    # rows pooled, since the variance of a variance has heavy tails: rows of a group go together
    ratio = np.mean(Y.var(0) / var)
    assert ratio == pytest.approx(1.0, abs=0.06)
    # two rows of a group share their effect
    a, b = np.flatnonzero(bundle.re_metadata.blocks[0].group_index == 1)[:2]
    shared = (means[a] * means[b]) @ weight - mean[a] * mean[b]
    each = (Y[:, a] - mean[a]) * (Y[:, b] - mean[b])
    assert abs(each.mean() - shared) < 4.5 * each.std() / np.sqrt(B)


def test_agrees_with_simulate_of_lme4():
    """R: simulate(fit, nsim = 2000, seed = 307), new random effects: means and SDs of every row."""
    (case,) = [c for c in load_cases(CASES) if c.quantity == "simulate.moments" and c.fun == "glmer"]
    stream = case.fitted().draw_stream(seed=7)
    B, R = 20 * stream.kernel.chunk_rows, case.values
    Y = stream.kernel.simulate(stream.rng, 0, B)
    sd = np.asarray(R["sim_sd"])
    both = np.sqrt(1 / R["nsim"] + 1 / B)
    assert (np.abs(Y.mean(0) - R["sim_mean"]) < 4.5 * sd * both).all()  # one of 56 rows in 2,600 runs
    fourth = np.mean((Y - Y.mean(0)) ** 4, axis=0)
    assert (np.abs(Y.var(0) - sd**2) < 4.5 * np.sqrt(fourth - Y.var(0) ** 2) * both).all()  # the same of variances
    shared, theirs = np.cov(Y[:, :20].T), np.asarray(R["cov_first20"])
    apart = np.abs(shared - theirs) / np.sqrt(np.outer(np.diag(theirs), np.diag(theirs)) + theirs**2)
    assert (apart < 6 * both).all()  # products have heavier tails than normal ones


def test_trials_stay_whole(cbpp):
    _, bundle, _ = cbpp
    hits = stream_of(cbpp).response_of(4) * bundle.trials
    np.testing.assert_allclose(hits, np.rint(hits), atol=1e-9)  # a proportion of up to 34 trials
    assert np.all((hits >= 0) & (hits <= bundle.trials + 1e-9))


def test_a_mean_that_cannot_be_is_a_failed_draw():
    """1 / mu = 0.35 + b with an SD near 0.2 is negative now and then."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(14), 12)
    b = np.clip(0.2 * rng.standard_normal(14), -0.25, 0.4)
    data = pl.DataFrame({"g": g, "y": rng.gamma(6.0, 1 / (0.35 + b[g]) / 6.0)})
    m = fitted("y ~ 1 + (1 | g)", data, "gamma")
    draws = stream_of(m).collect(64)
    lost = draws.status == DRAW_NO_MEAN
    assert 5 < lost.sum() < 64 and draws.failures["a mean the family cannot have"] == lost.sum()
    assert np.isnan(draws.samples[lost]).all() and np.isfinite(draws.samples[draws.status == DRAW_OK]).all()


def test_separated_draws_carry_the_reason():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(12), 4)
    x = np.tile([0, 0, 1, 1], 12)
    y = rng.random(48) < np.where(x == 1, 0.9, 0.4)
    m = fitted("y ~ x + (1 | g)", pl.DataFrame({"g": g, "x": x, "y": y.astype(int)}))
    draws = stream_of(m).collect(128)
    for i in range(128):
        drawn = draws.draw(i)
        all_alike = any(np.ptp(drawn[x == v]) == 0 for v in (0, 1))
        assert (draws.status[i] == DRAW_SEPARATED) == all_alike
        assert draws.status[i] in (DRAW_OK, DRAW_SEPARATED)
    assert np.any(draws.status == DRAW_SEPARATED)


def test_a_refit_that_does_not_settle_is_a_nan_row(cbpp, monkeypatch):
    from inference_core.infer.resample import glmer_kernel as module

    honest = module.refit

    def lossy(*args, **options):
        found = honest(*args, **options)
        found.status[::4] = DRAW_NOT_CONVERGED
        return found

    monkeypatch.setattr(module, "refit", lossy)
    draws = stream_of(cbpp).collect(20)
    assert draws.failures == {"no convergence": 5} and np.isnan(draws.samples[::4]).all()


def test_singular_draws_are_those_of_a_single_fit():
    data = frame(5, 12, 6).with_columns(coin=pl.Series(np.random.default_rng(3).integers(0, 2, 72)))
    spec, bundle, fit = fitted("coin ~ x + (1 | g)", data)
    kernel = GlmerKernel.of(spec, bundle, fit)
    Y = kernel.simulate(RNG.from_seed(1), 0, 12)
    flags = kernel.singular(kernel.refit(Y)[0])
    single = [fit_glmer(spec, replace(bundle, y=y)).is_singular for y in Y]
    assert list(flags) == single and 0 < sum(single) < 12


def test_refusals(cbpp):
    with pytest.raises(InferenceError, match="standard errors"):
        open_stream("boot", "parametric", *cbpp, want_se=True)
    with pytest.raises(InferenceError, match="rows of the data and a new response"):
        stream_of(cbpp).indices_of(3)
    data = frame().with_columns(half=pl.col("trials") + 0.5, some=pl.lit(0.5))
    m = fitted("share ~ x + (1 | g)", data, weights="half")
    with pytest.raises(InferenceError, match="part of a trial cannot be drawn"):
        stream_of(m)
    assert open_stream("boot", "cluster", *m, seed=1).collect(4).n_failed == 0  # the remedy works
