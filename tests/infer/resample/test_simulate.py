"""New responses: moments of every family, trials, weights, sources of randomness, refusals."""

import numpy as np
import pytest

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.infer.resample.simulate import (
    simulate_binomial,
    simulate_gaussian,
    simulate_poisson,
    simulate_response,
)
from inference_core.rng import RNG, Purpose

B = 40_000
MU = np.array([0.2, 0.55, 0.9])
FAMILIES = {
    "gaussian": 0.7, "binomial": 1.0, "poisson": 1.0, "gamma": 0.3, "inverse_gaussian": 0.2,
    "negative_binomial(theta=2.5)": 1.0, "tdist(df=9)": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_mean_and_variance_of_every_family(name):
    """E y = mu and Var y = phi V(mu), V taken from the family itself (df / (df - 2) times that for Student's t)."""
    family, phi = get_family(name), FAMILIES[name]
    draws = simulate_response(np.random.default_rng(7), np.tile(MU, (B, 1)), family, phi)
    variance = phi * family.variance(MU) * (9 / 7 if name.startswith("tdist") else 1.0)
    assert draws.shape == (B, 3) and draws.dtype == float
    np.testing.assert_array_less(np.abs(draws.mean(0) - MU), 4.5 * np.sqrt(variance / B))
    centred = (draws - MU) ** 2
    # 4.5 standard errors of a mean of squares, from the draws' own fourth moments
    np.testing.assert_array_less(np.abs(centred.mean(0) - variance), 4.5 * centred.std(0) / np.sqrt(B))


@pytest.mark.parametrize("name", ["gaussian", "gamma", "inverse_gaussian"])
def test_a_weight_divides_the_dispersion(name):
    family, w = get_family(name), np.array([1.0, 4.0, 25.0])
    draws = simulate_response(np.random.default_rng(8), np.tile(MU, (B, 1)), family, 0.3, w)
    ratio = draws.var(0) / (0.3 * family.variance(MU) / w)
    np.testing.assert_allclose(ratio, 1.0, atol=0.08)  # 4 Monte-Carlo errors of a variance with kurtosis up to 10


def test_trials_make_proportions_of_whole_numbers():
    trials = np.array([1.0, 10.0, 0.0])
    y = simulate_binomial(RNG.from_seed(1), MU, trials)
    assert y[0] in (0.0, 1.0) and y[1] * 10 == pytest.approx(round(y[1] * 10)) and y[2] == 0.0
    draws = simulate_binomial(np.random.default_rng(3), np.tile(MU[:2], (B, 1)), trials[:2])
    np.testing.assert_allclose(draws.var(0), MU[:2] * (1 - MU[:2]) / trials[:2], rtol=0.05)  # 5 Monte-Carlo errors


def test_an_rng_gives_its_replicate_0_and_a_generator_moves_on():
    rng, mu = RNG.from_seed(4), np.linspace(1, 3, 50)
    np.testing.assert_array_equal(simulate_gaussian(rng, mu, 2.0), simulate_gaussian(RNG.from_seed(4), mu, 2.0))
    same = rng.stream(0, Purpose.RESPONSE).normal(mu, np.sqrt(2.0))
    np.testing.assert_array_equal(simulate_gaussian(rng, mu, 2.0), same)
    moving = np.random.default_rng(0)
    assert not np.array_equal(simulate_poisson(moving, mu), simulate_poisson(moving, mu))
    other = rng.split(2)
    assert not np.array_equal(simulate_poisson(other[0], mu), simulate_poisson(other[1], mu))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda g: simulate_binomial(g, np.array([0.5, 1.2])), "number 1 is 1.2"),
        (lambda g: simulate_binomial(g, np.array([0.5]), np.array([2.5])), "2.5 trials"),
        (lambda g: simulate_poisson(g, np.array([-1.0])), "-1"),
        (lambda g: simulate_poisson(g, np.array([np.nan])), "nan"),
        (lambda g: simulate_gaussian(g, np.ones(2), -1.0), "dispersion"),
        (lambda g: simulate_response(g, np.ones(2), get_family("quasipoisson")), "quasi"),
    ],
)
def test_impossible_responses_are_refused(call, word):
    with pytest.raises(InferenceError, match=word):
        call(np.random.default_rng(0))
