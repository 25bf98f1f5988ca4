"""IRLS: the score vanishes, closed forms, the edge of the range, separation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from inference_core.families import FAMILIES, get_family, links_of, with_params
from inference_core.solvers.irls import BOUNDARY, NO_START, OK, SEPARATED, irls, maximise, r_default_stop
from inference_core.solvers.separation import find_separation

PARAMS = {"negative_binomial": (2.0,), "tdist": (5.0, 0.5)}
# gaussian-like families with a probability link are nonlinear regressions into (0, 1)
PAIRS = [(f, link) for f in FAMILIES for link in links_of(f)]


def problem(name, link, n=120, seed=11):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 2))])
    family = with_params(get_family(name, link), PARAMS.get(name, ()))
    mu = 0.5 + 0.12 * X[:, 1] - 0.08 * X[:, 2]
    if name.startswith("quasi"):
        draw = get_family({"quasipoisson": "poisson", "quasibinomial": "binomial"}[name], link)
    else:
        draw = family
    return X, draw.simulate(rng, mu, None, 0.02), family


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_the_score_vanishes_at_the_estimate(name, link):
    X, y, family = problem(name, link)
    result = maximise(X, y, family)
    assert result.status in (OK, BOUNDARY), result.status
    if result.status == OK:
        s, w = family.score_weight(result.eta, y)
        information = X.T @ (X * w[:, None])
        step = np.linalg.solve(information, X.T @ s)
        scale = np.sqrt(np.diag(np.linalg.inv(information)))
        assert np.all(np.abs(step) < 1e-8 * scale)  # the stop is at 1e-10 standard errors; rounding adds to it


@pytest.mark.parametrize("name", ["gaussian", "binomial", "poisson", "gamma", "inverse_gaussian"])
def test_a_model_of_the_mean_alone_has_the_weighted_mean(name):
    X, y, family = problem(name, get_family(name).link.name)
    w = np.linspace(0.5, 2, y.size)
    result = irls(X[:, :1], y, family, w)
    assert family.link.inverse(result.eta)[0] == pytest.approx(w @ y / w.sum(), rel=1e-12)  # closed form


def test_poisson_of_two_groups_with_exposure_is_the_log_rate_ratio():
    y = np.array([30.0, 14.0])
    exposure = np.array([2.0, 1.5])
    X = np.array([[1.0, 0.0], [1.0, 1.0]])
    result = irls(X, y, get_family("poisson"), offset=np.log(exposure))
    rates = y / exposure
    np.testing.assert_allclose(result.coef, [np.log(rates[0]), np.log(rates[1] / rates[0])], rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_any_start_reaches_the_same_maximum(seed):
    X, y, family = problem("poisson", "log")
    start = np.random.default_rng(seed).normal(size=3)
    np.testing.assert_allclose(irls(X, y, family, start=start).coef, irls(X, y, family).coef, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("name", "link"), [("poisson", "identity"), ("binomial", "log"), ("binomial", "identity")])
@pytest.mark.parametrize("seed", range(4))
def test_the_edge_of_the_range_is_the_constrained_maximum(name, link, seed):
    """SLSQP on the same deviance with the same constraints finds nothing lower."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    family = get_family(name, link)
    mean = np.exp(0.3 * X[:, 1]) if name == "poisson" else 1 / (1 + np.exp(-1 - X[:, 1]))
    y = get_family(name).simulate(rng, mean)
    result = maximise(X, y, family)
    assert result.converged and family.eta_valid(result.eta)
    lo, hi = family.eta_bounds
    constraints = []
    if np.isfinite(lo):
        constraints.append({"type": "ineq", "fun": lambda b: X @ b - lo - 1e-9, "jac": lambda b: X})
    if np.isfinite(hi):
        constraints.append({"type": "ineq", "fun": lambda b: hi - 1e-9 - X @ b, "jac": lambda b: -X})

    def deviance(b):
        return float(np.sum(family.deviance_rows(np.clip(X @ b, lo + 1e-10, hi - 1e-10), y)))

    best = optimize.minimize(deviance, result.coef * 0.999, method="SLSQP", constraints=constraints,
                             options={"ftol": 1e-12, "maxiter": 300})  # fmt: skip
    assert result.deviance <= best.fun + 1e-4  # SLSQP's own tolerance


def test_no_possible_mean_is_said():
    X = np.array([[1.0], [-1.0], [2.0]])  # no intercept: eta must change sign
    assert irls(X, np.array([1.0, 2.0, 3.0]), get_family("gamma", "inverse")).status == NO_START


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_separation_is_found_under_every_probability_link(link):
    x = np.linspace(-1, 1, 30)
    X = np.column_stack([np.ones(30), x])
    result = irls(X, (x > 0.1).astype(float), get_family("binomial", link))
    assert result.status == SEPARATED and result.separation.kind == "complete"
    assert list(result.separation.enough) == [1]


def test_separation_of_a_large_sample_under_probit():
    """Steps shrink like 1 / eta there, so the deviance settles long before the coefficients."""
    x = np.linspace(-1, 1, 3000)
    X = np.column_stack([np.ones(3000), x])
    assert irls(X, (x > 0.1).astype(float), get_family("binomial", "probit")).status == SEPARATED


def test_an_empty_cell_of_counts_is_quasi_complete_separation():
    X = np.column_stack([np.ones(6), [0, 0, 0, 1, 1, 1]])
    result = irls(X, np.array([2.0, 3, 1, 0, 0, 0]), get_family("poisson"))
    assert result.status == SEPARATED and result.separation.kind == "quasi-complete"
    assert list(result.separation.columns) == [1] and list(result.separation.rows) == [3, 4, 5]


def test_the_columns_that_are_enough_separate_as_much():
    """x sorts every row; the dummy sorts only its own group, and so is not enough."""
    x = np.r_[0.0, 1, 2, 3, 4, 5, 6, 7]
    y = (x > 3.5).astype(float)
    X = np.column_stack([np.ones(8), x, x > 5.5])
    found = find_separation(X, y, get_family("binomial"))
    assert found.kind == "complete" and list(found.enough) == [1] and 2 in found.columns


def test_strong_effects_are_not_separation():
    rng = np.random.default_rng(4)
    x = np.r_[rng.normal(size=400), 40.0]
    y = np.r_[(x[:400] + 0.3 * rng.logistic(size=400) > 0), 1.0]
    X = np.column_stack([np.ones(401), x])
    result = irls(X, y, get_family("binomial"))
    assert result.status == OK and np.abs(result.eta).max() > 50


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 20))
def test_separation_agrees_with_a_search_over_pairs_of_points(seed, n):
    """One predictor: the two groups overlap, or they do not."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, n).astype(float)
    y = rng.integers(0, 2, n).astype(float)
    if y.min() == y.max() or x.min() == x.max():
        return
    ones, zeros = x[y == 1], x[y == 0]
    overlap = zeros.max() > ones.min() and ones.max() > zeros.min()
    found = find_separation(np.column_stack([np.ones(n), x]), y, get_family("binomial"))
    assert (found is None) == overlap
    if found is not None:
        strict = ones.min() > zeros.max() or ones.max() < zeros.min()
        assert found.kind == ("complete" if strict else "quasi-complete")
        assert irls(np.column_stack([np.ones(n), x]), y, get_family("binomial")).status == SEPARATED


def test_the_default_stop_is_r_s_for_a_quasi_separated_table():
    """am ~ gear of mtcars: R 4.2.2 stops after 19 steps at -20.566, 21.259, 41.132 (deviance 15.27634)."""
    X = np.zeros((32, 3))
    X[:, 0] = 1.0
    X[15:27, 1] = 1.0
    X[27:, 2] = 1.0
    y = np.r_[np.zeros(15), np.ones(8), np.zeros(4), np.ones(5)]
    stop = r_default_stop(X, y, get_family("binomial"), None, None)
    assert stop.converged and stop.n_iter == 19
    np.testing.assert_allclose(stop.coef, [-20.5660685157, 21.2592156963, 41.1321370362], rtol=1e-9)
    assert stop.deviance == pytest.approx(15.2763400858846, rel=1e-10)
