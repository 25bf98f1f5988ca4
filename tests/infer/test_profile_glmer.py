"""Profiles of generalized mixed models: lme4's limits, refits with something held, brute force, boundaries, laws."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import expit, gammaln, ndtri

from inference_core import load_dataset, model
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.infer.profile import compute_profile_inference, profile_limits

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
SD = "sd_(Intercept)|herd"


def fitted(formula, frame, family, link=None, n_agq=1, offset=None, weights=None):
    chosen = get_family(family, link)
    spec, bundle = build_bundle(
        formula, frame, family=family, link=chosen.link.name, method="ml", offset=offset, weights=weights
    )
    return spec, bundle, fit_glmer(spec, bundle, n_agq=n_agq, family=chosen)


def profile(*args, level=0.95, n_agq=1, **options):
    return compute_profile_inference(*fitted(*args, n_agq=n_agq, **options), conf_level=level)


def crossed(seed=0, n=90):
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(0, 8, n), rng.integers(0, 5, n), rng.normal(size=n)
    eta = 0.8 + 0.4 * x + 0.7 * rng.normal(size=8)[g] + 0.6 * rng.normal(size=5)[h]
    return pl.DataFrame({"x": x, "g": g.astype(str), "h": h.astype(str), "y": rng.poisson(np.exp(eta)).astype(float)})


# ---- lme4 --------------------------------------------------------------------------------------------------

# ctl <- glmerControl(optimizer = "bobyqa", tolPwrss = 1e-11)
# glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), family = binomial("probit"), cbpp, control = ctl)
# confint(profile(fit, signames = FALSE))                                                          lme4 1.1-31
PROBIT = {
    SD: (0.17750592, 0.58117518), "(Intercept)": (-1.10264110, -0.58742627), "period[2]": (-0.84716638, -0.21654650),
    "period[3]": (-0.95602163, -0.29014526), "period[4]": (-1.21738753, -0.41119124),
}  # fmt: skip
# fit <- glmer(TICKS ~ YEAR + (1 | BROOD), family = poisson, data = grouseticks, control = ctl)
TICKS = {
    "sd_(Intercept)|BROOD": (1.07603642, 1.50756907), "(Intercept)": (-0.12904421, 0.80314891),
    "YEAR[96]": (0.74064637, 1.97085843), "YEAR[97]": (-1.57283697, -0.24237082),
}  # fmt: skip


def test_probit_agrees_with_lme4():
    found = profile(CBPP, load_dataset("cbpp"), "binomial", "probit")
    for name, wanted in PROBIT.items():
        # lme4 interpolates between steps of about half a zeta: 2e-3 of the interval
        np.testing.assert_allclose(found.ci[name], wanted, atol=2e-3 * np.ptp(wanted))


def test_poisson_agrees_with_lme4():
    frame = load_dataset("grouseticks").with_columns(pl.col("YEAR", "BROOD").cast(pl.String))
    found = profile("TICKS ~ YEAR + (1 | BROOD)", frame, "poisson")
    for name, wanted in TICKS.items():
        np.testing.assert_allclose(found.ci[name], wanted, atol=2e-3 * np.ptp(wanted))  # as above


# ---- brute force -------------------------------------------------------------------------------------------


def laplace(frame, sd, beta):
    """-2 log L of cbpp by the Laplace approximation, herd by herd, with nothing shared with the product."""
    y, n = frame["incidence"].to_numpy().astype(float), frame["size"].to_numpy().astype(float)
    period, herd = frame["period"].cast(pl.String).to_numpy(), frame["herd"].cast(pl.String).to_numpy()
    X = np.column_stack([np.ones(y.size)] + [(period == p).astype(float) for p in "234"])
    fixed, total = X @ beta, 0.0
    for h in np.unique(herd):
        k, m, f = y[herd == h], n[herd == h], fixed[herd == h]
        u = 0.0
        for _ in range(50):
            p = expit(f + sd * u)
            u += (sd * np.sum(k - m * p) - u) / (1.0 + sd**2 * np.sum(m * p * (1 - p)))
        eta = f + sd * u
        p = expit(eta)
        chosen = gammaln(m + 1) - gammaln(k + 1) - gammaln(m - k + 1)
        loglik = np.sum(chosen + k * eta - m * np.logaddexp(0.0, eta))
        total += -2.0 * loglik + u * u + np.log1p(sd**2 * np.sum(m * p * (1 - p)))
    return total


@pytest.mark.parametrize("side", [0, 1])
def test_limits_of_the_sd_by_brute_force(side):
    cbpp = load_dataset("cbpp")
    found = profile(CBPP, cbpp, "binomial")
    sd = found.ci[SD][side]
    row = found.table.filter((pl.col("parameter") == SD) & (pl.col("value") == sd)).row(0, named=True)
    along = np.array([row[name] for name in ("(Intercept)", "period[2]", "period[3]", "period[4]")])
    rise = laplace(cbpp, sd, along) - found.dev_opt
    assert rise == pytest.approx(found.threshold, abs=1e-6)  # two ways to the modes
    best = minimize(lambda b: laplace(cbpp, sd, b), along + 0.05, method="BFGS", options={"gtol": 1e-4})
    assert best.fun - found.dev_opt == pytest.approx(found.threshold, abs=1e-6)


HELD = [
    (CBPP, "cbpp", "binomial", None, 1, "period[2]", 1), (CBPP, "cbpp", "binomial", None, 7, "period[2]", 1),
    ("y ~ x + (1 | g) + (1 | h)", "crossed", "poisson", None, 1, "x", 1),
    ("y ~ x + (x | g)", "crossed", "poisson", None, 1, "x", 1),
    ("Reaction ~ Days + (1 | Subject)", "sleepstudy", "gamma", "log", 1, "Days", 1),
    ("Reaction ~ Days + (1 | Subject)", "sleepstudy", "inverse_gaussian", "log", 1, "Days", 1),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "data", "family", "link", "n_agq", "name", "column"), HELD)
def test_a_refit_with_a_coefficient_held_has_risen_by_the_threshold(formula, data, family, link, n_agq, name, column):
    """Its column goes from the formula's matrix into the offset: an ordinary fit of the rest."""
    frame = crossed() if data == "crossed" else load_dataset(data)
    spec, bundle, fit = fitted(formula, frame, family, link, n_agq)
    found = compute_profile_inference(spec, bundle, fit)
    values = bundle.X[:, column]
    random = formula[formula.index("(1 |") if "(1 |" in formula else formula.index("(x |") :]
    others = [c for c in range(1, bundle.p) if c != column]
    frame = frame.with_columns(**{f"c{c}": bundle.X[:, c] for c in others}, x=bundle.X[:, 1])
    rest = " + ".join(["1", *(f"c{c}" for c in others), random])
    for limit in found.ci[name]:
        held = frame.with_columns(off=limit * values)
        less = fitted(f"{formula.split('~')[0]}~ {rest}", held, family, link, n_agq, offset="off")[2]
        assert less.criterion - fit.criterion == pytest.approx(found.threshold, abs=2e-6)  # the refit's stopping rule


def test_theta_of_a_negative_binomial():
    """A refit with theta fixed at each limit, by the family's own typed parameter."""
    frame = crossed(3, 150)
    spec, bundle, fit = fitted("y ~ x + (1 | g)", frame, "negative_binomial")
    found = compute_profile_inference(spec, bundle, fit)
    lower, upper = found.ci["theta"]
    assert lower < fit.family_params[0]
    for limit in (lower, upper):
        if np.isfinite(limit):
            less = fitted("y ~ x + (1 | g)", frame, f"negative_binomial(theta={limit!r})")[2]
            assert less.criterion - fit.criterion == pytest.approx(found.threshold, abs=2e-6)


def test_quick_fits_have_profiles_of_sds_only():
    """With nAGQ = 0 the deviance is one of theta alone: at the limits it has risen by the threshold."""
    spec, bundle, fit = fitted(CBPP, load_dataset("cbpp"), "binomial", n_agq=0)
    found = compute_profile_inference(spec, bundle, fit)
    assert list(found.ci) == [SD] and any("nAGQ=1" in note for note in found.notes)
    solver = glmer_problem(spec, bundle, n_agq=0).solver
    x = np.zeros((3, solver.to_data.shape[0]))
    x[:, 0] = np.array([*found.ci[SD], found.estimate[SD]]) / solver.to_data[0, 0]
    at = solver.evaluate(x, np.zeros((3, solver.design.q)), gradient=False).deviance
    np.testing.assert_allclose(at[:2] - at[2], found.threshold, atol=1e-7)  # the joint mode's stopping rule


# ---- boundaries --------------------------------------------------------------------------------------------


def test_an_sd_of_zero():
    """Ten alike groups: the lower limit is the number 0; the upper one by the deviance of the held SD."""
    rng = np.random.default_rng(1)
    x = np.tile(np.linspace(-1, 1, 8), 10)
    y = np.tile(rng.poisson(np.exp(1 + 0.3 * x[:8])), 10).astype(float)
    frame = pl.DataFrame({"y": y, "x": x, "g": np.repeat(np.arange(10), 8).astype(str)})
    spec, bundle, fit = fitted("y ~ x + (1 | g)", frame, "poisson")
    found = compute_profile_inference(spec, bundle, fit)
    lower, upper = found.ci["sd_(Intercept)|g"]
    assert lower == 0.0 and found.at_boundary["sd_(Intercept)|g"] == (True, False)
    solver = glmer_problem(spec, bundle).solver
    start = np.linalg.solve(solver.to_data, np.array([upper, *fit.coef]))

    def of(beta):
        z = np.concatenate([start[:1], beta])
        return float(solver.evaluate(z[None], np.zeros((1, solver.design.q)), gradient=False).deviance[0])

    base = np.linalg.solve(solver.to_data, np.array([0.0, *fit.coef]))
    least = float(solver.evaluate(base[None], np.zeros((1, solver.design.q)), gradient=False).deviance[0])
    best = minimize(of, start[1:], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
    assert best.fun - least == pytest.approx(found.threshold, abs=1e-7)


def test_a_lower_limit_at_zero_and_a_correlation_at_its_limits():
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(6), 12), np.tile(np.linspace(-1, 1, 12), 6)
    u = 0.25 * rng.normal(size=6)[g]
    frame = pl.DataFrame({"y": rng.poisson(np.exp(0.5 + u + u * x)).astype(float), "x": x, "g": g.astype(str)})
    found = profile("y ~ x + (x | g)", frame, "poisson")
    assert found.ci["sd_x|g"][0] == 0.0 and found.at_boundary["sd_x|g"][0]
    lower, upper = found.ci["cor_x.(Intercept)|g"]
    assert (lower, upper) == (-1.0, 1.0) and found.at_boundary["cor_x.(Intercept)|g"] == (True, True)
    assert all(np.isfinite(found.ci[name]).all() for name in found.ci)


# ---- laws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [1.0, 1e-7, 1e7])
def test_a_correlation_of_one_is_left_whichever_effect_stands_first(units):
    """From a fit at the limit the trace leaves it, in any units of the slope, and ends at the other."""
    rng = np.random.default_rng(4)
    g, z = np.repeat(np.arange(20), 7), rng.normal(size=140)
    b = rng.normal(size=20)
    eta = -0.3 + 0.2 * z + b[g] * (1.0 + 0.6 * z)  # intercepts and slopes tied
    frame = pl.DataFrame({"y": (rng.random(140) < expit(eta)).astype(float), "z": units * z, "g": g.astype(str)})
    for formula in ("y ~ z + (z | g)", "y ~ z + (0 + z + one | g)"):
        found = profile(formula, frame.with_columns(one=pl.lit(1.0)), "binomial")
        (name,) = (key for key in found.ci if key.startswith("cor_"))
        assert found.estimate[name] == pytest.approx(1.0, abs=1e-9)
        trace = found.table.filter(pl.col("parameter") == name)
        assert trace.height > 10  # not the two ends alone
        assert found.ci[name] == (-1.0, 1.0)


def test_other_levels_are_read_off_the_trace():
    """To 1e-6 of a standard error, for every level a reader may drag to."""
    args = fitted(CBPP, load_dataset("cbpp"), "binomial")
    found = compute_profile_inference(*args)
    for level in (0.5, 0.8, 0.93, 0.985, 0.999):
        exact, read = compute_profile_inference(*args, conf_level=level).ci, profile_limits(found, level)
        for name, limits in exact.items():
            se = np.ptp(found.ci[name]) / 2 / ndtri(0.975)
            np.testing.assert_allclose(read[name], limits, atol=1e-6 * se)


def test_the_table_and_the_spread():
    m = model(CBPP, load_dataset("cbpp"), family="binomial").fit().infer(how="profile")
    table = m.profile
    assert table.columns[:3] == ["parameter", "value", "zeta"] and set(table.columns[3:]) == set(table["parameter"])
    limits = m.state.profile.ci
    assert m.varying_spread.select("sd_ci_lower", "sd_ci_upper").row(0) == limits[SD]
    assert m.params.select("ci_lower", "ci_upper").row(1) == limits["period[2]"]
    for (name,), trace in table.group_by("parameter"):
        inside = trace.drop_nulls()
        np.testing.assert_allclose(inside[name], inside["value"], rtol=1e-12)


class StopAfter:
    """An event that sets itself after so many looks."""

    def __init__(self, looks):
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0


def test_stopping_keeps_what_there_is():
    m = model(CBPP, load_dataset("cbpp"), family="binomial").fit()
    whole = m.infer(how="profile").state.profile
    assert not whole.cancelled
    seen = []
    m.infer(how="profile", cancel=StopAfter(0), progress=lambda done, total: seen.append((done, total)))
    assert m.state.profile.cancelled and "stopped" in m.state.profile.notes[0] and len(seen) == 1
    assert m.params["ci_lower"].null_count() == 4
    m.infer(how="profile", cancel=StopAfter(20))
    part = m.state.profile
    assert part.cancelled and 5 < len(part.table) < len(whole.table)
    both = part.table.join(whole.table, on=["parameter", "zeta"], suffix="_whole")
    assert len(both) == len(part.table)
    np.testing.assert_allclose(both["value"], both["value_whole"], rtol=1e-12)
    assert m.infer().params["p_value"].null_count() == 0  # the model goes on


def test_refused():
    y = np.repeat([0.0, 1.0], 20)
    frame = pl.DataFrame({"y": y, "x": y + np.tile(np.linspace(0, 0.5, 20), 2), "g": np.tile(list("abcde"), 8)})
    with pytest.raises(InferenceError, match="did not converge"):
        profile("y ~ x + (1 | g)", frame, "binomial")


def test_a_negative_binomial_without_spread_is_refused():
    rng = np.random.default_rng(3)
    x, g = rng.normal(size=90), rng.integers(0, 8, 90)
    frame = pl.DataFrame({"y": rng.binomial(6, expit(-0.2 * x)).astype(float), "x": x, "g": g.astype(str)})
    with pytest.raises(InferenceError, match="family='poisson'"):
        profile("y ~ x + (1 | g)", frame, "negative_binomial")
    assert np.isfinite(profile("y ~ x + (1 | g)", frame, "poisson").ci["x"]).all()
