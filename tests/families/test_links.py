"""Links: inverse undoes link, derivatives against central differences, safety far out."""

import numpy as np
import pytest

from inference_core.families import LINKS

MEANS = {
    "identity": np.linspace(-3, 3, 13), "log": np.geomspace(1e-3, 1e3, 13), "logit": np.linspace(0.02, 0.98, 13),
    "probit": np.linspace(0.02, 0.98, 13), "cloglog": np.linspace(0.02, 0.98, 13),
    "cauchit": np.linspace(0.02, 0.98, 13), "inverse": np.geomspace(0.1, 10, 13), "sqrt": np.geomspace(0.1, 10, 13),
    "inverse_squared": np.geomspace(0.1, 10, 13),
}  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_inverse_undoes_link(name):
    link, mu = LINKS[name], MEANS[name]
    np.testing.assert_allclose(link.inverse(link.link(mu)), mu, rtol=1e-12)  # rounding of two functions


@pytest.mark.parametrize("name", LINKS)
def test_derivative_is_the_slope_of_the_inverse(name):
    link = LINKS[name]
    eta = link.link(MEANS[name])
    h = 1e-6 * np.maximum(1.0, np.abs(eta))
    slope = (link.inverse(eta + h) - link.inverse(eta - h)) / (2 * h)
    # central differences: h^2 times the third derivative, and eps / h
    np.testing.assert_allclose(link.derivative(eta), slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [k for k, v in LINKS.items() if v.log_tails and k not in ("identity", "log")])
def test_tails_are_logs_of_the_mean_where_both_can_be_computed(name):
    link = LINKS[name]
    eta = np.linspace(-3, 2, 11)
    low, high, slope = link.log_tails(eta)
    np.testing.assert_allclose(np.exp(low), link.inverse(eta), rtol=1e-12)  # two routes to one number
    np.testing.assert_allclose(np.exp(high), 1 - link.inverse(eta), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(np.exp(slope), link.derivative(eta), rtol=1e-12)


@pytest.mark.parametrize("name", LINKS)
def test_no_eta_warns_or_leaves_the_closed_range(name):
    link = LINKS[name]
    with np.errstate(all="raise", under="ignore"):
        mu = link.inverse(np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 800.0, 1e4]))
        link.derivative(np.array([-1e4, -40.0, 0.0, 40.0, 1e4]))
    if name in ("logit", "probit", "cloglog", "cauchit"):
        assert np.all((mu > 0) & (mu < 1))
