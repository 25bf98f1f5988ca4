"""bootMer and simulate of lme4: summaries of parametric draws, at four Monte-Carlo errors of the difference."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.fit.lmer import fit_lmer
from inference_core.infer.resample.lmer_kernel import LmerKernel, singular_draws
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG

from .adapter import load_cases
from .adapter.compare import SIGMAS
from .adapter.mixed import bundle_of

B = 10_000  # five to ten times R's draws: their error is the larger one
AT_ZERO = 1e-3  # SDs and thetas at the boundary: lme4's optimiser ends 1e-3 off, ours at 1e-8


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, quantity in (("booted", "mc.bootmer_parametric"), ("simulated", "simulate.moments")):
        if fixture in metafunc.fixturenames:
            cases = load_cases(metafunc.config.getoption("reference"))
            ready = [c for c in cases if c.quantity == quantity and c.fun == "lmer"]
            metafunc.parametrize(fixture, [pytest.param(c, id=c.id) for c in ready])


def as_in_r(bundle, names, samples):
    """R's columns: coefficients, SDs and correlations, theta, the share of singular fits."""
    p, re = bundle.p, bundle.re_metadata
    spread = {name: samples[:, j] for j, name in enumerate(names)}
    theta = []
    for block in re.blocks:
        effects = block.column_names
        sd = [spread[f"sd_{name}|{block.group_name}"] / samples[:, -1] for name in effects]
        theta.append(sd[0])
        if block.k == 2:  # the Cholesky factor of a 2 x 2 covariance
            r = spread[f"cor_{effects[1]}.{effects[0]}|{block.group_name}"]
            theta += [r * sd[1], np.sqrt(1 - r * r) * sd[1]]
    return np.column_stack([samples, *theta, singular_draws(re, samples[:, p:])])


def test_agrees_with_bootmer(booted):
    spec, bundle = bundle_of(booted)
    fit = fit_lmer(spec, bundle)
    stream = open_stream("boot", "parametric", spec, bundle, fit, seed=20261123)
    draws = stream.collect(B)
    assert draws.n_failed == 0
    ours, R = as_in_r(bundle, stream.names, draws.samples), booted.values
    observed = as_in_r(bundle, stream.names, stream.observed[None])[0]
    assert ours.shape[1] == len(booted.raw["terms"])
    # two optimisers at the same flat optimum
    np.testing.assert_allclose(observed, R["t0"], rtol=1e-4, atol=1e-6)
    both = np.sqrt(1 + R["R"] / B)  # R's Monte-Carlo errors -> those of the difference
    for name, value in {
        "mean": ours.mean(0),
        "sd": ours.std(0, ddof=1),
        "quantiles": np.quantile(ours, R["probs"], axis=0),
    }.items():
        apart = np.abs(value - np.asarray(R[name], float))
        allowed = SIGMAS * both * np.asarray(R[f"{name}_mcse"], float) + AT_ZERO
        if name == "quantiles":  # of a share of 0 and 1 there are none to compare
            apart, allowed = apart[:, :-1], allowed[:, :-1]
        assert (apart <= allowed).all(), (name, apart / allowed)


def test_agrees_with_simulate(simulated):
    spec, bundle = bundle_of(simulated)
    Y = LmerKernel.of(spec, bundle, fit_lmer(spec, bundle)).simulate(RNG.from_seed(7), 0, B)
    R, both = simulated.values, np.sqrt(1 + simulated.values["nsim"] / B)
    V = np.asarray(R["marginal_cov_first20"], float)
    variance = np.asarray(R["marginal_var"], float)
    errors = {
        "mean": both * np.asarray(R["sim_mean_mcse"], float),
        "sd": both * np.asarray(R["sim_sd"], float) / np.sqrt(2 * R["nsim"]),  # of a normal variate
    }
    assert (np.abs(Y.mean(0) - R["sim_mean"]) <= SIGMAS * errors["mean"]).all()
    assert (np.abs(Y.std(0, ddof=1) - R["sim_sd"]) <= SIGMAS * errors["sd"]).all()
    # against the exact moments ours alone carry an error; 4.5: one in 150,000, for 180 rows
    assert (np.abs(Y.mean(0) - R["fitted_population"]) <= 4.5 * np.sqrt(variance / B)).all()
    assert (np.abs(Y.var(0) - variance) <= 4.5 * variance * np.sqrt(2 / B)).all()
    found = np.cov(Y[:, :20].T)
    assert (np.abs(found - V) <= 4.5 * np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / B)).all()
