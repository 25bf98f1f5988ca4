"""Requests reach the backend that answers them, with every argument, and change what they say they change."""

import dataclasses
import inspect

import numpy as np
import pytest

from inference_core.errors import InferenceError
from inference_core.infer.asymptotic import compute_params_asymptotic
from inference_core.infer.bootstrap import compute_params_bootstrap
from inference_core.infer.cells import BUILT, HOWS
from inference_core.infer.dispatch import AFTER, InferResult, dispatch_infer
from inference_core.infer.params import PARAMS_METHODS, dispatch_params_inference

from .handmade import generalized, linear

FIELDS = ("se", "ci_lower", "ci_upper", "statistic", "p_value")


def same(a, b):
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("model", [linear(2), generalized("poisson", "log", 1)], ids=["lm", "glm"])
@pytest.mark.parametrize("errors", ["iid", "HC3", "hetero"])
def test_asymp_is_the_asymptotic_table(model, errors):
    spec, bundle, fit = model
    ask = {"conf_level": 0.9, "errors": errors, "null": 0.5, "alternative": "greater", "data": None}
    table = compute_params_asymptotic(spec, bundle, fit, **ask)
    same(table, dispatch_params_inference(how="asymp", spec=spec, bundle=bundle, fit=fit, **ask))
    result = dispatch_infer(how="asymp", last_op="fit", spec=spec, bundle=bundle, fit=fit, **ask)
    same(table, result.params_inference)
    assert result.resamples is None


def test_boot_is_the_bootstrap_table_and_its_draws():
    spec, bundle, fit = linear(3)
    ask = {"conf_level": 0.9, "null": 0.2, "alternative": "less", "n_boot": 200, "ci_type": "percentile", "seed": 4}
    table = compute_params_bootstrap(spec, bundle, fit, **ask)
    result = dispatch_infer(how="boot", last_op="fit", spec=spec, bundle=bundle, fit=fit, **ask)
    same(table, result.params_inference)
    assert result.resamples.samples.shape == (200, 3) and result.resamples.seed == 4
    assert result.resamples.draw(17).shape == (25,)
    thrown = dispatch_infer(how="boot", last_op="fit", spec=spec, bundle=bundle, fit=fit, save_resamples=False, **ask)
    same(table, thrown.params_inference)
    assert thrown.resamples is None


def test_progress_and_cancel_reach_the_loop():
    class Stop:
        def is_set(self):
            return True

    spec, bundle, fit = linear(3)
    seen = []
    dispatch_infer(
        how="boot", last_op="fit", spec=spec, bundle=bundle, fit=fit, n_boot=300, seed=1,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen[-1] == (300, 300)
    stopped = dispatch_infer(how="boot", last_op="fit", spec=spec, bundle=bundle, fit=fit, n_boot=300, cancel=Stop())
    assert stopped.params_inference.cancelled and stopped.resamples.cancelled
    assert len(stopped.resamples.samples) < 300


def test_only_what_changed_is_in_the_result():
    spec, bundle, fit = linear(3)
    result = dispatch_infer(how="asymp", last_op="fit", spec=spec, bundle=bundle, fit=fit)
    changed = {f.name for f in dataclasses.fields(InferResult) if getattr(result, f.name) is not None}
    assert changed == {"params_inference"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.last_op = "fit"


def test_tables_and_cells_agree():
    assert {how for op, how, _ in BUILT if op == "fit"} == {*PARAMS_METHODS, "profile", "joint"} == set(HOWS)
    assert {op for op, _, _ in BUILT} == set(AFTER)


def test_joint_tests_need_the_data():
    spec, bundle, fit = linear(3)
    with pytest.raises(InferenceError, match="give the frame"):
        dispatch_infer(how="joint", last_op="fit", spec=spec, bundle=bundle, fit=fit)
    with pytest.raises(InferenceError, match="more than a table"):
        dispatch_params_inference(how="joint", spec=spec, bundle=bundle, fit=fit, data=None, conf_level=0.95)


def test_unknown_words_and_missing_models():
    spec, bundle, fit = linear(3)
    with pytest.raises(InferenceError, match="how is one of asymp, boot"):
        dispatch_infer(how="bogus", last_op="fit", spec=spec, bundle=bundle, fit=fit)
    with pytest.raises(InferenceError, match="no bundle, fit"):
        dispatch_infer(how="asymp", last_op="fit", spec=spec)
    with pytest.raises(InferenceError, match="more than a table"):
        dispatch_params_inference(how="profile", spec=spec, bundle=bundle, fit=fit, data=None, conf_level=0.95)


def test_a_profile_is_a_table_and_its_traces():
    spec, bundle, fit = linear(3)
    result = dispatch_infer(how="profile", last_op="fit", spec=spec, bundle=bundle, fit=fit)
    assert result.profile is not None and result.varying_spread is None
    inside = (result.params_inference.ci_lower < fit.coef) & (fit.coef < result.params_inference.ci_upper)
    assert inside.all()


def test_everything_is_passed_by_name():
    for function in (dispatch_infer, dispatch_params_inference):
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}
