"""Simulated responses: moments row by row, both sides with Monte-Carlo error; compared at four standard errors."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma

from inference_core.families import get_family

from .answer import Answer
from .case import Case
from .compare import SIGMAS
from .monte_carlo import SEED

NSIM = 20_000  # ten times R's: the error of the difference is mostly R's
EXACT = 1e-6  # relative: not simulated; two optimisers at one optimum of a mixed model


def simulate_moments(case: Case) -> Answer:
    """``simulate.moments``: new random effects, and what a linear mixed model says of the marginal moments."""
    m, R = case.fitted(), case.values
    own = {"dispersion": _maximum_likelihood(m)} if case.family == "Gamma" else {}
    draws = m.simulate(nsim=NSIM, seed=SEED, **own).simulations.to_numpy().T  # (NSIM, n)
    of_rows = draws.mean(axis=1)
    mean, sd = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    first = draws[:, :20]
    cov = np.cov(first.T)
    values = {
        "fitted_population": _population(m),
        "sim_mean": mean,
        "sim_sd": sd,
        "cov_first20": cov,
        "mean_of_mean": of_rows.mean(),
        "sd_of_mean": of_rows.std(ddof=1),
    }
    share = np.sqrt(1.0 / NSIM + 1.0 / R["nsim"])  # of one draw's scatter: the error of the difference
    centred = first - first.mean(axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    rows = draws - mean
    mcse = {
        "fitted_population": EXACT * np.abs(values["fitted_population"]) / SIGMAS,
        "sim_mean": share * sd,
        "sim_sd": share * _sd_of_square(rows, sd) / (2.0 * sd),
        "cov_first20": share * products.std(axis=0),
        "mean_of_mean": share * values["sd_of_mean"],
        "sd_of_mean": share * _sd_of_square(of_rows - of_rows.mean(), values["sd_of_mean"])
        / (2.0 * values["sd_of_mean"]),
    }  # fmt: skip
    for name, ours, error in (
        ("marginal_cov_first20", cov, products.std(axis=0) / np.sqrt(NSIM)),
        ("marginal_var", sd**2, _sd_of_square(rows, sd) / np.sqrt(NSIM)),
    ):
        if name in R:
            values[name], mcse[name] = ours, error
    return Answer(values, inputs=frozenset({"nsim"}), mcse=mcse)


def _population(m) -> np.ndarray:
    """Means with the random effects at 0."""
    fit = m.fit_state
    return np.asarray(fit.fitted if fit.fitted_marginal is None else fit.fitted_marginal)


def _maximum_likelihood(m) -> float:
    """The gamma dispersion that R simulates with, 1 / MASS::gamma.shape; a fit's own is Pearson's, which is larger."""
    half = np.mean(get_family("gamma").unit_deviance(m.bundle.y, m.fit_state.fitted)) / 2.0
    return 1.0 / brentq(lambda shape: np.log(shape) - digamma(shape) - half, 1e-3, 1e6)


def _sd_of_square(centred: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Scatter of one squared deviation: the root of the fourth moment less sd^4."""
    return np.sqrt(np.maximum((centred**4).mean(axis=0) - sd**4, 0.0))
