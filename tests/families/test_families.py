"""Families: likelihoods against scipy.stats, scores against differences, simulation against moments."""

import pickle

import numpy as np
import pytest
from scipy import stats

from inference_core.errors import FitError, InferenceError
from inference_core.families import FAMILIES, LINKS, get_family, links_of, with_params

RNG = np.random.default_rng(3)
Y = {
    "gaussian": RNG.normal(size=9), "tdist": RNG.normal(size=9),
    "binomial": np.array([0, 1, 1, 0, 0.5, 0.25, 1, 0, 1.0]),
    "poisson": np.array([0, 1, 2, 5, 0, 3, 9, 1, 2.0]), "gamma": RNG.gamma(2, 1, 9),
    "inverse_gaussian": RNG.wald(1, 2, 9),
}  # fmt: skip
Y |= {"negative_binomial": Y["poisson"], "quasipoisson": Y["poisson"], "quasibinomial": Y["binomial"]}
MU = np.linspace(0.2, 0.9, 9)  # a mean every family and link may have
PAIRS = [(f, link) for f in FAMILIES for link in links_of(f)]


def make(name, link=None):
    family = get_family(name, link)
    params = {"negative_binomial": (1.7,), "tdist": (5.0, 0.8)}.get(name, ())
    return with_params(family, params)


DENSITIES = {
    "gaussian": lambda y, mu, phi: stats.norm.logpdf(y, mu, np.sqrt(phi)),
    "gamma": lambda y, mu, phi: stats.gamma.logpdf(y, 1 / phi, scale=mu * phi),
    "inverse_gaussian": lambda y, mu, phi: stats.invgauss.logpdf(y, mu * phi, scale=1 / phi),
    "poisson": lambda y, mu, phi: stats.poisson.logpmf(y, mu),
    "negative_binomial": lambda y, mu, phi: stats.nbinom.logpmf(y, 1.7, 1.7 / (1.7 + mu)),
    "tdist": lambda y, mu, phi: stats.t.logpdf(y, 5.0, mu, np.sqrt(phi)),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_loglik_is_the_log_density(name):
    family, phi = make(name), 0.64
    expected = DENSITIES[name](Y[name], MU, phi).sum()
    assert family.loglik(Y[name], MU, None, phi) == pytest.approx(expected, rel=1e-12)  # same formula, other code


def test_binomial_loglik_counts_trials_once_and_weights_on_top():
    k, n, w = np.array([3.0, 0, 7, 5]), np.array([5.0, 4, 7, 9]), np.array([1.0, 2, 0.5, 3])
    mu = np.array([0.5, 0.2, 0.8, 0.4])
    each = stats.binom.logpmf(k, n, mu)
    family = get_family("binomial")
    assert family.loglik(k / n, mu, n) == pytest.approx(each.sum(), rel=1e-13)  # rounding of gammaln
    assert family.loglik(k / n, mu, n * w, None, n) == pytest.approx((each * w).sum(), rel=1e-13)


@pytest.mark.parametrize(("name", "phi"), [
    ("gaussian", lambda y, mu: np.mean((y - mu) ** 2)),
    ("gamma", lambda y, mu: np.mean(2 * (y / mu - 1 - np.log(y / mu)))),
    ("inverse_gaussian", lambda y, mu: np.mean((y - mu) ** 2 / (mu**2 * y))),
])  # fmt: skip
def test_loglik_without_dispersion_puts_deviance_over_n(name, phi):
    y = Y[name]
    expected = DENSITIES[name](y, MU, phi(y, MU)).sum()
    assert make(name).loglik(y, MU) == pytest.approx(expected, rel=1e-12)  # same formula, other code


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_score_is_minus_half_the_slope_of_the_deviance(name, link):
    family = make(name, link)
    y, eta = Y[name], LINKS[link].link(MU)
    s, w = family.score_weight(eta, y)
    h = 1e-6 * np.maximum(0.1, np.abs(eta))
    slope = (family.deviance_rows(eta + h, y) - family.deviance_rows(eta - h, y)) / (2 * h)
    np.testing.assert_allclose(s, -0.5 * slope, rtol=1e-6, atol=1e-7)  # eps / h and h^2
    if name != "tdist":  # its weight is the expected, not the squared, score ratio
        np.testing.assert_allclose(w, LINKS[link].derivative(eta) ** 2 / family.variance(MU), rtol=1e-10)


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_functions_broadcast_over_leading_axes(name, link):
    family = make(name, link)
    eta = np.stack([LINKS[link].link(MU), LINKS[link].link(MU[::-1])])
    s, w = family.score_weight(eta, Y[name])
    rows = family.deviance_rows(eta, Y[name])
    assert s.shape == w.shape == rows.shape == eta.shape
    alone = family.score_weight(eta[1], Y[name])[0]
    np.testing.assert_allclose(s[1], alone, rtol=1e-14)  # the same operations on the same numbers


@pytest.mark.parametrize("link", links_of("binomial")[:4])
def test_binomial_score_and_deviance_survive_the_far_tails(link):
    family = get_family("binomial", link)
    eta = np.array([-600.0, -45.0, 45.0, 600.0])
    with np.errstate(all="raise", under="ignore"):
        for y in (np.zeros(4), np.ones(4)):
            s, w = family.score_weight(eta, y)
            assert np.all(np.isfinite(s)) and np.all(w >= 0)
            assert np.all(np.isfinite(family.deviance_rows(eta, y)))
    assert family.score_weight(np.array([-45.0]), np.ones(1))[0][0] > 0  # never a clipped 0: the fit can walk back


@pytest.mark.parametrize("name", [f for f in FAMILIES if not f.startswith("quasi")])
def test_simulated_responses_have_the_family_s_mean_and_variance(name):
    family, n, phi = make(name), 200_000, 0.3
    mu = np.full(n, 0.7)
    weights = np.full(n, 4.0) if name == "binomial" else None
    y = family.simulate(np.random.default_rng(1), mu, weights, phi)
    variance = {"binomial": 0.7 * 0.3 / 4, "poisson": 0.7, "negative_binomial": 0.7 + 0.49 / 1.7, "tdist": phi * 5 / 3}
    expected = variance.get(name, phi * family.variance(np.array(0.7)))
    assert y.mean() == pytest.approx(0.7, abs=5 * np.sqrt(expected / n))  # five Monte-Carlo standard errors
    assert y.var() == pytest.approx(expected, rel=0.05)  # heavy tails: kurtosis below 30 at n = 200,000
    family.check_response(y)


def test_quasi_families_refuse_to_simulate_and_have_no_likelihood():
    family = get_family("quasipoisson")
    assert np.isnan(family.loglik(Y["poisson"], MU)) and not family.has_loglik
    with pytest.raises(InferenceError, match="no distribution to draw from"):
        family.simulate(np.random.default_rng(0), MU)


def test_simulated_trials_must_be_whole():
    with pytest.raises(InferenceError, match=r"row 1 has 2\.5 trials"):
        get_family("binomial").simulate(np.random.default_rng(0), MU[:2], np.array([2.0, 2.5]))


@pytest.mark.parametrize(("typed", "name"), [
    ("Gamma", "gamma"), ("inverse.gaussian", "inverse_gaussian"), ("Binomial", "binomial"), ("t", "tdist"),
    ("negbin", "negative_binomial"), ("quasipoisson", "quasipoisson"),
])  # fmt: skip
def test_names_from_r_are_understood(typed, name):
    assert get_family(typed).name == name


@pytest.mark.parametrize(("family", "link", "words"), [
    ("poison", None, "did you mean 'poisson'"),
    ("gaussian", "logs", "did you mean 'log'"),
    ("binomial", "inverse", "links defined for binomial are logit, probit, cloglog, cauchit, log, identity"),
    ("gamma", "logit", "links defined for gamma are log, identity, inverse, sqrt, inverse_squared"),
    ("negative_binomial(theta=-1)", None, "theta, a number above 0"),
    ("tdist(df=1e999)", None, "df, a number above 0"),
    ("poisson(3)", None, "takes no parameter"),
])  # fmt: skip
def test_unknown_names_and_links_are_refused_with_the_way_out(family, link, words):
    with pytest.raises(FitError, match=words.replace("(", r"\(")):
        get_family(family, link)


def test_default_links_are_r_s():
    links = {f: get_family(f).link.name for f in FAMILIES}
    assert links["gamma"] == "inverse" and links["inverse_gaussian"] == "inverse_squared"
    assert get_family("inverse_gaussian", "1/mu^2").link.name == "inverse_squared"
    assert LINKS["logit"].defined_for("binomial") and not LINKS["logit"].defined_for("Gamma")


def test_labels_read_back_and_families_pickle():
    family = get_family("negative_binomial(theta=2.5)")
    again = get_family(family.label)
    assert again.params == (2.5,) and again.estimated == ()
    assert get_family("tdist").label == "tdist" and get_family("tdist(df=6)").label == "tdist(df=6.0)"
    for name in FAMILIES:
        restored = pickle.loads(pickle.dumps(make(name)))
        np.testing.assert_array_equal(restored.variance(MU), make(name).variance(MU))


def test_theta_must_be_known_before_it_is_used():
    with pytest.raises(FitError, match="theta was neither given nor estimated"):
        get_family("negative_binomial").variance(MU)


def test_negative_binomial_tends_to_poisson():
    y, far = Y["poisson"], with_params(get_family("negative_binomial"), (1e9,))
    poisson = get_family("poisson")
    # differences of order y^2 / theta
    np.testing.assert_allclose(far.unit_deviance(y, MU), poisson.unit_deviance(y, MU), rtol=1e-7, atol=1e-7)
    assert far.loglik(y, MU) == pytest.approx(poisson.loglik(y, MU), rel=1e-7)
