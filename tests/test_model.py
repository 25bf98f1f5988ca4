"""The user's class: one frozen state, refusals before computing, fixed column names."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import DataError, FormulaError, InferenceCoreError, InferenceCoreWarning, InferenceError

COLUMNS = ["term", "estimate", "se", "ci_lower", "ci_upper", "statistic", "df", "p_value"]


@pytest.fixture(scope="module")
def mtcars() -> pl.DataFrame:
    return load_dataset("mtcars")


def test_a_frame_changed_in_place_leaves_the_model():
    frame = load_dataset("mtcars").clone()
    m = model("mpg ~ wt", frame).fit()
    before = m.params
    frame[0, "mpg"] = 1000.0
    frame.insert_column(0, pl.Series("extra", [0.0] * frame.height))
    assert m.fit(weights=np.ones(32)).params.equals(before) and "extra" not in m.data.columns


def test_the_table_has_two_columns_after_fit_and_eight_after_infer(mtcars):
    m = model("mpg ~ wt + hp", mtcars).fit()
    assert m.params.columns == ["term", "estimate"]
    assert m.infer().params.columns == COLUMNS
    assert m.params["term"].to_list() == ["(Intercept)", "wt", "hp"]


def test_fit_and_infer_return_the_model_itself(mtcars):
    m = model("mpg ~ wt", mtcars)
    assert m.fit() is m
    assert m.infer() is m


def test_the_table_of_a_bootstrap_has_no_df_and_never_the_number_of_draws(mtcars):
    table = model("mpg ~ wt", mtcars).fit().infer(how="boot", n_boot=300, seed=1).params
    assert table.columns == COLUMNS
    assert table["df"].null_count() == len(table)


def test_the_same_seed_gives_the_same_table_and_another_seed_another(mtcars):
    m = model("mpg ~ wt", mtcars).fit()
    first = m.infer(how="boot", n_boot=200, seed=4).params
    assert m.infer(how="boot", n_boot=200, seed=4).params.equals(first)
    assert not m.infer(how="boot", n_boot=200, seed=5).params.equals(first)


def test_more_draws_keep_the_earlier_ones(mtcars):
    m = model("mpg ~ wt", mtcars).fit()
    few = m.infer(how="boot", n_boot=200, seed=4).resamples
    many = m.infer(how="boot", n_boot=700, seed=4).resamples
    assert many.head(200).equals(few)


def test_seed_none_picks_one_and_the_result_carries_it(mtcars):
    m = model("mpg ~ wt", mtcars).fit()
    first = m.infer(how="boot", n_boot=100, ci_type="percentile", conf_level=0.9).params
    assert isinstance(m.inference.seed, int)
    again = m.infer(how="boot", n_boot=100, ci_type="percentile", conf_level=0.9, seed=m.inference.seed).params
    assert again.equals(first)


def test_a_new_fit_drops_every_result_of_the_old_one(mtcars):
    m = model("mpg ~ wt", mtcars).fit().infer(how="boot", n_boot=100, ci_type="percentile", conf_level=0.9, seed=1)
    m.fit()
    assert m.params.columns == ["term", "estimate"]
    with pytest.raises(InferenceError, match="no draws are stored"):
        _ = m.resamples


def test_a_refused_request_leaves_the_model_as_it_was(mtcars):
    m = model("mpg ~ wt", mtcars).fit().infer()
    before = m.state
    with pytest.raises(InferenceCoreError):
        m.infer(how="boot", n_boot=-1)
    with pytest.raises(InferenceCoreError):
        m.fit(weights="no_such_column")
    assert m.state is before


def test_a_failed_reweighting_is_not_remembered(mtcars):
    m = model("mpg ~ wt", mtcars).fit()
    estimate = m.params["estimate"].to_list()
    with pytest.raises(InferenceCoreError):
        m.fit(weights=[-1.0] * 32)
    assert m.fit().params["estimate"].to_list() == estimate


def test_weights_at_fit_equal_weights_at_construction(mtcars):
    at_fit = model("mpg ~ wt", mtcars).fit(weights="qsec").params
    assert model("mpg ~ wt", mtcars, weights="qsec").fit().params.equals(at_fit)


def test_a_cancelled_bootstrap_returns_what_it_has_marked_so(mtcars):
    cancel = threading.Event()

    def stop_after_first(done: int, total: int) -> None:
        cancel.set()

    big = pl.concat([mtcars] * 300)
    m = model("mpg ~ wt + hp", big).fit()
    m.infer(how="boot", n_boot=5000, ci_type="percentile", seed=1, progress=stop_after_first, cancel=cancel)
    assert m.inference.cancelled
    assert 0 < m.inference.n_resamples < 5000
    assert m.inference.n_requested == 5000


def test_readers_in_other_threads_never_see_a_half_made_state(mtcars):
    m = model("mpg ~ wt + hp", mtcars).fit().infer()
    wrong, stop = [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            state = m.state
            if state.inference is not None and state.inference.se.shape != state.fit.coef.shape:
                wrong.append(state)
            if m.params.columns not in (COLUMNS, COLUMNS[:2]):
                wrong.append(m.params.columns)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seed in range(20):
        m.fit().infer(how="boot", n_boot=100, ci_type="percentile", conf_level=0.9, seed=seed)
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: model("mpg ~ wt", d).infer(), "has not been fitted"),
        (lambda d: model("mpg ~ wt").fit(), "no data"),
        (lambda d: model("mpg ~ wtt", d), "wt"),
        (lambda d: model("mpg ~ wt", d, family="poison"), "poisson"),
        (lambda d: model("mpg ~ wt", d, link="lgo"), "log"),
        (lambda d: model("mpg ~ wt", d, method="reml"), "mixed"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d, method="mle"), "'ml'"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit(nAGQ=2), "nAGQ"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit().infer(how="perm"), "3 groups give p >= .25"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit().infer(how="boot", scheme="cluster"), "fewer than 5"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit().infer(how="boot", scheme="case"), "parametric"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit().infer(errors="HC3"), "CR2"),
        (lambda d: model("mpg ~ wt + (1 | cyl)", d).fit().influence, "mixed"),
        (lambda d: model("mpg ~ wt", d, backend="fortran"), "backend"),
        (lambda d: model("mpg ~ wt", d).fit(nAGQ=2), "nAGQ"),
        (lambda d: model("mpg ~ wt", d).fit(weigths="qsec"), "weights"),
        (lambda d: model("mpg ~ wt", d).fit().infer(how="bot"), "boot"),
        (lambda d: model("mpg ~ wt", d).fit().infer(how="perm", scheme="group_flip"), "freedman_lane"),
        (lambda d: model("mpg ~ wt", d).fit().infer(nboot=10), "n_boot"),
        (lambda d: model("mpg ~ wt", d).fit().infer(conf_level=95), "0.95"),
        (lambda d: model("mpg ~ wt", d).fit().infer(how="boot", ci_type="bcaa"), "bca"),
        (lambda d: model("mpg ~ wt", d).fit().infer(errors="HC9"), "HC"),
        (lambda d: model("mpg ~ wt", d).fit().infer(n_boot=100), "n_boot"),
        (lambda d: model("mpg ~ wt", d).fit().infer(how="boot", n_boot=200, conf_level=0.999), "1,?999"),
        (lambda d: model("mpg ~ wt", d).fit().infer(alternative="bigger"), "greater"),
    ],
)
def test_wrong_calls_are_refused_with_a_way_out(mtcars, call, says):
    with pytest.raises(InferenceCoreError, match=says) as refusal:
        call(mtcars)
    assert refusal.value.asked and refusal.value.found and refusal.value.remedy


def test_the_error_family_pickles():
    error = DataError("a", "b", "c")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (DataError, str(error))
    assert issubclass(FormulaError, ValueError)


def test_repr_is_words_and_stable(mtcars):
    m = model("mpg ~ wt", mtcars)
    assert repr(m) == "model('mpg ~ wt'): linear model, 32 rows, not fitted"
    m.fit().infer(how="boot", n_boot=100, ci_type="percentile", conf_level=0.9, seed=3)
    assert "0x" not in repr(m)
    assert repr(m) == repr(m)
    assert "seed 3" in repr(m)


def test_tables_hold_full_precision(mtcars):
    m = model("mpg ~ wt", mtcars).fit().infer()
    x, y = mtcars["wt"].to_numpy(), mtcars["mpg"].to_numpy()
    slope = np.cov(x, y)[0, 1] / np.var(x, ddof=1)
    np.testing.assert_allclose(m.params["estimate"][1], slope, rtol=1e-13)  # two closed forms of one number


@pytest.mark.parametrize("formula", ["am ~ factor(gear)", "am ~ wt + qsec + factor(gear)"])
def test_separated_fits_warn_and_their_table_says_so(mtcars, formula):
    m = model(formula, mtcars, family="binomial")
    with pytest.warns(InferenceCoreWarning, match="separation"):
        m.fit()
    m.infer()
    assert not any("HC3" in note for note in m.inference.notes)  # the errors of such a fit mean nothing either way
    assert "separation" in repr(m)


def test_a_mixed_model_through_the_public_names(mtcars):
    """R: lmer(Reaction ~ Days + (Days | Subject), sleepstudy), lmerTest's summary (Bates et al. 2015, section 5)."""
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit().infer()
    table = m.params
    np.testing.assert_allclose(table["estimate"], [251.40510, 10.46729], rtol=1e-6)  # printed digits
    np.testing.assert_allclose(table["se"], [6.82456, 1.54579], rtol=1e-5)
    np.testing.assert_allclose(table["df"], [17, 17], rtol=1e-6)  # balanced: exact
    np.testing.assert_allclose(m.varying_spread["sd"], [24.741, 5.922, 25.592], rtol=5e-5)  # five printed digits
    np.testing.assert_allclose(m.varying_corr["correlation"], [0.0656], atol=5e-5)
    assert m.varying_offsets.height == 36
    assert m.fit(method="ML").spec.method == "ml"
    assert m.params.columns == COLUMNS[:2]


def test_bootstrap_and_profile_of_a_mixed_model():
    """R: confint(lmer(Reaction ~ Days + (Days | Subject), sleepstudy)), the profile limits lme4 prints."""
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit().infer(how="profile")
    assert m.params.columns == COLUMNS
    np.testing.assert_allclose(m.params["ci_lower"], [237.681, 7.359], rtol=1e-4)  # printed digits; R interpolates
    np.testing.assert_allclose(m.params["ci_upper"], [265.130, 13.576], rtol=1e-4)
    np.testing.assert_allclose(m.varying_spread["sd_ci_lower"], [14.381, 3.801, 22.898], rtol=2e-4)
    np.testing.assert_allclose(m.varying_spread["sd_ci_upper"], [37.716, 8.753, 28.858], rtol=2e-4)
    assert set(m.profile["parameter"]) >= {"sigma", "Days", "sd_Days|Subject"}
    first = m.infer(how="boot", n_boot=300, seed=2).resamples
    assert m.inference.ci_type == "expanded"
    assert m.infer(how="boot", n_boot=400, seed=2, n_jobs=2).resamples.head(300).equals(first)
    assert m.varying_spread.columns[-2:] == ["sd_ci_lower", "sd_ci_upper"]
    assert m.fit().varying_spread.columns[-1] == "sd"
    with pytest.raises(InferenceError, match="no profile was computed"):
        _ = m.profile
