"""Variance components with profile limits: names meet, variances are squares of SDs, other levels."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit import fit_model
from inference_core.fit.lmer import fit_lmer
from inference_core.infer.profile import compute_profile_inference, profile_limits
from inference_core.infer.spread import augment_spread_with_profile_ci, varying_spread_state


def sleep():
    spec, bundle = build_bundle("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy"), method="ml")
    fit = fit_lmer(spec, bundle)
    return bundle, fit, compute_profile_inference(spec, bundle, fit)


def test_every_component_has_its_limits():
    bundle, fit, profile = sleep()
    spread = varying_spread_state(bundle, fit)
    found = augment_spread_with_profile_ci(spread, profile, 0.95)
    table = found.components.with_columns(lower=found.ci_lower, upper=found.ci_upper)
    assert table.height == 7 and found.ci_method == "profile" and found.conf_level == 0.95
    at = {(r["group"], r["term"], r["metric"]): r for r in table.iter_rows(named=True)}
    sd, variance = at["Subject", "Days", "sd"], at["Subject", "Days", "variance"]
    assert (sd["lower"], sd["upper"]) == profile.ci["sd_Days|Subject"]
    assert (variance["lower"], variance["upper"]) == (sd["lower"] ** 2, sd["upper"] ** 2)
    correlation = at["Subject", "Days.(Intercept)", "correlation"]
    assert (correlation["lower"], correlation["upper"]) == profile.ci["cor_Days.(Intercept)|Subject"]
    assert np.all(table["lower"].to_numpy() <= table["estimate"].to_numpy())
    assert np.all(table["estimate"].to_numpy() <= table["upper"].to_numpy())


def test_another_level():
    bundle, fit, profile = sleep()
    found = augment_spread_with_profile_ci(varying_spread_state(bundle, fit), profile, 0.8)
    wanted = profile_limits(profile, 0.8)["sigma"]
    assert (found.ci_lower[-1], found.ci_upper[-1]) == wanted


def test_without_random_effects():
    spec, bundle = build_bundle("Reaction ~ Days", load_dataset("sleepstudy"))
    with pytest.raises(InferenceError, match="no random effects"):
        varying_spread_state(bundle, fit_model(spec, bundle))
