"""lmer_bootstrap and its parts from bare arrays: the same draws as the model's own stream, names, refusals."""

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit import fit_lmer
from inference_core.infer.intervals import interval
from inference_core.infer.resample.lmer import (
    lmer_bootstrap,
    lmer_bootstrap_single_iteration,
    simulate_from_lmer,
)
from inference_core.infer.resample.random_arrays import random_effects_of
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG


def frame():
    rng = np.random.default_rng(3)
    g, h = np.repeat(np.arange(8), 12), np.tile(np.arange(6), 16)
    x = rng.standard_normal(96)
    y = x + rng.standard_normal(8)[g] + x * rng.standard_normal(8)[g] + rng.standard_normal(6)[h]
    return pl.DataFrame({"y": y + rng.standard_normal(96), "x": x, "g": g, "h": h})


FULL = np.tril(np.ones((2, 2), bool))
MODELS = {
    "slope": ("Reaction ~ Days + (Days | Subject)", "slope", None, ["Intercept", "Days"]),
    "slope without intercept": ("Reaction ~ Days + (0 + Days | Subject)", "slope", None, ["Days"]),
    "intercept": ("Reaction ~ Days + (1 | Subject)", "intercept", None, ["Intercept"]),
    "diagonal": ("Reaction ~ Days + (Days || Subject)", "diagonal", None, ["Intercept", "Days"]),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", "crossed", None, [["Intercept"], ["Intercept"]]),
    "mixed": ("y ~ x + (x | g) + (1 | h)", "mixed", {"masks": [FULL, [[True]]]}, [["Intercept", "x"], ["Intercept"]]),
}


@pytest.fixture(scope="module")
def scenes():
    out = {}
    for name, (formula, structure, metadata, effects) in MODELS.items():
        data = frame() if "g" in formula.split("~")[1].replace("Subject", "") else load_dataset("sleepstudy")
        spec, bundle = build_bundle(formula, data, method="reml")
        fit = fit_lmer(spec, bundle)
        re = bundle.re_metadata
        arrays = dict(
            X=bundle.X, Z=re.z_matrix(), y=bundle.y, X_names=list(bundle.X_names), theta=fit.theta, beta=fit.coef,
            sigma=fit.sigma, n_groups_list=[b.n_levels for b in re.blocks], re_structure=structure, metadata=metadata,
        )  # fmt: skip
        names = dict(group_names=list(re.group_names), random_names=effects)
        out[name] = ((spec, bundle, fit), arrays, names)
    return out


@pytest.mark.parametrize("name", MODELS)
def test_the_draws_are_those_of_the_model(scenes, name):
    model, arrays, names = scenes[name]
    result = lmer_bootstrap(**arrays, n_boot=60, seed=4, which="all", level=0.9, **names)
    stream = open_stream("boot", "parametric", *model, seed=4)
    # a zero of x leaves the group of a row open, and sums may round in another order
    np.testing.assert_allclose(result.boot_samples, stream.collect(60).samples, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result.observed, stream.observed, rtol=1e-12)
    assert result.term_types == ["fixef"] * 2 + ["ranef"] * (len(result.param_names) - 2)
    assert result.param_names[-1] == "Residual_sd"
    for part, columns in (("fixef", slice(0, 2)), ("ranef", slice(2, None))):
        alone = lmer_bootstrap(**arrays, n_boot=60, seed=4, which=part, level=0.9, n_jobs=2, **names)
        np.testing.assert_array_equal(alone.boot_samples, result.boot_samples[:, columns])
        np.testing.assert_array_equal(alone.ci_lower, result.ci_lower[columns])
        assert alone.param_names == result.param_names[columns]
        assert alone.term_types is None


def test_names_and_limits(scenes):
    _, arrays, names = scenes["slope"]
    result = lmer_bootstrap(**arrays, n_boot=199, seed=1, which="ranef", **names)
    assert result.param_names == [
        "Subject:Intercept_sd", "Subject:Days_sd", "Subject:corr_Intercept:Days", "Residual_sd",
    ]  # fmt: skip
    expected = interval("percentile", result.boot_samples, result.observed, 0.95)
    np.testing.assert_allclose(result.ci, (expected.lower, expected.upper))
    basic = lmer_bootstrap(**arrays, n_boot=199, seed=1, ci_type="basic")
    expected = interval("basic", basic.boot_samples, basic.observed, 0.95)
    np.testing.assert_allclose(basic.ci, (expected.lower, expected.upper))
    np.testing.assert_allclose(basic.se, basic.boot_samples.std(axis=0, ddof=1))


def test_a_larger_run_keeps_the_earlier_draws(scenes):
    _, arrays, _ = scenes["intercept"]
    short, long = (lmer_bootstrap(**arrays, n_boot=n, seed=8).boot_samples for n in (50, 700))
    np.testing.assert_array_equal(short, long[:50])


def bare(arrays):
    return [arrays[k] for k in ("X", "Z", "beta", "theta", "sigma", "n_groups_list", "re_structure", "metadata")]


def single(arrays, names, which, n_params, **changes):
    X = arrays["X"]
    ask = dict(
        lower_bounds=[0.0], upper_bounds=[np.inf], max_iter=10_000, lambda_template=None, X_arr=X, XtX=X.T @ X,
        n=len(X), p=2, n_params=n_params, which=which, method="REML", **names,
    )  # fmt: skip
    ask |= changes
    order = (
        "method", "lower_bounds", "upper_bounds", "max_iter", "lambda_template", "X_arr", "XtX", "n", "p", "n_params",
        "which", "group_names", "random_names",
    )  # fmt: skip
    return lmer_bootstrap_single_iteration(RNG.from_seed(4), *bare(arrays), *(ask[name] for name in order))


@pytest.mark.parametrize("name", MODELS)
def test_a_single_iteration_is_draw_0(scenes, name):
    model, arrays, names = scenes[name]
    stream = open_stream("boot", "parametric", *model, seed=4)
    first = stream.batch(0, 1).samples[0]
    y = simulate_from_lmer(RNG.from_seed(4), *bare(arrays))
    np.testing.assert_allclose(y, stream.response_of(0), rtol=1e-12)
    for which, part in (("fixef", first[:2]), ("ranef", first[2:]), ("all", first)):
        found = single(arrays, names, which, part.size)
        np.testing.assert_allclose(found, part, rtol=1e-7, atol=1e-7)  # one lane of a batch against a batch of one
    assert np.isnan(single(arrays, names, "fixef", 2, max_iter=0)).all()


def test_moments_of_simulate_from_lmer(scenes):
    """Mean X beta and variance sigma^2 (1 + z_i' L L' z_i), over the children of one source."""
    _, arrays, _ = scenes["mixed"]
    B = 1500
    Y = np.array([simulate_from_lmer(rng, *bare(arrays)) for rng in RNG.from_seed(6).split(B)])
    re = random_effects_of(arrays["Z"], arrays["theta"], [8, 6], "mixed", arrays["metadata"])
    L = np.zeros((22, 22))
    t1, t2 = re.t_matrices(arrays["theta"])
    L[:16, :16], L[16:, 16:] = np.kron(np.eye(8), t1), t2[0, 0] * np.eye(6)
    Z = arrays["Z"].toarray()
    V = arrays["sigma"] ** 2 * (Z @ L @ L.T @ Z.T + np.eye(96))
    mean = arrays["X"] @ arrays["beta"]
    assert np.abs((Y.mean(0) - mean) / np.sqrt(np.diag(V) / B)).max() < 4.5  # 96 rows
    errors = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / B)
    assert np.abs(((Y - mean).T @ (Y - mean) / B - V) / errors).max() < 5.5  # 4,656 covariances


def test_bca_limits_take_their_acceleration_from_groups_left_out(scenes):
    (spec, bundle, fit), arrays, names = scenes["slope"]
    result = lmer_bootstrap(**arrays, **names, which="all", n_boot=300, seed=4, ci_type="bca")
    stream = open_stream("boot", "parametric", spec, bundle, fit, seed=4)
    jackknife = stream.jackknife()
    for j in range(len(stream.names)):
        limits = interval("bca", result.boot_samples[:, [j]], result.observed[[j]], jackknife=jackknife[:, [j]])
        np.testing.assert_allclose(result.ci_lower[j], limits.lower[0], rtol=1e-6)  # refits from other starts
        np.testing.assert_allclose(result.ci_upper[j], limits.upper[0], rtol=1e-6)
    crossed = scenes["mixed"][1]
    with pytest.raises(InferenceError, match="crossed"):
        lmer_bootstrap(**crossed, n_boot=300, ci_type="bca")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (dict(which="random"), "fixef, ranef, all"),
        (dict(which="all"), "group_names"),
        (dict(boot_type="case"), "belong together"),
        (dict(ci_type="studentized"), "no standard errors"),
        (dict(ci_type="expanded"), "no degrees of freedom"),
        (dict(ci_type="basic", which="ranef", group_names=["S"], random_names=["a", "b"]), "bounded at 0"),
        (dict(n_boot=10), "cannot give"),
        (dict(method="MAP"), "REML or ML"),
        (dict(lower_bounds=[0.5, 0.0, 0.0]), "bounds"),
        (dict(theta=np.ones(2)), "theta has 2 entries"),
        (dict(re_structure="tree"), "structures are"),
        (dict(n_groups_list=[17]), "columns"),
        (dict(n_groups_list=[9]), "theta has 3"),
        (dict(beta=np.ones(3)), "beta has 3"),
        (dict(y=np.ones(3)), "y has 3"),
        (dict(metadata={"masks": []}), "0 masks"),
        (dict(which="all", group_names=["S", "T"], random_names=["a", "b"]), "2 group_names"),
        (dict(which="all", group_names=["S"], random_names=["a"]), "1 random_names"),
    ],
)
def test_refusals_come_before_any_draw(scenes, changes, word):
    arrays = scenes["slope"][1] | dict(n_boot=199) | changes
    with pytest.raises(InferenceError, match=word):
        lmer_bootstrap(**arrays)


def test_arrays_that_do_not_belong_together(scenes):
    arrays = scenes["slope"][1]
    twice = np.column_stack([arrays["X"], arrays["X"][:, 1]])
    with pytest.raises(InferenceError, match="again repeat"):
        lmer_bootstrap(**arrays | dict(X=twice, beta=np.ones(3), X_names=["a", "b", "again"]))
    Z = arrays["Z"].tolil()
    Z[5, 30] = 1.0
    with pytest.raises(InferenceError, match="row 5 of Z belongs to several groups"):
        lmer_bootstrap(**arrays | dict(Z=Z.tocsc()))
    with pytest.raises(InferenceError, match="there are 2"):
        single(arrays, {"group_names": None, "random_names": None}, "fixef", 5)


def test_many_failures_warn(scenes):
    _, arrays, _ = scenes["slope"]
    some = np.random.default_rng(1).random(len(arrays["y"])) < 0.5  # an even design begins where it ends
    arrays = arrays | {name: arrays[name][some] for name in ("X", "Z", "y")}
    with pytest.warns(RuntimeWarning, match="60 of 60 refits failed"):
        result = lmer_bootstrap(**arrays, n_boot=60, seed=1, level=0.9, max_iter=1)
    assert np.isnan(result.boot_samples).all()
    assert np.isnan(result.ci_lower).all()
