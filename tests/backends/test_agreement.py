"""Every batched kernel gives the same numbers on either backend, and both the numbers of one refit at a time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.families import with_params
from inference_core.fit import fitted_family
from inference_core.solvers import irls

BACKENDS = ("numpy", "jax")
# Both follow the same steps; what differs is the order of sums.
SAME = 1e-9


def scattered() -> pl.DataFrame:
    """150 rows that every family finds something in."""
    rng = np.random.default_rng(7)
    n = 150
    x, z = rng.normal(size=n), rng.normal(size=n)
    return pl.DataFrame({
        "x": x, "z": z, "w": rng.integers(0, 4, n).astype(float), "g": np.repeat(["a", "b", "c"], [3, 60, 87]),
        "y": 1.0 + x + rng.normal(size=n) * (1.0 + np.abs(z)),
        "yes": (rng.random(n) < 1.0 / (1.0 + np.exp(0.3 - x))).astype(float),
        "count": rng.poisson(np.exp(0.5 + 0.4 * x)).astype(float),
        "size": rng.gamma(3.0, np.exp(1.0 + 0.3 * x) / 3.0),
    })  # fmt: skip


DATA = scattered()


def draws(formula, backend, n_boot=60, errors="iid", want_se=True, data=DATA, **options):
    m = model(formula, data, backend=backend, **options).fit()
    stream = m.draw_stream("boot", scheme="case", seed=11, errors=errors, want_se=want_se)
    return m, stream, stream.collect(n_boot)


def assert_same(one, two):
    np.testing.assert_array_equal(one.status, two.status)
    size = np.nanmax(np.abs(one.samples), axis=0)
    np.testing.assert_allclose(two.samples / size, one.samples / size, atol=SAME, rtol=0)
    if one.se is not None:
        np.testing.assert_allclose(two.se, one.se, rtol=SAME)


@pytest.mark.parametrize("errors", ["iid", "HC0", "HC1", "HC2", "HC3", "HC4"])
def test_least_squares_with_every_standard_error(errors):
    assert_same(*(draws("y ~ x + z", b, errors=errors)[2] for b in BACKENDS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_draw_of_least_squares_is_a_refit(backend):
    m, stream, found = draws("y ~ x * g", backend, weights="w", n_boot=120)
    bundle, lost = m._state.bundle, 0
    for i, row in enumerate(found.samples):
        rows = stream.indices_of(i)
        X, w = bundle.X[rows], np.sqrt(bundle.prior_weights[rows])
        if np.linalg.matrix_rank(X * w[:, None]) < X.shape[1]:
            assert np.isnan(row).all() and found.status[i] != 0
            lost += 1
            continue
        exact = np.linalg.lstsq(X * w[:, None], bundle.y[rows] * w, rcond=None)[0]
        np.testing.assert_allclose(row, exact, rtol=1e-7, atol=1e-9)  # a group of 3 rows: condition up to 1e5
    assert 0 < lost < 120  # the small group is missing from some draws


GLMS = [
    ("yes ~ x + z", {"family": "binomial"}, "HC3"),
    ("yes ~ x + z", {"family": "binomial", "link": "probit"}, "iid"),
    ("count ~ x + z", {"family": "poisson", "weights": "w"}, "iid"),
    ("size ~ x + z", {"family": "gamma", "link": "log"}, "iid"),
    ("count ~ x", {"family": "negative_binomial"}, "iid"),
]


@pytest.mark.parametrize(("formula", "options", "errors"), GLMS)
def test_generalized_linear_models(formula, options, errors):
    assert_same(*(draws(formula, b, errors=errors, **options)[2] for b in BACKENDS))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_draw_of_a_glm_is_a_refit(backend):
    m, stream, found = draws("yes ~ x + z", backend, family="binomial", n_boot=20)
    state = m._state
    family = with_params(fitted_family(state.spec, state.fit), state.fit.family_params)
    for i in range(20):
        rows = stream.indices_of(i)
        one = irls.irls(state.bundle.X[rows], state.bundle.y[rows], family, None, None, tol=1e-14)
        np.testing.assert_allclose(found.samples[i], one.coef, rtol=1e-8)  # the single fit stops at 1e-14 of deviance


@pytest.mark.parametrize("backend", BACKENDS)
def test_separated_draws_are_known(backend):
    """Two overlapping rows of twenty: draws without them have no estimate."""
    x = np.arange(20.0)
    data = pl.DataFrame({"x": x, "yes": ((x > 9.5) ^ (x == 8) ^ (x == 11)).astype(float)})
    _, stream, found = draws("yes ~ x", backend, family="binomial", n_boot=200, data=data, want_se=False)
    for i, status in enumerate(found.status):
        rows = stream.indices_of(i)
        yes, no = x[rows][data["yes"].to_numpy()[rows] == 1], x[rows][data["yes"].to_numpy()[rows] == 0]
        overlap = yes.size and no.size and yes.min() < no.max() and no.min() < yes.max()
        assert (status == 0) == bool(overlap)


def test_folds_of_a_glm():
    found = [
        model("yes ~ x + z", DATA, family="binomial", backend=b).fit().infer(how="cv", k=10, seed=2).cv
        for b in BACKENDS
    ]
    for name in found[0].columns:
        if found[0][name].dtype == pl.Float64:
            np.testing.assert_allclose(found[1][name], found[0][name], rtol=SAME)


def test_permutations_of_a_glm():
    one, two = (
        model("count ~ x", DATA, family="poisson", backend=b).fit().draw_stream("perm", scheme="y", seed=3).collect(99)
        for b in BACKENDS
    )
    np.testing.assert_allclose(two.samples, one.samples, rtol=SAME, atol=SAME)


def test_mtcars_through_the_model():
    tables = [
        model("mpg ~ wt + hp", load_dataset("mtcars"), backend=b).fit().infer(how="boot", n_boot=500, seed=1).params
        for b in BACKENDS
    ]
    for name in ("estimate", "se", "ci_lower", "ci_upper"):
        np.testing.assert_allclose(tables[1][name], tables[0][name], rtol=SAME)


MIXED = [
    ("Reaction ~ Days + (Days | Subject)", "parametric", {}),
    ("Reaction ~ Days + (1 | Subject)", "cluster", {"method": "ml"}),
]


@pytest.mark.parametrize(("formula", "scheme", "options"), MIXED)
def test_linear_mixed_models_of_one_factor(formula, scheme, options):
    one, two = (
        model(formula, load_dataset("sleepstudy"), backend=b, **options).fit()
        .draw_stream("boot", scheme=scheme, seed=5).collect(100)
        for b in BACKENDS
    )  # fmt: skip
    np.testing.assert_array_equal(one.status, two.status)
    spread = np.nanstd(one.samples, axis=0)
    np.testing.assert_allclose(two.samples / spread, one.samples / spread, rtol=SAME, atol=SAME)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_refit_of_a_mixed_model_is_a_fit(backend):
    """The first draw of each kind against the fit of its own response, which looks from several starts."""
    data = load_dataset("sleepstudy").filter(pl.int_range(pl.len()) % 7 != 0)  # groups differ: many patterns
    formula = "Reaction ~ Days + (Days | Subject)"
    m = model(formula, data, backend=backend).fit()
    stream = m.draw_stream("boot", scheme="parametric", seed=5)
    found = stream.collect(3)
    for i in range(3):
        one = model(formula, data.with_columns(Reaction=stream.response_of(i))).fit()
        # Replicates stop at a decrement of 1e-8: within 1e-6 of their spread, which is of the size of the estimate.
        np.testing.assert_allclose(found.samples[i, :2], one._state.fit.coef, rtol=1e-6)
        np.testing.assert_allclose(found.samples[i, -1], one._state.fit.sigma, rtol=1e-6)


def test_folds_of_a_mixed_model():
    found = [
        model("Reaction ~ Days + (1 | Subject)", load_dataset("sleepstudy"), backend=b).fit()
        .infer(how="cv", k=6, seed=2).cv
        for b in BACKENDS
    ]  # fmt: skip
    for name in found[0].columns:
        if found[0][name].dtype == pl.Float64:
            np.testing.assert_allclose(found[1][name], found[0][name], rtol=SAME)
