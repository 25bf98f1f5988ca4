"""Profile likelihood: constrained minima found another way, published limits, boundaries, laws, refusals."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import ndtri

from inference_core import load_dataset
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit.lmer import fit_lmer
from inference_core.infer.profile import compute_profile_inference, profile_limits
from inference_core.solvers.lmm.dense import DenseDesign, Term
from inference_core.solvers.lmm.groups import GroupDesign
from inference_core.solvers.lmm.held import HeldGroups, HeldTerms, held_deviance
from tests.solvers.lmm.models import BLOCKS, DIAGONAL, FULL, covariance, draw

SLOPES = "Reaction ~ Days + (Days | Subject)"
BATCHES = [c for c in "ABCDEF" for _ in range(5)]
DYESTUFF = [
    1545, 1440, 1440, 1520, 1580, 1540, 1555, 1490, 1560, 1495, 1595, 1550, 1605, 1510, 1560,
    1445, 1440, 1595, 1465, 1545, 1595, 1630, 1515, 1635, 1625, 1520, 1455, 1450, 1480, 1445,
]  # fmt: skip
DYESTUFF2 = [
    7.298, 3.846, 2.434, 9.566, 7.990, 5.220, 6.556, 0.608, 11.788, -0.892, 0.110, 10.386, 13.434, 5.510, 8.166,
    2.212, 4.852, 7.092, 9.288, 4.980, 0.282, 9.014, 4.458, 9.446, 7.198, 1.722, 4.782, 8.106, 0.758, 3.758,
]  # fmt: skip


def profile(formula, frame, method="ml", weights=None, offset=None, **options):
    spec, bundle = build_bundle(formula, frame, method=method, weights=weights, offset=offset)
    return compute_profile_inference(spec, bundle, fit_lmer(spec, bundle), **options)


def dye(values):
    return pl.DataFrame({"y": [float(v) for v in values], "batch": BATCHES})


# ---- the deviance with something held ----------------------------------------------------------------------


def brute_held(d, x, row, value):
    """-2 log L at (T, log sigma) with row'b held, by the n x n covariance and Lagrange's equations."""
    k = d.Z.shape[1]
    T = np.zeros((k, k))
    entries = [(a, b) for b in range(k) for a in range(b, k) if d.mask[a, b]]
    for v, (a, b) in zip(x, entries, strict=False):
        T[a, b] = v
    V = np.exp(2 * x[-1]) * covariance([(d.Z, d.group, T)], d.y.size, d.weights)
    Vi = np.linalg.inv(V)
    S = d.X.T @ Vi @ d.X
    b = np.linalg.solve(S, d.X.T @ Vi @ d.y)
    if row is not None:
        e = np.linalg.solve(S, row)
        b = b + e * (value - row @ b) / (row @ e)
    r = d.y - d.X @ b
    return d.y.size * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + r @ Vi @ r


@pytest.mark.parametrize(("k", "kind"), [(1, FULL), (2, FULL), (2, DIAGONAL), (3, FULL), (3, BLOCKS)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_the_held_deviance(k, kind, weighted, dense):
    d = draw(4, k, kind, groups=7, n=45, weighted=weighted)
    if dense:
        design = DenseDesign.of(d.X, [Term.of(d.Z, d.group, mask=d.mask)], d.weights)
        kernel, Rz = HeldTerms.of(design, d.y), design.z_factors[0]
        shift = kernel.one.shift[0]
        inside = lambda T: design.theta_inside([T[None]])[0]  # noqa: E731
    else:
        design = GroupDesign.of(d.X, d.Z, d.group, mask=d.mask, weights=d.weights)
        kernel, Rz = HeldGroups.of(design, d.y), design.z_factor
        shift = kernel.shift[0]
        inside = lambda T: design.theta_inside(T[None])[0]  # noqa: E731
    assert Rz.shape == (k, k)
    rng = np.random.default_rng(1)
    entries = [(a, b) for b in range(k) for a in range(b, k) if d.mask[a, b]]
    T = np.zeros((k, k))
    for a, b in entries:
        T[a, b] = abs(rng.normal()) if a == b else rng.normal()
    x = np.append(inside(T), 0.2)
    plain = np.append([T[a, b] for a, b in entries], 0.2)
    row = np.array([0.5, 1.0, -1.0])
    l = np.linalg.solve(design.x_factor.T, row)  # noqa: E741
    value = 0.7
    at = held_deviance(kernel, x[None], l[None], np.array([value - l @ shift]))
    free = held_deviance(kernel, x[None], np.zeros((1, 3)), np.zeros(1))
    np.testing.assert_allclose(at.deviance[0], brute_held(d, plain, row, value), rtol=1e-11)
    np.testing.assert_allclose(free.deviance[0], brute_held(d, plain, None, 0.0), rtol=1e-11)

    def full(z):
        f = held_deviance(kernel, z[None, :-1], l[None], z[-1:])
        return f.deviance[0], np.append(f.gradient[0], f.d_value[0])

    z, h = np.append(x, value - l @ shift), 1e-5
    steps = h * np.eye(z.size)
    gradient = np.array([(full(z + s)[0] - full(z - s)[0]) / (2 * h) for s in steps])
    hessian = np.array([(full(z + s)[1] - full(z - s)[1]) / (2 * h) for s in steps])
    exact = np.zeros_like(hessian)
    exact[:-1, :-1], exact[-1, :-1], exact[:-1, -1] = at.hessian[0], at.d_value_x[0], at.d_value_x[0]
    exact[-1, -1] = at.dd_value[0]
    # differences of a deviance near 200 with h = 1e-5 keep eight digits
    np.testing.assert_allclose(full(z)[1], gradient, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(exact, hessian, rtol=1e-6, atol=1e-5)


# ---- constrained minima ------------------------------------------------------------------------------------


def marginal_deviance(bundle, x):
    """-2 log L of one factor with two effects, by parameters a reader sees: SDs, correlation, sigma, coefficients."""
    s1, s2, rho, sigma, *b = x
    block = bundle.re_metadata.blocks[0]
    G = np.array([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]])
    total = 0.0
    for j in range(block.n_levels):
        rows = block.group_index == j
        Z, e = block.X_re[rows], bundle.y[rows] - bundle.X[rows] @ np.array(b)
        V = Z @ G @ Z.T + sigma**2 * np.eye(e.size)
        sign, log_det = np.linalg.slogdet(V)
        total += log_det + e @ np.linalg.solve(V, e) if sign > 0 else 1e10
    return total + bundle.n * np.log(2 * np.pi)


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("side", [0, 1])
def test_limits_are_constrained_minima(place, side):
    """At each limit of sleepstudy a general optimiser over everything else finds the same rise of the deviance."""
    spec, bundle = build_bundle(SLOPES, load_dataset("sleepstudy"), method="ml")
    p = compute_profile_inference(spec, bundle, fit_lmer(spec, bundle))
    order = ["sd_(Intercept)|Subject", "sd_Days|Subject", "cor_Days.(Intercept)|Subject", "sigma"]
    order += ["(Intercept)", "Days"]
    best = np.array([p.estimate[name] for name in order])
    held = p.ci[order[place]][side]
    others = [i for i in range(6) if i != place]
    scale = np.array([10.0, 2.0, 0.3, 1.5, 7.0, 1.5])

    def of(z):
        x = best.copy()
        x[others] += scale[others] * z
        x[place] = held
        return marginal_deviance(bundle, x)

    start = (p.table.filter((pl.col("parameter") == order[place]) & (pl.col("value") == held)).row(0, named=True))
    z0 = (np.array([start[name] for name in order]) - best)[others] / scale[others]
    at_ours = of(z0) - p.dev_opt
    np.testing.assert_allclose(at_ours, p.threshold, atol=1e-8)
    found = minimize(of, z0 + 0.05, method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(found.fun - p.dev_opt, p.threshold, atol=1e-7)


# ---- published limits, boundaries --------------------------------------------------------------------------


def test_dyestuff():
    """Bates (2010), chapter 1; lme4 interpolates, so its limits hold to a few digits."""
    p = profile("y ~ 1 + (1 | batch)", dye(DYESTUFF))
    assert p.dev_opt == pytest.approx(327.3270599, abs=1e-7)
    np.testing.assert_allclose(p.ci["sd_(Intercept)|batch"], (12.1985, 84.0631), rtol=3e-4)
    np.testing.assert_allclose(p.ci["sigma"], (38.2300, 67.6577), rtol=1e-5)
    # the profile of the mean of a balanced layout has a closed form in the two sums of squares
    y = np.array(DYESTUFF, dtype=float).reshape(6, 5)
    within = np.sum((y - y.mean(axis=1, keepdims=True)) ** 2)

    def rise(mu):
        between = 5 * np.sum((y.mean(axis=1) - mu) ** 2)
        return 24 * np.log(within / 24) + 6 * np.log(between / 6) + 30 * (1 + np.log(2 * np.pi)) - p.dev_opt

    for limit in p.ci["(Intercept)"]:
        assert rise(limit) == pytest.approx(p.threshold, abs=1e-8)


def test_an_sd_of_zero():
    """Dyestuff2: the lower limit is the number 0, the upper is found from the boundary."""
    p = profile("y ~ 1 + (1 | batch)", dye(DYESTUFF2))
    lower, upper = p.ci["sd_(Intercept)|batch"]
    assert lower == 0.0 and p.at_boundary["sd_(Intercept)|batch"] == (True, False)
    assert upper == pytest.approx(2.08404, rel=1e-5)
    np.testing.assert_allclose(p.ci["sigma"], (2.89283, 4.81583), rtol=1e-5)
    assert p.ci_theta["batch.(Intercept)"][0] == 0.0


def test_a_lower_limit_at_zero_of_an_sd_that_is_not():
    p = profile("strength ~ 1 + (1 | batch / cask)", load_dataset("pastes"))
    assert p.ci["sd_(Intercept)|batch"][0] == 0.0
    assert p.at_boundary["sd_(Intercept)|batch"] == (True, False)
    trace = p.table.filter(pl.col("parameter") == "sd_(Intercept)|batch")
    assert trace["value"][0] == 0.0 and trace["zeta"][0] == pytest.approx(-0.638, abs=1e-3)
    assert trace["sigma"][0] is None  # the boundary is a limit, not a fitted point of the trace


def test_a_correlation_at_its_limit():
    """A slope that follows the intercept exactly: the correlation cannot go further, and its SDs still have limits."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 6)
    x = np.tile(np.arange(6.0), 12)
    u = rng.normal(size=12)[g]
    frame = pl.DataFrame({"y": 1 + x + 2 * u + 0.6 * u * x + rng.normal(size=72), "x": x, "g": g.astype(str)})
    p = profile("y ~ x + (x | g)", frame)
    lower, upper = p.ci["cor_x.(Intercept)|g"]
    assert p.estimate["cor_x.(Intercept)|g"] == pytest.approx(1.0, abs=1e-9)
    assert upper == 1.0 and p.at_boundary["cor_x.(Intercept)|g"][1] and -1.0 < lower < 1.0
    for name in ("sd_(Intercept)|g", "sd_x|g", "sigma"):
        assert 0.0 < p.ci[name][0] < p.estimate[name] < p.ci[name][1]


def test_a_correlation_without_an_sd():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(8), 6)
    x = np.tile(np.arange(6.0) - 2.5, 8)
    y = rng.normal(size=48)
    Z = np.column_stack([np.ones(48), x])
    for j in range(8):  # every group on the common line exactly: no spread of intercepts or slopes at all
        rows = g == j
        y[rows] -= Z[rows] @ np.linalg.lstsq(Z[rows], y[rows], rcond=None)[0]
    p = profile("y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": g.astype(str)}))
    assert np.isnan(p.ci["cor_x.(Intercept)|g"]).all()
    assert any("not identified" in note for note in p.notes)
    assert p.ci["sd_(Intercept)|g"][0] == 0.0 and p.ci["sd_(Intercept)|g"][1] > 0


# ---- laws --------------------------------------------------------------------------------------------------


def test_after_reml_it_is_the_same_profile():
    sleep = load_dataset("sleepstudy")
    ml, reml = profile(SLOPES, sleep), profile(SLOPES, sleep, method="reml")
    assert reml.dev_opt == pytest.approx(ml.dev_opt, abs=1e-8)
    for name in ml.ci:
        np.testing.assert_allclose(reml.ci[name], ml.ci[name], rtol=1e-6)


@pytest.mark.parametrize("formula", [SLOPES, "Reaction ~ Days + (Days || Subject)"])
@pytest.mark.parametrize(("by_y", "by_x"), [(10.0, 1e3), (1e-6, 1e10), (1e8, 1e-8)])
def test_limits_follow_the_units(formula, by_y, by_x):
    """y and x in other units: SDs, sigma and coefficients follow, correlations stay."""
    sleep = load_dataset("sleepstudy")
    before = profile(formula, sleep)
    after = profile(formula, sleep.with_columns(Reaction=by_y * pl.col("Reaction"), Days=by_x * pl.col("Days")))
    factor = {"sd_Days|Subject": by_y / by_x, "Days": by_y / by_x, "cor_Days.(Intercept)|Subject": 1.0}
    for name, limits in before.ci.items():
        np.testing.assert_allclose(after.ci[name], factor.get(name, by_y) * np.array(limits), rtol=1e-7)


def test_limits_at_the_bounds_follow_the_units():
    """Crossed factors with slopes: correlations at -1 and 1, an SD at 0, in units that make T's rows 1e7 apart."""
    rng = np.random.default_rng(20261123)
    n = 120
    a, h, x, z = rng.integers(0, 8, n), rng.integers(0, 12, n), 10 + 3 * rng.normal(size=n), rng.normal(size=n)
    y = 5 + 0.4 * x + 1.5 * rng.normal(size=8)[a] + rng.normal(size=12)[h] * (1 + 0.3 * z) + 4 * rng.normal(size=n)
    frame = pl.DataFrame({"y": y, "x": x, "z": z, "a": a.astype(str), "h": h.astype(str)})
    formula = "y ~ x + (x | a) + (z | h)"
    before = profile(formula, frame)
    at_bounds = {name for name, limits in before.ci.items() if name.startswith("cor_") and max(np.abs(limits)) == 1.0}
    assert at_bounds and 0.0 in (limits[0] for name, limits in before.ci.items() if name.startswith("sd_"))
    for units in (1e7, 1e-7):
        after = profile(formula, frame.with_columns(pl.col("x", "z") * units))
        for name, limits in before.ci.items():
            by = 1.0 / units if name.removeprefix("sd_").split("|")[0] in ("x", "z") else 1.0
            np.testing.assert_allclose(after.ci[name], by * np.array(limits), rtol=1e-6, err_msg=name)


def test_weights_and_an_offset_take_part():
    """A weight of 4 halves sigma and nothing else; an offset moves the coefficients only."""
    sleep = load_dataset("sleepstudy").with_columns(w=pl.lit(4.0), off=3.0 * pl.col("Days"))
    plain = profile(SLOPES, sleep)
    heavy = profile(SLOPES, sleep, weights="w")
    moved = profile(SLOPES, sleep, offset="off")
    for name, limits in plain.ci.items():
        limits = np.array(limits)
        np.testing.assert_allclose(heavy.ci[name], limits * (2.0 if name == "sigma" else 1.0), rtol=1e-7)
        np.testing.assert_allclose(moved.ci[name], limits - (3.0 if name == "Days" else 0.0), rtol=1e-7)


def test_theta_is_the_ratio():
    """One factor, one effect: the limits of SD / sigma in a balanced layout are an F ratio's in all but name."""
    p = profile("y ~ 1 + (1 | batch)", dye(DYESTUFF))
    y = np.array(DYESTUFF, dtype=float).reshape(6, 5)
    within = np.sum((y - y.mean(axis=1, keepdims=True)) ** 2)
    between = 5 * np.sum((y.mean(axis=1) - y.mean()) ** 2)

    def rise(theta):
        a = 1 + 5 * theta**2
        r2 = within + between / a
        return 6 * np.log(a) + 30 * (1 + np.log(2 * np.pi * r2 / 30)) - p.dev_opt

    for limit in p.ci_theta["batch.(Intercept)"]:
        assert rise(limit) == pytest.approx(p.threshold, abs=1e-8)


def test_levels_and_thresholds():
    sleep = load_dataset("sleepstudy")
    p = profile(SLOPES, sleep)
    by_rise = profile(SLOPES, sleep, threshold=float(ndtri(0.95)) ** 2)
    assert by_rise.conf_level == pytest.approx(0.90, abs=1e-12)
    narrow, wide = profile_limits(p, 0.90), profile_limits(p, 0.99)
    between = profile_limits(p, 0.97)
    exact = profile(SLOPES, sleep, conf_level=0.97)
    for name, (lower, upper) in p.ci.items():
        np.testing.assert_allclose(narrow[name], by_rise.ci[name], rtol=1e-8)
        assert wide[name][0] < between[name][0] < lower < narrow[name][0] < narrow[name][1] < upper < wide[name][1]
        np.testing.assert_allclose(between[name], exact.ci[name], rtol=1e-7)  # read off curves through 27 points


def test_the_traces():
    p = profile(SLOPES, load_dataset("sleepstudy"), n_steps=12)
    assert p.table.columns[:3] == ["parameter", "value", "zeta"] and set(p.ci) == set(p.table.columns[3:])
    for (name,), trace in p.table.group_by("parameter"):
        assert np.all(np.diff(trace["value"]) > 0) and np.all(np.diff(trace["zeta"]) > 0)
        inside = trace.drop_nulls()
        np.testing.assert_allclose(inside[name], inside["value"], rtol=1e-12)
        at = np.linspace(-2.5, 2.5, 11)
        forth, back = p.spline_forward[name], p.spline_reverse[name]
        np.testing.assert_allclose(forth(back(at)), at, atol=1e-9)  # one curve, read both ways
        optimum = trace.filter(pl.col("zeta") == 0.0)
        assert optimum["value"].to_list() == [pytest.approx(p.estimate[name], rel=1e-9)]


def test_it_can_be_pickled():
    p = pickle.loads(pickle.dumps(profile("y ~ 1 + (1 | batch)", dye(DYESTUFF))))
    assert p.spline_forward["sigma"](p.ci["sigma"][1]) == pytest.approx(np.sqrt(p.threshold), abs=1e-9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conf_level": 95}, "between 0 and 1"),
        ({"n_steps": 3}, "at least 4 points"),
        ({"n_steps": 20.5}, "whole number"),
        ({"threshold": -1.0}, "above 0"),
        ({"threshold": "wide"}, "above 0"),
    ],
)
def test_refused(options, words):
    with pytest.raises(InferenceError, match=words):
        profile("y ~ 1 + (1 | batch)", dye(DYESTUFF), **options)


def test_levels_beyond_the_traces_are_refused():
    p = profile("y ~ 1 + (1 | batch)", dye(DYESTUFF))
    with pytest.raises(InferenceError, match="profile again"):
        profile_limits(p, 1 - 1e-6)
