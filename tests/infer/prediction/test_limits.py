"""Confidence and prediction limits by t, z and simulation against closed forms, brute force and R."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.prediction_noise import DRAWS

# R's datasets::cars: Ezekiel (1930), 50 cars.
SPEED = [4, 4, 7, 7, 8, 9, 10, 10, 10, 11, 11, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14, 15, 15, 15, 16, 16, 17,
         17, 17, 18, 18, 18, 18, 19, 19, 19, 20, 20, 20, 20, 20, 22, 23, 24, 24, 24, 24, 25]  # fmt: skip
DIST = [2, 10, 4, 22, 16, 10, 18, 26, 34, 17, 28, 14, 20, 24, 28, 26, 34, 34, 46, 26, 36, 60, 80, 20, 26, 54, 32, 40,
        32, 40, 50, 42, 56, 76, 84, 36, 46, 68, 32, 48, 52, 56, 64, 66, 54, 70, 92, 93, 120, 85]  # fmt: skip


def rows(m, *names):
    table = m.predictions
    return [table[name].to_numpy() for name in names]


def test_cars_at_speed_15():
    """predict(lm(dist ~ speed, cars), data.frame(speed = 15), interval = "prediction"): 10.17482, 72.63925."""
    m = model("dist ~ speed", {"speed": SPEED, "dist": DIST}).fit().predict({"speed": [15]}).infer()
    lower, upper = rows(m, "pi_lower", "pi_upper")
    np.testing.assert_allclose([lower[0], upper[0]], [10.17482, 72.63925], atol=5e-6)  # as many digits as R printed


def test_weighted_lm_scatters_by_its_weight():
    """fitted -/+ t sqrt(x'Vx + sigma^2 / w)."""
    m = model("mpg ~ wt", load_dataset("mtcars"), weights="qsec").fit()
    m.predict({"wt": [2.0, 3.0], "w": [4.0, 18.0]}, weights="w").infer(conf_level=0.9)
    fitted, se, lower, upper = rows(m, "fitted", "se", "pi_lower", "pi_upper")
    half = stats.t.ppf(0.95, 30) * np.sqrt(se**2 + m.fit_state.sigma**2 / np.array([4.0, 18.0]))
    np.testing.assert_allclose(np.stack([lower, upper]), [fitted - half, fitted + half], rtol=1e-12)
    m.predict({"wt": [2.0]}).infer()
    assert np.isnan(m.state.pred.pi_lower).all()
    assert "weights=" in m.state.pred.inference.notes[-1]


def test_one_sided_limits_have_an_open_side():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().predict({"wt": [3.0]})
    two = m.infer(conf_level=0.9).predictions
    low = m.infer(conf_level=0.95, alternative="greater").predictions
    high = m.infer(conf_level=0.95, alternative="less").predictions
    for kind in ("ci", "pi"):
        np.testing.assert_allclose(low[f"{kind}_lower"], two[f"{kind}_lower"], rtol=1e-12)
        np.testing.assert_allclose(high[f"{kind}_upper"], two[f"{kind}_upper"], rtol=1e-12)
        assert np.isposinf(low[f"{kind}_upper"][0])
        assert np.isneginf(high[f"{kind}_lower"][0])


def test_limits_follow_a_link_that_falls():
    """Gamma with the inverse link: a lower limit of the mean is an upper one of the linear predictor."""
    m = model("mpg ~ wt", load_dataset("mtcars"), family="gamma").fit()
    link = m.predict({"wt": [3.0]}, type="link").infer(alternative="less").predictions
    shown = m.predict({"wt": [3.0]}).infer(alternative="greater").predictions
    np.testing.assert_allclose(shown["ci_lower"], 1 / link["ci_upper"].to_numpy(), rtol=1e-12)
    assert np.isposinf(shown["ci_upper"][0])
    boot = m.infer(how="boot", seed=1, alternative="greater", ci_type="percentile").predictions
    draws = m.resamples["row 0"].to_numpy()
    assert np.isposinf(boot["ci_upper"][0])
    np.testing.assert_allclose(boot["ci_lower"][0], np.quantile(draws, 0.05, method="weibull"), rtol=1e-4)  # 1 of 999


def test_limits_of_a_probability_stay_inside():
    """Trap 18: limits are transformed from the link, never standard errors around a probability."""
    data = load_dataset("infert")
    m = model("case ~ spontaneous + induced", data, family="binomial").fit().predict("spontaneous ~ induced").infer()
    lower, upper = rows(m, "ci_lower", "ci_upper")
    assert np.all((lower > 0) & (upper < 1))
    eta = m.predict("spontaneous ~ induced", type="link").infer().predictions
    np.testing.assert_allclose(lower, 1 / (1 + np.exp(-eta["ci_lower"].to_numpy())), rtol=1e-12)


def test_robust_errors_give_the_mean_alone():
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit().predict({"wt": [3.0], "hp": [100.0]}).infer(errors="HC3")
    x, V = np.array([1.0, 3.0, 100.0]), hc3(m)
    np.testing.assert_allclose(m.predictions["se"][0], np.sqrt(x @ V @ x), rtol=1e-9)  # two orders of summing
    assert m.predictions["pi_lower"][0] is None
    assert any("HC3 errors leave the scatter" in note for note in m.state.pred.inference.notes)


def hc3(m):
    X, e, h = m.bundle.X, m.fit_state.residuals, m.fit_state.leverage
    bread = np.linalg.inv(X.T @ X)
    return bread @ (X.T * (e / (1 - h)) ** 2) @ X @ bread


# ---- other families --------------------------------------------------------------------------------------------


def brute(draws, level=0.95, method="weibull"):
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method=method)


def test_poisson_limits_are_those_of_a_long_simulation():
    m = model("breaks ~ wool * tension", load_dataset("warpbreaks"), family="poisson").fit()
    m.predict("wool ~ tension").infer()
    g = np.random.default_rng(5)
    eta, se = m.state.pred.link, np.sqrt(np.einsum("ip,pq,iq->i", m.state.pred.X_pred, m.fit_state.vcov,
                                                   m.state.pred.X_pred))  # fmt: skip
    for i in range(6):
        y = g.poisson(np.exp(eta[i] + se[i] * g.standard_normal(400_000)))
        ours = np.array(rows(m, "pi_lower", "pi_upper"))[:, i]
        assert np.all(np.abs(ours - brute(y, method="inverted_cdf")) <= 1)  # 10,000 draws may stop one count off
        assert np.all(ours == np.rint(ours))


def test_gamma_limits_count_the_dispersion_that_was_estimated():
    m = model("mpg ~ 1", load_dataset("mtcars"), family="gamma").fit().predict({"x": [0]}).infer()
    g, n, phi = np.random.default_rng(6), 31, m.fit_state.dispersion
    eta = m.state.pred.link[0] + np.sqrt(m.fit_state.vcov[0, 0]) * g.standard_normal(400_000)
    shape = g.chisquare(n, eta.size) / (n * phi)
    y = g.gamma(shape, 1 / (eta * shape))
    ours = [x[0] for x in rows(m, "pi_lower", "pi_upper")]
    low, high = brute(y)
    error = 4 * np.sqrt(0.025 * 0.975 / DRAWS)  # four Monte-Carlo errors of the level of a limit
    assert abs(np.mean(y < ours[0]) - 0.025) < error
    assert abs(np.mean(y < ours[1]) - 0.975) < error
    plugged = stats.gamma(1 / phi, scale=phi * m.state.pred.fitted[0]).ppf([0.025, 0.975])
    assert high - low > plugged[1] - plugged[0]


def test_trials_of_a_new_row_are_asked_for():
    data = load_dataset("cbpp")
    m = model("cbind(incidence, size - incidence) ~ period", data, family="binomial").fit()
    m.predict({"period": ["1"]}).infer()
    assert np.isnan(m.state.pred.pi_lower[0])
    assert "trials of new rows" in m.state.pred.inference.notes[-1]
    m.predict({"period": ["1"]}, weights=20).infer()
    low, high = (x[0] for x in rows(m, "pi_lower", "pi_upper"))
    assert np.rint(20 * low) == pytest.approx(20 * low)
    assert low < m.state.pred.fitted[0] < high
    single = model("case ~ spontaneous", load_dataset("infert"), family="binomial").fit().predict().infer()
    assert np.isnan(single.state.pred.pi_lower).all()
    assert single.state.pred.inference.notes[-1] == "no prediction limits: a single trial is 0 or 1"


def test_families_without_single_responses_say_so():
    m = model("breaks ~ wool", load_dataset("warpbreaks"), family="quasipoisson").fit().predict("wool").infer()
    assert m.predictions["pi_lower"].null_count() == 2
    assert any("no distribution of single responses" in note for note in m.state.pred.inference.notes)
    link = model("breaks ~ wool", load_dataset("warpbreaks"), family="poisson").fit().predict("wool", type="link")
    assert any("on no link scale" in note for note in link.infer().state.pred.inference.notes)


@pytest.mark.parametrize("family", ["gamma", "inverse_gaussian", "negative_binomial", "tdist", "gaussian-log"])
def test_every_family_has_limits_around_its_mean(family):
    name, _, link = family.partition("-")
    data = load_dataset("warpbreaks")
    m = model("breaks ~ tension", data, family=name, link=link or None).fit().predict("tension").infer()
    fitted, a, b, c, d = rows(m, "fitted", "ci_lower", "ci_upper", "pi_lower", "pi_upper")
    assert np.all((c < a) & (a < fitted) & (fitted < b) & (b < d))
    boot = m.infer(how="boot", seed=3, n_boot=499).predictions
    assert (boot["pi_lower"] < boot["ci_lower"]).all()
    assert (boot["ci_upper"] < boot["pi_upper"]).all()


# ---- coverage --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_coverage_of_gamma_limits():
    """10 rows: plugged-in estimates held 85 %; with coefficients and dispersion drawn 93.8 (4,000 data sets)."""
    g, inside, total = np.random.default_rng(1), 0, 1000
    for _ in range(total):
        x = g.uniform(0, 1, 10)
        mu = np.exp(1 + x)
        m = model("y ~ x", {"y": g.gamma(5.0, mu / 5.0), "x": x}, family="gamma", link="log").fit()
        table = m.predict({"x": [0.5]}).infer().predictions
        new = g.gamma(5.0, np.exp(1.5) / 5.0)
        inside += table["pi_lower"][0] < new < table["pi_upper"][0]
    assert 0.915 < inside / total < 0.97  # 93.8 -/+ three standard errors of 0.8 %, and towards 95


@pytest.mark.slow
def test_coverage_of_a_new_group():
    """6 groups of 5: t with the degrees of freedom of the total variance held 94.7 to 95.1, z 92.7."""
    g, inside, total = np.random.default_rng(2), 0, 1000
    group = np.repeat(np.arange(6), 5)
    for _ in range(total):
        y = g.normal(0, 1, 6)[group] + g.normal(0, 1, 30)
        m = model("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": group.astype(str)})).fit()
        table = m.predict({"g": ["0"]}).infer().predictions
        new = g.normal() + g.normal()
        inside += table["pi_lower"][0] < new < table["pi_upper"][0]
    assert 0.93 < inside / total < 0.97  # 95 -/+ three standard errors of 0.7 %


def test_perm_is_refused():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().predict()
    with pytest.raises(InferenceError, match="tests a comparison"):
        m.infer(how="perm")
