"""Permutation tests of mixed models against loops of single fits, lme4, closed forms and dense algebra."""

import threading

import numpy as np
import polars as pl
import pytest
from scipy.linalg import block_diag

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.infer.bootstrap import open_stream
from inference_core.infer.permutation import compute_params_permutation, term_hypothesis
from inference_core.infer.permutation.arrangements import Shuffles
from inference_core.infer.permutation.run import permutation_p, permutation_tests
from inference_core.rng import RNG

SLOPES = "Reaction ~ Days + (Days | Subject)"


def sleep(formula=SLOPES, subjects=18):
    data = load_dataset("sleepstudy")
    return model(formula, data.head(10 * subjects)).fit()


def t_of(m, name):
    """Estimate over standard error."""
    j = m.bundle.X_names.index(name)
    return m.fit_state.coef[j] / np.sqrt(m.fit_state.vcov[j, j])


def uneven(seed=1, nested=False):
    """Groups of 3 to 9 rows with weights, some of them 0, and an offset."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(9), [3, 4, 5, 6, 7, 8, 9, 5, 6])
    n = g.size
    x, w = rng.normal(size=n), rng.normal(size=9)[g]
    y = 1 + 0.5 * x + rng.normal(size=9)[g] + rng.normal(size=n)
    c = np.arange(n) % 3 if nested else np.zeros(n, int)
    return pl.DataFrame({
        "y": y, "x": x, "w": w, "g": [f"g{i}" for i in g], "c": [f"c{i}" for i in c], "twice": 2 * x,
        "k": np.where(np.arange(n) % 11 == 4, 0.0, rng.uniform(0.5, 2, n)), "o": rng.normal(size=n),
    })  # fmt: skip


# ---- every draw is a fit -------------------------------------------------------------------------------------

CASES = [
    (SLOPES, None, {}, "group_flip"),
    (SLOPES, None, {}, "residual"),
    (SLOPES, None, {}, "y"),
    ("Reaction ~ Days + (1 | Subject)", None, {}, "within"),
    ("y ~ x + w + twice + offset(o) + (1 + x | g)", "uneven", {"weights": "k"}, "group_flip"),
    ("y ~ x + w + offset(o) + (1 | g)", "uneven", {"weights": "k"}, "residual"),
    ("y ~ x + w + (1 | g) + (1 | g:c)", "nested", {}, "group_flip"),
    ("diameter ~ z + (1 | plate) + (1 | sample)", "penicillin", {}, "residual"),
]


def case(formula, source, options):
    data = load_dataset("sleepstudy") if source is None else uneven(nested=source == "nested")
    if source == "penicillin":
        data = load_dataset("penicillin")
        data = data.with_columns(z=pl.Series(np.random.default_rng(5).normal(size=data.height)))
    return model(formula, data, **options).fit(), data


@pytest.mark.parametrize(("formula", "source", "options", "scheme"), CASES)
@pytest.mark.filterwarnings("ignore::inference_core.errors.InferenceCoreWarning")
def test_a_draw_is_a_fit_to_its_response(formula, source, options, scheme):
    m, data = case(formula, source, options)
    stream = m.draw_stream("perm", scheme=scheme, seed=3)
    drawn = stream.batch(0, 3)
    assert np.all(drawn.status == 0)
    response = formula.split(" ~ ")[0]
    for i in (0, 2):
        for j, name in enumerate(stream.names):
            new = data.with_columns(pl.Series(response, stream.response_of(i, name)))
            again = model(formula, new, **options).fit()
            # replicates stop at 1e-8 of a standard error
            np.testing.assert_allclose(drawn.samples[i, j], t_of(again, name), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 10.0])
def test_whole_groups_of_the_null_model_are_flipped(value):
    m = sleep()
    stream = m.draw_stream("perm", seed=3, null={"Days": value})
    data = m.data.with_columns(y=pl.col("Reaction") - value * pl.col("Days"))
    null = model("y ~ 1 + (Days | Subject)", data).fit()
    b0 = null.fit_state.coef[0]
    signs = stream.signs_of(4)
    assert len(set(zip(data["Subject"].to_list(), signs.tolist(), strict=True))) == 18  # one sign a subject
    expected = value * data["Days"].to_numpy() + b0 + signs * (data["y"].to_numpy() - b0)
    np.testing.assert_allclose(stream.response_of(4, "Days"), expected, rtol=1e-9)  # two searches end so close


def test_lme4_on_flipped_residuals():
    # R: s <- rep(c(1, -1, -1), 6)[as.integer(sleepstudy$Subject)]
    # n0 <- lmer(Reaction ~ 1 + (Days | Subject), sleepstudy)
    # summary(lmer(s * (Reaction - fixef(n0)) ~ Days + (Days | Subject), sleepstudy))$coef
    # null value 10: the same with Reaction - 10 * Days in the place of Reaction
    s = np.tile([1.0, -1.0, -1.0], 6)[None]
    m = sleep()
    for value, expected in ((0.0, -0.6344788521), (10.0, 0.9741586378)):
        stream = m.draw_stream("perm", null={"Days": value})
        t, status, se = stream.kernel.refit(s)
        assert status[0] == 0
        np.testing.assert_allclose(t[0, 1], expected, rtol=2e-5)  # lme4 stops at about 1e-5
        if value == 0.0:
            np.testing.assert_allclose(se[0, 1], 2.937691925, rtol=2e-5)


def test_effects_and_residuals_keep_their_spread():
    m = sleep()
    stream = m.draw_stream("perm", scheme="residual", seed=1)
    exchanged = stream.kernel.exchanged[stream.names.index("Days")]
    null = model("Reaction ~ 1 + (Days | Subject)", m.data).fit()
    fit, Z = null.fit_state, null.bundle.re_metadata.blocks[0].X_re
    T = null.bundle.re_metadata.t_matrices(fit.theta)[0]
    # the part of a subject on days 0 and 1 tells its intercept and slope
    part = exchanged.parts[0].reshape(18, 10)
    effects = np.column_stack([part[:, 0], part[:, 1] - part[:, 0]])
    np.testing.assert_allclose(effects.T @ effects / 18, fit.sigma**2 * T @ T.T, rtol=1e-6)  # two searches
    np.testing.assert_allclose(np.mean(exchanged.parts[1] ** 2), fit.sigma**2, rtol=1e-6)
    assert stream.arrangements.m == 18 + 180
    signs = stream.arrangements.draw(stream.rng, 2, 3)[0]
    by_hand = (signs[:18, None] * part).ravel() + signs[18:] * exchanged.parts[1]
    np.testing.assert_allclose(stream.response_of(2, "Days"), fit.fitted_marginal + by_hand, rtol=1e-6)
    assert Z.shape == (180, 2)


def test_shuffles_within_groups_leave_no_group():
    group = np.array([0, 1, 1, 0, 2, 0, 1, 2])
    drawn = Shuffles(8, within=group).draw(RNG.from_seed(1), 0, 6_000)
    np.testing.assert_array_equal(group[drawn], np.tile(group, (6_000, 1)))
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(8), (6_000, 1)))
    _, counts = np.unique(drawn[:, group == 0], axis=0, return_counts=True)
    assert counts.size == 6
    # 3! orders, 1,000 each: chi-square with 5 degrees of freedom is above 25 once in 7,000 seeds
    assert np.sum((counts - 1_000) ** 2 / 1_000) < 25


# ---- known answers -------------------------------------------------------------------------------------------


def test_the_six_extreme_patterns_of_sleepstudy():
    # balanced data: t of Days is the paired t of the subjects' own slopes, sqrt(18) mean / sd
    m = sleep()
    y = m.bundle.y.reshape(18, 10)
    days = np.arange(10) - 4.5
    slopes = y @ days / (days @ days)
    numbers = np.arange(2**18)[:, None]
    signs = 1.0 - 2.0 * ((numbers >> np.arange(18)) & 1)
    size = np.abs(signs @ slopes)
    most = np.argsort(-size)[:20]
    stream = m.draw_stream("perm")
    t = stream.kernel.refit(signs[most])[0][:, 1]
    # 6.77148 and 6 of 262,144: published for these data, see the closed form above
    np.testing.assert_allclose(stream.observed[1], 6.77148, atol=5e-6)
    assert np.flatnonzero(np.abs(t) >= 6.77148 - 5e-6).tolist() == list(range(6))
    flipped = signs[most] * slopes
    closed = flipped.mean(1) / (flipped.std(1, ddof=1) / np.sqrt(18))
    inside = np.abs(t) < 6.5  # farther out the spread of slopes falls to its limit, and the closed form with it
    np.testing.assert_allclose(t[:6], closed[:6], rtol=1e-5)
    assert inside.any()


def test_all_patterns_of_few_groups_are_tried():
    m = sleep(subjects=8).infer(how="perm", seed=1)
    inference = m.state.inference
    assert inference.exact and inference.n_resamples == 256
    stream = m.draw_stream("perm")
    numbers = np.arange(256)[:, None]
    signs = 1.0 - 2.0 * ((numbers >> np.arange(8)) & 1)
    t = stream.kernel.refit(signs)[0]
    count = np.sum(np.abs(t) >= np.abs(t[0]) * (1 - 1e-9), axis=0)
    np.testing.assert_allclose(inference.p_value, count / 256)
    np.testing.assert_allclose(t[0], inference.statistic, rtol=1e-7)  # the data, refitted as every draw is
    np.testing.assert_allclose(t[::-1], -t, atol=1e-7)  # all signs turned
    assert np.all(np.asarray(inference.mcse["p_value"]) == 0.0)


# ---- scores --------------------------------------------------------------------------------------------------


def dense_scores(null, X0, x, Z_blocks, y, trials, signs, offset=0.0):
    """T(S) from the null fit with full matrices: V = W^-1 + Z Sigma Z', rows with the sign of their group."""
    fit = null.fit_state
    eta, family = fit.eta, null.spec.family
    mu = 1 / (1 + np.exp(-eta)) if family == "binomial" else np.exp(eta)
    w = trials * (mu * (1 - mu) if family == "binomial" else mu)
    V = np.diag(1 / w)
    for T, block in zip(null.bundle.re_metadata.t_matrices(fit.theta), null.bundle.re_metadata.blocks, strict=True):
        own = np.zeros((len(y), block.n_levels, block.k))
        own[np.arange(len(y)), block.group_index] = block.X_re
        own = own.reshape(len(y), -1)
        V += own @ block_diag(*[T @ T.T] * block.n_levels) @ own.T
    z = eta - offset + (y - mu) * trials / w - X0 @ fit.coef
    L = np.linalg.cholesky(V)
    x0, a, r = np.linalg.solve(L, X0), np.linalg.solve(L, x), np.linalg.solve(L, z)
    P = np.eye(len(y)) - x0 @ np.linalg.solve(x0.T @ x0, x0.T)
    a, r = P @ a, P @ r
    return np.array([(a * s) @ r / np.sqrt((s * a) @ P @ (s * a)) for s in signs])


def test_scores_of_herds_by_lme4_and_dense_algebra():
    # R: glmer(cbind(incidence, size - incidence) ~ x3 + x4 + (1 | herd), binomial), V = diag(1 / W) + tau^2 Z Z',
    # whitened by chol(V); T(1) and T(rep(c(1, -1, -1), 5)[herd])
    data = load_dataset("cbpp")
    m = model("incidence / size ~ period + (1 | herd)", data, family="binomial").fit(weights="size")
    stream = m.draw_stream("perm")
    j = stream.names.index("period[2]")
    herds = [str(h) for h in range(1, 16)]
    names = [str(h) for h in m.bundle.re_metadata.blocks[0].levels]
    s = np.array([np.tile([1.0, -1.0, -1.0], 5)[herds.index(name)] for name in names])
    both = stream.kernel.refit(np.array([np.ones(15), s]))[0][:, j]
    np.testing.assert_allclose(both, [-3.244117269, 1.784904797], rtol=2e-4)  # lme4's theta is good to about 1e-4
    np.testing.assert_allclose(stream.observed[j], both[0])


@pytest.mark.parametrize("formula", ["y ~ z + (z | g)", "y ~ z + (1 | g) + (1 | g:c)", "y ~ z + offset(o) + (1 | g)"])
def test_scores_of_counts_by_dense_algebra(formula):
    rng = np.random.default_rng(4)
    data = uneven(nested=True)
    n = data.height
    z = rng.normal(size=n)
    shift = data["o"].to_numpy() * 0.3
    own = data["g"].cast(pl.Categorical).to_physical().to_numpy()
    effect = rng.normal(size=9)[own]
    data = data.with_columns(z=pl.Series(z), o=pl.Series(shift), y=pl.Series(rng.poisson(np.exp(1 + shift + effect))))
    m = model(formula.replace("~ z", "~ z + x"), data, family="poisson").fit()
    null = model(formula, data, family="poisson").fit()
    stream = m.draw_stream("perm", seed=2)
    drawn = stream.batch(0, 3).samples[:, stream.names.index("x")]
    signs = [np.ones(n), *(stream.signs_of(i) for i in range(3))]
    X0 = np.column_stack([np.ones(n), z])
    offset = shift if "offset" in formula else 0.0
    y = data["y"].to_numpy().astype(float)
    expected = dense_scores(null, X0, data["x"].to_numpy(), None, y, np.ones(n), signs, offset)
    observed = stream.observed[stream.names.index("x")]
    np.testing.assert_allclose(np.abs([observed, *drawn]), np.abs(expected), rtol=1e-4)  # two null fits
    np.testing.assert_array_equal(np.sign([observed, *drawn]), np.sign(expected))


def test_counts_without_spread_of_their_own_are_tested_as_poisson_counts():
    data = uneven().with_columns(y=pl.Series(np.random.default_rng(3).binomial(12, 0.3, uneven().height)))
    streams = [
        model("y ~ x + (1 | g)", data, family=family).fit().draw_stream("perm", seed=1)
        for family in ("negative_binomial", "poisson")
    ]
    spread, plain = (stream.batch(0, 20).samples for stream in streams)
    np.testing.assert_allclose(spread, plain, rtol=1e-3, atol=1e-3)  # theta stops at a million
    np.testing.assert_allclose(streams[0].observed, streams[1].observed, rtol=1e-3)


# ---- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
def test_limits_are_where_p_crosses_the_level(alternative):
    m = sleep()
    ask = {"how": "perm", "n_perm": 39, "seed": 5, "alternative": alternative}
    table = m.infer(**ask).params
    low, high, se = (table[name][1] for name in ("ci_lower", "ci_upper", "se"))
    inside, outside = [low + 0.01 * se], [low - 0.01 * se]
    if alternative == "two-sided":
        inside, outside = [*inside, high - 0.01 * se], [*outside, high + 0.01 * se]
    else:
        assert high == np.inf
    for values, rejected in ((inside, False), (outside, True)):
        for value in values:
            stream = m.draw_stream("perm", null={"Days": value}, seed=5)
            p = permutation_p(stream.observed, stream.collect(39).samples, alternative, False)
            assert (p[1] <= 0.05) == rejected


def test_limits_of_scores_are_where_p_crosses_the_level():
    m = counts()
    ask = {"how": "perm", "n_perm": 199, "seed": 5}
    low, high, se = m.infer(**ask).params.select("ci_lower", "ci_upper", "se").row(1)
    for value, rejected in ((low - 0.01 * se, True), (low + 0.01 * se, False), (high + 0.01 * se, True)):
        stream = m.draw_stream("perm", null={"x": value}, n_perm=199, seed=5)
        drawn = stream.collect(stream.total or 199).samples
        p = permutation_p(stream.observed, drawn, "two-sided", stream.total is not None)[stream.names.index("x")]
        assert (p <= 0.05) == rejected


# ---- several numbers at once ---------------------------------------------------------------------------------


def test_a_factor_of_an_lmer():
    m = model("y ~ x + w + (1 | g)", uneven()).fit()
    h = term_hypothesis(m.bundle, np.arange(3), ["x", "w"])
    stream = open_stream("perm", None, m.spec, m.bundle, m.fit_state, hypotheses=[h], seed=1)
    found = permutation_tests(stream, m.spec, m.bundle, m.fit_state, 99)
    b, V = m.fit_state.coef[1:], m.fit_state.vcov[1:, 1:]
    np.testing.assert_allclose(found.statistic, b @ np.linalg.solve(V, b) / 2, rtol=1e-6)  # a refit
    new = uneven().with_columns(y=pl.Series(stream.response_of(7)))
    again = model("y ~ x + w + (1 | g)", new).fit().fit_state
    f = again.coef[1:] @ np.linalg.solve(again.vcov[1:, 1:], again.coef[1:]) / 2
    np.testing.assert_allclose(found.draws.samples[7, 0], f, rtol=1e-5)
    assert np.isnan(found.lower[0]) and 0 < found.p_value[0] <= 1


# ---- laws ----------------------------------------------------------------------------------------------------


def test_draws_depend_on_their_number_alone():
    m = sleep()
    whole = m.draw_stream("perm", seed=9).collect(300)
    np.testing.assert_array_equal(m.draw_stream("perm", seed=9).batch(123, 127).samples, whole.samples[123:127])
    np.testing.assert_array_equal(m.draw_stream("perm", seed=9).collect(300, n_jobs=2).samples, whole.samples)
    np.testing.assert_array_equal(whole.draw(5), m.draw_stream("perm", seed=9).signs_of(5))
    shuffled = m.draw_stream("perm", scheme="y", seed=9)
    np.testing.assert_array_equal(
        shuffled.response_of(3), m.bundle.y[shuffled.indices_of(3)]
    )
    residual = m.draw_stream("perm", scheme="residual", seed=9).collect(8)
    np.testing.assert_array_equal(residual.draw(5), m.draw_stream("perm", scheme="residual", seed=9).response_of(5))


def test_tables_grow_and_take_workers():
    m = sleep()
    one, samples = m.infer(how="perm", n_perm=39, seed=1).params, m.state.inference.perm_samples
    assert one.equals(m.infer(how="perm", n_perm=39, seed=1, n_jobs=2).params)
    more = m.infer(how="perm", n_perm=59, seed=1).state.inference.perm_samples
    np.testing.assert_array_equal(samples, more[:39])


def test_a_cancelled_run_keeps_its_draws():
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append(done)
        if done == total:
            stop.set()

    found = sleep().infer(how="perm", n_perm=99, seed=1, progress=progress, cancel=stop).state.inference
    assert found.cancelled and found.n_resamples == 99 and seen[-1] == 99
    assert np.isfinite(found.p_value).all() and np.isnan(found.ci_lower).all()
    assert "stopped before the limits were found" in found.notes


# ---- what a table says ---------------------------------------------------------------------------------------


def test_what_the_table_names():
    m = sleep().infer(how="perm", n_perm=39, seed=1)
    inference = m.state.inference
    assert inference.scheme == "group_flip" and inference.ci_type == "inverted" and inference.spread is None
    assert inference.notes[-1].startswith("permutation tests no variance component")
    assert "permutation (group_flip), 39 draws" in str(m)
    raw = m.infer(how="perm", n_perm=39, seed=1, scheme="y")
    assert raw.params["p_value"].is_null().to_list() == [True, False]
    assert any(note.startswith("rows of one group belong together") for note in raw.state.inference.notes)
    apart = m.infer(how="perm", n_perm=39, seed=1, scheme="residual")
    assert any(note.startswith("signs of effects and residuals are no exact") for note in apart.state.inference.notes)


def test_a_variance_of_zero_is_said():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(10, 6))
    y, g = (y - y.mean(1, keepdims=True)).ravel(), np.repeat(np.arange(10), 6).astype(str)
    data = pl.DataFrame({"y": y, "x": rng.normal(size=60), "g": g})
    found = model("y ~ x + (1 | g)", data).fit().infer(how="perm", scheme="residual", n_perm=39, seed=1)
    assert any("a variance of 0 by g" in note for note in found.state.inference.notes)


def test_the_function_of_the_specification_shuffles_the_response():
    m = sleep()
    found = compute_params_permutation(m.spec, m.bundle, m.fit_state, 0.95, n_perm=99, seed=1)
    assert found.scheme == "y" and np.isfinite(found.p_value).all() and np.isnan(found.ci_lower[0])
    assert found.perm_samples.shape == (99, 2)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: sleep(subjects=5).infer(how="perm"), "5 groups give p >= .0625"),
        (lambda: sleep().infer(how="perm", scheme="within"), "groups of Subject differ in this slope, so rows"),
        (lambda: sleep("Reaction ~ 1 + (1 | Subject)").infer(how="perm", scheme="within"), "the same in all rows"),
        (lambda: sleep().infer(how="perm", scheme="freedman_lane"), "group_flip, residual, within, y"),
        (lambda: sleep().infer(how="perm", scheme="score_flip"), "group_flip, residual, within, y"),
        (lambda: sleep().infer(how="perm", errors="CR2"), "the model's own standard error"),
        (lambda: penicillin().infer(how="perm"), "rows of one group share other groups"),
        (lambda: penicillin().infer(how="perm"), "scheme='residual'"),
        (lambda: weighted().infer(how="perm", scheme="y"), "unequal weights: rows are not exchangeable"),
        (lambda: counts().infer(how="perm", scheme="group_flip"), "scheme='score_flip'"),
        (lambda: counts().draw_stream("perm").response_of(0), "refit nothing"),
        (lambda: sleep().draw_stream("perm", scheme="residual").signs_of(0), r"response_of\(0\)"),
        (lambda: sleep().draw_stream("perm").response_of(0, "days"), "draws test"),
    ],
)
def test_refusals(act, words):
    with pytest.raises(InferenceError, match=words):
        act()


def penicillin():
    return model("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("penicillin")).fit()


def weighted():
    return model("y ~ x + (1 | g)", uneven().filter(pl.col("k") > 0)).fit(weights="k")


def counts():
    data = uneven().with_columns(y=pl.Series(np.random.default_rng(1).poisson(3.0, uneven().height)))
    return model("y ~ x + (1 | g)", data, family="poisson").fit()


def test_few_groups_reach_a_lower_level():
    found = sleep(subjects=5).infer(how="perm", conf_level=0.9).state.inference
    assert found.n_resamples == 32 and np.nanmin(found.p_value) >= 2 / 32


def test_too_few_draws_are_said_first():
    with pytest.warns(InferenceCoreWarning, match="need n_perm >= 19"):
        sleep().infer(how="perm", n_perm=9, seed=1)


def test_flips_of_effects_do_not_depend_on_units():
    """Days in thousandths: the same t of every draw, the same table but for the unit."""
    data = load_dataset("sleepstudy")
    small = data.with_columns(Days=pl.col("Days") * 1e-3)
    tables = [
        model("Reaction ~ Days + (Days | Subject)", frame).fit().infer(how="perm", scheme="residual", n_perm=99, seed=4)
        for frame in (data, small)
    ]
    one, other = (m.params.row(1, named=True) for m in tables)
    np.testing.assert_allclose(other["estimate"], one["estimate"] * 1e3, rtol=1e-6)  # two searches of one optimum
    assert other["p_value"] == one["p_value"]
