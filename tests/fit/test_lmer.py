"""Linear mixed models: closed forms, laws, boundaries and refusals. lme4's numbers are checked in tests/reference."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import DataError, FitError, InferenceError
from inference_core.fit import fit_lm, fit_lmer
from inference_core.fit.varcomp import (
    covariances,
    sds_and_correlations,
    varcorr_table,
    variance_components,
    variance_shares,
)

SEEDS = st.integers(0, 2**32 - 1)
SLEEP = "Reaction ~ Days + (Days | Subject)"


def fit(formula, data, method="reml", **options):
    spec, bundle = build_bundle(formula, data, method=method, **options)
    return bundle, fit_lmer(spec, bundle)


def balanced(seed=0, groups=10, each=6, spread=1.5):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), each)
    y = 5 + spread * rng.standard_normal(groups)[g] + rng.standard_normal(g.size)
    return pl.DataFrame({"y": y, "g": g, "x": rng.standard_normal(g.size), "w": rng.integers(1, 4, g.size) * 1.0})


def random_frame(seed, n=80):
    rng = np.random.default_rng(seed)
    g, h = np.r_[np.arange(10), rng.integers(0, 10, n - 10)], rng.integers(0, 5, n)
    x = rng.standard_normal(n)
    y = 1 + x + rng.standard_normal(10)[g] + 0.5 * x * rng.standard_normal(10)[g] + rng.standard_normal(5)[h]
    return pl.DataFrame({"y": y + rng.standard_normal(n), "x": x, "g": g, "h": h, "w": rng.uniform(0.5, 2, n)})


def test_a_balanced_one_way_layout():
    """REML of a balanced layout is the analysis of variance: sigma^2 = MSW, tau^2 = (MSB - MSW) / m."""
    df = balanced()
    means = df.group_by("g").agg(pl.col("y").mean()).sort("g")["y"].to_numpy()
    y = df["y"].to_numpy().reshape(10, 6)
    msw = np.sum((y - means[:, None]) ** 2) / 50
    msb = 6 * np.sum((means - y.mean()) ** 2) / 9
    bundle, m = fit("y ~ 1 + (1 | g)", df)
    tau2 = (msb - msw) / 6
    assert m.sigma**2 == pytest.approx(msw, rel=1e-8)  # the decrement stops at 1e-12, its root is 1e-6 of an SE
    assert (m.theta[0] * m.sigma) ** 2 == pytest.approx(tau2, rel=1e-6)
    assert m.coef[0] == pytest.approx(y.mean()) and m.vcov[0, 0] == pytest.approx(msb / 60, rel=1e-6)
    shrunken = tau2 / (tau2 + msw / 6) * (means - y.mean())
    np.testing.assert_allclose(m.b, shrunken, rtol=1e-6)
    shares = variance_shares(bundle, m)
    assert shares.icc == pytest.approx(tau2 / (tau2 + msw), rel=1e-6)
    assert shares.r2_marginal == pytest.approx(0.0, abs=1e-12)
    assert shares.r2_conditional == pytest.approx(shares.icc)


def test_a_variance_of_zero_is_a_boundary_fit():
    """Where MSB < MSW the estimate is 0, and what is left is the linear model."""
    df = balanced(1, spread=0.0)
    y = df["y"].to_numpy().reshape(10, 6)
    assert 6 * np.var(y.mean(axis=1), ddof=1) < np.mean(np.var(y, axis=1, ddof=1))
    bundle, m = fit("y ~ x + (1 | g)", df)
    assert m.is_singular and m.converged and m.theta[0] == pytest.approx(0.0, abs=1e-6)
    assert any("the SD of (Intercept) by g is 0" in message for message in m.messages)
    spec, plain = build_bundle("y ~ x", df)
    lm = fit_lm(spec, plain)
    np.testing.assert_allclose(m.coef, lm.coef, rtol=1e-9)
    np.testing.assert_allclose(m.vcov, lm.vcov, rtol=1e-7)
    np.testing.assert_allclose(m.leverage, lm.leverage, rtol=1e-7)
    assert m.sigma == pytest.approx(lm.sigma, rel=1e-9)
    np.testing.assert_allclose(m.b, 0.0, atol=1e-9)
    assert variance_shares(bundle, m).icc == pytest.approx(0.0, abs=1e-9)


def test_tied_effects_are_named():
    df = random_frame(3).with_columns(noise=np.random.default_rng(1).standard_normal(80))
    found = [fit("noise ~ x + (x | g)", df.sample(80, with_replacement=True, seed=s))[1] for s in range(12)]
    singular = [m for m in found if m.is_singular]
    assert singular and all(any(w.startswith("singular fit: ") for w in m.messages) for m in singular)
    assert all(not w.startswith("singular") for m in found if not m.is_singular for w in m.messages)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("formula", ["(x | g)", "(x || g)", "(1 | g) + (1 | h)", "(x | g) + (1 | h)"])
def test_what_a_fit_holds_agrees_with_itself(formula, method):
    df = random_frame(5)
    bundle, m = fit(f"y ~ x + {formula}", df, method, weights="w")
    re = bundle.re_metadata
    assert m.theta.shape == (re.n_theta,) == m.gradient.shape and m.b.shape == (re.q,) == m.u.shape
    assert m.hessian.shape == (re.n_theta, re.n_theta)
    np.testing.assert_allclose(m.fitted, m.fitted_marginal + re.z_matrix() @ m.b, rtol=1e-12)
    np.testing.assert_allclose(m.residuals, bundle.y - m.fitted, rtol=1e-12)
    for T, u, b in zip(re.t_matrices(m.theta), re.split_effects(m.u), re.split_effects(m.b), strict=True):
        np.testing.assert_allclose(u @ T.T, b, atol=1e-10)
    # penalised residual sum of squares: dof sigma^2 = sum w e^2 + |u|^2
    dof = bundle.n - (2 if method == "reml" else 0)
    pwrss = bundle.weights @ m.residuals**2 + m.u @ m.u
    assert m.sigma**2 == pytest.approx(pwrss / dof, rel=1e-8)
    assert np.abs(m.gradient).max() < 1e-4 and m.loglik == -m.criterion / 2
    assert m.n_params == 2 + re.n_theta + 1 and m.df_resid == bundle.n - m.n_params


@settings(max_examples=10)
@given(seed=SEEDS, method=st.sampled_from(["reml", "ml"]))
def test_order_of_rows_and_names_of_groups_change_nothing(seed, method):
    df = random_frame(seed)
    names = np.random.default_rng(seed).permutation(10)
    other = df.sample(fraction=1.0, shuffle=True, seed=seed % 1000).with_columns(
        g=pl.Series([f"group {names[i]}" for i in df["g"]]).gather(
            df.with_row_index().sample(fraction=1.0, shuffle=True, seed=seed % 1000)["index"]
        )
    )
    (_, one), (_, two) = (fit("y ~ x + (x | g) + (1 | h)", d, method) for d in (df, other))
    assert one.criterion == pytest.approx(two.criterion, abs=1e-7)
    np.testing.assert_allclose(one.coef, two.coef, rtol=1e-4, atol=1e-5)  # flat where a variance is near 0
    assert one.sigma == pytest.approx(two.sigma, rel=1e-5)


@settings(max_examples=10)
@given(seed=SEEDS, a=st.floats(1e-3, 1e3), c=st.floats(-1e3, 1e3))
def test_the_fit_follows_the_units_of_y(seed, a, c):
    df = random_frame(seed)
    (_, one), (_, two) = (
        fit("y ~ x + (1 | g) + (1 | h)", d) for d in (df, df.with_columns(y=a * pl.col("y") + c))
    )
    np.testing.assert_allclose(two.coef, a * one.coef + [c, 0], rtol=1e-5, atol=1e-6 * (a + abs(c)))
    assert two.sigma == pytest.approx(a * one.sigma, rel=1e-5)
    # -2 log of the density of 78 residual contrasts, each a times as long
    assert two.criterion == pytest.approx(one.criterion + 2 * 78 * np.log(a), abs=1e-5)


def test_recoding_a_factor_leaves_fitted_values():
    df = load_dataset("sleepstudy").with_columns(late=(pl.col("Days") > 4).cast(pl.String))
    (_, one), (_, two) = (
        fit("Reaction ~ late + (late | Subject)", df, contrasts={"late": c}) for c in ("treatment", "sum")
    )
    np.testing.assert_allclose(one.fitted, two.fitted, rtol=1e-6)
    assert one.sigma == pytest.approx(two.sigma, rel=1e-7)


def test_an_offset_is_taken_off_once():
    df = load_dataset("sleepstudy")
    (_, plain), (_, shifted) = fit(SLEEP, df), fit(SLEEP.replace("+", "+ offset(3 * Days) +", 1), df)
    np.testing.assert_allclose(shifted.coef, plain.coef - [0, 3], rtol=1e-8)
    np.testing.assert_allclose(shifted.fitted, plain.fitted, rtol=1e-8)
    assert shifted.criterion == pytest.approx(plain.criterion, abs=1e-9)


def test_weight_0_leaves_a_row_out_and_keeps_its_fitted_value():
    df = random_frame(4).with_columns(w=pl.when(pl.int_range(80) % 7 == 0).then(0.0).otherwise(1.0))
    (bundle, zero), (_, without) = (
        fit("y ~ x + (x | g)", df, weights="w"), fit("y ~ x + (x | g)", df.filter(pl.col("w") > 0))
    )  # fmt: skip
    np.testing.assert_allclose(zero.coef, without.coef, rtol=1e-8)
    assert zero.criterion == pytest.approx(without.criterion, abs=1e-9)
    assert zero.fitted.shape == (80,) and np.all(np.isfinite(zero.fitted))
    assert np.all(zero.leverage[bundle.weights == 0] == 0)


def test_a_group_whose_rows_all_weigh_0_is_at_the_mean():
    df = random_frame(4).with_columns(w=(pl.col("g") != 3).cast(pl.Float64))
    bundle, m = fit("y ~ x + (x | g)", df, weights="w")
    b, S = m.b.reshape(10, 2), covariances(bundle.re_metadata, m.theta, m.sigma)[0]
    np.testing.assert_array_equal(b[3], 0.0)
    np.testing.assert_allclose(m.cond_var[0][3], S, rtol=1e-8, atol=1e-10)  # nothing is known of it


def test_a_column_that_repeats_others_is_dropped():
    _, m = fit(SLEEP.replace("Days +", "Days + I(2 * Days) +", 1), load_dataset("sleepstudy"))
    assert np.isnan(m.coef[2]) and np.isnan(m.vcov[2]).all() and m.rank == 2
    assert "I(2 * Days)" in m.messages[0]


def test_a_model_without_fixed_effects():
    _, m = fit("y ~ 0 + (1 | g)", balanced())
    assert m.coef.size == 0 and m.sigma > 0 and m.converged


def test_transforms_and_two_slopes_of_badly_scaled_predictors():
    """Coordinates are whitened first: a slope on the scale of 1e6 takes no more steps than one on that of 1."""
    df = random_frame(9).with_columns(far=pl.col("x") * 1e6 + 1e7)
    (_, near), (_, far) = fit("y ~ x + (x | g)", df), fit("y ~ far + (far | g)", df)
    assert far.converged and far.n_iter <= near.n_iter + 3
    assert far.sigma == pytest.approx(near.sigma, rel=1e-5)
    np.testing.assert_allclose(far.fitted, near.fitted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("y ~ 1 + (1 | id)", "80 levels of id in 80 rows"),
        ("y ~ 1 + (x | pair)", "80 random effects .40 levels times 2. for 80 rows"),
        ("exact ~ x + (1 | g)", "the fixed effects fit every row exactly"),
        ("y ~ 1 + (1 | id) + (1 | g)", "80 levels of id in 80 rows"),
        ("y ~ x + (x + I(2 * x) | g)", r"I\(2 \* x\): zero in every row, or a combination"),
    ],
)
def test_refused(formula, words):
    df = random_frame(2).with_columns(id=pl.int_range(80), pair=pl.int_range(80) // 2, exact=3 * pl.col("x") - 1)
    with pytest.raises(FitError, match=words):
        fit(formula, df)


def test_a_constant_response_is_refused():
    with pytest.raises(DataError, match="the same in every row"):
        fit("y ~ x + (1 | g)", random_frame(0).with_columns(y=pl.lit(2.0)))


def test_other_families_are_for_glmer():
    spec, bundle = build_bundle("y ~ x + (1 | g)", random_frame(0), family="gaussian", link="log")
    with pytest.raises(FitError, match="gaussian with the identity link"):
        fit_lmer(spec, bundle)


def test_a_formula_without_random_terms_is_refused():
    with pytest.raises(FitError, match="no random terms"):
        fit("y ~ x", random_frame(0))
    _, bundle = build_bundle("y ~ x", random_frame(0))
    with pytest.raises(InferenceError, match="no random effects"):
        variance_components(bundle, None)


def test_tables():
    bundle, m = fit(SLEEP, load_dataset("sleepstudy"))
    table = varcorr_table(bundle, m)
    assert table.columns == ["group", "term", "term2", "vcov", "sdcor"]
    assert table["term"].to_list() == ["(Intercept)", "Days", "(Intercept)", None]
    assert table["term2"].to_list() == [None, None, "Days", None]
    assert table["sdcor"][3] == m.sigma


def test_a_correlation_with_a_zero_sd_is_undefined():
    sd, correlation = sds_and_correlations(np.array([[4.0, 0.0], [0.0, 0.0]]))
    assert sd.tolist() == [2.0, 0.0] and np.isnan(correlation[0, 1])


def test_shares_of_variance():
    """A random slope gives a row the variance z'Sigma z; the mean over rows counts (Johnson 2014)."""
    bundle, m = fit(SLEEP, load_dataset("sleepstudy"))
    shares = variance_shares(bundle, m)
    S = covariances(bundle.re_metadata, m.theta, m.sigma)[0]
    days = np.arange(10)
    assert shares.random == pytest.approx(np.mean(S[0, 0] + 2 * days * S[0, 1] + days**2 * S[1, 1]))
    assert shares.fixed == pytest.approx(np.var(bundle.X @ m.coef, ddof=1))
    # performance::r2_nakagawa and icc for this model print .279, .799 and .722
    assert shares.r2_marginal == pytest.approx(0.279, abs=5e-4)
    assert shares.r2_conditional == pytest.approx(0.799, abs=5e-4)
    assert shares.icc == pytest.approx(0.722, abs=5e-4)


def test_a_factor_beside_an_intercept_as_lme4_has_it():
    """R: REMLcrit(lmer(score ~ Machine + (Machine || Worker), nlme::Machines)) is 208.3112185."""
    scores = [
        52.0, 52.8, 53.1, 51.8, 52.8, 53.1, 60.0, 60.2, 58.4, 51.1, 52.3, 50.3, 50.9, 51.8, 51.4, 46.4, 44.8, 49.2,
        62.1, 62.6, 64.0, 59.7, 60.0, 59.0, 68.6, 65.8, 69.7, 63.2, 62.8, 62.2, 64.8, 65.0, 65.4, 43.7, 44.2, 43.0,
        67.5, 67.2, 66.9, 61.5, 61.7, 62.3, 70.8, 70.6, 71.0, 64.1, 66.2, 64.0, 72.1, 72.0, 71.1, 62.0, 61.4, 60.5,
    ]  # fmt: skip
    frame = pl.DataFrame(
        {
            "score": scores, "Machine": np.repeat(["A", "B", "C"], 18),
            "Worker": np.tile(np.repeat(np.arange(1, 7), 3), 3).astype(str),
        }
    )  # fmt: skip
    for formula in ("score ~ Machine + (Machine || Worker)", "score ~ Machine + (Machine | Worker)"):
        _, m = fit(formula, frame)
        assert m.converged and m.criterion == pytest.approx(208.3112185, abs=1e-6)  # printed digits
