"""Generalized linear models: statsmodels as an independent fit, closed forms, laws, refusals."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from inference_core.errors import DataError, FitError
from inference_core.families import FAMILIES, default_link, get_family, links_of, with_params
from inference_core.fit import fit_glm, fit_model, fitted_family

from .handmade import fit, make, random_design

SEEDS = st.integers(0, 2**32 - 1)
MEAN = {"binomial": 0.5, "quasibinomial": 0.5}


def draw(family, seed=0, n=200):
    """A design and a response whose mean stays inside what every link allows."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 2))])
    mu = 0.5 + 0.12 * X[:, 1] - 0.08 * X[:, 2]
    source = {"quasipoisson": "poisson", "quasibinomial": "binomial"}.get(family, family)
    params = {"negative_binomial": (1.0,), "tdist": (4.0, 0.3)}.get(source, ())
    return X, with_params(get_family(source), params).simulate(rng, mu, None, 0.05)


SM_PAIRS = [
    ("gaussian", "log"), ("gaussian", "inverse"), ("binomial", "logit"), ("binomial", "probit"),
    ("binomial", "cloglog"), ("binomial", "cauchit"), ("poisson", "log"), ("poisson", "sqrt"),
    ("gamma", "inverse"), ("gamma", "log"), ("gamma", "identity"), ("inverse_gaussian", "inverse_squared"),
    ("inverse_gaussian", "log"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "link"), SM_PAIRS)
def test_agrees_with_statsmodels(family, link):
    import statsmodels.api as sm

    X, y = draw(family)
    rng = np.random.default_rng(1)
    w, off = rng.integers(1, 4, y.size).astype(float), rng.uniform(-0.02, 0.02, y.size)
    links = {"log": "Log", "inverse": "InversePower", "logit": "Logit", "probit": "Probit", "cloglog": "CLogLog",
             "cauchit": "Cauchy", "sqrt": "Sqrt", "identity": "Identity"}  # fmt: skip
    links["inverse_squared"] = "InverseSquared"
    names = {"gaussian": "Gaussian", "binomial": "Binomial", "poisson": "Poisson", "gamma": "Gamma",
             "inverse_gaussian": "InverseGaussian"}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns of links outside its own list
        sm_link = getattr(sm.families.links, links[link])()
        sm_family = getattr(sm.families, names[family])(sm_link)
        model = sm.GLM(y, X, sm_family, freq_weights=w, offset=off)
        other = model.fit(tol=1e-14, tol_criterion="params", maxiter=300)
    got = fit(X, y, family, link, weights=w, offset=off)
    assert got.converged and got.messages == ()
    # statsmodels stops where the coefficients move by less than 1e-14 a step
    np.testing.assert_allclose(got.coef, other.params, rtol=1e-8)
    assert got.deviance == pytest.approx(other.deviance, rel=1e-10)
    assert got.null_deviance == pytest.approx(other.null_deviance, rel=1e-7)
    unscaled = other.cov_params() / other.scale
    np.testing.assert_allclose(got.vcov / got.dispersion, unscaled, rtol=1e-6)  # its weights: one step earlier
    pearson = np.sum(w * (y - got.fitted) ** 2 / get_family(family).variance(got.fitted))
    assert got.dispersion == (1.0 if family in ("binomial", "poisson") else pytest.approx(pearson / (y.size - 3)))


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("gaussian", "tdist")])
def test_two_groups_have_their_own_means(family):
    """With a full set of dummies every link gives the group means."""
    X, y = draw(family)
    group = (X[:, 1] > 0).astype(float)
    two = np.column_stack([np.ones(y.size), group])
    for link in links_of(family):
        got = fit(two, y, family, link)
        for g in (0.0, 1.0):
            assert got.fitted[group == g].mean() == pytest.approx(y[group == g].mean(), rel=1e-9)


def test_gaussian_with_a_log_link_is_not_least_squares():
    X, y = draw("gaussian")
    got = fit(X, y, "gaussian", "log")

    def rss(b):
        return float(np.sum((y - np.exp(X @ b)) ** 2))

    best = optimize.minimize(rss, got.coef + 0.01, method="BFGS", options={"gtol": 1e-10})
    assert got.deviance <= best.fun * (1 + 1e-12)
    assert got.deviance == pytest.approx(best.fun, rel=1e-8)


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma", "negative_binomial", "tdist", "quasipoisson"])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_integer_weights_are_repeated_rows(family, seed):
    X, y = draw(family, seed % 1000, 60)
    w = np.random.default_rng(seed).integers(1, 4, 60)
    rows = np.repeat(np.arange(60), w)
    one, many = fit(X, y, family, weights=w.astype(float)), fit(X[rows], y[rows], family)
    np.testing.assert_allclose(one.coef, many.coef, rtol=1e-7, atol=1e-8)  # both stop at 1e-10 standard errors
    assert one.deviance == pytest.approx(many.deviance, rel=1e-9)
    if family in ("poisson", "negative_binomial", "tdist"):  # likelihoods in which a weight is a count
        assert one.loglik == pytest.approx(many.loglik, rel=1e-9)


@given(seed=SEEDS)
def test_trials_and_single_rows_have_one_estimate(seed):
    rng = np.random.default_rng(seed)
    X, _ = random_design(seed, 12)
    trials = rng.integers(2, 9, 12)
    k = rng.binomial(trials, 0.5)
    if k.sum() in (0, trials.sum()):
        return
    grouped = fit(X, k / trials, "binomial", trials=trials.astype(float))
    rows = np.repeat(np.arange(12), trials)
    y = np.concatenate([np.r_[np.ones(a), np.zeros(t - a)] for a, t in zip(k, trials, strict=True)])
    single = fit(X[rows], y, "binomial")
    if grouped.messages or single.messages:
        assert bool(grouped.messages) == bool(single.messages)
        return
    np.testing.assert_allclose(grouped.coef, single.coef, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(grouped.vcov, single.vcov, rtol=1e-6, atol=1e-9)


@given(seed=SEEDS, shift=st.floats(-3, 3))
def test_a_constant_offset_moves_only_the_intercept(seed, shift):
    X, y = draw("poisson", seed % 500, 60)
    one, two = fit(X, y, "poisson"), fit(X, y, "poisson", offset=np.full(60, shift))
    np.testing.assert_allclose(two.coef, one.coef - [shift, 0, 0], rtol=1e-7, atol=1e-8)
    assert two.null_deviance == pytest.approx(one.null_deviance, rel=1e-10)


def test_least_squares_through_irls_is_least_squares():
    X, y = random_design(6)
    spec, bundle = make(X, y)
    one, two = fit_model(spec, bundle), fit_glm(spec, bundle)
    for name in ("coef", "vcov", "fitted", "sigma", "deviance", "null_deviance", "loglik", "n_params", "leverage"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-10, atol=1e-12)


def test_weight_0_leaves_the_row_out():
    X, y = draw("poisson", 2, 60)
    w = np.ones(60)
    w[[4, 9]] = 0.0
    one, two = fit(X, y, "poisson", weights=w), fit(X[w > 0], y[w > 0], "poisson")
    for name in ("coef", "vcov", "df_resid", "loglik", "deviance", "null_deviance", "df_null"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-10)
    assert one.working_weights[4] == 0.0 and one.fitted[4] == pytest.approx(np.exp(X[4] @ one.coef))


# families with a parameter of their own ------------------------------------------------------------------
def test_negative_binomial_maximises_over_theta_too():
    """BFGS on all parameters of the log-likelihood finds nothing higher, and the same place."""
    rng = np.random.default_rng(3)
    X = np.column_stack([np.ones(150), rng.normal(size=150)])
    y = rng.negative_binomial(1.5, 1.5 / (1.5 + np.exp(0.8 + 0.4 * X[:, 1]))).astype(float)
    got = fit(X, y, "negative_binomial")
    theta = got.family_params[0]

    def minus_loglik(b):
        t, mu = np.exp(b[2]), np.exp(X @ b[:2])
        rows = special.gammaln(t + y) - special.gammaln(t) - special.gammaln(y + 1)
        return -np.sum(rows + t * np.log(t / (t + mu)) + y * np.log(mu / (t + mu)))

    start = np.r_[got.coef, np.log(theta)]
    best = optimize.minimize(minus_loglik, start + 0.05, method="BFGS", options={"gtol": 1e-7})
    assert got.loglik == pytest.approx(-best.fun, abs=1e-9)
    np.testing.assert_allclose(start, best.x, atol=1e-5)  # BFGS's own accuracy
    assert got.n_params == 3 and got.dispersion == 1.0 and got.converged
    family = fitted_family(*(make(X, y, "negative_binomial")[:1]), got)
    assert family.params == got.family_params and family.estimated == ("theta",)


def test_an_empty_cell_of_spread_counts_keeps_the_theta_of_the_others():
    rng = np.random.default_rng(8)
    y = np.r_[rng.negative_binomial(1.2, 0.3, 60), np.zeros(20)].astype(float)
    group = np.repeat([0.0, 1.0], [60, 20])
    got = fit(np.column_stack([np.ones(80), group]), y, "negative_binomial")
    alone = fit(np.ones((60, 1)), y[:60], "negative_binomial")
    assert "quasi-complete separation: x1" in got.messages[0]
    assert got.family_params[0] == pytest.approx(alone.family_params[0], rel=1e-6)  # R's stop: means near 1e-9
    assert got.coef[0] == pytest.approx(alone.coef[0], rel=1e-6)


def test_a_given_theta_is_kept():
    X, y = draw("negative_binomial")
    got = fit(X, y, "negative_binomial(theta=2)", "log")
    assert got.family_params == (2.0,) and got.n_params == 3


def test_counts_without_extra_spread_say_so():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(200), rng.normal(size=200)])
    y = rng.binomial(20, 0.5, 200).astype(float)  # less spread than a Poisson
    got, poisson = fit(X, y, "negative_binomial"), fit(X, y, "poisson")
    np.testing.assert_allclose(got.coef, poisson.coef, rtol=1e-6)
    assert any("family='poisson'" in m for m in got.messages)


def test_student_t_maximises_over_the_scale_too():
    X, y = random_design(9, 80)
    y = y + 12 * (np.arange(80) % 20 == 0)
    got = fit(X, y, "tdist(df=3)", "identity")
    df, scale = got.family_params

    def minus_loglik(b):
        r = (y - X @ b[:3]) / np.exp(b[3])
        return np.sum(2 * np.log1p(r * r / 3)) + 80 * b[3]

    best = optimize.minimize(minus_loglik, np.r_[got.coef, np.log(scale)] + 0.01, method="BFGS", options={"gtol": 1e-8})
    assert df == 3.0
    np.testing.assert_allclose(np.r_[got.coef, np.log(scale)], best.x, atol=1e-6)  # BFGS's own accuracy
    assert got.dispersion == pytest.approx(scale**2)
    assert np.abs(got.coef - fit(X, y).coef).max() > 0.1  # least squares follows the outliers


def test_student_t_with_many_df_is_least_squares():
    X, y = random_design(10)
    got = fit(X, y, "tdist(df=1e7)", "identity")
    np.testing.assert_allclose(got.coef, fit(X, y).coef, rtol=1e-5)  # of order 1 / df


# what has no ordinary estimate -----------------------------------------------------------------------------
def test_complete_separation_is_named_and_numbered_as_r_would():
    x = np.linspace(0, 1, 20)
    got = fit(np.column_stack([np.ones(20), x]), x > 0.52, "binomial", names=("(Intercept)", "dose"), y_name="dead")
    assert len(got.messages) == 1 and not got.converged
    assert 'complete separation: dose sorts "dead" perfectly in every row' in got.messages[0]
    assert "Use a profile interval, merge levels" in got.messages[0]
    assert np.isfinite(got.coef).all() and np.isfinite(got.vcov).all() and got.deviance < 1e-6


def test_quasi_complete_separation_is_named():
    group = np.repeat([0.0, 1.0], 10)
    y = np.r_[np.tile([0.0, 1.0], 5), np.ones(10)]
    got = fit(np.column_stack([np.ones(20), group]), y, "binomial", response_levels=("no", "yes"))
    assert 'quasi-complete separation: x1 sorts "y" = yes perfectly in 10 of 20 rows' in got.messages[0]


def test_the_edge_of_an_identity_link_is_named():
    x = np.arange(8.0)
    got = fit(np.column_stack([np.ones(8), x]), [0, 0, 0, 1, 2, 6, 11, 18], "poisson", "identity")
    assert "lies at the edge of what link='identity' allows: means must stay above 0" in got.messages[0]
    assert got.fitted.min() > 0


@pytest.mark.parametrize("family", ["poisson", "quasipoisson", "negative_binomial(theta=2)", "negative_binomial"])
def test_no_fit_at_the_edge_is_silent(family):
    """Weights blow up as a mean runs to 0, so that the steps die out as they do at an ordinary maximum."""
    edge = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = np.column_stack([np.ones(30), rng.uniform(size=(30, 2))])
        got = fit(X, rng.poisson(4 * X[:, 1] + 0.2), family, "identity")
        if got.fitted.min() < 1e-9:
            edge += 1
            assert any("lies at the edge" in m for m in got.messages)
        else:
            assert not any("lies at the edge" in m for m in got.messages)
    assert edge >= 2


def test_too_few_steps_are_named():
    X, y = draw("binomial")
    got = fit_model(*make(X, y, "binomial"), max_iter=1)
    assert not got.converged and "stopped before it settled (1 steps)" in got.messages[0]


def test_means_pressed_to_the_edge_of_a_link_are_named():
    X, y = random_design(5)
    got = fit(X, 5 + 0 * X[:, 1] + 0.1 * y, "gaussian", "cauchit")
    assert not got.converged and any("No finite estimate" in m or "settled" in m for m in got.messages)


def test_successes_that_are_not_whole_are_said():
    X, _ = random_design(7, 20)
    share = np.random.default_rng(0).uniform(size=20)
    assert '"y" is no whole number of successes in 20 rows' in fit(X, share, "binomial").messages[0]
    assert fit(X, share, "quasibinomial").messages == ()
    assert fit(X, np.rint(4 * share) / 4, "binomial", trials=np.full(20, 4.0)).messages == ()


def test_a_saturated_poisson_model_is_allowed_and_said():
    got = fit(np.column_stack([np.ones(3), np.eye(3)[:, 1:]]), [3.0, 7, 2], "poisson")
    assert got.deviance == pytest.approx(0.0, abs=1e-12) and got.df_resid == 0
    assert "saturated" in got.messages[0] and np.isfinite(got.vcov).all()
    with pytest.raises(FitError, match="3 rows of data"):
        fit(np.column_stack([np.ones(3), np.eye(3)[:, 1:]]), [3.0, 7, 2], "gamma")


@pytest.mark.parametrize(("family", "y", "words"), [
    ("gamma", [1.0, -1, 2, 3], "A Gamma model needs values above 0"),
    ("poisson", [1.0, 0.5, 2, 3], "needs whole counts"),
    ("binomial", [0.0, 1, 2, 1], "from 0 to 1"),
    ("binomial", [1.0, 1, 1, 1], "the same in every row"),
    ("poisson", [4.0, 4, 4, 4], "the same in every row"),
])  # fmt: skip
def test_impossible_responses_are_refused(family, y, words):
    with pytest.raises(DataError, match=words):
        fit(np.column_stack([np.ones(4), np.arange(4)]), y, family)


def test_no_coefficients_give_possible_means():
    X = np.array([[1.0], [-1.0], [2.0], [-2.0]])
    with pytest.raises(FitError, match="no coefficients of these columns give a possible mean"):
        fit(X, [1.0, 2, 3, 4], "gamma", intercept=False)


def test_constant_counts_with_exposure_are_rates():
    got = fit(np.ones((4, 1)), [4.0, 4, 4, 4], "poisson", offset=np.log([1.0, 2, 3, 4]))
    assert got.coef[0] == pytest.approx(np.log(16 / 10), rel=1e-12)


def test_an_infinite_null_deviance_is_r_s_too():
    """Without an intercept R's null model has eta = 0, which an inverse link cannot take."""
    got = fit(np.arange(1.0, 6.0)[:, None], [1.0, 0.6, 0.3, 0.28, 0.2], "gamma", intercept=False)
    assert got.null_deviance == float("inf") and default_link("gamma") == "inverse"


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.startswith("quasi")])
def test_standard_errors_are_taken_at_the_estimate(family):
    X, y = draw(family)
    spec, bundle = make(X, y, family)
    got = fit_model(spec, bundle)
    w = fitted_family(spec, got).score_weight(X @ got.coef, y)[1]
    expected = got.dispersion * np.linalg.inv(X.T @ (X * w[:, None]))
    np.testing.assert_allclose(got.vcov, expected, rtol=1e-9)  # an inverse against a QR factor
