"""The promises about speed, as ratios within one run. ``make bench`` runs them; each also checks its numbers.

Ratios, because seconds belong to a machine: the floor of a bootstrap is drawing and counting the indices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

from inference_core import load_dataset, model

from .floors import draw_and_count, side_by_side

HERE = Path(__file__).parent


def percentile(m, n_boot: int):
    return lambda: m.infer(how="boot", n_boot=n_boot, ci_type="percentile", seed=1)


def random_frame(n: int, n_predictors: int, seed: int = 5) -> pl.DataFrame:
    """Standard normal predictors x1.. and a response with slopes 1/j and unit noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, n_predictors))
    y = 1.0 + x @ (1.0 / np.arange(1, n_predictors + 1)) + rng.standard_normal(n)
    return pl.DataFrame({"y": y} | {f"x{j + 1}": x[:, j] for j in range(n_predictors)})


def formula_of(frame: pl.DataFrame) -> str:
    return "y ~ " + " + ".join(c for c in frame.columns if c != "y")


def refit_rows(m, draw: int) -> np.ndarray:
    """Plain least squares on the rows of one draw: what the batched bootstrap must equal."""
    rows = m.draw_stream(seed=1).indices_of(draw)
    return np.linalg.lstsq(m.bundle.X[rows], m.bundle.y[rows], rcond=None)[0]


def draws(m) -> np.ndarray:
    return m.resamples.select(m.bundle.X_names).to_numpy()


def bootstrap_of_an_lm(benchmark, ratios, m, n_boot: int, at_most: float, name: str) -> None:
    benchmark.pedantic(percentile(m, n_boot), rounds=5, warmup_rounds=1)
    samples = draws(m)
    for i in (0, 1, n_boot - 1):
        # Normal equations against an SVD: condition numbers here are below 1e4, so 1e-9 relative is generous.
        np.testing.assert_allclose(samples[i], refit_rows(m, i), rtol=1e-9, atol=1e-12)
    ours, floor = side_by_side(percentile(m, n_boot), lambda: draw_and_count(m.bundle.n, n_boot))
    row = ratios.add(f"percentile bootstrap, {name}", ours, floor, "draw and count", at_most=at_most)
    assert row.ratio <= at_most


def test_many_draws_of_a_small_lm(benchmark, ratios):
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
    bootstrap_of_an_lm(benchmark, ratios, m, 10_000, 6.0, "mtcars, B = 10,000")


def test_a_thousand_draws_of_a_tall_lm(benchmark, ratios):
    frame = random_frame(10_000, 5)
    m = model(formula_of(frame), frame).fit()
    bootstrap_of_an_lm(benchmark, ratios, m, 1_000, 2.0, "n = 10,000, p = 6, B = 1,000")


def test_bootstrap_of_a_logistic_model(benchmark, ratios):
    import statsmodels.api as sm

    frame = random_frame(300, 3, seed=8)
    chance = 1 / (1 + np.exp(-(frame["y"].to_numpy() - 1)))
    frame = frame.with_columns(y=(np.random.default_rng(9).random(300) < chance).astype(float))
    m = model(formula_of(frame), frame, family="binomial").fit()
    stream, n_boot, few = m.draw_stream(seed=1), 1_000, 50
    benchmark.pedantic(percentile(m, n_boot), rounds=3, warmup_rounds=1)
    resampled = [stream.indices_of(i) for i in range(few)]
    X, y = np.ascontiguousarray(m.bundle.X), m.bundle.y

    def loop():
        return [sm.GLM(y[rows], X[rows], family=sm.families.Binomial()).fit().params for rows in resampled]

    def loop_logit():
        return [sm.Logit(y[rows], X[rows]).fit(disp=0).params for rows in resampled]

    # statsmodels stops at a relative deviance change of 1e-8; its coefficients are then good to about 1e-6.
    np.testing.assert_allclose(draws(m)[:few], np.array(loop()), rtol=1e-5, atol=1e-6)
    for peer, against in ((loop, "statsmodels GLM"), (loop_logit, "statsmodels Logit")):
        ours, some = side_by_side(percentile(m, n_boot), peer, rounds=5)
        row = ratios.add(
            "logistic bootstrap, n = 300, p = 4, B = 1,000", ours, some * n_boot / few, against, at_least=30.0
        )
        assert row.ratio >= 30.0


def test_a_million_rows(benchmark, ratios):
    frame = random_frame(1_000_000, 9)
    m = model(formula_of(frame), frame)
    benchmark.pedantic(m.fit, rounds=3, warmup_rounds=1)
    X, y = m.bundle.X, m.bundle.y
    expected = np.linalg.solve(X.T @ X, X.T @ y)  # condition number 1: the normal equations lose nothing
    np.testing.assert_allclose(m.fit_state.coef, expected, rtol=1e-10)
    ours, floor = side_by_side(m.fit, lambda: X.T @ X, rounds=5)
    row = ratios.add("lm, n = 1,000,000, p = 10", ours, floor, "X'X alone", at_most=10.0)
    assert row.ratio <= 10.0


def test_import(benchmark, ratios, tmp_path):
    # With compiled files, as after any installation: some machines forbid Python to write them beside the sources.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}

    def starts(statement):
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True, env=environment)

    both = starts("import inference_core"), starts("import numpy, polars, scipy.linalg")
    benchmark.pedantic(both[0], rounds=3, warmup_rounds=1)
    ours, floor = side_by_side(*both, rounds=9)
    row = ratios.add("import inference_core", ours, floor, "import numpy, polars, scipy.linalg", at_most=1.5)
    assert row.ratio <= 1.5


def test_beside_boot_of_r(benchmark, ratios):
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
    benchmark.pedantic(percentile(m, 10_000), rounds=3, warmup_rounds=1)
    spread = draws(m).std(axis=0, ddof=1)
    if shutil.which("Rscript") is None:
        ratios.absent.append("R's boot: not measured, Rscript is not installed")
        return
    done = subprocess.run(["Rscript", str(HERE / "boot.R")], capture_output=True, text=True, check=True)
    quick, full, *sd = map(float, done.stdout.split())
    # Two simulations of 10,000 draws: each SD is good to 1 %; 5 % is four standard errors of the difference.
    np.testing.assert_allclose(spread, sd, rtol=0.05)
    ours, _ = side_by_side(percentile(m, 10_000), lambda: None)
    ratios.add("percentile bootstrap, mtcars, B = 10,000", ours, quick, "boot with .lm.fit in R", at_least=1.0)
    ratios.add("percentile bootstrap, mtcars, B = 10,000", ours, 10 * full, "boot with lm in R", at_least=300.0)


def test_permutations_beside_a_loop_of_r(benchmark, ratios):
    """Freedman-Lane makes two tests, each with a null model of its own; R's loop one refit to shuffled responses."""
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
    jobs = {
        scheme: lambda scheme=scheme: m.draw_stream("perm", scheme=scheme, seed=1).collect(10_000)
        for scheme in ("y", "freedman_lane")
    }
    benchmark.pedantic(jobs["y"], rounds=5, warmup_rounds=1)
    t = jobs["y"]().samples
    if shutil.which("Rscript") is None:
        ratios.absent.append("R's loop of .lm.fit: not measured, Rscript is not installed")
        return
    done = subprocess.run(["Rscript", str(HERE / "perm.R")], capture_output=True, text=True, check=True)
    coefficients, statistics, *sd = map(float, done.stdout.split())
    # Two simulations of 10,000 draws: each SD is good to 1 %; 5 % is four standard errors of the difference.
    np.testing.assert_allclose(t.std(axis=0, ddof=1), sd[1:], rtol=0.05)
    for scheme, job in jobs.items():
        ours, _ = side_by_side(job, lambda: None)
        name = f"10,000 permutations of mtcars, {scheme}"
        ratios.add(name, ours, coefficients, "a loop of .lm.fit in R", at_least=1.0)
        row = ratios.add(name, ours, statistics, "a loop of .lm.fit in R, t of each", at_least=20.0)
        assert row.ratio >= 20.0
