"""From a reference case to calls of the public API, chosen by the case's ``quantity`` alone.

Each function in ``ANSWERS`` takes a ``Case`` and returns an ``Answer`` with the values this version can
produce, under the names the case uses. Nothing knows a case by its name: the code serves other folders too.
"""

from __future__ import annotations

from .answer import Answer
from .bootstrap import bootstrap_ci, bootstrap_refits, jackknife
from .case import Case, load_cases
from .glm import glm_fit
from .lm import lm_fit, lm_influence, lm_nulls
from .monte_carlo import mc_bootstrap_cases
from .robust import robust_errors
from .welch import welch_k_group, welch_two_group

ANSWERS = {
    "lm.fit": lm_fit,
    "lm.hc": robust_errors,
    "lm.influence": lm_influence,
    "lm.tests_null_onesided": lm_nulls,
    "glm.fit": glm_fit,
    "glm.hc": robust_errors,
    "welch.two_group": welch_two_group,
    "welch.k_group": welch_k_group,
    "resample.bootstrap_refits": bootstrap_refits,
    "resample.bootstrap_ci": bootstrap_ci,
    "resample.jackknife": jackknife,
    "mc.bootstrap_cases": mc_bootstrap_cases,
}

# Quantities that also come for mixed models: this version answers those of lm and glm.
FIXED_EFFECTS_ONLY = {"lm", "glm"}


def answers(case: Case):
    """The function for a case, or None where this version has no answer yet."""
    return ANSWERS.get(case.quantity) if case.fun in FIXED_EFFECTS_ONLY else None


__all__ = ["ANSWERS", "Answer", "Case", "answers", "load_cases"]
