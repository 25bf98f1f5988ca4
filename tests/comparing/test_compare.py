"""Comparisons of models: against R's anova, closed forms, and the refusals."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from inference_core import compare, load_dataset, model
from inference_core.comparing.steps import mixture_tail
from inference_core.errors import InferenceError

ROUNDING = 1e-9  # relative


def cars(formula, **options):
    return model(formula, load_dataset("mtcars"), **options).fit()


def sleep(formula, **options):
    return model(formula, load_dataset("sleepstudy"), **options).fit()


def test_three_models_share_the_largest_scale():
    """As R's anova(m1, m2, m3): the residual variance of the last in every F."""
    models = [cars("mpg ~ wt"), cars("mpg ~ wt + hp"), cars("mpg ~ wt * hp")]
    table = compare(*models[::-1])
    assert table["model"].to_list() == [m.formula for m in models]
    rss = np.array([m.fit_state.deviance for m in models])
    f = (rss[:-1] - rss[1:]) / (rss[2] / 28)
    np.testing.assert_allclose(table["statistic"][1:], f, rtol=ROUNDING)
    np.testing.assert_allclose(table["p_value"][1:], stats.f.sf(f, 1, 28), rtol=1e-9)  # two libraries' tails


def test_one_column_more_is_its_t_test():
    small, large = cars("mpg ~ wt"), cars("mpg ~ wt + hp")
    t = large.infer().params["statistic"][2]
    np.testing.assert_allclose(compare(small, large)["statistic"][1], t**2, rtol=ROUNDING)
    np.testing.assert_allclose(compare(small, large, test="wald")["statistic"][1], t**2, rtol=ROUNDING)
    robust = large.infer(errors="HC3").params["statistic"][2]
    by_hc3 = compare(small, large, test="wald", errors="HC3")["statistic"][1]
    np.testing.assert_allclose(by_hc3, robust**2, rtol=ROUNDING)


def test_other_columns_of_one_space_are_nested():
    """poly(wt, 2) holds wt, though no column of it is wt."""
    table = compare(cars("mpg ~ wt"), cars("mpg ~ poly(wt, 2)"))
    same = compare(cars("mpg ~ wt"), cars("mpg ~ wt + I(wt^2)"))
    np.testing.assert_allclose(table["p_value"][1], same["p_value"][1], rtol=1e-8)  # raw powers cost some digits


def test_models_that_are_not_nested_have_criteria_alone():
    table = compare(cars("mpg ~ wt"), cars("mpg ~ hp + qsec"))
    assert table["p_value"].null_count() == 2
    assert table["aic"].null_count() == 0


def test_likelihood_ratio_of_glm_is_the_fall_of_deviance():
    data = load_dataset("infert")
    small = model("case ~ spontaneous", data, family="binomial").fit()
    large = model("case ~ spontaneous + age + education", data, family="binomial").fit()
    table = compare(small, large)
    fall = small.fit_state.deviance - large.fit_state.deviance
    np.testing.assert_allclose(table["statistic"][1], fall, rtol=1e-9)  # deviance and log-likelihood, two sums
    assert table["df"][1] == 3


def test_score_test_of_a_table_is_pearsons_chi_square():
    """Rao's test of a group effect on a proportion is Pearson's chi-square of the 2 x 2 table."""
    data = pl.DataFrame({"y": [1] * 30 + [0] * 20 + [1] * 12 + [0] * 38, "g": ["a"] * 50 + ["b"] * 50})
    small, large = (model(f, data, family="binomial").fit() for f in ("y ~ 1", "y ~ g"))
    found = compare(small, large, test="score")["statistic"][1]
    expected = stats.chi2_contingency([[30, 20], [12, 38]], correction=False).statistic
    np.testing.assert_allclose(found, expected, rtol=1e-8)  # the fit of y ~ 1 stops there


# R: anova(lmer(Reaction ~ Days + (1|Subject)), lmer(Reaction ~ Days + (Days|Subject))): refitted by ML, 42.1393 on 2
def test_reml_fits_are_refitted_by_ml():
    small, large = sleep("Reaction ~ Days + (1 | Subject)"), sleep("Reaction ~ Days + (Days | Subject)")
    table = compare(small, large)
    np.testing.assert_allclose(table["statistic"][1], 42.1393, atol=5e-5)  # the printed digits
    by_ml = compare(*(sleep(m.formula, method="ml") for m in (small, large)))
    np.testing.assert_allclose(table["statistic"][1], by_ml["statistic"][1], rtol=1e-8)  # two searches of one optimum
    assert small.spec.method == "reml"  # the models themselves stay as they were


# Dyestuff's likelihood ratio 5.402826 of a random intercept: plain p .0201042, mixture .0100521 (Bates 2010)
def test_mixture_halves_the_p_value_of_one_variance():
    np.testing.assert_allclose(mixture_tail(5.402826, 0), 0.0100521, rtol=5e-6)  # the printed digits
    small, large = sleep("Reaction ~ Days"), sleep("Reaction ~ Days + (1 | Subject)")
    row = compare(small, large).row(1, named=True)
    np.testing.assert_allclose(row["p_mixture"], row["p_value"] / 2, rtol=ROUNDING)


def test_mixture_of_a_slope_and_its_covariance():
    small = sleep("Reaction ~ Days + (1 | Subject)")
    row = compare(small, sleep("Reaction ~ Days + (Days | Subject)")).row(1, named=True)
    expected = 0.5 * (stats.chi2.sf(row["statistic"], 1) + stats.chi2.sf(row["statistic"], 2))
    np.testing.assert_allclose(row["p_mixture"], expected, rtol=ROUNDING)
    alone = compare(small, sleep("Reaction ~ Days + (Days || Subject)")).row(1, named=True)
    np.testing.assert_allclose(alone["p_mixture"], alone["p_value"] / 2, rtol=ROUNDING)


def test_fixed_parts_have_no_mixture():
    table = compare(sleep("Reaction ~ 1 + (Days | Subject)"), sleep("Reaction ~ Days + (Days | Subject)"))
    row = table.row(1, named=True)
    assert row["p_mixture"] is None and row["df"] == 1


def test_a_bootstrap_ratio_agrees_with_f_where_f_is_exact():
    """Under normal errors the ratio is a function of F, so its bootstrap p-value estimates the F test's."""
    small, large = cars("mpg ~ wt"), cars("mpg ~ wt + qsec + gear")
    exact = compare(small, large)["p_value"][1]
    found = compare(small, large, test="boot", n_boot=499, seed=1)["p_value"][1]
    assert abs(found - exact) < 4 * np.sqrt(exact * (1 - exact) / 499) + 1 / 500  # 4 Monte-Carlo errors and the step
    again = compare(small, large, test="boot", n_boot=499, seed=1)["p_value"][1]
    assert found == again


def test_a_bootstrap_ratio_of_a_variance_lies_near_the_mixture():
    """When the variance is 0 the ratio is 0 in most draws (of ML with 16 groups some 62 %): chi-square is too large."""
    rng = np.random.default_rng(8)
    data = {"y": rng.normal(size=80), "g": np.repeat(np.arange(16), 5).astype(str)}
    small, large = model("y ~ 1", data).fit(), model("y ~ 1 + (1 | g)", data, method="ml").fit()
    row = compare(small, large).row(1, named=True)
    found = compare(small, large, test="boot", n_boot=199, seed=2)["p_value"][1]
    assert row["statistic"] > 0
    expected = 0.38 * row["p_value"]  # .38 to some hundredths, whose share of p is below one Monte-Carlo error
    assert abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 199)
    assert found < 0.6 * row["p_value"]


def test_a_bootstrap_ratio_can_be_stopped():
    class Stop:
        def is_set(self):
            return True

    seen = []
    table = compare(cars("mpg ~ wt"), cars("mpg ~ wt + hp"), test="boot", n_boot=500, seed=1, cancel=Stop(),
                    progress=lambda done, total: seen.append((done, total)))  # fmt: skip
    assert seen and seen[-1][0] < 500
    assert table["p_value"][1] <= 1


def test_held_out_error_of_the_same_folds():
    """By hand: the same folds, each model fitted to the rest, squared errors by fold."""
    small, large = cars("mpg ~ wt"), cars("mpg ~ wt + hp")
    table = compare(large, small, test="cv", k=5, seed=3)
    folds = small.infer(how="cv", k=5, seed=3).cv_predictions.sort("row")["fold"].to_numpy()
    data = small.data
    saved = []
    for fold in range(5):
        train, test = data.filter(pl.Series(folds != fold)), data.filter(pl.Series(folds == fold))
        errors = []
        for formula in ("mpg ~ wt", "mpg ~ wt + hp"):
            names = formula.split("~ ")[1].split(" + ")
            X = np.column_stack([np.ones(len(train)), *(train[n].to_numpy() for n in names)])
            b = np.linalg.lstsq(X, train["mpg"].to_numpy(), rcond=None)[0]
            Z = np.column_stack([np.ones(len(test)), *(test[n].to_numpy() for n in names)])
            errors.append(np.mean((test["mpg"].to_numpy() - Z @ b) ** 2))
        saved.append(errors[0] - errors[1])
    np.testing.assert_allclose(table["cv_difference"][1], np.mean(saved), rtol=1e-8)  # updates against refits
    se = np.std(saved, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    np.testing.assert_allclose(table["cv_se"][1], se, rtol=1e-8)  # as above


def test_models_that_are_not_nested_compare_by_held_out_error():
    table = compare(cars("mpg ~ wt"), cars("mpg ~ hp + qsec"), test="cv", k=8, seed=1)
    assert table["p_value"][1] is not None


@pytest.mark.parametrize(
    ("models", "options", "words"),
    [
        (lambda: [cars("mpg ~ wt")], {}, "two or more"),
        (lambda: [cars("mpg ~ wt"), 5], {}, "argument 2 is a int"),
        (lambda: [cars("mpg ~ wt"), model("mpg ~ hp", load_dataset("mtcars"))], {}, "has not been fitted"),
        (lambda: [cars("mpg ~ wt"), cars("log(mpg) ~ wt + hp")], {}, "responses differ"),
        (lambda: [cars("mpg ~ wt"), cars("mpg ~ wt + hp", family="gamma")], {}, "gaussian \\(identity\\) beside gamma"),
        (lambda: [cars("mpg ~ wt"), cars("mpg ~ wt + hp")], {"test": "f"}, "did you mean 'F'"),
        (lambda: [cars("mpg ~ wt"), cars("mpg ~ wt + hp")], {"test": "score"}, "generalized linear"),
        (lambda: [cars("mpg ~ wt"), cars("mpg ~ wt + hp")], {"errors": "HC3"}, "test='wald', errors='HC3'"),
        (lambda: [cars("mpg ~ wt"), cars("mpg ~ wt + hp")], {"reml": True}, "leave reml out"),
        (
            lambda: [sleep("Reaction ~ 1 + (1 | Subject)"), sleep("Reaction ~ Days + (1 | Subject)")],
            {"reml": True}, "fixed parts differ",
        ),
        (
            lambda: [sleep("Reaction ~ Days + (1 | Subject)"), sleep("Reaction ~ Days + (Days | Subject)")],
            {"test": "wald"}, "random effects differ",
        ),
        (lambda: [sleep("Reaction ~ Days"), sleep("Reaction ~ Days + (1 | Subject)")], {"test": "F"}, "test='lrt'"),
        (lambda: [sleep("Reaction ~ Days"), sleep("Reaction ~ Days + (1 | Subject)")], {"test": "cv"}, "new groups"),
    ],
)  # fmt: skip
def test_refusals(models, options, words):
    with pytest.raises(InferenceError, match=words):
        compare(*models(), **options)


def test_other_rows_are_refused():
    strong = pl.col("hp") > 300
    data = load_dataset("mtcars").with_columns(hp=pl.when(strong).then(None).otherwise(pl.col("hp")))
    with pytest.raises(InferenceError, match="32 rows beside 31"):
        compare(model("mpg ~ wt", data).fit(), model("mpg ~ wt + hp", data).fit())
