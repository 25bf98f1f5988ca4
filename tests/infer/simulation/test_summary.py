"""Summaries of simulated responses, and statistics of the data beside those of simulations."""

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer import compute_simulation_inference
from inference_core.infer.simulation.check import simulation_check


def as_frame(draws):
    return pl.DataFrame(draws, schema=[f"sim_{i + 1}" for i in range(draws.shape[1])])


def test_mean_sd_and_quantiles_row_by_row():
    draws = np.random.default_rng(1).normal(5, [[1.0], [3.0], [10.0]], (3, 999))
    state = compute_simulation_inference(as_frame(draws).with_columns(other=pl.lit("x")), 0.9)
    assert (state.sim_type, state.n_sims, state.conf_level) == ("post_fit", 999, 0.9)
    np.testing.assert_allclose(state.sim_mean, draws.mean(1), rtol=1e-14)  # rounding
    np.testing.assert_allclose(state.sim_sd, draws.std(1, ddof=1), rtol=1e-14)
    np.testing.assert_allclose(state.mcse["mean"], draws.std(1, ddof=1) / np.sqrt(999), rtol=1e-14)
    assert list(state.sim_quantiles) == pytest.approx([0.05, 0.5, 0.95])
    for level, values in state.sim_quantiles.items():  # (999 + 1) q is whole: these draws themselves
        np.testing.assert_array_equal(values, np.sort(draws, axis=1)[:, round(1000 * level) - 1])


def test_quantiles_of_counts_are_counts():
    draws = np.random.default_rng(2).poisson([[0.7], [30.0]], (2, 200)).astype(float)
    state = compute_simulation_inference(as_frame(draws), 0.95)
    for level, values in state.sim_quantiles.items():
        np.testing.assert_array_equal(values, np.quantile(draws, level, axis=1, method="inverted_cdf"))


def test_monte_carlo_errors_are_those_of_repetition():
    """1,000 repetitions of 400 gamma draws: the errors told are the scatter of what is told."""
    rng = np.random.default_rng(3)
    draws = rng.gamma(3, 1, (1000, 400))  # each row one repetition
    state = compute_simulation_inference(as_frame(draws), 0.8)
    found = {"mean": state.sim_mean, "sd": state.sim_sd}
    found |= {f"quantile_{q:g}": v for q, v in state.sim_quantiles.items()}
    assert set(found) == set(state.mcse)
    for name, values in found.items():
        # 12 %: four Monte-Carlo errors of an SD of 1,000 (2.2 % each), and the errors told are estimates themselves
        assert np.mean(state.mcse[name]) == pytest.approx(values.std(ddof=1), rel=0.12), name


def test_generated_data_have_nothing_to_summarise():
    state = compute_simulation_inference(pl.DataFrame({"y": [1.0, 2.0], "x": [0.0, 1.0]}), 0.95)
    assert state.sim_type == "generated" and state.sim_mean is None


def test_rows_without_responses_and_lost_simulations_stay_out():
    draws = np.random.default_rng(5).normal(size=(3, 6))
    draws[1] = np.nan
    draws[:, 4] = np.nan
    state = compute_simulation_inference(as_frame(draws).fill_nan(None), 0.5)
    kept = np.delete(draws, 4, axis=1)
    assert state.n_sims == 5
    np.testing.assert_allclose(state.sim_mean, [kept[0].mean(), np.nan, kept[2].mean()], rtol=1e-14)


@pytest.mark.parametrize(("n", "level", "said"), [(1, 0.95, "1 simulation"), (20, 1.0, "between 0 and 1")])
def test_what_cannot_be_summarised_is_refused(n, level, said):
    with pytest.raises(InferenceError, match=said):
        compute_simulation_inference(as_frame(np.random.default_rng(1).normal(size=(4, n))), level)


def test_check_counts_by_hand():
    rng = np.random.default_rng(7)
    y, draws = rng.poisson(2, 30).astype(float), rng.poisson(3, (30, 199)).astype(float)
    table = simulation_check(y, draws, ["zeros", "max", "mean"], 0.9)
    for name, function in (
        ("zeros", lambda v: (v == 0).sum(0)),
        ("max", lambda v: v.max(0)),
        ("mean", lambda v: v.mean(0)),
    ):
        row = table.row(by_predicate=pl.col("statistic") == name, named=True)
        at, simulated = function(y), function(draws)
        assert row["observed"] == at
        assert row["mean"] == pytest.approx(simulated.mean()) and row["sd"] == pytest.approx(simulated.std(ddof=1))
        assert row["share_above"] == pytest.approx(((simulated > at).sum() + 0.5 * (simulated == at).sum()) / 199)
        tails = [(1 + (simulated >= at).sum()) / 200, (1 + (simulated <= at).sum()) / 200]
        assert row["p_value"] == pytest.approx(min(1.0, 2 * min(tails)))
        assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(simulated, [0.05, 0.95]).tolist())


def test_overspread_counts_stand_out():
    """Warp breaks scatter more than a Poisson allows (R: deviance 182 on 48 df), and about as a negative binomial."""
    data = load_dataset("warpbreaks")
    poisson = model("breaks ~ wool * tension", data, family="poisson").fit().simulate(nsim=499, seed=1)
    found = poisson.simulation_check({"pearson": lambda y: np.var(y, ddof=1) / y.mean()})
    assert found["p_value"][0] == pytest.approx(2 / 500)  # the floor
    wider = model("breaks ~ wool * tension", data, family="negative_binomial").fit().simulate(nsim=499, seed=1)
    assert wider.simulation_check({"pearson": lambda y: np.var(y, ddof=1) / y.mean()})["p_value"][0] > 0.05


def test_zeros_are_listed_where_there_are_any():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().simulate(nsim=9, seed=1)
    assert m.simulation_check()["statistic"].to_list() == ["mean", "sd", "min", "max"]
    assert "zeros" in m.simulation_check(["mean", "zeros"])["statistic"].to_list()


@pytest.mark.parametrize(
    ("statistics", "said"),
    [
        ("maximum", "statistics known by name"),
        ("mea", "did you mean 'mean'"),
        ({"twice": 2}, "is no function"),
        ({"all": lambda y: y}, "returns one finite number"),
        ({"nan": lambda y: np.nan}, "returns one finite number"),
    ],
)
def test_statistics_that_are_none(statistics, said):
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().simulate(nsim=9, seed=1)
    with pytest.raises(InferenceError, match=said):
        m.simulation_check(statistics)


def test_a_printed_model_shows_what_was_simulated():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit().simulate(nsim=9, seed=1)
    assert "9 simulations, seed 1" in repr(m) and "sim_1" in repr(m)
    assert "lower" in repr(m.infer())
