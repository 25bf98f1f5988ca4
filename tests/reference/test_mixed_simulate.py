"""simulate of lme4: moments of parametric draws, at four Monte-Carlo errors of the difference."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.infer.resample.lmer_kernel import LmerKernel
from inference_core.rng import RNG

from .adapter import load_cases
from .adapter.compare import SIGMAS

B = 10_000  # five to ten times R's draws: their error is the larger one


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "simulated" in metafunc.fixturenames:
        cases = load_cases(metafunc.config.getoption("reference"))
        ready = [c for c in cases if c.quantity == "simulate.moments" and c.fun == "lmer"]
        metafunc.parametrize("simulated", [pytest.param(c, id=c.id) for c in ready])


def test_agrees_with_simulate(simulated):
    m = simulated.fitted()
    Y = LmerKernel.of(m.spec, m.bundle, m.fit_state).simulate(RNG.from_seed(7), 0, B)
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
