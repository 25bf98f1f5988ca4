"""glmer_bootstrap and its parts from bare arrays: the draws and refits of the model's own stream, names, refusals."""

import inspect

import numpy as np
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.fit.glmer import fit_glmer
from inference_core.infer.intervals import interval
from inference_core.infer.resample.glmer import (
    glmer_bootstrap,
    glmer_bootstrap_single_iteration,
    simulate_from_glmer,
)
from inference_core.infer.resample.stream import open_stream
from inference_core.rng import RNG

from .test_glmer_kernel import frame

FULL = np.tril(np.ones((2, 2), bool))
MODELS = {
    "intercept": ("cbind(incidence, size - incidence) ~ period + (1 | herd)", "binomial", "intercept", {}),
    "slope": ("count ~ x + (x | g)", "poisson", "slope", {}),
    "diagonal": ("count ~ x + (x || g)", "poisson", "diagonal", {}),
    "crossed": ("count ~ x + (1 | g) + (1 | h)", "poisson", "crossed", {}),
    "mixed": ("count ~ x + (x | g) + (1 | h)", "poisson", "mixed", {"masks": [FULL, [[True]]]}),
    "a fixed theta": ("spread ~ x + (1 | g)", "negative_binomial(theta=3)", "intercept", {}),
}


@pytest.fixture(scope="module")
def scenes():
    out = {}
    for name, (formula, family, structure, metadata) in MODELS.items():
        data = load_dataset("cbpp") if "herd" in formula else frame(7, 15, 8)
        link = get_family(family).link.name
        spec, bundle = build_bundle(formula, data, family=family, link=link, method="ml")
        fit = fit_glmer(spec, bundle)
        re = bundle.re_metadata
        arrays = dict(
            X=bundle.X, Z=re.z_matrix(), y=bundle.y, X_names=list(bundle.X_names), theta=fit.theta, beta=fit.coef,
            family=get_family(family), n_groups_list=[b.n_levels for b in re.blocks], re_structure=structure,
            metadata=metadata, weights=bundle.trials,
        )  # fmt: skip
        out[name] = ((spec, bundle, fit), arrays)
    return out


def drawing(arrays):
    return {key: value for key, value in arrays.items() if key not in ("y", "X_names")}


@pytest.mark.parametrize("name", MODELS)
def test_the_draws_are_those_of_the_model(scenes, name):
    model, arrays = scenes[name]
    names = dict(group_names=list(model[1].re_metadata.group_names), random_names=["Intercept", "x"])
    found = glmer_bootstrap(**arrays, n_boot=40, seed=4, nAGQ=1, level=0.9, which="all", **names)
    stream = open_stream("boot", "parametric", *model, seed=4)
    draws = stream.collect(40)
    np.testing.assert_allclose(found.observed, draws.observed, rtol=1e-12)
    # both stop at a decrement of 1e-12, started with Hessians that differ in the sixth digit; SDs near 0 are flat
    np.testing.assert_allclose(found.boot_samples, draws.samples, rtol=1e-5, atol=2e-5)
    p = len(arrays["X_names"])
    assert found.term_types == ["fixef"] * p + ["ranef"] * (len(found.observed) - p)
    limits = interval("percentile", found.boot_samples, found.observed, 0.9)
    np.testing.assert_array_equal(found.ci[0], limits.lower)
    np.testing.assert_array_equal(found.ci[1], limits.upper)


def test_names_and_parts(scenes):
    _, arrays = scenes["slope"]
    names = dict(group_names=["g"], random_names=["(Intercept)", "x"])
    found = glmer_bootstrap(**arrays, n_boot=40, seed=1, level=0.9, which="ranef", **names)
    assert found.param_names == ["g:Intercept_sd", "g:x_sd", "g:corr_Intercept:x"]
    fixed = glmer_bootstrap(**arrays, n_boot=40, seed=1, level=0.9)
    assert fixed.param_names == arrays["X_names"] and fixed.boot_samples.shape == (40, 2) and fixed.term_types is None
    more = glmer_bootstrap(**arrays, n_boot=60, seed=1, level=0.9, n_jobs=2)
    np.testing.assert_array_equal(more.boot_samples[:40], fixed.boot_samples)


def test_bca_takes_groups_left_out(scenes):
    model, arrays = scenes["intercept"]
    found = glmer_bootstrap(**arrays, n_boot=199, seed=4, nAGQ=1, level=0.9, ci_type="bca")
    left = open_stream("boot", "parametric", *model, seed=4).jackknife()
    assert left.shape == (15, 5)
    limits = interval("bca", found.boot_samples, found.observed, 0.9, jackknife=left[:, :4])
    np.testing.assert_allclose(found.ci_lower, limits.lower, rtol=1e-5)  # refits to 1e-6 of a standard error
    np.testing.assert_allclose(found.ci_upper, limits.upper, rtol=1e-5)


def test_without_quadrature_is_the_default(scenes):
    (spec, bundle, _), arrays = scenes["intercept"]
    rough = fit_glmer(spec, bundle, n_agq=0)
    at = arrays | {"theta": rough.theta, "beta": rough.coef}
    found = glmer_bootstrap(**at, n_boot=40, seed=2, level=0.9)
    draws = open_stream("boot", "parametric", spec, bundle, rough, seed=2).collect(40)
    np.testing.assert_allclose(found.boot_samples, draws.samples[:, :4], rtol=1e-5, atol=2e-5)  # as above


@pytest.mark.parametrize("name", ["intercept", "crossed", "a fixed theta"])
def test_one_iteration_is_draw_0(scenes, name):
    model, arrays = scenes[name]
    y = simulate_from_glmer(RNG(4), **drawing(arrays))
    np.testing.assert_array_equal(y, open_stream("boot", "parametric", *model, seed=4).response_of(0))
    a = drawing(arrays)
    found = glmer_bootstrap_single_iteration(
        RNG(4), a["X"], a["Z"], a["beta"], a["theta"], a["family"], a["n_groups_list"], a["re_structure"],
        a["metadata"], a["weights"], "parametric", 25, 1e-8, 10000, 1, len(a["beta"]),
    )  # fmt: skip
    whole = glmer_bootstrap(**arrays, n_boot=40, seed=4, nAGQ=1, level=0.9)
    np.testing.assert_allclose(found, whole.boot_samples[0], rtol=1e-5, atol=2e-5)  # tolerance of a refit


def test_a_list_of_structures_is_a_word(scenes):
    _, arrays = scenes["crossed"]
    word = simulate_from_glmer(RNG(4), **drawing(arrays))
    listed = simulate_from_glmer(RNG(4), **drawing(arrays) | {"re_structure": [{"type": "intercept"}] * 2})
    np.testing.assert_array_equal(word, listed)


def test_signatures_are_those_of_the_specification():
    names = list(inspect.signature(glmer_bootstrap).parameters)
    assert names[:22] == [
        "X", "Z", "y", "X_names", "theta", "beta", "family", "n_groups_list", "re_structure", "metadata", "weights",
        "n_boot", "seed", "boot_type", "ci_type", "level", "max_iter", "tol", "max_outer_iter", "nAGQ", "verbose",
        "n_jobs",
    ]  # fmt: skip
    names = list(inspect.signature(glmer_bootstrap_single_iteration).parameters)
    assert names == [
        "rng", "X_np", "Z_sparse", "beta_np", "theta_np", "family", "n_groups_list", "re_structure", "metadata",
        "weights_np", "boot_type", "max_iter", "tol", "max_outer_iter", "nAGQ", "p", "lambda_template",
    ]  # fmt: skip
    names = list(inspect.signature(simulate_from_glmer).parameters)
    assert names == [
        "rng", "X", "Z", "beta", "theta", "family", "n_groups_list", "re_structure", "metadata", "weights",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"boot_type": "case"}, "rows of one group belong together"),
        ({"ci_type": "studentized"}, "no standard errors"),
        ({"ci_type": "basic", "which": "all", "group_names": ["g"], "random_names": ["a"]}, "bounded at 0"),
        ({"n_boot": 10}, "B = 10 cannot give"),
        ({"which": "sd"}, "fixef, ranef, all"),
        ({"which": "all"}, "group_names"),
        ({"beta": np.zeros(7)}, "beta has 7"),
        ({"y": np.zeros(3)}, "y has 3"),
        ({"weights": np.ones(3)}, "weights has 3"),
        ({"theta": np.ones(3)}, "theta has 3"),
        ({"X_names": ["a"]}, "X_names has 1"),
        ({"re_structure": "nests"}, "structures are"),
        ({"family": get_family("gamma", "log")}, "dispersion"),
        ({"family": get_family("negative_binomial")}, "dispersion"),
    ],
)
def test_refusals(scenes, change, word):
    _, arrays = scenes["intercept"]
    with pytest.raises(InferenceError, match=word):
        glmer_bootstrap(**arrays | {"n_boot": 99, "seed": 1} | change)


def test_repeated_columns_are_refused(scenes):
    _, arrays = scenes["slope"]
    X = np.column_stack([arrays["X"], arrays["X"][:, 1]])
    change = {"X": X, "beta": np.ones(3), "X_names": ["a", "b", "c"]}
    with pytest.raises(InferenceError, match="c repeat the others"):
        glmer_bootstrap(**arrays | change, n_boot=99)
