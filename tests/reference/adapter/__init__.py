"""From a reference case to calls of the public API, chosen by the case's ``quantity`` alone.

Each function in ``ANSWERS`` takes a ``Case`` and returns an ``Answer`` with the values this version can
produce, under the names the case uses. Nothing knows a case by its name: the code serves other folders too.
"""

from __future__ import annotations

from inference_core.infer.cells import BUILT

from .answer import Answer
from .bootstrap import bootstrap_ci, bootstrap_refits, jackknife
from .case import Case, load_cases
from .comparison import glm_compare, lm_compare, lmer_compare
from .cross_validation import cross_validation, cross_validation_lmer, leave_one_out
from .draws import cluster_bootstrap_refits, residual_wild_bootstrap
from .effects import contrasts, emmeans
from .glm import glm_fit
from .joint import glm_anova, lm_anova, lmer_anova
from .lm import lm_fit, lm_influence, lm_nulls
from .mixed import glmer_fit, lmer_fit, ranef
from .mixed_inference import lm_cluster_robust, lmer_cluster_robust, lmer_df
from .monte_carlo import mc_bootmer_parametric, mc_bootstrap_cases
from .permutation import freedman_lane, mc_permutation_y, permutation, permutation_exact
from .predict import glm_predict, lm_predict, mixed_predict
from .profile import glmer_profile_ci, lmer_profile_ci, lmer_profile_trace
from .robust import robust_errors
from .simulate import simulate_moments
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
    "resample.cluster_bootstrap_refits": cluster_bootstrap_refits,
    "resample.residual_wild_bootstrap": residual_wild_bootstrap,
    "resample.cross_validation": cross_validation,
    "resample.cross_validation_lmer": cross_validation_lmer,
    "resample.loo": leave_one_out,
    "mc.bootstrap_cases": mc_bootstrap_cases,
    "lm.cluster_robust": lm_cluster_robust,
    "resample.permutation": permutation,
    "resample.permutation_exact": permutation_exact,
    "resample.permutation_freedman_lane": freedman_lane,
    "mc.permutation_y": mc_permutation_y,
    "lmer.fit": lmer_fit,
    "lmer.ranef": ranef,
    "lmer.df": lmer_df,
    "lmer.cluster_robust": lmer_cluster_robust,
    "lmer.profile_ci": lmer_profile_ci,
    "lmer.profile_trace": lmer_profile_trace,
    "glmer.profile_ci": glmer_profile_ci,
    "glmer.fit": glmer_fit,
    "glmer.ranef": ranef,
    "mc.bootmer_parametric": mc_bootmer_parametric,
    "lm.compare": lm_compare,
    "glm.compare": glm_compare,
    "lmer.compare": lmer_compare,
    "lm.predict": lm_predict,
    "glm.predict": glm_predict,
    "lmer.predict": mixed_predict,
    "glmer.predict": mixed_predict,
    "lm.anova": lm_anova,
    "glm.anova": glm_anova,
    "lmer.anova": lmer_anova,
    "simulate.moments": simulate_moments,
    "emmeans": emmeans,
    "emmeans.contrasts": contrasts,
}

# What a quantity asks of .infer(); a case waits where that is not built for its kind of model.
ASKS = {"mc.bootmer_parametric": "boot"}


def answers(case: Case):
    """The function for a case, or None where this version has no answer yet."""
    if case.quantity in ASKS and ("fit", ASKS[case.quantity], case.fun) not in BUILT:
        return None
    return ANSWERS.get(case.quantity)


__all__ = ["ANSWERS", "Answer", "Case", "answers", "load_cases"]
