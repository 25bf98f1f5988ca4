"""Comparisons of nested models: R's anova, lrtest, waldtest, ranova and KRmodcomp, from ``compare``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from inference_core import compare
from inference_core.errors import InferenceCoreWarning

from .answer import Answer
from .case import Case
from .table import column


def lm_compare(case: Case) -> Answer:
    """``lm.compare``: F, likelihood ratio, and Wald with HC3."""
    small, large = _fitted(case)
    f, lrt = compare(small, large), compare(small, large, test="lrt")
    wald = compare(small, large, test="wald", errors="HC3")
    df, rss = column(f, "df_resid"), column(f, "deviance")
    return Answer({
        "anova": {"Res.Df": df, "RSS": rss, "Df": column(f, "df"), "Sum of Sq": [np.nan, rss[0] - rss[1]],
                  "F": column(f, "statistic"), "Pr(>F)": column(f, "p_value")},
        "lrtest": {"#Df": column(lrt, "n_params"), "LogLik": column(lrt, "loglik"), "Df": column(lrt, "df"),
                   "Chisq": column(lrt, "statistic"), "Pr(>Chisq)": column(lrt, "p_value")},
        "wald_hc3": {"Res.Df": df, "Df": column(wald, "df"), "F": column(wald, "statistic"),
                     "Pr(>F)": column(wald, "p_value")},
        "AIC": column(f, "aic"), "BIC": column(f, "bic"),
    })  # fmt: skip


def glm_compare(case: Case) -> Answer:
    """``glm.compare``: likelihood ratio and Rao's score."""
    small, large = _fitted(case)
    lrt, rao = compare(small, large), compare(small, large, test="score")
    deviance = column(lrt, "deviance").copy()
    if large.fit_state.is_separated and deviance[1] < 1e-7:
        deviance[1] = 0.0  # it falls to 0 without end; where a search stops is its own choice
    shared = {"Resid. Df": column(lrt, "df_resid"), "Resid. Dev": deviance, "Df": column(lrt, "df"),
              "Deviance": column(lrt, "statistic")}  # fmt: skip
    return Answer({
        "lrt": shared | {"Pr(>Chi)": column(lrt, "p_value")},
        "rao": shared | {"Rao": column(rao, "statistic"), "Pr(>Chi)": column(rao, "p_value")},
        "AIC": column(lrt, "aic"),
    })  # fmt: skip


def lmer_compare(case: Case) -> Answer:
    """``lmer.compare``: random parts by ML and by REML, fixed parts by ML and by Kenward and Roger's F."""
    random, fixed = (part.strip() for part in case.raw["model"]["formula"].split(";"))
    fixed_small = fixed.removeprefix("fixed:").split("vs")[0].strip()
    small, large = (part.strip() for part in random.split("  vs  "))
    without = large.split("~")[0] + fixed_small + " + " + large[large.index("(") :]
    fits = {name: case.model_of(formula, method="reml").fit()
            for name, formula in (("small", small), ("large", large), ("without", without))}  # fmt: skip
    by_reml = compare(fits["small"], fits["large"], reml=True)
    kr = compare(fits["without"], fits["large"], test="wald", errors="kenward-roger")

    def table(frame) -> dict[str, Any]:
        return {
            "npar": column(frame, "n_params"), "AIC": column(frame, "aic"), "BIC": column(frame, "bic"),
            "logLik": column(frame, "loglik"), "deviance": column(frame, "deviance"),
            "Chisq": column(frame, "statistic"), "Df": column(frame, "df"), "Pr(>Chisq)": column(frame, "p_value"),
        }  # fmt: skip

    back = {"npar": column(by_reml, "n_params")[::-1], "logLik": column(by_reml, "loglik")[::-1],
            "AIC": column(by_reml, "aic")[::-1], "LRT": column(by_reml, "statistic"), "Df": column(by_reml, "df"),
            "Pr(>Chisq)": column(by_reml, "p_value")}  # fmt: skip
    f, ddf, p = (column(kr, name)[1] for name in ("statistic", "df2", "p_value"))
    return Answer({
        "random_lrt": table(compare(fits["small"], fits["large"])),
        "fixed_lrt": table(compare(fits["without"], fits["large"])),
        "ranova": back,
        "krmodcomp": {"stat": [f, f], "ndf": [1, 1], "ddf": [ddf, ddf], "p.value": [p, p]},
    }, inputs=frozenset({"term", "F.scaling"}))  # fmt: skip


def _fitted(case: Case):
    with warnings.catch_warnings():  # one larger model separates its data; deviances and scores stand
        warnings.simplefilter("ignore", InferenceCoreWarning)
        return tuple(case.model_of(f.strip()).fit() for f in case.raw["model"]["formula"].split("  vs  "))
