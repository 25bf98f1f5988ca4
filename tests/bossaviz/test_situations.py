"""Situations of fitted models: the numbers that are spoken are those of the table, in the unit that is spoken."""

# ruff: noqa: E501 - sentences are written out as they are said

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from bossaviz.labels import labels_for
from bossaviz.sentences import sentence
from bossaviz.situations import situation_from
from inference_core import model
from inference_core.datasets import load_dataset

CARS = load_dataset("mtcars")


def fitted(formula: str, data=CARS, how: str = "asymp", family: str = "gaussian", link=None, contrasts=None, **infer):
    return model(formula, data, family=family, link=link, contrasts=contrasts).fit().infer(how=how, **infer)


def situation(m, term: str, **more):
    return situation_from(m, m._state.inference, term, resamples=m._state.resamples, **more)


def says(m, term: str, **more) -> str:
    said = sentence(situation(m, term, **more), labels_for(m))
    return f"{said.row}: {said.main}"


def test_worked_examples_from_their_data():
    """The sentences of SENTENCES.md that speak of an lm or glm of shipped data, from formula to words."""
    both = fitted("mpg ~ wt + hp")
    assert says(both, "wt") == (
        "PA1: Fuel economy falls by 3.88 mpg for each extra 1,000 lb of weight (95% confidence interval 2.58 to 5.17). If "
        "the true slope were 0, fewer than 1 in 1,000 samples would give one at least this far from it (p < 0.001)."
    )
    assert says(both, "(Intercept)") == (
        "PA11: The intercept (37.2 mpg) is the model's value when weight and horsepower are both 0, which no row comes "
        "near. Read it as where the line starts, not as a finding."
    )
    chicks = fitted("weight ~ feed", load_dataset("chickwts"))
    assert says(chicks, "feed[sunflower]").startswith(
        "PA3: Chicks weigh 5 g more on sunflower than on casein (95% confidence interval 39 less to 50 more)."
    )
    tooth = fitted("len ~ supp", load_dataset("toothgrowth"))
    assert says(tooth, "supp[VC]") == (
        "PA4: Tooth length is 3.7 units lower with VC than with OJ (95% confidence interval 7.6 lower to 0.2 higher). One "
        "end lies almost on 0: read this as borderline, whichever side of 0.05 the p-value falls (p = 0.060)."
    )
    breaks = load_dataset("warpbreaks")
    assert says(fitted("breaks ~ wool * tension", breaks), "wool[B]:tension[M]") == (
        "PA12: Going from wool A to wool B changes breaks by −16.3 at low tension and by +4.8 at medium. Those changes "
        "differ by 21.1 (95% confidence interval 6.4 to 35.8; p = 0.006 for equal changes)."
    )
    counts = fitted("breaks ~ wool + tension", breaks, family="poisson")
    assert says(counts, "tension[H]") == (
        "PA18: The expected number of breaks at high tension is 0.60 times that at low tension (95% confidence interval "
        "0.53 to 0.67). At a true ratio of 1, fewer than 1 in 1,000 samples would lie this far from it (p < 0.001)."
    )
    robust = fitted("breaks ~ wool * tension", breaks, family="poisson", errors="HC3")
    assert says(robust, "wool[B]") == (
        "PA19: With wool B, expected breaks at low tension are 0.63 times those with wool A (95% confidence interval 0.44 "
        "to 0.92, HC3 errors, which allow unequal scatter). The standard error is 2.4 times the usual one; p = 0.016 for a "
        "true ratio of 1."
    )
    chinstraps = load_dataset("penguins").filter(pl.col("species") == "Chinstrap")
    assert says(fitted("body_mass_g ~ 1", chinstraps), "(Intercept)") == (
        "PA9: Chinstrap penguins weigh 3,733 g on average (95% confidence interval 3,640 to 3,826)."
    )
    scaled = fitted("mpg ~ scale(wt) + hp")
    assert says(scaled, "scale(wt)") == (
        "PA21: For each standard deviation of weight (0.978 thousand lb), fuel economy falls by 3.79 mpg (95% confidence "
        "interval 2.53 to 5.06)."
    )
    cake = load_dataset("cake")
    ordered = fitted("angle ~ temperature + recipe", cake, contrasts={"temperature": "poly"})
    assert says(ordered, "temperature.L").startswith(
        "PA14: Across the ordered levels of temperature, the breaking angle rises in the main (straight-line contrast 6."
    )


def test_worked_examples_of_one_sided_tests():
    assert says(fitted("mpg ~ wt + hp", alternative="less"), "hp") == (
        "PA5: Fuel economy falls by 0.0318 mpg for each extra horsepower, weight held fixed, and by at least 0.0164 "
        "(one-sided 95% limit). If the true slope were 0 or higher, at most 1 in 1,000 samples would give one this low (p < "
        "0.001)."
    )
    m = fitted("mpg ~ wt + hp", alternative="greater", null=-4.7)
    assert says(m, "wt") == (
        "PA6: Fuel economy falls by 3.88 mpg for each extra 1,000 lb of weight, and by at most 4.95 (one-sided 95% limit). "
        "If the true slope were −4.70 or lower, at most about 10 in 100 samples would give one this high (p = 0.10)."
    )
    assert says(fitted("mpg ~ wt + hp", alternative="less", null=-4.7), "wt").startswith("PA7: Fuel economy falls by 3.88")


def test_numbers_are_those_of_the_table_times_the_spoken_step():
    m = fitted("mpg ~ log(wt) + hp")
    row = m.params.row(1, named=True)
    s = situation(m, "log(wt)")
    two = math.log(2)
    spoken = (s.estimate, s.lower, s.upper, s.se, s.p)
    table = (row["estimate"] * two, row["ci_lower"] * two, row["ci_upper"] * two, row["se"] * two, row["p_value"])
    np.testing.assert_allclose(spoken, table, rtol=1e-12)  # the same doubles but for one product
    base = fitted("mpg ~ log2(wt) + hp")
    np.testing.assert_allclose(situation(base, "log2(wt)").estimate, s.estimate, rtol=1e-9)  # two fits of one model
    stated = fitted("mpg ~ log(wt, base = 10) + hp")
    np.testing.assert_allclose(situation(stated, stated.bundle.X_names[1]).estimate, s.estimate, rtol=1e-9)


@pytest.mark.parametrize("coding", ["treatment", "sum", "helmert", "sequential"])
def test_codings_speak_differences_of_group_means(coding):
    """Whatever the coding, the spoken number is the difference of averages that the words name."""
    breaks = load_dataset("warpbreaks")
    means = {k[0]: float(v["breaks"].mean()) for k, v in breaks.group_by("tension")}
    low, medium, high = means["L"], means["M"], means["H"]
    average = (low + medium + high) / 3
    expected = {
        "treatment": (medium - low, high - low),
        "sum": (low - average, medium - average),
        "helmert": (medium - low, high - (low + medium) / 2),
        "sequential": (medium - low, high - medium),
    }[coding]
    m = fitted("breaks ~ tension", breaks, contrasts={"tension": coding})
    spoken = [situation(m, name).estimate for name in m.bundle.X_names[1:]]
    np.testing.assert_allclose(spoken, expected, rtol=1e-10)  # a small well-conditioned fit


def test_two_effects_of_an_interaction_are_those_of_separate_fits():
    m = fitted("mpg ~ wt * factor(am)")
    s = situation(m, "wt:factor(am)[1]")
    alone = [fitted("mpg ~ wt", CARS.filter(pl.col("am") == am)).fit_state.coef[1] for am in (0, 1)]
    np.testing.assert_allclose(s.at, alone, rtol=1e-9)  # the same least squares, written in two ways
    np.testing.assert_allclose(s.estimate, alone[1] - alone[0], rtol=1e-9)


def test_product_of_numbers_is_read_at_the_quartiles():
    m = fitted("mpg ~ wt * hp")
    s = situation(m, "wt:hp")
    coef = dict(zip(m.bundle.X_names, m.fit_state.coef, strict=True))
    assert s.settings == (96, 180)  # quartiles 96.5 and 180, to two digits of their distance
    np.testing.assert_allclose(s.at, [coef["wt"] + coef["wt:hp"] * x for x in s.settings], rtol=1e-12)
    np.testing.assert_allclose(s.estimate, s.at[1] - s.at[0], rtol=1e-9)
    centred = fitted("mpg ~ center(wt) * center(hp)")
    np.testing.assert_allclose(situation(centred, centred.bundle.X_names[3]).at, s.at, rtol=1e-9)


def test_kinds_are_read_from_the_design():
    m = fitted("mpg ~ poly(wt, 2) + bs(qsec) + factor(cyl) + hp + I(hp^2)")
    kinds = {name: situation(m, name).kind for name in m.bundle.X_names}
    assert kinds["poly(wt, 2)[2]"] == kinds["I(hp^2)"] == kinds["hp"] == "curve"
    assert kinds["factor(cyl)[6]"] == "level"
    assert {kind for name, kind in kinds.items() if name.startswith("bs(")} == {"smooth"}
    assert kinds["(Intercept)"] == "coefficient"


def test_intercepts_go_through_the_link():
    m = fitted("am ~ scale(wt)", family="binomial")
    s = situation(m, "(Intercept)")
    coef = float(m.fit_state.coef[0])
    assert s.scale == "probability" and s.se is None
    np.testing.assert_allclose(s.estimate, 1 / (1 + math.exp(-coef)), rtol=1e-12)
    assert s.lower < s.estimate < s.upper
    inverse = fitted("mpg ~ scale(wt)", family="gamma", link="inverse")
    s = situation(inverse, "(Intercept)")
    assert s.lower < s.estimate < s.upper  # a decreasing link swaps the ends
    np.testing.assert_allclose(s.estimate, 1 / float(inverse.fit_state.coef[0]), rtol=1e-12)


def test_dropped_columns_and_unknown_terms():
    m = fitted("mpg ~ wt + I(2 * wt)")
    assert says(m, "I(2 * wt)").startswith('PA22: "I(2 * wt)" repeats what the other columns already say')
    with pytest.raises(KeyError, match=r"'hp' is not a parameter.*\(Intercept\), wt"):
        situation(m, "hp")


def test_rows_left_out_are_told():
    penguins = load_dataset("penguins_na")
    m = fitted("body_mass_g ~ 1", penguins)
    said = sentence(situation(m, "(Intercept)"), labels_for(m))
    assert said.state == "ST7"
    assert "2 of 344 rows lack a value in a used column" in said.main


# ---- draws ----------------------------------------------------------------------------------------------------------


def boot(**infer):
    return fitted("mpg ~ wt + hp", how="boot", n_boot=499, seed=3, **infer)


def test_draws_before_one_and_after():
    m = model("mpg ~ wt", CARS).fit()
    labels = labels_for(m)
    none = situation_from(m, None, "wt", how="boot")
    assert sentence(none, labels).main == (
        "Fuel economy falls by 5.34 mpg for each extra 1,000 lb of weight. No resample has been drawn yet: press +1 and "
        "watch one dot appear."
    ).replace("5.34", f"{abs(none.estimate):.2f}")
    stream = m.draw_stream(how="boot", seed=5)
    one = stream.collect(1)
    said = sentence(situation_from(m, None, "wt", how="boot", resamples=one), labels)
    assert said.row == "PB11"
    value = float(one.samples[0, 1])
    assert f"its slope is −{abs(value):.2f} mpg per 1,000 lb" in said.main
    many = stream.collect(300)
    dot = situation_from(m, None, "wt", how="boot", resamples=many, dot=1)
    assert sentence(dot, labels).row == "PB12"
    assert dot.distinct == np.unique(stream.indices_of(0)).size
    assert dot.value == value


def test_counts_of_draws_agree_with_the_draws():
    m = boot(ci_type="percentile", null=-0.03)
    s = situation(m, "hp", test_asked=True)
    draws = m.resamples.samples[:, 2] if hasattr(m.resamples, "samples") else m._state.resamples.samples[:, 2]
    assert s.draws == 499
    beyond = draws >= -0.03 if s.estimate < -0.03 else draws <= -0.03
    assert s.crossings == int(np.count_nonzero(beyond))
    np.testing.assert_allclose(s.boot_mean, draws.mean(), rtol=1e-12)
    assert s.crossings > 0 and s.p is not None


def test_interval_types_are_sorted_by_the_null():
    m = boot(ci_type="bca")
    j = m.bundle.X_names.index("wt")
    low, high = np.full(3, -1.0), np.full(3, 1.0)
    types = {"percentile": (low, high), "bca": m._state.inference, "basic": (low, np.full(3, -0.5))}
    s = situation(m, "wt", all_intervals=types)
    assert m._state.inference.ci_upper[j] < 0
    assert (s.stops, s.crosses) == (("bca", "basic"), ("percentile",))
    assert sentence(s, labels_for(m)).row == "PB6"


def test_failed_draws_are_counted_with_their_reason():
    data = {"y": [0, 0, 0, 1, 0, 1, 1, 1, 1, 0], "x": [1.0, 2, 3, 3.5, 4, 4.5, 5, 6, 7, 4.2]}
    m = fitted("y ~ x", data, how="asymp", family="binomial")
    resamples = m.draw_stream(how="boot", seed=1).collect(200)
    s = situation_from(m, None, "x", how="boot", resamples=resamples)
    assert s.failures == resamples.n_failed > 20
    said = sentence(s, labels_for(m))
    assert said.row == "ST4"
    assert said.main.startswith(f"{s.failures} of 200 refits")
    assert "(separation)" in said.main


@pytest.mark.filterwarnings("ignore:.*separation:inference_core.errors.InferenceCoreWarning")
def test_separated_columns_are_told_from_the_others():
    data = {"y": [0, 0, 0, 1, 1, 1, 0, 1], "x": [1.0, 2, 3, 4, 5, 6, 2.5, 4.5], "z": [1.0, 3, 2, 2, 1, 3, 1, 2]}
    m = model("y ~ x", data, family="binomial").fit().infer()
    said = sentence(situation(m, "x"), labels_for(m))
    assert said.row == "PA23"
    assert said.main.startswith('"x" sorts "y" = 1 perfectly, so the best slope is infinite')
    quasi = {"y": [0, 0, 0, 1, 0, 1, 0, 1], "g": ["a", "a", "a", "b", "b", "b", "b", "b"], "z": [1.0, 3, 2, 1, 2, 3, 1, 2]}
    m = model("y ~ g + z", quasi, family="binomial").fit().infer()
    said = sentence(situation(m, "g[b]"), labels_for(m))
    assert said.main.startswith('"g" sorts "y" = 1 perfectly for 3 of 8 rows, so the best slope is infinite')
    assert sentence(situation(m, "z"), labels_for(m)).row != "PA23"


def test_spread_of_an_intercept_is_that_of_what_is_spoken():
    m = fitted("am ~ scale(wt)", how="boot", family="binomial", n_boot=199, seed=2, ci_type="percentile")
    s = situation(m, "(Intercept)")
    draws = m._state.resamples.samples[:, 0]
    spoken = 1 / (1 + np.exp(-draws[np.isfinite(draws)]))
    np.testing.assert_allclose((s.se, s.boot_mean), (spoken.std(ddof=1), spoken.mean()), rtol=1e-12)
