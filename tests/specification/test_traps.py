"""Where another implementation of this specification went wrong against R: one test for each, through the public API.

The numbers in comments are R's (lme4, emmeans, sandwich, boot). Each subject has its own, deeper tests elsewhere; these
stand together so that none is lost.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import DataError, InferenceCoreError, InferenceError


def cars(formula="mpg ~ wt + hp", **options):
    return model(formula, load_dataset("mtcars"), **options).fit()


def sleep(formula="Reaction ~ Days + (Days | Subject)"):
    return model(formula, load_dataset("sleepstudy")).fit()


def herds(**options):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    return model(formula, load_dataset("cbpp"), family="binomial").fit(**options)


# ---- defaults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["fit", "explore"])
def test_01_the_default_interval_exists_for_every_model(last):
    """bca was the default everywhere and raised for mixed models after every refit had been done."""
    m = sleep()
    if last == "explore":
        m.explore("Days")
    m.infer(how="boot", n_boot=199, seed=1)
    found = m.effects if last == "explore" else m.params
    assert found["ci_lower"].null_count() == 0


def test_01_an_impossible_interval_is_refused_before_the_first_draw():
    calls = []
    with pytest.raises(InferenceError):
        cars().explore("wt").infer(how="boot", ci_type="studentized", progress=lambda *_: calls.append(1))
    assert not calls


@pytest.mark.parametrize(
    "options",
    [
        {"how": "asymp", "by": "cyl"}, {"how": "asymp", "n_jobs": 2}, {"how": "asymp", "seed": 1},
        {"how": "boot", "errors": "HC3"}, {"conf_level": 1.5}, {"conf_level": 95}, {"how": "cv", "null": 1.0},
        {"how": "profile", "errors": "HC3"}, {"typo": 3},
    ],
)  # fmt: skip
def test_02_nothing_that_is_typed_is_ignored(options):
    with pytest.raises(InferenceCoreError):
        cars().infer(**options)


def test_03_factor_exists_and_links_and_ranges_are_honoured():
    assert "factor(cyl)[6]" in cars("mpg ~ factor(cyl)").params["term"].to_list()
    with_log = cars("mpg ~ wt", link="log")
    # R: glm(mpg ~ wt, gaussian("log"), mtcars): 3.8962, -0.2704 (to four digits)
    eta = with_log.fit_state.coef[0] + with_log.fit_state.coef[1] * load_dataset("mtcars")["wt"].to_numpy()
    np.testing.assert_allclose(np.exp(eta), with_log.fit_state.fitted, rtol=1e-12)  # the link is the log
    with pytest.raises(DataError):
        model("y ~ x", {"y": [1.0, -2.0, 3.0, 4.0], "x": [1, 2, 3, 4]}, family="gamma").fit()


# ---- weights, offsets, ranks -------------------------------------------------------------------------------------


def test_04_weights_and_offsets_survive_every_resampling():
    """A weighted bootstrap was the unweighted one; offsets were dropped from fits and draws."""
    data = load_dataset("mtcars").with_columns(w=pl.Series(np.linspace(0.2, 5, 32)), z=pl.col("qsec") * 2)
    for m in (
        model("mpg ~ wt", data, weights="w").fit(),
        model("mpg ~ wt", data, offset="z").fit(),
        model("carb ~ wt", data, family="poisson", weights="w").fit(),
        model("carb ~ wt + offset(log(gear))", data, family="poisson").fit(),
    ):
        m.infer(how="boot", n_boot=999, seed=3)
        draws = m.resamples["wt"].drop_nulls().to_numpy()
        error = (5 / np.sqrt(len(draws)) + 0.25) * draws.std()  # 5 Monte-Carlo errors, and the draws' own bias
        assert abs(draws.mean() - m.fit_state.coef[1]) < error


def test_04_a_rank_deficient_model_keeps_its_other_columns():
    data = load_dataset("mtcars").with_columns(twice=pl.col("wt") * 2)
    m = model("mpg ~ wt + twice + hp", data).fit().infer(how="boot", n_boot=299, seed=1)
    assert m.params["se"].is_null().to_list() == [False, False, True, False]


def test_05_the_later_of_two_collinear_columns_goes():
    data = load_dataset("mtcars").with_columns(twice=pl.col("wt") * 2)
    assert np.isnan(model("mpg ~ wt + twice", data).fit().fit_state.coef).tolist() == [False, False, True]
    assert np.isnan(model("mpg ~ twice + wt", data).fit().fit_state.coef).tolist() == [False, False, True]


# ---- robust errors -----------------------------------------------------------------------------------------------


def test_06_robust_errors_use_working_residuals_and_the_gls_bread():
    # R: clubSandwich, sleepstudy, CR0: 6.63, 1.50
    found = sleep().infer(errors="CR0").params["se"]
    np.testing.assert_allclose(found, [6.63, 1.50], atol=5e-3)  # the printed digits
    m = model("case ~ spontaneous", load_dataset("infert"), family="binomial").fit()
    X, mu = m.bundle.X, m.fit_state.fitted
    bread = np.linalg.inv(X.T @ (X * (mu * (1 - mu))[:, None]))
    meat = X.T @ (X * ((m.bundle.y - mu) ** 2)[:, None])
    by_hand = np.sqrt(np.diag(bread @ meat @ bread))
    np.testing.assert_allclose(m.infer(errors="HC0").params["se"], by_hand, rtol=1e-8)  # sandwich::vcovHC by hand


def test_07_welchs_joint_test_has_welchs_denominator():
    # R: oneway.test(weight ~ feed, chickwts): df 5, 29.95204
    m = model("weight ~ feed", load_dataset("chickwts")).fit().infer(how="joint", errors="unequal_var")
    np.testing.assert_allclose(m.effects["df2"][0], 29.95204, atol=5e-6)  # the printed digits


# ---- bootstrap ---------------------------------------------------------------------------------------------------


def test_08_effects_on_the_response_scale_are_recomputed_from_each_draw():
    """A Jacobian was applied as if it were linear: limits [.178, .178] around .706."""
    m = model("case ~ spontaneous + age", load_dataset("infert"), family="binomial").fit()
    row = m.explore("spontaneous@2").infer(how="boot", n_boot=499, seed=1).effects.row(0, named=True)
    assert row["ci_lower"] < row["estimate"] < row["ci_upper"]
    draws = m.resamples.to_series(2).drop_nulls()
    assert draws.min() > 0 and draws.max() < 1 and draws.n_unique() > 400


def test_10_effects_of_mixed_models_do_not_resample_rows():
    """SE of Days: .78 where rows were drawn; 1.55 is right (lme4: 1.546)."""
    m = sleep().explore("Days").infer(how="boot", n_boot=999, seed=2)
    np.testing.assert_allclose(m.effects["se"][0], 1.546, rtol=0.12)  # 5 Monte-Carlo errors of an SE from 999 draws


def test_11_a_negative_covariance_is_no_failure():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(20), 8)
    x = np.tile(np.arange(8.0), 20)
    u = rng.multivariate_normal([0, 0], [[4, -1.6], [-1.6, 1]], 20)
    data = {"y": u[g, 0] + u[g, 1] * x + rng.normal(size=160), "x": x, "g": g.astype(str)}
    m = model("y ~ x + (x | g)", data).fit()
    assert m.varying_corr["correlation"][0] < -0.3
    m.infer(how="boot", n_boot=199, seed=1)
    assert m.inference.n_failed == 0


def test_12_bca_reaches_any_level_and_counts_ties():
    m = cars("mpg ~ wt")
    wide, wider = (m.infer(how="boot", n_boot=19_999, conf_level=c, seed=1).params for c in (0.99, 0.999))
    assert wider["ci_upper"][1] > wide["ci_upper"][1] and wider["ci_lower"][1] < wide["ci_lower"][1]


def test_13_trials_count_and_gamma_mixed_models_can_be_simulated():
    stream = herds().draw_stream(seed=1)
    sizes = load_dataset("cbpp")["size"].to_numpy()
    counts = stream.response_of(0) * (sizes if stream.response_of(0).max() <= 1 else 1)
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)  # proportions of whole trials, once multiplied
    rng = np.random.default_rng(1)
    data = {"y": rng.gamma(4, 1, 120), "g": np.repeat(np.arange(12), 10).astype(str)}
    m = model("y ~ 1 + (1 | g)", data, family="gamma", link="log").fit()
    assert np.all(m.draw_stream(seed=1).response_of(3) > 0)


# ---- permutation -------------------------------------------------------------------------------------------------


def test_14_permutation_is_studentised_and_honours_the_null():
    """p was .090 where every valid test has .001 or less; at a null beside the estimate it was 1."""
    m = cars("mpg ~ wt + hp").infer(how="perm", n_perm=999, seed=1)
    assert m.params["p_value"][1] == 1 / 1000
    near = m.infer(how="perm", n_perm=1999, null={"wt": -4.0}, seed=1).params.row(1, named=True)
    wald = m.infer(null={"wt": -4.0}).params["p_value"][1]
    assert abs(near["p_value"] - wald) < 0.06  # t and permutation references of n = 32 differ by a few hundredths
    dropped = model("mpg ~ wt + twice", load_dataset("mtcars").with_columns(twice=pl.col("wt") * 2)).fit()
    assert dropped.infer(how="perm", n_perm=199, seed=1).params["p_value"][2] is None


# ---- profile -----------------------------------------------------------------------------------------------------


def test_15_profiles_use_the_models_own_deviance():
    # R: confint(glmer(...)): SD of herds .3445 to 1.0868 (profile of the Laplace deviance); lme4 of sleepstudy: 3.801
    herd = herds().infer(how="profile").varying_spread.row(0, named=True)
    assert 0.3 < herd["sd_ci_lower"] < 0.4 and 1.0 < herd["sd_ci_upper"] < 1.15
    m = sleep().infer(how="profile")
    slope = m.varying_spread.filter(pl.col("term") == "Days").row(0, named=True)
    np.testing.assert_allclose(slope["sd_ci_lower"], 3.801, atol=5e-4)  # the printed digits
    correlation = m.varying_corr.row(0, named=True)
    assert -1 < correlation["ci_lower"] < correlation["correlation"] < correlation["ci_upper"] < 1
    wide = m.infer(how="profile", threshold=9.0).varying_spread
    assert wide["sd_ci_upper"][0] > m.infer(how="profile").varying_spread["sd_ci_upper"][0]


def test_15_no_profile_runs_by_itself_after_a_bootstrap():
    m = sleep().infer(how="boot", n_boot=199, seed=1)
    assert m.state.profile is None


# ---- cross-validation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [10, "loo"])
def test_16_terms_are_worth_something_whatever_their_coding(k):
    m = cars("mpg ~ poly(wt, 2) + factor(cyl)").infer(how="cv", k=k, seed=1)
    worth = dict(m.cv_terms.select("term", "pre").iter_rows())
    assert worth["poly(wt, 2)"] > 0.02
    plain = cars("mpg ~ poly(wt, 2) + C(cyl, helmert)").infer(how="cv", k=k, seed=1)
    other = dict(plain.cv_terms.select("term", "pre").iter_rows())
    np.testing.assert_allclose(other["poly(wt, 2)"], worth["poly(wt, 2)"], rtol=1e-8)  # the coding of cyl is no matter


def test_17_folds_honour_link_missing_rows_and_sizes():
    data = load_dataset("sleepstudy").with_columns(
        Reaction=pl.when(pl.int_range(180) % 17 == 0).then(None).otherwise(pl.col("Reaction"))
    )
    m = model("Reaction ~ Days + (1 | Subject)", data).fit().infer(how="cv", holdout_group="Subject", k=6, seed=1)
    sizes = m.cv_folds["n"]
    assert sizes.sum() == m.bundle.n and sizes.max() - sizes.min() <= 10
    probit = model("case ~ spontaneous", load_dataset("infert"), family="binomial", link="probit").fit()
    predictions = probit.infer(how="cv", k=5, seed=1).cv_predictions["prediction"]
    assert predictions.min() > 0 and predictions.max() < 1
    assert m.cv_terms["pre_ratio"].max() <= 1


# ---- joint tests, tables, state ----------------------------------------------------------------------------------


def test_19_joint_tests_have_mixed_denominators_average_covariates_and_keep_a_basis_whole():
    assert sleep().infer(how="joint").effects["df2"][0] < 18  # n - p would be 178
    data = load_dataset("mtcars").with_columns(cylf=pl.col("cyl").cast(pl.Int64).cast(pl.String))
    table = model("log(mpg) ~ wt * cylf + hp", data).fit().infer(how="joint").effects
    np.testing.assert_allclose(table["statistic"][0], 12.525, atol=5e-4)  # emmeans::joint_tests, its printed digits
    assert cars("mpg ~ poly(wt, 2)").infer(how="joint").effects.height == 1


def test_20_adjusted_limits_stand_beside_adjusted_p_values():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks")).fit()
    # emmeans, Tukey: L - M 1.180353 to 18.819647, p .0228554
    row = m.explore("pairwise(tension)", p_adjust="tukey").infer().effects.row(0, named=True)
    found = [row["ci_lower"], row["ci_upper"], row["p_value"]]
    np.testing.assert_allclose(found, [1.180353, 18.819647, 0.0228554], atol=5e-7)  # the printed digits
    logit = model("case ~ education", load_dataset("infert"), family="binomial").fit().explore("education")
    found = logit.infer(null=0.5).effects["statistic"]
    at_link = logit.explore("education", effect_scale="link").infer(null=0.0).effects["statistic"]
    np.testing.assert_allclose(found, at_link, rtol=1e-10)  # logit(.5) is 0: the null goes through the link in use


def test_21_tables_hold_every_digit_and_one_icc():
    se = cars().infer().params["se"][0]
    assert se != round(se, 4)
    m = sleep()
    table = m.diagnostics.row(0, named=True)
    assert table["aic"] == -2 * m.fit_state.loglik + 2 * m.fit_state.n_params
    assert [name for name in table if "icc" in name.lower()] == ["icc"]


def test_22_a_new_fit_drops_every_earlier_result():
    m = cars().infer(how="boot", n_boot=199, seed=1).infer(how="cv", k=5, seed=1).explore("wt").infer()
    m.fit()
    state = m.state
    assert not any((state.inference, state.resamples, state.cv, state.mee, state.pred, state.simulations is not None))


# ---- scale and feel ----------------------------------------------------------------------------------------------


def test_23_nothing_is_n_by_n():
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=20_000), "x": rng.normal(size=20_000)}
    tracemalloc.start()
    model("y ~ x", data).fit().infer(errors="HC3").infer(how="boot", n_boot=199, ci_type="percentile", seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400e6  # 20,000 squared doubles would be 3.2 GB


def test_24_long_runs_tell_and_can_be_stopped_and_nothing_is_noisy():
    class After:
        count = 0

        def is_set(self):
            self.count += 1
            return self.count > 2

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = []
        m = cars().infer(how="boot", n_boot=20_000, seed=1, progress=lambda done, total: seen.append(done))
        assert seen[-1] == 20_000
        assert m.monte_carlo["ci_lower_mcse"].null_count() == 0
        m.infer(how="boot", n_boot=400_000, seed=1, cancel=After())
    assert m.inference.cancelled and 0 < m.resamples.height < 400_000
    assert "verbose" in inspect.signature(m.infer).parameters


def test_24_a_first_call_is_quick_because_nothing_compiles():
    code = "import inference_core, sys; assert 'jax' not in sys.modules and 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
