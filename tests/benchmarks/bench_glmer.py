"""Generalized mixed models beside lme4, in turns: parametric refits of cbpp, one crossed fit of VerbAgg."""

from __future__ import annotations

import numpy as np
import polars as pl

from inference_core import load_dataset, model

from .lme4 import ABSENT

DRAWS, FEW = 200, 20  # ours, and lme4's, scaled up


def test_parametric_refits_of_cbpp(benchmark, ratios, lme4):
    formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    m = model(formula, load_dataset("cbpp"), family="binomial").fit()

    def boot():
        m.infer(how="boot", n_boot=DRAWS, ci_type="percentile", seed=1)

    benchmark.pedantic(boot, rounds=5, warmup_rounds=1)
    assert m.resamples["status"].to_list() == ["ok"] * DRAWS
    if lme4 is None:
        ratios.absent.append(f"bootMer of cbpp: {ABSENT}")
        return
    ours, few, _ = lme4.beside(boot, "boot_cbpp", FEW, rounds=3, times=10)
    row = ratios.add("200 parametric refits of cbpp (Laplace)", ours, few * DRAWS / FEW, "lme4's bootMer", at_least=200)
    assert row.ratio >= 200.0


def test_verbal_aggression(ratios, lme4, tmp_path):
    if lme4 is None:
        ratios.absent.append(f"VerbAgg: {ABSENT}")
        return
    rows = tmp_path / "verbagg.csv"
    lme4.ask("export", "VerbAgg", rows)
    data = pl.read_csv(rows).with_columns(pl.col("r2").cast(pl.Enum(["N", "Y"])))

    def fit():
        return model("r2 ~ Gender + btype + situ + (1 | id) + (1 | item)", data, family="binomial").fit()

    m = fit()
    ours, seconds, (criterion, *coefficients) = lme4.beside(fit, "fit_verbagg", rounds=5, times=10)
    # lme4 stops its inner loop early: 7e-4 of 8,163 above the optimum
    assert m.diagnostics["criterion"].item() <= criterion + 1e-6
    np.testing.assert_allclose(m.params["estimate"], coefficients, rtol=1e-3)
    row = ratios.add("glmer of VerbAgg, 7,584 rows, 316 + 24 groups", ours, seconds, "lme4's glmer", at_least=20.0)
    assert row.ratio >= 20.0
