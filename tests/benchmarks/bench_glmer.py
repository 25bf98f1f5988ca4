"""Generalized mixed models beside lme4, in one run: parametric refits of cbpp, one crossed fit of VerbAgg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model

from .floors import side_by_side

HERE = Path(__file__).parent
DRAWS, FEW = 200, 20  # ours, and lme4's, scaled up


def has_lme4() -> bool:
    """Whether R and lme4 are here to be compared with."""
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def lme4(tmp_path_factory):
    """Seconds of 20 draws and of one fit, -2 log-likelihood and coefficients of that fit, its data; None without R."""
    if not has_lme4():
        return None
    rows = tmp_path_factory.mktemp("verbagg") / "verbagg.csv"
    done = subprocess.run(["Rscript", str(HERE / "glmer.R"), str(rows)], capture_output=True, text=True, check=True)
    draws, fit, criterion, *coefficients = map(float, done.stdout.split())
    data = pl.read_csv(rows).with_columns(pl.col("r2").cast(pl.Enum(["N", "Y"])))
    return draws, fit, criterion, coefficients, data


def test_parametric_refits_of_cbpp(benchmark, ratios, lme4):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    m = model(formula, load_dataset("cbpp"), family="binomial").fit()

    def boot():
        m.infer(how="boot", n_boot=DRAWS, ci_type="percentile", seed=1)

    benchmark.pedantic(boot, rounds=5, warmup_rounds=1)
    assert m.resamples["status"].to_list() == ["ok"] * DRAWS
    if lme4 is None:
        ratios.absent.append("bootMer of cbpp: not measured, R with lme4 is not installed")
        return
    ours, _ = side_by_side(boot, lambda: None)
    row = ratios.add(
        "200 parametric refits of cbpp (Laplace)", ours, lme4[0] * DRAWS / FEW, "lme4's bootMer", at_least=200.0
    )
    assert row.ratio >= 200.0


def test_verbal_aggression(benchmark, ratios, lme4):
    if lme4 is None:
        ratios.absent.append("VerbAgg: not measured, R with lme4 is not installed")
        return
    _, seconds, criterion, coefficients, data = lme4

    def fit():
        return model("r2 ~ Gender + btype + situ + (1 | id) + (1 | item)", data, family="binomial").fit()

    m = benchmark.pedantic(fit, rounds=5, warmup_rounds=1)
    # lme4 stops its inner loop early: 7e-4 of 8,163 above the optimum
    assert m.diagnostics["criterion"].item() <= criterion + 1e-6
    np.testing.assert_allclose(m.params["estimate"], coefficients, rtol=1e-3)
    ours, _ = side_by_side(fit, lambda: None)
    row = ratios.add("glmer of VerbAgg, 7,584 rows, 316 + 24 groups", ours, seconds, "lme4's glmer", at_least=20.0)
    assert row.ratio >= 20.0
