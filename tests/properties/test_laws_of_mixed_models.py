"""Laws of mixed models, through the public API: what must not change a fit, and what must change it just so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model

few = pytest.mark.parametrize("seed", [1, 20261123])

# The search ends within 1e-9 deviance units of the optimum, where estimates are known to the root of that, some 1e-5 of
# their standard error.
OPTIMUM = {"rtol": 1e-5, "atol": 1e-5}
DEVIANCE = {"rtol": 0.0, "atol": 2e-6}


def groups(seed: int) -> pl.DataFrame:
    """Twelve groups and five crossed ones, uneven sizes, spreads well away from 0."""
    rng = np.random.default_rng(seed)
    n = 144
    g, h = np.concatenate([np.arange(12)] * 4 + [rng.integers(0, 12, n - 48)]), rng.permutation(np.arange(n) % 5)
    x, z = rng.normal(size=(2, n))
    a, b = rng.permutation(np.linspace(-1.5, 1.5, 12)), rng.permutation(np.linspace(-1.2, 1.2, 12))
    c = rng.permutation(np.linspace(-1.0, 1.0, 5))
    eta = 0.5 + 0.6 * x + a[g] + b[g] * x + c[h]
    hits = rng.binomial(5, 1 / (1 + np.exp(-eta)))
    return pl.DataFrame(
        {
            "y": eta + rng.normal(size=n), "x": x, "z": z, "g": g.astype(str), "h": h.astype(str),
            "arm": np.array(["a", "b", "c"])[rng.permutation(np.arange(n) % 3)], "w": rng.integers(1, 4, n) * 1.0,
            "count": rng.poisson(np.exp(0.5 * eta)), "hits": hits, "misses": 6 - hits,
        }
    )  # fmt: skip


MODELS = {
    "slope": ("y ~ x + arm + (x | g)", {}),
    "weighted, ML": ("y ~ x + (1 | g)", {"weights": "w", "method": "ml"}),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", {}),
    "poisson": ("count ~ x + (1 | g)", {"family": "poisson"}),
    "logistic, crossed": ("cbind(hits, misses) ~ x + (1 | g) + (1 | h)", {"family": "binomial"}),
}
every_model = pytest.mark.parametrize(("formula", "words"), MODELS.values(), ids=MODELS.keys())


def fit(formula, data, n_agq=None, **words):
    return model(formula, data, **words).fit(**({} if n_agq is None else {"nAGQ": n_agq}))


def criterion(m) -> float:
    return m.diagnostics["criterion"].item()


def sds(m) -> np.ndarray:
    return m.varying_spread["sd"].to_numpy()


def coef(m) -> np.ndarray:
    return m.params["estimate"].to_numpy()


def alike(one, two) -> None:
    np.testing.assert_allclose(criterion(two), criterion(one), **DEVIANCE)
    np.testing.assert_allclose(coef(two), coef(one), **OPTIMUM)
    np.testing.assert_allclose(sds(two), sds(one), **OPTIMUM)


# ---- what changes nothing ----------------------------------------------------------------------------------


@few
@every_model
def test_the_order_of_rows_changes_nothing(formula, words, seed):
    data = groups(seed)
    one, two = fit(formula, data, **words), fit(formula, data.sample(fraction=1.0, shuffle=True, seed=seed), **words)
    alike(one, two)
    np.testing.assert_allclose(two.infer().params["se"], one.infer().params["se"], rtol=1e-4)
    sorted_ = [m.varying_params.sort("group", "level", "term") for m in (one, two)]
    np.testing.assert_allclose(sorted_[1]["estimate"], sorted_[0]["estimate"], rtol=1e-4, atol=1e-5)


@few
@every_model
def test_names_of_groups_change_nothing(formula, words, seed):
    """Other labels, in another order: the same groups, so the same effects under the new names."""
    data = groups(seed)
    name = {str(j): f"group {(5 * j) % 12:02d}" for j in range(12)}
    one, two = fit(formula, data, **words), fit(formula, data.with_columns(pl.col("g").replace(name)), **words)
    alike(one, two)
    before = one.varying_offsets.with_columns(
        level=pl.when(pl.col("group") == "g").then(pl.col("level").replace(name)).otherwise("level")
    )
    both = before.join(two.varying_offsets, on=["group", "level", "term"], validate="1:1")
    assert both.height == before.height
    np.testing.assert_allclose(both["estimate_right"], both["estimate"], rtol=1e-4, atol=1e-5)


@few
@every_model
def test_the_coding_of_a_factor_changes_no_deviance(formula, words, seed):
    """ML does not depend on the coding; REML does by log |X'X| and no more, so estimates of the spread stay."""
    data, formula = groups(seed), formula.replace("~ x", "~ arm + x").replace("+ arm + (x", "+ (x")
    found = [
        fit(formula, data, contrasts={"arm": coding}, **words)
        for coding in ("treatment", "sum", "helmert", "poly", "sequential")
    ]
    for m in found[1:]:
        np.testing.assert_allclose(sds(m), sds(found[0]), **OPTIMUM)
        np.testing.assert_allclose(m.fit_state.fitted, found[0].fit_state.fitted, **OPTIMUM)
        if m.spec.method == "ml":
            np.testing.assert_allclose(criterion(m), criterion(found[0]), **DEVIANCE)
        else:
            codings = [np.linalg.slogdet(f.bundle.X.T @ f.bundle.X)[1] for f in (m, found[0])]
            np.testing.assert_allclose(criterion(m) - codings[0], criterion(found[0]) - codings[1], **DEVIANCE)


@pytest.mark.parametrize(("formula", "words"), MODELS.values(), ids=MODELS.keys())
def test_rows_without_a_value_go_as_if_they_had_not_been(formula, words):
    data = groups(3)
    holed = data.with_columns(x=pl.when(pl.int_range(144) % 11 == 4).then(None).otherwise(pl.col("x")))
    alike(fit(formula, holed.drop_nulls("x"), **words), fit(formula, holed, **words))
    lost = data.with_columns(g=pl.when(pl.int_range(144) % 17 == 4).then(None).otherwise(pl.col("g")))
    alike(fit(formula, lost.drop_nulls("g"), **words), fit(formula, lost, **words))


# ---- what changes a fit just so ----------------------------------------------------------------------------


@few
@pytest.mark.parametrize(("scale", "shift"), [(1e-3, 4.0), (250.0, -100.0)])
@pytest.mark.parametrize("formula", ["y ~ x + arm + (x | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_a_linear_mixed_model_follows_the_units_of_y(formula, seed, scale, shift):
    """y -> a y + c: effects and SDs times a, the intercept moves by c, the REML criterion by 2 (n - p) log a."""
    data = groups(seed)
    one, two = fit(formula, data), fit(formula, data.with_columns(y=scale * pl.col("y") + shift))
    expected = scale * coef(one).copy()
    expected[0] += shift
    np.testing.assert_allclose(coef(two), expected, rtol=1e-5, atol=1e-5 * scale + 1e-9 * abs(shift))
    np.testing.assert_allclose(sds(two), scale * sds(one), rtol=1e-5)
    apart = 2 * (144 - coef(one).size) * np.log(scale)
    np.testing.assert_allclose(criterion(two), criterion(one) + apart, rtol=1e-9, atol=1e-5)
    for column in ("df", "p_value"):
        kept = slice(1, None)  # the intercept is another question
        np.testing.assert_allclose(two.infer().params[column][kept], one.infer().params[column][kept], rtol=1e-3)


@few
@pytest.mark.parametrize("scale", [0.01, 30.0])
@every_model
def test_a_fit_follows_the_units_of_x(formula, words, seed, scale):
    """x -> a x: its coefficient and the SD of its slope divided by a; ML's deviance stays, REML's moves by 2 log a."""
    data = groups(seed)
    one, two = fit(formula, data, **words), fit(formula, data.with_columns(x=scale * pl.col("x")), **words)
    factor = [1 / scale if name == "x" else 1.0 for name in one.bundle.X_names]
    np.testing.assert_allclose(coef(two), coef(one) * factor, rtol=1e-4, atol=1e-6)
    slope = [1 / scale if term == "x" else 1.0 for term in one.varying_spread["term"]]
    np.testing.assert_allclose(sds(two), sds(one) * slope, rtol=1e-4)
    moved = 2 * np.log(scale) if one.spec.method == "reml" else 0.0
    np.testing.assert_allclose(criterion(two), criterion(one) + moved, **DEVIANCE)


@few
@pytest.mark.parametrize("shift", [-2.0])
@every_model
def test_an_offset_moves_the_intercept_alone(formula, words, seed, shift):
    data = groups(seed).with_columns(o=pl.lit(shift))
    one, two = fit(formula, data, **words), fit(formula, data, offset="o", **words)
    moved = coef(one).copy()
    moved[0] -= shift
    np.testing.assert_allclose(coef(two), moved, **OPTIMUM)
    np.testing.assert_allclose(criterion(two), criterion(one), **DEVIANCE)
    np.testing.assert_allclose(two.fit_state.fitted, one.fit_state.fitted, **OPTIMUM)


@few
@pytest.mark.parametrize("terms", ["(1 | g)", "(1 | g) + (1 | h)"])
def test_an_offset_in_x_takes_its_coefficient(terms, seed):
    """An offset of 2 x and a slope b of x are a slope of b + 2."""
    data = groups(seed)
    one, two = fit(f"y ~ x + {terms}", data), fit(f"y ~ x + offset(2 * x) + {terms}", data)
    np.testing.assert_allclose(coef(two) + np.array([0.0, 2.0]), coef(one), **OPTIMUM)
    np.testing.assert_allclose(sds(two), sds(one), **OPTIMUM)


@few
@pytest.mark.parametrize(
    ("formula", "family"), [("count ~ x + (1 | g)", "poisson"), ("cbind(hits, misses) ~ x + (x | g)", "binomial")]
)
def test_weights_of_a_glmer_are_repeated_rows(formula, family, seed):
    """A row of weight 2 is that row twice where the family has no scale: the likelihoods are the same function.

    (In a linear mixed model a weight is a precision: two rows tell sigma apart, one row of weight 2 does not.)
    """
    data = groups(seed)
    twice = data.select(pl.all().repeat_by(pl.col("w").cast(pl.Int64)).explode())
    one, two = fit(formula, data, family=family, weights="w"), fit(formula, twice, family=family)
    np.testing.assert_allclose(coef(two), coef(one), **OPTIMUM)
    np.testing.assert_allclose(sds(two), sds(one), **OPTIMUM)


@few
def test_weights_of_an_lmer_are_precisions(seed):
    """The mean of w rows of one group at one x, weight w, has the estimates of beta and theta that sigma allows:

    with sigma and theta held where the means put them, V is the same, so b and its errors are those of the means.
    """
    data = groups(seed)
    m = fit("y ~ x + (1 | g)", data, weights="w", method="ml")
    Z = m.bundle.re_metadata.z_matrix().toarray()
    T = m.fit_state.theta[0]
    V = m.fit_state.sigma**2 * (np.diag(1 / data["w"].to_numpy()) + T**2 * Z @ Z.T)
    S = m.bundle.X.T @ np.linalg.solve(V, m.bundle.X)
    np.testing.assert_allclose(np.linalg.solve(S, m.bundle.X.T @ np.linalg.solve(V, m.bundle.y)), coef(m), rtol=1e-8)
    e = m.bundle.y - m.bundle.X @ coef(m)
    deviance = 144 * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)
    np.testing.assert_allclose(deviance, criterion(m), rtol=1e-10)


# ---- two ways to write one model ---------------------------------------------------------------------------

SAME = {
    "nesting": ("y ~ x + (1 | g / h)", "y ~ x + (1 | g) + (1 | g:h)"),
    "without correlation": ("y ~ x + (x || g)", "y ~ x + (1 | g) + (0 + x | g)"),
    "intercept written": ("y ~ x + (x | g)", "y ~ x + (1 + x | g)"),
    "a factor keeps its correlation": ("y ~ x + (arm || g)", "y ~ x + (arm | g)"),
    "order of terms": ("y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | h) + (1 | g)"),
}


@pytest.mark.parametrize(("one", "two"), SAME.values(), ids=SAME.keys())
@pytest.mark.parametrize("seed", [1, 2])
def test_two_ways_to_write_one_model(one, two, seed):
    data = groups(seed)
    a, b = fit(one, data), fit(two, data)
    np.testing.assert_allclose(criterion(b), criterion(a), **DEVIANCE)
    np.testing.assert_allclose(coef(b), coef(a), **OPTIMUM)
    np.testing.assert_allclose(b.fit_state.fitted, a.fit_state.fitted, rtol=1e-3, atol=1e-3)
    if "arm" not in one:  # written by levels beside an intercept, or by contrasts
        np.testing.assert_allclose(np.sort(sds(b)), np.sort(sds(a)), **OPTIMUM)


@pytest.mark.parametrize(
    ("response", "words"), [("y", {}), ("cbind(hits, misses)", {"family": "binomial"})], ids=["lmer", "glmer"]
)
def test_a_factor_beside_an_intercept_is_told(response, words):
    """(f || g) is (1 | g) + (0 + f | g): lme4 fits it, and the data tell the sum of the two covariances alone."""
    data = groups(2)
    beside, whole = (fit(f"{response} ~ x + {term}", data, **words) for term in ("(arm || g)", "(arm | g)"))
    np.testing.assert_allclose(criterion(beside), criterion(whole), **DEVIANCE)
    (message,) = (text for text in beside.fit_state.messages if "overlap" in text)
    assert "(Intercept), arm[a], arm[b], arm[c] of g" in message and message in repr(beside)
    assert beside.fit_state.theta.size == 7 and beside.varying_corr.height == 3
    assert not any("overlap" in text for text in fit("y ~ x + (x || g)", data).fit_state.messages)


def test_a_factor_without_its_intercept_is_the_factor_with_it():
    """(0 + arm | g) and (arm | g) span the same effects, written as levels or as contrasts."""
    data = groups(5)
    levels, contrasts = fit("y ~ x + (0 + arm | g)", data), fit("y ~ x + (arm | g)", data)
    np.testing.assert_allclose(criterion(levels), criterion(contrasts), **DEVIANCE)
    np.testing.assert_allclose(coef(levels), coef(contrasts), **OPTIMUM)
    np.testing.assert_allclose(levels.fit_state.fitted, contrasts.fit_state.fitted, rtol=1e-4, atol=1e-4)


def test_two_levels_of_a_factor_may_stand_as_a_column():
    data = groups(6).with_columns(on=(pl.col("arm") == "a").cast(pl.Float64), state=pl.col("arm") == "a")
    one, two = fit("y ~ on + (on | g)", data), fit("y ~ state + (state | g)", data)
    alike(one, two)


# ---- limits ------------------------------------------------------------------------------------------------


def test_quadrature_converges_and_laplace_is_its_first_step():
    """Each rule integrates polynomials of higher degree; by 15 nodes the deviance is settled to 1e-6."""
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial")
    found = np.array([criterion(m.fit(nAGQ=k)) for k in (3, 7, 15, 25)])
    gaps = np.abs(np.diff(found))
    assert gaps[0] > gaps[1] and gaps[1] < 1e-4 and gaps[2] < 1e-6
    at = [coef(m.fit(nAGQ=k)) for k in (15, 25)]
    np.testing.assert_allclose(at[0], at[1], atol=1e-5)


@pytest.mark.parametrize("family", ["poisson", "binomial"])
def test_a_glmer_without_spread_is_a_glm(family):
    """Responses dealt to groups evenly: the SD between groups is 0, and what is left is the glm."""
    x = np.tile(np.linspace(-1, 1, 6), 10)
    rng = np.random.default_rng(1)
    y = np.tile(rng.poisson(np.exp(0.5 + x[:6])) if family == "poisson" else np.array([0, 0, 1, 0, 1, 1]), 10)
    data = pl.DataFrame({"y": y, "x": x, "g": np.repeat(np.arange(10), 6).astype(str)})
    mixed, plain = fit("y ~ x + (1 | g)", data, family=family), fit("y ~ x", data, family=family)
    assert mixed.fit_state.is_singular
    np.testing.assert_allclose(coef(mixed), coef(plain), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(criterion(mixed), -2 * plain.diagnostics["loglik"].item(), rtol=1e-9)
    np.testing.assert_allclose(mixed.infer().params["se"], plain.infer().params["se"], rtol=1e-4)


def test_counts_that_grow_make_a_poisson_glmer_normal():
    """Var(log y) -> 1 / mu: with counts in the ten thousands log y is normal with known precision mu.

    log(y) by lmer with weights mu then has the coefficients of the glmer, and its sigma is 1.
    """
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(30), 20)
    x = rng.normal(size=600)
    mu = np.exp(11 + 0.3 * x + 0.5 * rng.normal(size=30)[g])
    data = pl.DataFrame({"y": rng.poisson(mu).astype(float), "x": x, "g": g.astype(str)})
    counts = fit("y ~ x + (1 | g)", data, family="poisson")
    logs = fit("log(y) ~ x + (1 | g)", data, weights=counts.fit_state.fitted, method="ml")
    np.testing.assert_allclose(coef(logs), coef(counts), rtol=1e-4)  # of order 1 / mu, and sigma's own error
    np.testing.assert_allclose(sds(logs)[0], sds(counts)[0], rtol=1e-3)
    assert abs(sds(logs)[1] - 1.0) < 4 / np.sqrt(2 * 600)  # four standard errors of a standard deviation


def test_trials_that_grow_make_a_logistic_glmer_normal():
    """The same for shares: Var(logit p-hat) -> 1 / (m p (1 - p)) as the trials m grow."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(30), 20)
    x = rng.normal(size=600)
    p = 1 / (1 + np.exp(-(0.2 + 0.3 * x + 0.5 * rng.normal(size=30)[g])))
    m = 200_000
    hits = rng.binomial(m, p)
    data = pl.DataFrame({"hits": hits, "misses": m - hits, "x": x, "g": g.astype(str)})
    data = data.with_columns(logit=(pl.col("hits") / pl.col("misses")).log())
    shares = fit("cbind(hits, misses) ~ x + (1 | g)", data, family="binomial")
    mu = shares.fit_state.fitted
    logs = fit("logit ~ x + (1 | g)", data, weights=m * mu * (1 - mu), method="ml")
    np.testing.assert_allclose(coef(logs), coef(shares), rtol=1e-4)
    np.testing.assert_allclose(sds(logs)[0], sds(shares)[0], rtol=1e-3)
    assert abs(sds(logs)[1] - 1.0) < 4 / np.sqrt(2 * 600)
