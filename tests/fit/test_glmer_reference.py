"""Every reference fit and every table of random effects of a generalized linear mixed model, at its own tolerance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference_core.design import build_bundle
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.varcomp import variance_components
from tests.reference.adapter.case import FAMILIES, LINKS, Case, load_cases

FOLDER = Path(__file__).parents[1] / "reference"
CASES = [c for c in load_cases(FOLDER) if c.fun == "glmer" and c.quantity in ("glmer.fit", "glmer.ranef")]


def fitted(case: Case):
    described = case.raw["model"]
    link = described.get("link")
    formula = described["formula"]
    spec, bundle = build_bundle(
        formula, case.frame, family=FAMILIES.get(case.family, case.family), link=LINKS.get(link, link),
        weights=described.get("weights"), offset=described.get("offset"), contrasts=case._contrasts(formula),
    )  # fmt: skip
    return bundle, fit_glmer(spec, bundle, n_agq=described["nAGQ"])


def as_in_r(name: str) -> str:
    """``kid2p[Y]`` is R's ``kid2pY``."""
    return name.replace("[", "").replace("]", "")


def close(case: Case, name: str, got, wanted) -> None:
    """Within the case's own ``abs + rel |reference|``."""
    tolerance = case.raw["tolerance"]
    rel = tolerance.get("by_field", {}).get(name, tolerance["rel"])
    np.testing.assert_allclose(
        np.asarray(got, dtype=float), np.asarray(wanted, dtype=float), rtol=rel, atol=tolerance.get("abs", 0.0),
        err_msg=f"{case.id}: {name}",
    )  # fmt: skip


@pytest.mark.parametrize("case", [c for c in CASES if c.quantity == "glmer.fit"], ids=lambda c: c.id)
def test_fit_agrees_with_lme4(case):
    bundle, fit = fitted(case)
    v = case.values
    assert fit.converged
    assert [as_in_r(name) for name in bundle.re_metadata.theta_names] == v["theta_names"]
    close(case, "theta", fit.theta, v["theta"])
    close(case, "beta", fit.coef, v["beta"])
    se = np.sqrt(np.diag(fit.vcov))
    close(case, "se", se, v["se"])
    close(case, "vcov", fit.vcov, v["vcov"])
    close(case, "z", fit.coef / se, v["z"])
    close(case, "logLik", fit.loglik, v["logLik"])
    close(case, "minus2logLik", fit.criterion, v["minus2logLik"])
    close(case, "deviance_resid", fit.deviance, v["deviance_resid"])
    close(case, "AIC", -2 * fit.loglik + 2 * fit.n_params, v["AIC"])
    close(case, "BIC", -2 * fit.loglik + np.log(bundle.n) * fit.n_params, v["BIC"])
    assert (fit.n_params, bundle.n, fit.is_singular) == (v["npar"], v["nobs"], v["isSingular"])
    assert {b.group_name: b.n_levels for b in bundle.re_metadata.blocks} == v["ngrps"]
    components = [c for c in variance_components(bundle, fit) if c.group != "Residual"]
    assert [c.group for c in components] == v["varcorr"]["grp"]
    close(case, "varcorr", [c.vcov for c in components], v["varcorr"]["vcov"])
    close(case, "varcorr", [c.sdcor for c in components], v["varcorr"]["sdcor"])
    # 1e-6: the optimum found here may not be worse than the reference's by more
    assert fit.criterion <= v["minus2logLik"] + 1e-6


@pytest.mark.parametrize("case", [c for c in CASES if c.quantity == "glmer.ranef"], ids=lambda c: c.id)
def test_random_effects_agree_with_lme4(case):
    bundle, fit = fitted(case)
    for block, b, covariance in zip(
        bundle.re_metadata.blocks, bundle.re_metadata.split_effects(fit.b), fit.cond_var, strict=True
    ):
        wanted = case.values[block.group_name]
        assert [as_in_r(name) for name in block.column_names] == wanted["terms"]
        at = [block.levels.index(level) for level in wanted["levels"]]
        close(case, "blup", b[at], wanted["blup"])
        close(case, "condVar", covariance[at], wanted["condVar"])
