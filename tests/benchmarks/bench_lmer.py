"""Linear mixed models beside lme4 and statsmodels' MixedLM, in turns, through the public API."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl

from inference_core import load_dataset, model

from .floors import side_by_side
from .lme4 import ABSENT
from .tall_lmer import FORMULA, rows

SLEEP = "Reaction ~ Days + (Days | Subject)"
DRAWS, FEW = 1_000, 50  # ours, and lme4's, scaled up
GB = 1e9


def theta_of(m) -> np.ndarray:
    theta = m.fit_state.theta
    assert theta is not None
    return theta


def by_statsmodels(frame):
    import statsmodels.formula.api as smf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its optimiser reports boundaries that it passes
        return smf.mixedlm("Reaction ~ Days", frame, groups="Subject", re_formula="~Days").fit()


def test_a_fit_of_sleepstudy(benchmark, ratios, lme4):
    data = load_dataset("sleepstudy")

    def fit():
        return model(SLEEP, data).fit()

    m = benchmark.pedantic(fit, rounds=20, warmup_rounds=2)
    frame = data.to_pandas()
    peer = by_statsmodels(frame)
    # MixedLM stops at a gradient, not at a step: its coefficients hold to 1e-6, its scale to 1e-4
    np.testing.assert_allclose(m.params["estimate"], peer.fe_params, rtol=1e-6)
    np.testing.assert_allclose(m.fit_state.sigma**2, peer.scale, rtol=1e-4)
    ours, other = side_by_side(fit, lambda: by_statsmodels(frame))
    ratios.add("lmer of sleepstudy", ours, other, "statsmodels MixedLM", at_least=3.0)
    if lme4 is None:
        ratios.absent.append(f"lmer of sleepstudy: {ABSENT}")
        return
    ours, other, (criterion, *found) = lme4.beside(fit, "fit_sleepstudy", 10, rounds=15, times=10)
    assert m.diagnostics["criterion"].item() <= criterion + 1e-6
    # lme4's optimiser stops with theta good to 1e-5 of its size
    np.testing.assert_allclose([*m.params["estimate"], *theta_of(m), m.fit_state.sigma], found, rtol=1e-4)
    row = ratios.add("lmer of sleepstudy", ours, other, "lme4's lmer", at_least=3.0)
    assert row.ratio >= 3.0


def test_a_thousand_refits_of_sleepstudy(benchmark, ratios, lme4):
    data = load_dataset("sleepstudy")
    m = model(SLEEP, data).fit()

    def boot():
        return m.infer(how="boot", n_boot=DRAWS, seed=1).params

    benchmark.pedantic(boot, rounds=5, warmup_rounds=1)
    assert m.resamples["status"].to_list() == ["ok"] * DRAWS
    spread = m.resamples.select("(Intercept)", "Days", "sigma").to_numpy().std(axis=0, ddof=1)
    frame = data.to_pandas()
    ours, one = side_by_side(boot, lambda: by_statsmodels(frame), rounds=5)
    ratios.add("1,000 parametric refits of sleepstudy", ours, DRAWS * one, "statsmodels MixedLM, 1,000 times one fit",
               at_least=150.0)  # fmt: skip
    if lme4 is None:
        ratios.absent.append(f"bootMer of sleepstudy: {ABSENT}")
        return
    ours, few, sd = lme4.beside(boot, "boot_sleepstudy", FEW, times=5)
    # An SD of 50 draws is good to 10 %: 40 % is four standard errors
    np.testing.assert_allclose(spread, sd, rtol=0.4)
    row = ratios.add("1,000 parametric refits of sleepstudy", ours, few * DRAWS / FEW,
                     f"lme4's bootMer, nsim = {FEW} times {DRAWS // FEW}", at_least=150.0)  # fmt: skip
    assert row.ratio >= 150.0


def test_the_profile_of_sleepstudy(benchmark, ratios, lme4):
    m = model(SLEEP, load_dataset("sleepstudy")).fit()

    def profile():
        return m.infer(how="profile").params

    limits = benchmark.pedantic(profile, rounds=5, warmup_rounds=1)
    if lme4 is None:
        ratios.absent.append(f"profile of sleepstudy: {ABSENT}")
        return
    ours, other, found = lme4.beside(profile, "profile_sleepstudy", times=10)
    sd, both = m.varying_spread.select("sd_ci_lower", "sd_ci_upper").rows(), ("ci_lower", "ci_upper")
    ends = [sd[0], *m.varying_corr.select(both).rows(), *sd[1:], *limits.select(both).rows()]
    # lme4 reads its limits off a spline through its own points: good to 3e-5, a correlation's (of size 1) too
    np.testing.assert_allclose(np.ravel(ends), found, rtol=1e-4, atol=1e-4)
    row = ratios.add("profile of sleepstudy, all 6 parameters", ours, other, "lme4's profile", at_least=20.0)
    assert row.ratio >= 20.0


def test_lecture_evaluations(ratios, lme4, tmp_path):
    if lme4 is None:
        ratios.absent.append(f"InstEval: {ABSENT}")
        return
    path = tmp_path / "insteval.csv"
    lme4.ask("export", "InstEval", path)
    data = pl.read_csv(path, schema_overrides=dict.fromkeys(("s", "d", "dept", "service"), pl.String))

    def fit():
        return model("y ~ service + (1 | s) + (1 | d) + (1 | dept)", data).fit()

    m = fit()
    ours, other, (criterion, *found) = lme4.beside(fit, "fit_insteval", rounds=3)
    assert m.diagnostics["criterion"].item() <= criterion + 1e-6
    # lme4 stops with theta good to 1e-4 of its size
    np.testing.assert_allclose([*m.params["estimate"], *theta_of(m)], found, rtol=1e-3)
    row = ratios.add("lmer of InstEval, 73,421 rows, 2,972 + 1,128 + 14 groups", ours, other, "lme4's lmer", at_least=5)
    assert row.ratio >= 5.0


def tall(n: int, n_groups: int) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.tall_lmer", str(n), str(n_groups)]
    root = Path(__file__).parents[2]
    return json.loads(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)


def test_a_million_rows_in_100_000_groups(benchmark, ratios, lme4, tmp_path):
    found = benchmark.pedantic(tall, args=(1_000_000, 100_000), rounds=1)
    # Of CPU, threads included: what a clock on the wall would show at most, were nobody else on the machine
    seconds, peak = statistics.median(found["cpu"]), found["peak"]
    what = "lmer with a random slope, n = 1,000,000, 100,000 groups"
    row = ratios.add(what, seconds, 3.0, "3 seconds of CPU", at_most=1.0)
    ratios.facts.append(f"{what}: {statistics.median(found['seconds']):.2f} s on the wall, "
                        f"peak memory of the process {peak / GB:.2f} GB (at most 2 GB)")  # fmt: skip
    # The truth: standard errors are 0.0035 (groups) for the coefficients, sigma's 0.0008; five of each
    np.testing.assert_allclose(found["coef"], [1.0, 2.0], atol=0.018)
    np.testing.assert_allclose(found["sigma"], 1.0, atol=0.004)
    assert row.ratio <= 1.0
    assert peak <= 2 * GB
    if lme4 is None:
        ratios.absent.append(f"a tenth of it: {ABSENT}")
        return
    path, data = tmp_path / "tall.csv", rows(100_000, 10_000)
    data.write_csv(path)
    ours, other, (criterion, *peer) = lme4.beside(lambda: model(FORMULA, data).fit(), "fit_tall", path, rounds=2)
    m = model(FORMULA, data).fit()
    assert m.diagnostics["criterion"].item() <= criterion + 1e-6
    # lme4 stops with theta good to 1e-4 of its size
    np.testing.assert_allclose([*m.params["estimate"], *theta_of(m)], peer, rtol=1e-3)
    ratios.add("a tenth of it: n = 100,000, 10,000 groups", ours, other, "lme4's lmer", at_least=1.0)
