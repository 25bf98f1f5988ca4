"""Cluster draws of linear mixed models against fits to their rows; groups left out against shorter frames."""

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer.bootstrap import compute_jackknife_coefs, compute_params_bootstrap_mixed
from inference_core.infer.resample.leave_group_out import leave_one_group_out
from inference_core.infer.resample.lmer_cluster import without_groups
from inference_core.infer.resample.stream import open_stream
from inference_core.states.inference import DRAW_RANK_DEFICIENT

from .scenes_lmer import CROSSED, MODELS, crossed_frame, fitted, nested_frame, statistics

DATA = Path(__file__).parents[2] / "reference" / "data"


def stream_of(m, seed=11, **options):
    return open_stream("boot", "cluster", *m, seed=seed, **options)


def frame_of(name):
    data = MODELS[name].get("data")
    return load_dataset("sleepstudy") if data is None else data


def close(found, alone, se, p):
    """A replicate stops at a decrement of 1e-8: T is within 1e-6 of its spread, and near 0 a root of 1e-8."""
    np.testing.assert_allclose(found[:p], alone[:p], atol=1e-5 * np.nanmax(se), rtol=1e-7)
    np.testing.assert_allclose(found[p:], alone[p:], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_draw_is_the_fit_to_its_rows_with_new_names(name):
    """Rows of the drawn groups, every copy under a name of its own, fitted through the formula."""
    spec, bundle, fit = m = fitted(**MODELS[name])
    options = {k: v for k, v in MODELS[name].items() if k not in ("data", "formula", "method")}
    frame, stream = frame_of(name), stream_of(m)
    factor = next(c for c in ("Subject", "school", "g") if c in frame.columns)
    draws = stream.collect(12)
    assert draws.n_failed == 0
    se = np.sqrt(np.diag(fit.vcov))
    for i in (0, 5, 11):
        rows = stream.indices_of(i)
        np.testing.assert_array_equal(rows, draws.draw(i))
        labels = frame[factor].to_numpy()[rows]
        again = np.r_[0, np.cumsum((labels[1:] != labels[:-1]) | (rows[1:] <= rows[:-1]))]  # where a copy begins
        copies = frame[rows.tolist()].with_columns(pl.Series(factor, again))
        alone = statistics(*build_bundle(spec.formula, copies, method=spec.method, **options))
        close(draws.samples[i], alone, se, bundle.p)


def test_groups_are_drawn_with_equal_chances(sleep):
    """Counts of a group are binomial(J, 1/J): mean 1, variance 17/18."""
    counts = stream_of(sleep).kernel.counts(stream_of(sleep).rng, 0, 4000)
    assert (counts.sum(1) == 18).all()
    assert np.abs(counts.mean(0) - 1).max() < 4 * np.sqrt(17 / 18 / 4000)
    assert np.abs(counts.var() - 17 / 18) < 0.02  # 72,000 counts


@pytest.fixture(scope="module")
def sleep():
    return fitted()


@pytest.mark.parametrize("name", ["slopes", "nested"])
def test_slices_growth_workers_and_pickles_leave_every_draw(name):
    m = fitted(**MODELS[name])
    whole = stream_of(m).collect(70)
    np.testing.assert_array_equal(stream_of(m).batch(33, 50).samples, whole.samples[33:50])
    np.testing.assert_array_equal(stream_of(m).collect(40, start=30, n_jobs=2).samples, whole.samples[30:])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stream_of(m))).batch(5, 6).samples, whole.samples[5:6])


def test_limits_of_the_sampling_law():
    """The cluster bootstrap of the mean of balanced groups is that of group means: SD root((J-1)/J) sd/root(J)."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(30), 4)
    y = rng.standard_normal(30)[g] + rng.standard_normal(120)
    draws = stream_of(fitted("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": g}))).collect(4000)
    means = y.reshape(30, 4).mean(1)
    # 4.5 Monte-Carlo errors of an SD of 4,000 draws: sd / sqrt(8000)
    assert draws.samples[:, 0].std() == pytest.approx(means.std() / np.sqrt(30), rel=4.5 / np.sqrt(8000))


def test_a_level_between_groups_that_is_never_drawn():
    """6 groups, one of them in arm b: (5/6)^6 = 33 % of the draws have no b, and say so."""
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(6), 6)
    y, arm = rng.standard_normal(36) + rng.standard_normal(6)[g], np.where(g == 2, 1.0, 0.0)
    frame = pl.DataFrame({"y": y, "g": g, "arm": arm})
    for formula in ("y ~ arm + (1 | g)", "y ~ arm + (1 | g/half)"):
        m = fitted(formula, frame.with_columns(half=pl.int_range(36) % 2))
        stream = stream_of(m)
        draws = stream.collect(96)
        lost = draws.status == DRAW_RANK_DEFICIENT
        never = stream.kernel.counts(stream.rng, 0, 96)[:, 2] == 0
        np.testing.assert_array_equal(lost, never)
        assert np.isnan(draws.samples[lost]).all() and np.isfinite(draws.samples[~lost][:, :2]).all()
    m = fitted("y ~ arm + (1 | g)", frame)
    with pytest.warns(InferenceCoreWarning, match=r"a column lost its variation.*scheme='parametric'"):
        found = compute_params_bootstrap_mixed(*m, n_boot=300, ci_type="percentile", seed=1, scheme="cluster")
    assert found.failures == {"a column lost its variation": found.n_failed}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "rows of weight 0"])
def test_without_each_group_by_brute_force(name):
    spec, bundle, fit = m = fitted(**MODELS[name])
    options = {k: v for k, v in MODELS[name].items() if k not in ("data", "formula", "method")}
    frame = frame_of(name)
    factor = next(c for c in ("Subject", "school", "g") if c in frame.columns)
    found = leave_one_group_out(*m)
    assert (found.factor, found.n_failed) == (factor, 0)
    assert set(found.levels) == {str(v) for v in frame[factor].unique()}
    for level, row in list(zip(found.levels, found.samples, strict=True))[::3]:
        rest = frame.filter(pl.col(factor).cast(str) != level)
        without = model(spec.formula, rest, **options).fit(method=spec.method)
        close(row, statistics(without.spec, without.bundle), np.sqrt(np.diag(fit.vcov)), bundle.p)
        np.testing.assert_allclose(row[: bundle.p], without.fit_state.coef, rtol=1e-5, atol=1e-6)


def test_as_refitted_by_lme4(sleep):
    """lme4 1.1-31 on the data without one level, every level in turn, and sqrt((J - 1)/J sum (t - mean)^2):

    lmer(Reaction ~ Days + (Days | Subject), s[s$Subject != l, ], control = ctl), Subjects 308, 335, 372;
    lmer(strength ~ 1 + (1 | batch/cask), p[p$batch != l, ], control = ctl), batches A, E, J;
    ctl <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5), calc.derivs = FALSE)
    """
    found = leave_one_group_out(*sleep)
    expected = [
        [251.829366, 9.80273205, 26.3462581, 5.52035760, 0.0559723091, 23.6469624],
        [250.721011, 11.25248125, 25.3941490, 5.05906437, 0.1551331566, 26.1885006],
        [250.485123, 10.41841611, 25.2503087, 6.11047762, 0.0570665093, 26.1911638],
    ]
    np.testing.assert_allclose(found.samples[[0, 8, 17]], expected, rtol=5e-6)  # bobyqa's own accuracy
    se = [6.82455653, 1.54578890, 4.90529783, 1.18351059, 0.36496371, 4.42837949]
    np.testing.assert_allclose(found.se, se, rtol=2e-6)  # the same
    pastes = pl.read_csv(DATA / "pastes.csv")
    found = leave_one_group_out(*fitted("strength ~ 1 + (1 | batch/cask)", pastes))
    expected = [
        [59.8074074, 3.05311023, 1.12101113, 0.812403839],
        [60.5148148, 2.93862068, 0.0, 0.846999059],
        [60.2166667, 3.06050102, 1.27504254, 0.798029976],
    ]
    np.testing.assert_allclose(found.samples[[0, 4, 9]], expected, rtol=2e-6, atol=1e-4)  # a root of 1e-8 at 0
    np.testing.assert_allclose(found.se, [0.676870066, 0.406485731, 1.332422964, 0.070386005], rtol=1e-4)


def test_any_factor_can_be_left_out_by_name():
    """Crossed factors: all rows of a level go; the others stay."""
    m = fitted(**CROSSED)
    for factor in ("g", "h"):
        found = leave_one_group_out(*m, factor=factor)
        for i in (0, len(found.levels) - 1):
            rest = crossed_frame().filter(pl.col(factor).cast(str) != found.levels[i])
            close(found.samples[i], statistics(*build_bundle(CROSSED["formula"], rest, method="reml")), np.ones(2), 2)
    with pytest.raises(InferenceError, match=r"crossed[\s\S]*factor='g'"):
        leave_one_group_out(*m)
    with pytest.raises(InferenceError, match="did you mean"):
        leave_one_group_out(*m, factor="G")
    inner = leave_one_group_out(*fitted(**MODELS["nested"]), factor="school:class")
    assert len(inner.levels) == nested_frame().select("school", "class").n_unique()


def test_the_specified_jackknife_leaves_groups_out_of_mixed_models(sleep):
    spec, bundle, _ = sleep
    found = compute_jackknife_coefs(spec, bundle)
    np.testing.assert_array_equal(found, leave_one_group_out(*sleep).samples[:, :2])
    counts = pl.DataFrame({"y": np.random.default_rng(0).poisson(3, 60), "g": np.repeat(np.arange(10), 6)})
    m = model("y ~ 1 + (1 | g)", counts, family="poisson").fit()
    left = compute_jackknife_coefs(m.spec, m.bundle)
    assert left.shape == (10, 1)
    without = model("y ~ 1 + (1 | g)", counts.filter(pl.col("g") != 9), family="poisson").fit()
    np.testing.assert_allclose(left[9], without.fit_state.coef, atol=1e-3 * np.sqrt(without.fit_state.vcov[0, 0]))


def test_levels_without_rows_are_no_groups():
    m = fitted(**MODELS["rows of weight 0"])
    found = leave_one_group_out(*m)
    assert "3" not in found.levels and len(found.levels) == 9
    assert stream_of(m).kernel.groups.J == 9


def test_the_jackknife_standard_error_of_a_mean():
    """Of balanced groups: that of the group means, in closed form."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(12), 5)
    y = rng.standard_normal(12)[g] + rng.standard_normal(60)
    found = leave_one_group_out(*fitted("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": g})))
    means = y.reshape(12, 5).mean(1)
    assert found.se[0] == pytest.approx(means.std(ddof=1) / np.sqrt(12), rel=1e-9)  # the same sums


def test_a_group_that_alone_carries_a_column():
    frame = crossed_frame().with_columns(only=pl.when(pl.col("g") == 4).then(pl.col("x")).otherwise(0.0))
    found = leave_one_group_out(*fitted("y ~ x + only + (1 | g)", frame))
    np.testing.assert_array_equal(found.status == DRAW_RANK_DEFICIENT, [level == "4" for level in found.levels])
    assert np.isnan(found.se).all()


def test_blocks_of_groups_give_the_same_acceleration(sleep):
    """Skewness of sums over blocks: within the noise of 40 blocks of a sample of 400 groups."""
    from inference_core.infer.intervals import acceleration

    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(2000), 3)
    y = rng.exponential(size=2000)[g] + 0.1 * rng.standard_normal(6000)
    base = stream_of(fitted("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": g}))).kernel.base
    each, blocked = without_groups(base), without_groups(base, most=500_000)
    assert (len(each), len(blocked)) == (2000, 250)
    # a = skewness / (6 sqrt(J)); of 250 block sums its sampling error is sqrt(6 / 250) / (6 sqrt(250)) = 0.0016
    assert acceleration(blocked)[0] == pytest.approx(acceleration(each)[0], abs=4 * 0.0016)
    assert acceleration(each)[0] == pytest.approx(2 / (6 * np.sqrt(2000)), rel=0.4)  # an exponential has skewness 2


def test_refusals():
    m = fitted(**CROSSED)
    with pytest.raises(InferenceError, match="the factors g, h are crossed"):
        stream_of(m)
    four = fitted(data=load_dataset("sleepstudy").head(40), formula="Reaction ~ Days + (1 | Subject)")
    with pytest.raises(InferenceError, match=r"4 groups; fewer than 5[\s\S]*scheme='parametric'"):
        stream_of(four)
    with pytest.raises(InferenceError, match="choice of rows"):
        stream_of(fitted()).response_of(3)


def test_many_groups_need_no_table_of_groups_by_draws():
    """20,000 groups: a chunk is a few draws, and memory stays bounded."""
    import tracemalloc

    rng = np.random.default_rng(2)
    J = 20_000
    g = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, 2 * J)])
    y = rng.standard_normal(J)[g] + rng.standard_normal(3 * J)
    stream = stream_of(fitted("y ~ x + (1 | g)", pl.DataFrame({"y": y, "x": rng.standard_normal(3 * J), "g": g})))
    assert stream.kernel.chunk_rows * J <= 1 << 20
    tracemalloc.start()
    draws = stream.collect(8)
    assert tracemalloc.get_traced_memory()[1] < 400e6  # J squared doubles would be 3.2 GB
    tracemalloc.stop()
    assert draws.n_failed == 0
