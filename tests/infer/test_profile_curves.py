"""Curves of profiles: any level read off the trace, several factors by brute force, stopping and progress, sizes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import ndtri

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer.profile import compute_profile_inference, profile_limits
from inference_core.solvers.profile_curve import Curve
from tests.infer.test_profile import DYESTUFF, DYESTUFF2, dye

LEVELS = (0.5, 0.62, 0.8, 0.93, 0.985, 0.999)


def heavy():
    w = np.random.default_rng(0).uniform(0.5, 3.0, 180)
    return load_dataset("sleepstudy").with_columns(w=pl.Series(w), o=pl.col("Days") * 2.0)


MODELS = {
    "slopes": lambda: model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")),
    "no correlation": lambda: model("Reaction ~ Days + (Days || Subject)", load_dataset("sleepstudy")),
    "weights, offset": lambda: model("Reaction ~ Days + (Days | Subject)", heavy(), weights="w", offset="o"),
    "crossed": lambda: model("diameter ~ 1 + (1 | plate) + (1 | sample)", load_dataset("penicillin")),
    "nested, a limit at 0": lambda: model("strength ~ 1 + (1 | batch / cask)", load_dataset("pastes")),
    "one way": lambda: model("y ~ 1 + (1 | batch)", dye(DYESTUFF)),
    "an SD of 0": lambda: model("y ~ 1 + (1 | batch)", dye(DYESTUFF2)),
    "lm": lambda: model("mpg ~ wt + hp", load_dataset("mtcars")),
    "glm": lambda: model("am ~ wt", load_dataset("mtcars"), family="binomial"),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_level_is_read_off_the_trace(name):
    """To 1e-6 of a standard error: what a reader sees who drags the level is what a new profile would give."""
    m = MODELS[name]().fit()
    found = m.infer(how="profile").state.profile
    for level in LEVELS:
        read = profile_limits(found, level)
        exact = compute_profile_inference(m.spec, m.bundle, m.fit_state, level).ci
        for parameter, limits in exact.items():
            se = np.ptp(found.ci[parameter]) / 2 / ndtri(0.975)
            np.testing.assert_allclose(read[parameter], limits, atol=1e-6 * se, err_msg=f"{parameter} at {level}")


def test_zeta_and_value_are_inverse():
    found = MODELS["nested, a limit at 0"]().fit().infer(how="profile").state.profile
    for name, curve in found.spline_reverse.items():
        zeta = np.linspace(curve.zeta[0], curve.zeta[-1], 301)
        np.testing.assert_allclose(found.spline_forward[name](curve(zeta)), zeta, atol=1e-9)  # an SD near 0: its square
        assert np.isnan(curve(curve.zeta[0] - 1e-6)) and np.isnan(found.spline_forward[name](curve.value[-1] + 1.0))


def test_a_curve_through_known_points():
    """exp(z / 3) + z / 5 by its values, slopes and bends: six derivatives and spacing 0.4 say 1e-9."""
    z, fine = np.linspace(-4, 4, 21), np.linspace(-4, 4, 997)
    e = np.exp(z / 3)
    curve = Curve(z, e + z / 5, e / 3 + 0.2, e / 9)
    np.testing.assert_allclose(curve(fine), np.exp(fine / 3) + fine / 5, atol=1e-9)
    assert curve.errors().max() < 1e-9
    slope, bend = 0.5 / np.sqrt(z[1:] + 4), -0.25 / (z[1:] + 4) ** 1.5
    root = Curve(z, np.sqrt(z + 4), np.append(np.nan, slope), np.append(np.nan, bend), True)
    np.testing.assert_allclose(root(fine), np.sqrt(fine + 4), atol=1e-7)  # a root of rounding


# ---- several factors, by brute force -----------------------------------------------------------------------


def slopes_and_groups(seed, sds):
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(0, 7, 70), rng.integers(0, 4, 70), rng.normal(size=70)
    y = 0.3 + 0.5 * x + sds[0] * rng.normal(size=7)[g] + sds[1] * rng.normal(size=7)[g] * x
    y = y + sds[2] * rng.normal(size=4)[h] + rng.normal(size=70)
    return pl.DataFrame({"y": y, "x": x, "g": g.astype(str), "h": h.astype(str)})


def marginal(bundle, s1, s2, rho, sh, sigma, beta):
    """-2 log L by the n x n covariance."""
    by_g, by_h = bundle.re_metadata.blocks
    G = np.array([[s1 * s1, rho * s1 * s2], [rho * s1 * s2, s2 * s2]])
    V = sigma**2 * np.eye(bundle.n) + (by_g.group_index[:, None] == by_g.group_index) * (by_g.X_re @ G @ by_g.X_re.T)
    V += sh**2 * (by_h.group_index[:, None] == by_h.group_index)
    e = bundle.y - bundle.X @ beta
    return bundle.n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)


@pytest.mark.parametrize(("seed", "sds"), [(1, (0.8, 0.7, 0.8)), (2, (0.3, 0.0, 0.0)), (3, (0.0, 0.4, 0.5))])
def test_limits_of_slopes_beside_a_crossed_factor(seed, sds):
    """At upper limits of SDs and sigma a general optimiser finds the same rise; singular fits are among them."""
    m = model("y ~ x + (x | g) + (1 | h)", slopes_and_groups(seed, sds), method="ml").fit()
    p = m.infer(how="profile").state.profile
    names = ["sd_(Intercept)|g", "sd_x|g", "cor_x.(Intercept)|g", "sd_(Intercept)|h", "sigma", "(Intercept)", "x"]
    for place in (0, 1, 3, 4):
        held = p.ci[names[place]][1]
        trace = p.table.filter((pl.col("parameter") == names[place]) & (pl.col("value") == held))
        start = np.array([trace[name].fill_null(0.0).item() for name in names])
        others = [i for i in range(7) if i != place]

        def of(z, place=place, held=held, others=others):
            v = np.empty(7)
            v[others], v[place] = z, held
            rho = np.sin(v[2])  # within -1 .. 1, and even about its ends
            return marginal(m.bundle, v[0], v[1], rho, v[3], v[4], v[5:])

        z = start.copy()
        z[2] = np.arcsin(np.clip(np.nan_to_num(start[2]), -1.0, 1.0))
        assert of(z[others]) - p.dev_opt == pytest.approx(p.threshold, abs=1e-6)  # arcsin near 1: half the digits
        for shift in (0.0, 0.1):
            best = minimize(of, z[others] + shift, method="BFGS", options={"gtol": 1e-4})
            assert best.fun - p.dev_opt > p.threshold - 1e-5


# ---- stopping, progress, sizes -----------------------------------------------------------------------------


class StopAfter:
    """An event that sets itself after so many looks."""

    def __init__(self, looks):
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("name", ["slopes", "glm"])
def test_stopping_keeps_what_there_is(name):
    m = MODELS[name]().fit()
    whole = m.infer(how="profile").state.profile
    m.infer(how="profile", cancel=StopAfter(4))
    part = m.state.profile
    assert part.cancelled and not whole.cancelled and len(m.profile) < len(whole.table)
    assert "stopped" in repr(m)
    both = part.table.join(whole.table, on=["parameter", "zeta"], suffix="_whole")
    np.testing.assert_allclose(both["value"], both["value_whole"], rtol=1e-12)
    assert all(np.isnan(limits).all() for limits in part.ci.values())
    assert m.infer().params["ci_lower"].null_count() == 0  # the model goes on


@pytest.mark.parametrize("name", ["slopes", "lm", "glm"])
def test_progress_ends_at_its_total(name):
    seen = []
    MODELS[name]().fit().infer(how="profile", progress=lambda done, total: seen.append((done, total)))
    done = [d for d, _ in seen]
    assert done == sorted(done) and seen[-1][0] == seen[-1][1]


def test_a_model_that_is_too_large_is_refused_before_anything_is_computed():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 400, 3000), rng.integers(0, 400, 3000)
    frame = pl.DataFrame({"y": rng.normal(size=3000), "a": a.astype(str), "b": b.astype(str)})
    m = model("y ~ 1 + (1 | a) + (1 | b)", frame)
    seen = []
    with pytest.raises(InferenceError, match="profiles take up to 600"):
        m.fit().infer(how="profile", progress=lambda done, total: seen.append(done))
    assert not seen
