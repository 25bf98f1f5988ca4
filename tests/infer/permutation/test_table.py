"""The user's table: p-values, limits that invert the test, what is refused and what is said."""

import threading
import warnings
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer.permutation import (
    Hypothesis,
    compute_params_permutation,
    permutation_tests,
    term_hypothesis,
)
from inference_core.infer.resample.core import compute_pvalues


@pytest.fixture(scope="module")
def cars():
    return load_dataset("mtcars")


@pytest.fixture(scope="module")
def lm(cars):
    return model("mpg ~ wt + hp", cars).fit()


def noisy(n=40, seed=1, effect=0.35):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    y = 3.0 + effect * x + z + rng.normal(size=n)
    count = rng.poisson(np.exp(0.4 + effect * x))
    return pl.DataFrame({"y": y, "x": x, "z": z, "count": count, "hit": (y > 3).astype(int)})


MODELS = [
    ("y ~ x + z", {}, "freedman_lane", {}), ("y ~ x + z", {}, "freedman_lane", {"errors": "HC3"}),
    ("y ~ x + z", {}, "sign_flip", {}), ("y ~ x + z", {}, "ter_braak", {}), ("y ~ x + z", {}, "y", {}),
    ("y ~ x + z", {}, "score_flip", {}), ("count ~ x + z", {"family": "poisson"}, "score_flip", {}),
    ("hit ~ x", {"family": "binomial"}, "y", {}),
]  # fmt: skip
IDS = [f"{formula.split()[0]}-{scheme}-{options.get('errors', 'iid')}" for formula, _, scheme, options in MODELS]


@pytest.mark.parametrize(("formula", "family", "scheme", "options"), MODELS, ids=IDS)
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_limits_are_where_p_crosses_alpha(formula, family, scheme, options, alternative):
    """Just inside a limit the value is not rejected, just outside it is: with the very same draws."""
    m = model(formula, noisy(), **family).fit()
    ask = {"how": "perm", "scheme": scheme, "n_perm": 299, "seed": 2, "conf_level": 0.9, "alternative": alternative}
    table = m.infer(**ask, **options).params.filter(pl.col("term") == "x")
    lower, upper, se = table["ci_lower"].item(), table["ci_upper"].item(), table["se"].item()
    assert np.isinf(lower) == (alternative == "less") and np.isinf(upper) == (alternative == "greater")
    if family.get("family") == "binomial":
        # only p at 0 can be asked for: it is on the side of alpha that the limits say
        assert (table["p_value"].item() <= 0.1 + 1e-12) == (lower > 0 or upper < 0)
        return
    # 0.02 se: twenty times the step at which the search stops, a tenth of what one draw of 299 moves a limit by
    for limit, away in ((lower, -1), (upper, 1)):
        if np.isfinite(limit):
            for step, rejected in ((0.02, True), (-0.02, False)):
                null = {"x": limit + away * step * se}
                p = m.infer(**ask, **options, null=null).params.filter(pl.col("term") == "x")["p_value"].item()
                assert (p <= 0.1 + 1e-12) == rejected


def test_exact_limits_hold_exactly_the_values_that_are_not_rejected():
    """Two groups of 4: 70 splits. Limits from a grid of null values, each tested by a count of its own."""
    y, g = np.array([1.2, 3.4, 2.2, 0.4, 4.4, 3.9, 6.1, 2.9]), np.repeat([0.0, 1.0], 4)
    m = model("y ~ g", {"y": y, "g": g}).fit().infer(how="perm", conf_level=0.9)
    splits = [np.isin(np.arange(8), c) for c in combinations(range(8), 4)]

    def p(null):
        z = y - null * g
        difference = [abs(z[s].mean() - z[~s].mean()) for s in splits]
        return np.mean(np.array(difference) >= abs(z[4:].mean() - z[:4].mean()) - 1e-9)

    grid = np.linspace(-3, 8, 2201)
    kept = grid[[p(v) > 0.1 + 1e-12 for v in grid]]
    assert m.inference.n_resamples == 70 and m.inference.exact
    step = grid[1] - grid[0]
    assert m.params["ci_lower"][1] == pytest.approx(kept[0], abs=1.5 * step)  # the grid's own width
    assert m.params["ci_upper"][1] == pytest.approx(kept[-1], abs=1.5 * step)
    # the split that swaps the groups always ties: six of the other 68 may be as extreme
    assert (m.monte_carlo.drop("term").drop_nulls() == 0).to_numpy().all()


def test_freedman_lane_of_one_predictor_shuffles_y(cars):
    m = model("mpg ~ wt", cars).fit()
    a, b = (m.draw_stream("perm", scheme=s, seed=1).batch(0, 50).samples for s in ("freedman_lane", "y"))
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_order_of_rows_changes_no_exact_p():
    data = pl.DataFrame({"y": [3.1, 0.2, 5.5, 4.0, 1.1, 2.6, 7.0, 3.3], "g": list("aababbab"), "x": range(8)})
    order = np.random.default_rng(0).permutation(8)
    for formula, scheme in (("y ~ g", "freedman_lane"), ("y ~ x", "sign_flip"), ("y ~ x", "score_flip")):
        tables = [model(formula, d).fit().infer(how="perm", scheme=scheme) for d in (data, data[order])]
        assert all(t.inference.exact for t in tables)
        np.testing.assert_array_equal(tables[0].inference.p_value, tables[1].inference.p_value)


@pytest.mark.parametrize("scheme", ["freedman_lane", "y", "ter_braak", "score_flip", "sign_flip"])
def test_units_change_no_p_and_scale_the_limits(scheme):
    data = noisy()
    scaled = data.with_columns(y=1e3 * pl.col("y") + 5e5, x=0.01 * pl.col("x"))
    one, other = (model("y ~ x + z", d).fit().infer(how="perm", scheme=scheme, seed=3, n_perm=199).inference
                  for d in (data, scaled))  # fmt: skip
    np.testing.assert_allclose(one.p_value[1:], other.p_value[1:], rtol=1e-12)
    # limits are found to 1e-3 of a standard error on both sides
    np.testing.assert_allclose(one.ci_lower[1:], other.ci_lower[1:] / [1e5, 1e3], atol=2e-3 * one.se[1:].max())


def test_draws_do_not_depend_on_workers_chunks_or_growth(lm):
    stream = lm.draw_stream("perm", seed=4)
    whole = stream.collect(5000)
    np.testing.assert_array_equal(lm.draw_stream("perm", seed=4).collect(5000, n_jobs=2).samples, whole.samples)
    np.testing.assert_array_equal(stream.batch(17, 2500).samples, whole.samples[17:2500])
    np.testing.assert_array_equal(np.concatenate([b.samples for b in stream.batches(5000)]), whole.samples)
    tables = [lm.infer(how="perm", seed=4, n_perm=300, n_jobs=j).inference for j in (1, 2)]
    np.testing.assert_array_equal(tables[0].perm_samples, tables[1].perm_samples)
    np.testing.assert_array_equal(tables[0].ci_lower, tables[1].ci_lower)
    np.testing.assert_allclose(tables[0].perm_samples[:, 1:], whole.samples[:300], rtol=1e-12)


@pytest.mark.parametrize("scheme", ["freedman_lane", "sign_flip", "score_flip"])
def test_stored_draws_rebuild_their_arrangement(lm, scheme):
    lm.infer(how="perm", scheme=scheme, seed=9, n_perm=50)
    kept = lm.state.resamples
    stream = lm.draw_stream("perm", scheme=scheme, seed=9, n_perm=50)
    rebuilt = stream.signs_of(7) if "flip" in scheme else stream.indices_of(7)
    np.testing.assert_array_equal(kept.draw(7), rebuilt)
    np.testing.assert_allclose(stream.kernel.refit(rebuilt[None])[0][0], kept.samples[7], rtol=1e-9)
    assert lm.resamples.columns == ["draw", "status", *stream.names]
    assert lm.infer(how="perm", seed=9, n_perm=50, save_resamples=False).state.resamples is None


def test_specified_function_shuffles_y_and_tests_everything(lm):
    table = compute_params_permutation(lm.spec, lm.bundle, lm.fit_state, 0.95, 199, seed=1)
    draws = lm.draw_stream("perm", scheme="y", means=True, seed=1).collect(199).samples
    np.testing.assert_allclose(table.p_value, compute_pvalues(lm.infer().inference.statistic, draws))
    np.testing.assert_allclose(table.perm_samples, draws, rtol=1e-12)
    assert table.scheme == "y" and not table.exact and table.n_resamples == 199
    assert np.isnan(table.ci_lower[0]) and np.isfinite(table.ci_lower[1:]).all()
    assert "no limits of (Intercept): permuting cannot move a mean" in table.notes
    assert compute_params_permutation(
        lm.spec, lm.bundle, lm.fit_state, 0.95, 99, save_resamples=False
    ).perm_samples is None  # fmt: skip


def test_what_shuffling_cannot_move_is_null_and_says_why(lm, cars):
    table = lm.infer(how="perm", seed=1).params
    row = table.row(0, named=True)
    assert [row[c] for c in ("se", "ci_lower", "ci_upper", "statistic", "p_value")] == [None] * 5
    assert "(Intercept): permuting cannot move a mean; scheme='sign_flip' tests it if errors are symmetric" in repr(lm)
    assert lm.infer(how="perm", seed=1, scheme="sign_flip").params["p_value"].null_count() == 0
    beside = model("mpg ~ 0 + C(cyl) + wt", cars).fit().infer(how="perm", seed=1).params
    assert beside["p_value"].is_null().to_list() == [True, True, True, False]


@pytest.mark.parametrize("formula", ["mpg ~ 1", "mpg ~ 0 + C(cyl)", "mpg ~ 0 + wt"])
def test_a_model_of_means_alone_is_refused(cars, formula):
    m = model(formula, cars).fit()
    with pytest.raises(InferenceError, match="permuting cannot move a mean, and the model is about nothing else"):
        m.infer(how="perm")
    assert m.infer(how="perm", scheme="sign_flip", seed=1).params["p_value"].null_count() == 0


def test_rows_of_weight_zero_may_hold_all_that_a_column_has():
    data = {"y": [1, 2, 0, 3, 4, 1, 2], "x": list(range(7)), "last": [0] * 6 + [1], "w": [1.0] * 6 + [0.0]}
    for family in ("gaussian", "poisson"):
        m = model("y ~ x + last", data, family=family, weights="w").fit().infer(how="perm", seed=1)
        assert m.params["p_value"][2] is None and m.params["p_value"][1] is not None
    alone = model("y ~ last", data, family="poisson", weights="w").fit()
    with pytest.raises(InferenceError, match="and the model is about nothing else"):
        alone.infer(how="perm", scheme="y")


def test_a_dropped_column_stays_null(cars):
    data = cars.with_columns(twice=2 * pl.col("wt"))
    table = model("mpg ~ wt + twice + hp", data).fit().infer(how="perm", seed=1, n_perm=99).params
    assert table["p_value"][2] is None and table["p_value"][3] is not None


def test_p_is_never_zero_and_its_error_is_that_of_a_share(lm):
    table = lm.infer(how="perm", n_perm=999, seed=1)
    p = table.params["p_value"][1]
    assert p == 1 / 1000
    assert table.monte_carlo["p_value_mcse"][1] == pytest.approx(np.sqrt(p * (1 - p) / 999))
    spread = [lm.infer(how="perm", n_perm=199, seed=s).params["ci_lower"][1] for s in range(40)]
    claimed = lm.infer(how="perm", n_perm=199, seed=1).monte_carlo["ci_lower_mcse"][1]
    # an sd of 40 values has a relative error of 11 %; the error from one run's order statistics some 50 %
    assert 0.3 < np.std(spread) / claimed < 3.0


def test_too_few_draws_are_said_before_computing(lm):
    calls = []
    message = r"B = 18 cannot reach level 0.05; need n_perm >= 19"
    with pytest.warns(InferenceCoreWarning, match=message):
        lm.infer(how="perm", n_perm=18, seed=1, progress=lambda *_: calls.append(1))
    assert calls and message.replace("\\", "") in repr(lm)
    assert np.isinf(lm.params["ci_lower"][1]) and lm.params["p_value"][1] > 0
    lm.infer(how="perm", n_perm=19, seed=1)
    assert np.isfinite(lm.params["ci_lower"][1])
    few = model("y ~ g", {"y": [1, 2, 3, 4, 5, 9], "g": [0, 0, 0, 1, 1, 1]}).fit().infer(how="perm")
    assert "all arrangements together give no p below 0.1: they cannot reach level 0.05" in few.inference.notes
    assert np.isinf(few.inference.ci_upper[1])
    three = model("y ~ g", {"y": [1, 2, 3, 4, 5, 9], "g": [0, 0, 0, 1, 1, 1]}).fit()
    with pytest.warns(InferenceCoreWarning, match="20 arrangements give no p below 0.05: they cannot reach level 0.01"):
        three.infer(how="perm", conf_level=0.99)


def test_a_cancelled_run_keeps_its_draws(lm):
    stop = threading.Event()

    def progress(done, total):
        if done >= 1000:
            stop.set()

    table = lm.infer(how="perm", n_perm=200_000, seed=1, progress=progress, cancel=stop).inference
    assert table.cancelled and 1000 <= table.n_resamples < 200_000
    assert table.perm_samples.shape[0] == table.n_resamples
    assert table.p_value[1] == 1 / (table.n_resamples + 1)
    assert any(note.startswith("stopped after") for note in table.notes)


def test_score_flips_do_without_an_estimate():
    """Separated data: Wald has nothing to say, the score test does."""
    x = np.arange(12.0)
    with pytest.warns(InferenceCoreWarning):
        m = model("y ~ x", {"y": (x > 5).astype(int), "x": x}, family="binomial").fit()
    with pytest.raises(InferenceError, match="the fit has no estimate"):
        m.infer(how="perm", scheme="y")
    table = m.infer(how="perm").inference
    assert table.scheme == "score_flip" and table.exact and table.p_value[1] < 0.01
    assert "no limits: the fit itself has no estimate; the p-values need none" in table.notes


def test_a_limit_is_infinite_where_no_value_is_rejected():
    """Eight counts: far out the null model stops having a fit before any value is rejected."""
    m = model("y ~ x + g", DATA, **POISSON).fit().infer(how="perm", seed=1)
    g = m.params.row(2, named=True)
    assert np.isneginf(g["ci_lower"]) and np.isposinf(g["ci_upper"]) and g["p_value"] > 0.05
    assert any("an infinite limit of" in note and "g[b]" in note for note in m.inference.notes)


def test_a_perfect_fit_has_no_test():
    x = np.arange(9.0)
    m = model("y ~ x", {"y": 2 + 3 * x, "x": x}).fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert m.infer(how="perm", seed=1).params["p_value"][1] is None


@pytest.mark.parametrize(("noise", "mean"), [(1e-2, 0.0), (1e-2, 1e8), (1e-6, 0.0), (1e-6, 1e8), (1e-9, 0.0)])
@pytest.mark.parametrize("errors", ["iid", "HC3"])
@pytest.mark.parametrize("scheme", ["freedman_lane", "y", "sign_flip"])
def test_nearly_perfect_fits_keep_their_digits(noise, mean, errors, scheme):
    """The data and their mirror image are all that is as extreme: two arrangements, never none, and finite limits."""
    x, z = np.arange(6.0), np.array([0.1, -0.1, 0.6, 0.1, -0.5, 0.4])
    m = model("y ~ x", {"x": x, "y": mean + x + noise * z}).fit().infer(how="perm", scheme=scheme, errors=errors)
    row = m.params.row(1, named=True)
    assert row["p_value"] == 2 / m.inference.n_resamples
    slope = row["estimate"]
    assert slope - 20 * row["se"] < row["ci_lower"] < slope < row["ci_upper"] < slope + 20 * row["se"]


def test_a_shuffle_that_fits_perfectly_counts_as_extreme():
    """Two groups of 3 with y 0/1: a split that separates them has no residual scatter at all."""
    data = {"y": [0, 0, 1, 1, 1, 0], "g": [0, 0, 0, 1, 1, 1]}
    stream = model("y ~ g", data).fit().draw_stream("perm")
    t = stream.collect(20).samples[:, 0]
    assert np.isposinf(t).sum() == 1 and np.isneginf(t).sum() == 1


DATA = {
    "y": [1, 0, 2, 5, 3, 1, 4, 2], "x": [1, 2, 3, 4, 5, 6, 7, 9], "e": [1, 2, 1, 2, 3, 1, 2, 2], "g": list("aabbaabb")
}  # fmt: skip
POISSON = {"family": "poisson"}
REFUSALS = [
    ("y ~ x", {**POISSON, "offset": "e"}, {"scheme": "y"}, "an offset: rows are not exchangeable", "score_flip keeps"),
    ("y ~ x", {**POISSON, "weights": "e"}, {"scheme": "y"}, "unequal weights", "score_flip"),
    ("y ~ x", {"weights": "e"}, {"scheme": "y"}, "unequal weights", "freedman_lane"),
    ("y ~ x", POISSON, {"scheme": "freedman_lane"}, "no residuals that could change places", "score_flip"),
    ("y ~ x", POISSON, {"scheme": "sign_flip"}, "no residuals", "score_flip"),
    ("y ~ x", POISSON, {"scheme": "y", "null": 0.1}, "an offset of its own in every row", "score_flip"),
    ("y ~ x", {}, {"scheme": "score_flip", "errors": "HC3"}, "standardise every draw themselves", "leave errors out"),
    ("y ~ x", {}, {"scheme": "group_flip"}, "schemes of an lm are", "freedman_lane"),
    ("y ~ x", {}, {"errors": "unequal_var"}, "no factor", "HC3"),
    ("y ~ g", POISSON, {"errors": "unequal_var"}, "variance follows from its mean", "leave errors out"),
    ("y ~ x", {}, {"n_perm": 0}, "n_perm", "999"),
    ("y ~ x", {}, {"n_boot": 99}, "n_boot takes no part", "how='boot'"),
    ("y ~ x", {}, {"ci_type": "bca"}, "ci_type takes no part", "leave ci_type out"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "arguments", "ask", "found", "remedy"), REFUSALS)
def test_refusals(formula, arguments, ask, found, remedy):
    m = model(formula, DATA, **arguments).fit()
    with pytest.raises(InferenceError) as refusal:
        m.infer(how="perm", **ask)
    assert found in str(refusal.value)
    assert remedy in refusal.value.remedy


@pytest.mark.parametrize(
    ("formula", "arguments", "null", "scheme"),
    [
        ("y ~ x", {}, 0.0, "freedman_lane"), ("y ~ x + g", {}, 0.0, "freedman_lane"), ("y ~ x", POISSON, 0.0, "y"),
        ("y ~ x", POISSON, 0.1, "score_flip"), ("y ~ x", POISSON, {"(Intercept)": 1}, "y"),
        ("y ~ x + g", POISSON, 0.0, "score_flip"), ("y ~ x", {**POISSON, "offset": "e"}, 0.0, "score_flip"),
        ("y ~ x", {**POISSON, "weights": "e"}, 0.0, "score_flip"), ("y ~ 0 + g", POISSON, 0.0, "score_flip"),
    ],
)  # fmt: skip
def test_default_schemes(formula, arguments, null, scheme):
    m = model(formula, DATA, **arguments).fit().infer(how="perm", null=null, n_perm=99, seed=1)
    assert m.inference.scheme == scheme
    assert f"permutation ({scheme})" in repr(m)


def test_whole_terms_and_contrasts_are_tested_alike():
    """One call for any L b = c: p of the factor by its F, of a difference of levels with limits."""
    data = noisy(30).with_columns(g=pl.Series(list("abc") * 10))
    m = model("y ~ x + g", data).fit()
    parts = m.spec, m.bundle, m.fit_state
    factor = term_hypothesis(m.bundle, np.arange(4), m.bundle.X_names[2:], "g")
    difference = Hypothesis("c - b", np.array([[0.0, 0.0, -1.0, 1.0]]), np.zeros(1))
    for scheme in ("freedman_lane", "score_flip"):
        stream = m.draw_stream("perm", seed=1, scheme=scheme, hypotheses=[factor, difference])
        tests = permutation_tests(stream, *parts, 499)
        assert np.isnan(tests.lower[0]) and tests.lower[1] < tests.estimate[1] < tests.upper[1]
        draws = stream.collect(499).samples
        np.testing.assert_allclose(tests.p_value, compute_pvalues(stream.observed, draws))
        coef = m.fit_state.coef
        assert tests.estimate[1] == pytest.approx(coef[3] - coef[2], rel=1e-12)


def test_streams_say_what_a_draw_is(lm):
    shuffles, signs = lm.draw_stream("perm"), lm.draw_stream("perm", scheme="sign_flip")
    with pytest.raises(InferenceError, match=r"indices_of\(3\)"):
        shuffles.signs_of(3)
    with pytest.raises(InferenceError, match=r"signs_of\(3\)"):
        signs.indices_of(3)
    with pytest.raises(InferenceError, match="draws test wt, hp"):
        shuffles.response_of(0, "qsec")
    with pytest.raises(InferenceError, match=r"signs_of\(0\)"):
        lm.draw_stream("perm", scheme="score_flip").response_of(0)
    np.testing.assert_array_equal(
        lm.draw_stream("perm", null={"wt": -4}, errors="hetero", seed=1).batch(0, 9).samples,
        lm.draw_stream("perm", null=[0, -4, 0], errors="HC3", seed=1).batch(0, 9).samples,
    )
    with pytest.raises(InferenceError, match="inside a draw are iid"):
        lm.draw_stream("perm", errors="CR2")
