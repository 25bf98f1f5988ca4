"""All glm refits at once equal a loop of single fits: every family, weights, trials, offset, reasons of failure."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.errors import DataError, InferenceError
from inference_core.families import get_family
from inference_core.fit import fit_glm
from inference_core.infer.resample import planes
from inference_core.infer.resample.common import refit_indices
from inference_core.infer.resample.glm_operators import GlmKernel, compute_batched_glm_bootstrap
from inference_core.infer.resample_bundle import build_resampled_bundle
from inference_core.infer.sandwich import sandwich_vcov
from inference_core.rng import RNG
from inference_core.solvers.separation import find_separation
from inference_core.states import DRAW_OK, DRAW_RANK_DEFICIENT, DRAW_SEPARATED, DataBundle, ModelSpec, RankInfo

PAIRS = [
    ("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"), ("binomial", "cauchit"),
    ("poisson", "log"), ("poisson", "sqrt"), ("poisson", "identity"), ("gamma", "inverse"), ("gamma", "log"),
    ("inverse_gaussian", "inverse_squared"), ("inverse_gaussian", "log"), ("gaussian", "log"),
    ("gaussian", "inverse"), ("negative_binomial", "log"), ("negative_binomial(theta=2.5)", "log"),
    ("tdist", "identity"), ("quasipoisson", "log"),
]  # fmt: skip
STARTS = {"inverse": 1.5, "inverse_squared": 1.5, "log": 1.0, "sqrt": 2.0, "identity": 4.0}


def generalized(family, link, n=60, p=3, seed=0, weights=None, offset=None, trials=None):
    """A random model with a response its family allows: (spec, bundle, fit)."""
    rng = np.random.default_rng(seed)
    name = family.partition("(")[0]
    X = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, p - 1))])
    beta = np.r_[STARTS.get(link, 0.2), rng.uniform(-0.3, 0.3, p - 1)]
    mu = get_family("poisson" if name == "negative_binomial" else family, link).link.inverse(
        X @ beta + (0.0 if offset is None else offset)
    )
    m = np.ones(n) if trials is None else trials
    y = {
        "binomial": lambda: rng.binomial(m.astype(int), mu) / m,
        "poisson": lambda: rng.poisson(mu),
        "quasipoisson": lambda: rng.poisson(mu),
        "negative_binomial": lambda: rng.negative_binomial(2, 2 / (2 + mu)),
        "gamma": lambda: rng.gamma(4, mu / 4),
        "inverse_gaussian": lambda: rng.wald(mu, 20),
        "gaussian": lambda: mu + 0.2 * rng.normal(size=n),
        "tdist": lambda: mu + 0.3 * rng.standard_t(4, n),
    }[name]()
    spec = ModelSpec("y ~ x", "y", family=family, link=link, method="irls")
    bundle = DataBundle(
        y=np.asarray(y, float), X=X, X_names=tuple(f"b{j}" for j in range(p)), term_of_column=np.arange(p) - 1,
        source_terms=tuple(f"b{j}" for j in range(1, p)), y_name="y", valid_mask=np.ones(n, bool), n_total=n,
        rank_info=RankInfo(p, np.arange(p), np.empty(0, int)), weights=weights, offset=offset, trials=trials,
    )  # fmt: skip
    return spec, bundle, fit_glm(spec, bundle)


def assert_equals_loop(spec, bundle, fit, draws=12, seed=1):
    kernel = GlmKernel.from_fit(spec, bundle, fit, want_se=True)
    indices = RNG(seed).indices(0, draws, bundle.n)
    coef, status, se = refit_indices(kernel, indices)
    assert (status == DRAW_OK).all()
    for rows, b, s in zip(indices, coef, se, strict=True):
        # The single fit's own start would do, but costs more steps.
        one = fit_glm(spec, build_resampled_bundle(bundle, rows), start=fit.coef)
        expected = np.sqrt(np.diag(one.vcov))
        assert np.max(np.abs(b - one.coef) / expected) < 1e-9  # what the batch owes a single fit
        np.testing.assert_allclose(s, expected, rtol=1e-8)  # the weights follow the coefficients


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_the_batch_equals_a_loop_of_single_fits(family, link):
    rng = np.random.default_rng(9)
    weights, offset = rng.uniform(0.5, 2.0, 60), rng.uniform(-0.1, 0.1, 60)
    assert_equals_loop(*generalized(family, link, weights=weights, offset=offset))


@settings(max_examples=15)  # a fit an example and ten more to compare with
@given(seed=st.integers(0, 10**6), pair=st.sampled_from([("binomial", "logit"), ("poisson", "log"), ("gamma", "log")]))
def test_the_batch_equals_the_loop_for_any_data(seed, pair):
    assert_equals_loop(*generalized(*pair, seed=seed, n=80), draws=4, seed=seed)


@pytest.mark.parametrize(("family", "link"), [
    ("tdist", "identity"), ("tdist", "log"), ("tdist(df=7)", "inverse"), ("negative_binomial", "sqrt"),
    ("negative_binomial", "inverse"),
])  # fmt: skip
def test_no_draw_is_lost_because_scoring_is_slow(family, link):
    """Up to 40 of 100 refits of these need more than 40 Fisher steps, or have an impossible mean in a row left out."""
    spec, bundle, fit = generalized(family, link, n=50, p=4, seed=3, offset=np.linspace(-0.05, 0.05, 50))
    indices = RNG(3).indices(0, 100, 50)
    coef, status, _ = refit_indices(GlmKernel.from_fit(spec, bundle, fit), indices)
    assert (status == DRAW_OK).all()
    for rows, b in zip(indices[:10], coef[:10], strict=True):
        one = fit_glm(spec, build_resampled_bundle(bundle, rows))
        # The single fit of a family with its own parameter alternates too, and stops 1e-8 of a standard error away.
        assert np.max(np.abs(b - one.coef) / np.sqrt(np.diag(one.vcov))) < 1e-7


@pytest.mark.parametrize(("family", "link", "unit"), [
    ("gamma", "inverse", 1e-8), ("inverse_gaussian", "inverse_squared", 1e-4), ("tdist", "identity", 1e8),
])  # fmt: skip
def test_no_draw_is_called_separated_because_eta_is_large(family, link, unit):
    """A change of unit makes every eta huge; only means with an edge at infinity can be separated."""
    _, bundle, _ = generalized(family, link, n=40)
    spec = ModelSpec("y ~ x", "y", family=family, link=link, method="irls")
    scaled = replace(bundle, y=unit * bundle.y)
    indices = RNG(2).indices(0, 60, 40)
    _, status, _ = refit_indices(GlmKernel.from_fit(spec, scaled, fit_glm(spec, scaled)), indices)
    assert (status == DRAW_OK).all()


def test_draws_at_the_edge_of_the_range_are_those_of_single_fits():
    """Poisson means that grow from nearly 0: most refits put a mean of 0 where the count is 0."""
    rng = np.random.default_rng(147)
    X = np.column_stack([np.ones(30), rng.uniform(size=(30, 2))])
    spec, bundle, _ = generalized("poisson", "identity", n=30)
    bundle = replace(bundle, X=X, y=rng.poisson(4 * X[:, 1] + 0.2).astype(float))
    indices = RNG(3).indices(0, 20, 30)
    coef, status, _ = refit_indices(GlmKernel.from_fit(spec, bundle, fit_glm(spec, bundle)), indices)
    assert (status == DRAW_OK).all()
    at_edge = 0
    for rows, b in zip(indices, coef, strict=True):
        one = fit_glm(spec, build_resampled_bundle(bundle, rows))
        at_edge += bool(one.messages)
        np.testing.assert_allclose(b, one.coef, atol=1e-6)  # the barrier leaves 1e-12 of the dispersion
    assert at_edge > 5


def test_a_kernel_without_a_table_of_products_gives_the_same_refits(monkeypatch):
    spec, bundle, fit = generalized("binomial", "logit", n=200)
    indices = RNG(1).indices(0, 20, 200)
    kept = refit_indices(GlmKernel.from_fit(spec, bundle, fit, want_se=True, errors="HC3"), indices)
    monkeypatch.setattr(planes, "TABLE_VALUES", 0)
    monkeypatch.setattr(planes, "BLOCK_VALUES", 1_000)
    made = refit_indices(GlmKernel.from_fit(spec, bundle, fit, want_se=True, errors="HC3"), indices)
    np.testing.assert_allclose(made[0], kept[0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(made[2], kept[2], rtol=1e-8)  # the weights follow the coefficients


def test_trials_take_part():
    trials = np.random.default_rng(3).integers(3, 20, 60).astype(float)
    assert_equals_loop(*generalized("binomial", "logit", trials=trials))


@pytest.mark.parametrize("errors", ["HC0", "HC1", "HC2", "HC3"])
@pytest.mark.parametrize(("family", "link"), [("binomial", "probit"), ("poisson", "log"), ("gamma", "log")])
def test_robust_errors_inside_a_draw_are_those_of_the_fit_to_its_rows(errors, family, link):
    weights = np.random.default_rng(9).uniform(0.5, 2.0, 60)
    spec, bundle, fit = generalized(family, link, weights=weights)
    kernel = GlmKernel.from_fit(spec, bundle, fit, want_se=True, errors=errors)
    indices = RNG(4).indices(0, 4, bundle.n)
    _, _, se = refit_indices(kernel, indices)
    for rows, found in zip(indices, se, strict=True):
        again = build_resampled_bundle(bundle, rows)
        vcov = sandwich_vcov(spec, again, fit_glm(spec, again), errors)
        np.testing.assert_allclose(found, np.sqrt(np.diag(vcov)), rtol=1e-7)  # both at their own convergence


def test_separated_resamples_are_told_from_the_others_exactly():
    """Against linear programming on every resample: n = 20, two predictors, a good part of them separated."""
    rng = np.random.default_rng(5)
    n = 20
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-1.5 * X[:, 1]))).astype(float)
    family = get_family("binomial", "logit")
    indices = RNG(6).indices(0, 150, n)
    spec, bundle, fit = generalized("binomial", "logit", n=n)
    bundle = replace(bundle, X=X, y=y)
    fit = fit_glm(spec, bundle)
    assert fit.converged
    coef, status, _ = refit_indices(GlmKernel.from_fit(spec, bundle, fit), indices)
    truth = np.array([find_separation(X[rows], y[rows], family) is not None for rows in indices])
    assert 10 < truth.sum() < 140
    np.testing.assert_array_equal(status == DRAW_SEPARATED, truth)
    assert np.isnan(coef[truth]).all()
    assert np.isfinite(coef[~truth]).all()


def test_a_group_without_failures_separates_quasi_completely():
    """One group of four rows, one of them a failure: resamples without it have an infinite coefficient."""
    group = np.r_[np.zeros(16), np.ones(4)]
    y = np.r_[np.tile([0.0, 1.0], 8), [0.0, 1.0, 1.0, 1.0]]
    spec, bundle, _ = generalized("binomial", "logit", n=20, p=2)
    bundle = replace(bundle, X=np.column_stack([np.ones(20), group]), y=y)
    indices = RNG(3).indices(0, 200, 20)
    kernel = GlmKernel.from_fit(spec, bundle, fit_glm(spec, bundle))
    coef, status, _ = refit_indices(kernel, indices)
    inside = [y[rows[rows >= 16]] for rows in indices]
    absent = np.array([len(v) == 0 for v in inside])
    one_sided = np.array([len(v) > 0 and np.ptp(v) == 0 for v in inside])
    np.testing.assert_array_equal(status == DRAW_RANK_DEFICIENT, absent)
    np.testing.assert_array_equal(status == DRAW_SEPARATED, one_sided)
    for rows, b in zip(indices[status == DRAW_OK], coef[status == DRAW_OK], strict=True):
        share = [y[rows[rows < 16]].mean(), y[rows[rows >= 16]].mean()]
        logit = np.log(np.divide(share, np.subtract(1, share)))
        np.testing.assert_allclose(b, [logit[0], logit[1] - logit[0]], rtol=1e-9, atol=1e-9)  # saturated: closed form


def test_counts_that_vary_less_than_a_poisson_still_have_coefficients():
    """A resample without overdispersion has no finite theta: its coefficients are those of a Poisson model."""
    spec, bundle, fit = generalized("negative_binomial", "log", n=40, seed=3)
    kernel = GlmKernel.from_fit(spec, bundle, fit)
    even = np.flatnonzero(np.abs(bundle.y - 3) <= 1)
    rows = np.resize(even, 40)
    coef, status, _ = refit_indices(kernel, rows[None])
    assert status[0] == DRAW_OK
    poisson = compute_batched_glm_bootstrap(rows[None], bundle.X, bundle.y, get_family("poisson", "log"))
    np.testing.assert_allclose(coef, poisson, rtol=1e-5)  # theta stops at 1e8, where 1 / theta is 1e-8


def test_the_specified_function_gives_the_same_draws():
    weights = np.random.default_rng(2).uniform(0.5, 2, 60)
    spec, bundle, fit = generalized("poisson", "log", weights=weights)
    indices = RNG(1).indices(0, 10, 60)
    by_kernel = refit_indices(GlmKernel.from_fit(spec, bundle, fit), indices)[0]
    family = get_family("poisson", "log")
    direct = compute_batched_glm_bootstrap(indices, bundle.X, bundle.y, family, weights=weights)
    np.testing.assert_allclose(direct, by_kernel, rtol=1e-8, atol=1e-9)  # both started at converged fits
    chunks = compute_batched_glm_bootstrap(indices, bundle.X, bundle.y, family, weights=weights, chunk_size=3)
    np.testing.assert_allclose(chunks, direct, rtol=1e-9, atol=1e-10)


def test_data_without_an_estimate_are_refused_before_any_refit():
    X = np.column_stack([np.ones(10), np.arange(10.0)])
    y = (np.arange(10) > 4).astype(float)
    with pytest.raises(DataError, match="no finite estimate"):
        compute_batched_glm_bootstrap(RNG(1).indices(0, 3, 10), X, y, get_family("binomial", "logit"))


def test_dropped_columns_stay_missing():
    _, bundle, _ = generalized("poisson", "log")
    X = np.column_stack([bundle.X, bundle.X[:, 1] * 2])
    coef = compute_batched_glm_bootstrap(RNG(1).indices(0, 5, 60), X, bundle.y, get_family("poisson", "log"))
    assert np.isnan(coef[:, 3]).all()
    assert np.isfinite(coef[:, :3]).all()


def test_a_range_of_eta_is_kept_by_halving():
    """Identity-link Poisson counts near 0: full steps leave the range of the mean."""
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 1, 50)
    y = rng.poisson(0.3 + 3 * x).astype(float)
    spec, bundle, _ = generalized("poisson", "identity", n=50, p=2)
    bundle = replace(bundle, X=np.column_stack([np.ones(50), x]), y=y)
    fit = fit_glm(spec, bundle)
    indices = RNG(2).indices(0, 60, 50)
    coef, status, _ = refit_indices(GlmKernel.from_fit(spec, bundle, fit), indices)
    good = status == DRAW_OK
    assert good.mean() > 0.7
    for rows, b in zip(indices[good], coef[good], strict=True):
        mu = b[0] + b[1] * x[rows]
        assert (mu >= 0).all()
        if mu.min() > 1e-6:  # else the likelihood is largest at the edge itself
            score = bundle.X[rows].T @ (y[rows] / mu - 1)
            np.testing.assert_allclose(score, 0, atol=1e-5)  # stationary; sums of some 50 terms of size 10


def test_errors_that_no_draw_has_are_refused():
    spec, bundle, fit = generalized("poisson", "log")
    with pytest.raises(InferenceError, match="unequal_var"):
        GlmKernel.from_fit(spec, bundle, fit, errors="unequal_var")
