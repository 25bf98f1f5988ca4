"""Bootstrap of the coefficients: the specified functions, refusals before any refit, failures, stored draws."""

import time
import warnings

import numpy as np
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer import bootstrap
from inference_core.infer.intervals import CI_TYPES, interval, summarise
from inference_core.infer.resample.lm_operators import LmKernel
from inference_core.solvers.threads import one_blas_thread


@pytest.fixture(scope="module")
def cars():
    return load_dataset("mtcars")


@pytest.fixture(scope="module")
def m(cars):
    return model("mpg ~ wt + hp", cars).fit()


def boot(m, **options):
    return bootstrap.compute_params_bootstrap(m.spec, m.bundle, m.fit_state, **options)


@pytest.mark.parametrize("ci_type", CI_TYPES)
def test_the_table_is_read_off_the_draws(m, ci_type):
    found = boot(m, n_boot=500, ci_type=ci_type, seed=2, null=-1.0, alternative="less")
    draws = found.boot_samples
    assert draws.shape == (500, 3)
    np.testing.assert_allclose(found.se, draws.std(0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(found.bias, draws.mean(0) - m.fit_state.coef, rtol=1e-9)
    np.testing.assert_allclose(found.statistic, (m.fit_state.coef + 1.0) / found.se, rtol=1e-12)
    stream = m.draw_stream(seed=2, want_se=True)
    expected = interval(
        ci_type, draws, m.fit_state.coef, 0.95, "less", jackknife=stream.jackknife(),
        se_draws=stream.collect(500).se, se_observed=np.sqrt(np.diag(m.fit_state.vcov)), df=29, n=32,
    )  # fmt: skip
    np.testing.assert_allclose(found.ci_upper, expected.upper, rtol=1e-10)  # se_observed by two formulas
    assert np.all(found.ci_lower == -np.inf)
    assert (found.n_resamples, found.n_requested, found.n_failed, found.seed) == (500, 500, 0, 2)
    assert (found.ci_type, found.method, found.scheme, found.df) == (ci_type, "boot", "case", None)
    assert set(found.mcse) == {"se", "ci_lower", "ci_upper", "p_value"}


def test_draws_do_not_depend_on_workers_or_on_how_many_there_are(m):
    few = boot(m, n_boot=200, seed=5).boot_samples
    np.testing.assert_array_equal(boot(m, n_boot=900, seed=5, n_jobs=2).boot_samples[:200], few)
    np.testing.assert_array_equal(bootstrap.compute_bootstrap_params(m.spec, m.bundle, 200, seed=5, n_jobs=2), few)


def test_a_seed_is_picked_and_told(m):
    first = boot(m, n_boot=100, ci_type="percentile")
    again = boot(m, n_boot=100, ci_type="percentile", seed=first.seed)
    np.testing.assert_array_equal(first.boot_samples, again.boot_samples)


def test_studentized_limits_follow_errors(m):
    plain = boot(m, n_boot=400, ci_type="studentized", seed=1)
    robust = boot(m, n_boot=400, ci_type="studentized", seed=1, errors="HC3")
    assert robust.errors == "HC3"
    assert not np.allclose(plain.ci_lower, robust.ci_lower, rtol=1e-3)
    stream = m.draw_stream(seed=1, want_se=True, errors="HC3")
    np.testing.assert_allclose(stream.observed_se, m.infer(errors="HC3").inference.se, rtol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"n_boot": 200, "conf_level": 0.999},
        {"n_boot": 30, "conf_level": 0.9},
        {"ci_type": "bcaa"},
        {"conf_level": 95},
        {"alternative": "both"},
        {"scheme": "wild"},
        {"n_boot": 199, "ci_type": "expanded", "conf_level": 0.99},
    ],
)
def test_what_cannot_be_is_refused_before_any_refit(m, options, monkeypatch):
    monkeypatch.setattr(LmKernel, "refit", lambda *_: pytest.fail("a refit was made"))
    with pytest.raises(InferenceError):
        boot(m, **options)


def test_stored_draws_are_read_again_without_a_refit_and_fast(m, monkeypatch):
    stream = m.draw_stream(seed=1, want_se=True)
    draws = stream.collect(10_000)
    stream.jackknife()
    monkeypatch.setattr(LmKernel, "refit", lambda *_: pytest.fail("a refit was made"))
    times = []
    for _ in range(5):
        for ci_type in CI_TYPES:
            begin = time.perf_counter()
            found = summarise(draws, stream, ci_type=ci_type, conf_level=0.9, null=-2.0, save_resamples=False)
            times.append(time.perf_counter() - begin)
            assert found.boot_samples is None
            assert found.conf_level == 0.9
    assert min(times) < 0.010, "10,000 draws of 3 coefficients are read in some 2 ms"


def test_draws_can_be_summarised_without_their_stream(m):
    draws = m.draw_stream(seed=1).collect(300)
    alone, with_stream = summarise(draws), summarise(draws, m.draw_stream(seed=1))
    np.testing.assert_array_equal(alone.ci_lower, with_stream.ci_lower)
    assert np.isfinite(summarise(draws, ci_type="bca").ci_lower).all()
    with pytest.raises(InferenceError, match="no standard errors of their own"):
        summarise(draws, ci_type="studentized")


def test_the_table_remembers_how_to_rebuild_a_draw(m):
    table = boot(m, n_boot=100, ci_type="percentile", seed=8)
    draws = bootstrap.resamples_of(table, m.spec, m.bundle, m.fit_state)
    assert draws is not None
    np.testing.assert_array_equal(draws.draw(4), m.draw_stream(seed=8).indices_of(4))
    forgotten = boot(m, n_boot=100, ci_type="percentile", seed=8, save_resamples=False)
    assert bootstrap.resamples_of(forgotten, m.spec, m.bundle, m.fit_state) is None


def test_failed_refits_are_counted_named_and_many_warn():
    rng = np.random.default_rng(5)
    x = rng.normal(size=20)
    data = {"x": x, "y": (rng.uniform(size=20) < 1 / (1 + np.exp(-3.0 * x))).astype(int)}
    m = model("y ~ x", data, family="binomial").fit()
    with pytest.warns(InferenceCoreWarning, match="refits failed"):
        found = boot(m, n_boot=400, ci_type="percentile", seed=3)
    assert found.n_failed == np.isnan(found.boot_samples).all(1).sum() > 40
    assert found.failures == {"separation": found.n_failed}
    assert found.n_resamples == 400 - found.n_failed
    assert np.isfinite(found.ci_lower).all()
    assert any(f"{found.n_failed} of 400 draws failed" in note for note in found.notes)


def test_no_refit_at_all_is_an_error_that_says_why(m, monkeypatch):
    def nothing(self, counts):
        b = len(counts)
        return np.full((b, 3), np.nan), np.full(b, 3, np.int8), None

    monkeypatch.setattr(LmKernel, "refit", nothing)
    with pytest.raises(InferenceError, match="a column lost its variation: 100"):
        boot(m, n_boot=100, ci_type="percentile", conf_level=0.9)


def test_a_level_rarely_drawn_is_a_counted_failure(cars):
    """One car of its own kind: a third of the resamples miss it."""
    data = cars.with_row_index("row").with_columns(lone=(np.arange(32) == 4).astype(float))
    m = model("mpg ~ wt + lone", data).fit()
    with pytest.warns(InferenceCoreWarning, match="a column lost its variation"):
        found = boot(m, n_boot=600, seed=1)
    missed = np.array([4 not in m.draw_stream(seed=1).indices_of(i) for i in range(600)])
    np.testing.assert_array_equal(np.isnan(found.boot_samples).all(1), missed)
    assert any("bca_fallback: acceleration undefined" in note for note in found.notes)


def test_notes_say_where_a_type_promises_too_much(m, cars):
    assert any("29 residual degrees of freedom: expanded limits" in note for note in boot(m, n_boot=999).notes)
    assert any(note == "limits rest on 3 draws" for note in boot(m, n_boot=130, ci_type="percentile").notes)
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    spread = model("y ~ x", {"x": x, "y": x + rng.normal(size=300) * x**2}).fit()
    assert any("use errors='HC3'" in note for note in boot(spread, n_boot=199, ci_type="studentized").notes)
    assert any("differ by more than 25 %" in note for note in boot(spread, n_boot=199).notes)
    even = model("y ~ x", {"x": x, "y": x + rng.normal(size=300)}).fit()
    assert boot(even, n_boot=999, seed=1).notes == ()


def test_dropped_columns_are_empty_rows_of_the_table(cars):
    m = model("mpg ~ wt + I(2 * wt) + hp", cars).fit()
    for ci_type in CI_TYPES:
        found = boot(m, n_boot=300, ci_type=ci_type, seed=1)
        for name in ("se", "ci_lower", "ci_upper", "p_value", "statistic", "bias"):
            values = getattr(found, name)
            assert np.isnan(values[2]), name
            assert np.isfinite(np.delete(values, 2)).all(), name


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_the_specified_p_value_counts_draws(alternative):
    draws = np.array([[-1.0], [0.0], [1.0], [2.0], [3.0], [np.nan]])
    below, above = (2 + 1) / 6, (4 + 1) / 6  # the draw at the null counts on both sides
    expected = {"two-sided": min(1.0, 2 * min(below, above)), "greater": below, "less": above}[alternative]
    found = bootstrap.compute_bootstrap_pvalue(np.array([1.0]), draws, 0.0, alternative)
    np.testing.assert_allclose(found, [expected])
    assert np.isnan(bootstrap.compute_bootstrap_pvalue(np.array([np.nan]), draws)[0])


def test_row_order_moves_the_draws_but_not_the_answer(cars):
    """Another order of the rows draws other rows: limits agree within Monte-Carlo error, not to the last digit."""
    forward = model("mpg ~ wt + hp", cars).fit()
    backward = model("mpg ~ wt + hp", cars[::-1]).fit()
    a, b = (boot(each, n_boot=9999, ci_type="percentile", seed=1) for each in (forward, backward))
    slack = 5 * np.hypot(a.mcse["ci_lower"], b.mcse["ci_lower"])  # 5 standard errors of a difference
    assert np.all(np.abs(a.ci_lower - b.ci_lower) < slack)


def test_a_thread_limit_is_lifted_whoever_leaves_last():
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    assert set(threads()) == {1}
    first.__exit__(None, None, None)
    assert set(threads()) == {1}, "the other one still computes"
    second.__exit__(None, None, None)
    assert threads() == before


def test_no_warning_of_numpy_reaches_the_reader(cars):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for ci_type in CI_TYPES:
            found = boot(model("mpg ~ wt", cars[:12]).fit(), n_boot=400, ci_type=ci_type, seed=1, conf_level=0.9)
            assert np.isfinite(found.ci_lower).all()


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_rows_of_weight_0_that_held_a_level_take_its_column_with_them(family):
    """The design has the level's column, the rows that count do not: refits leave out what the fit left out."""
    rng = np.random.default_rng(2)
    group = np.tile(["a", "b", "c"], 10)
    data = {"y": rng.poisson(5, 30), "x": rng.normal(size=30), "g": group, "w": (group != "c").astype(float)}
    m = model("y ~ x + g", data, family=family, weights="w").fit()
    table = m.infer(how="boot", n_boot=199, seed=1, ci_type="percentile").params
    assert table["ci_lower"].is_null().to_list() == [False, False, False, True]
    rows = m.state.resamples.draw(3)
    again = model("y ~ x + g", m.data[rows], family=family, weights="w").fit()
    np.testing.assert_allclose(m.resamples.row(3)[2:5], again.params["estimate"][:3], rtol=1e-9)
