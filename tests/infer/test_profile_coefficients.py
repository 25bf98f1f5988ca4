"""Profile likelihood of lm and glm coefficients: refits with the coefficient held, R's confint, closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.fit import fit_model
from inference_core.infer.profile import compute_profile_inference, profile_limits
from tests.reference.adapter import load_cases
from tests.reference.adapter.profile import CUT, held_zeta

MODELS = [
    ("y ~ x + z", "poisson", None), ("y ~ x + z", "poisson", "sqrt"), ("g ~ x + z", "gamma", "identity"),
    ("b ~ x + z", "binomial", None),
    ("b ~ x + z", "binomial", "cloglog"), ("g ~ x + z", "gamma", "log"), ("g ~ x", "inverse_gaussian", "log"),
    ("y ~ x", "negative_binomial(theta=2.0)", None),
]  # fmt: skip


def frame(seed=0, n=60):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    return pl.DataFrame({
        "x": x, "z": z, "y": rng.poisson(np.exp(1 + 0.5 * x)).astype(float), 
        "b": (rng.random(n) < 0.5 + 0.2 * np.tanh(x)) * 1,
        "g": np.exp(1 + 0.3 * x) * rng.gamma(4.0, 0.25, n), "w": rng.integers(1, 4, n).astype(float), "o": 0.3 * z,
    })  # fmt: skip


def fitted(formula, data, family="gaussian", link=None, **options):
    spec, bundle = build_bundle(formula, data, family=family, link=get_family(family, link).link.name, **options)
    return spec, bundle, fit_model(spec, bundle)


@pytest.mark.parametrize(("formula", "family", "link"), MODELS)
@pytest.mark.parametrize("extra", [{}, {"weights": "w"}, {"weights": "w", "offset": "o"}])
def test_a_refit_with_the_slope_held_has_risen_by_the_threshold(formula, family, link, extra):
    """The slope of x moves into the offset: an ordinary fit of what is left, by other code."""
    data = frame()
    spec, bundle, fit = fitted(formula, data, family, link, **extra)
    profile = compute_profile_inference(spec, bundle, fit)
    for limit in profile.ci["x"]:
        held = data.with_columns(off=limit * pl.col("x") + (pl.col("o") if "offset" in extra else 0.0))
        rest = formula.replace("x + ", "").replace("~ x", "~ 1")
        less = fitted(rest, held, family, link, **(extra | {"offset": "off"}))[2]
        rise = (less.deviance - fit.deviance) / fit.dispersion
        assert rise == pytest.approx(profile.threshold, abs=1e-6)  # the refit's own stopping rule


def test_an_lm_in_closed_form():
    """N log(RSS(b) / RSS): a refit with the slope held, sigma free."""
    data = frame(3)
    spec, bundle, fit = fitted("g ~ x + z", data, weights="w")
    profile = compute_profile_inference(spec, bundle, fit)
    for limit in profile.ci["x"]:
        less = fitted("g ~ z", data.with_columns(off=limit * pl.col("x")), weights="w", offset="off")[2]
        assert -2 * (less.loglik - fit.loglik) == pytest.approx(profile.threshold, abs=1e-9)
    assert profile.dev_opt == pytest.approx(-2 * fit.loglik, rel=1e-12)
    at = np.array([-1.5, -0.3, 0.2, 1.0])
    for name in profile.ci:
        np.testing.assert_allclose(profile.spline_forward[name](profile.spline_reverse[name](at)), at, atol=1e-3)


def test_refits_agree_where_r_interpolates(pytestconfig):
    """R reads limits off a line; at ours a refit with the coefficient held has risen by the normal quantile squared."""
    seen = 0
    for case in load_cases(pytestconfig.getoption("reference")):
        if case.quantity != "glm.fit" or "ci_profile_95" not in case.values or case.separated:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the notes of a fit are not the matter here
            m = case.fitted()
        for j, limits in enumerate(compute_profile_inference(m.spec, m.bundle, m.fit_state).ci.values()):
            found = [held_zeta(m, j, limit) for limit in limits]
            np.testing.assert_allclose(found, CUT, rtol=1e-7, err_msg=case.id)  # the fits' own stopping rule
            seen += 1
    assert seen


def test_limits_of_other_levels_and_a_dropped_column():
    data = frame(1).with_columns(twice=2 * pl.col("x"))
    spec, bundle, fit = fitted("y ~ x + twice + z", data, "poisson")
    profile = compute_profile_inference(spec, bundle, fit)
    assert list(profile.ci) == ["(Intercept)", "x", "z"]
    wider = profile_limits(profile, 0.99)
    assert all(wider[name][0] < profile.ci[name][0] < profile.ci[name][1] < wider[name][1] for name in profile.ci)


def test_a_profile_that_flattens_has_no_limit():
    """One success in the first of two cells, at a weight of a thousandth: the slope may rise for ever."""
    data = pl.DataFrame({"y": [1.0] + [0.0] * 6 + [1.0, 0.0, 1.0, 1.0, 0.0, 1.0], "g": [0.0] * 7 + [1.0] * 6})
    data = data.with_columns(w=pl.when(pl.int_range(13) == 0).then(1e-3).otherwise(1.0))
    spec, bundle, fit = fitted("y ~ g", data, "poisson", weights="w")
    profile = compute_profile_inference(spec, bundle, fit)
    lower, upper = profile.ci["g"]
    assert 0.0 < lower < profile.estimate["g"] and np.isnan(upper)
    assert any("upper limit of g" in note for note in profile.notes)


def test_student_t_is_refused():
    spec, bundle, fit = fitted("g ~ x", frame(), "tdist")
    with pytest.raises(InferenceError, match="Student"):
        compute_profile_inference(spec, bundle, fit)
