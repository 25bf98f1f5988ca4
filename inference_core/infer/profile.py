"""Profile likelihood: SDs, correlations, the scale and fixed effects of mixed models; coefficients of lm and glm.

The deviance profiled is that of maximum likelihood, fixed effects included; after a fit by REML the maximum-likelihood
optimum is found first. A generalized mixed model is profiled on its fit's own deviance: Laplace, or its quadrature.
Limits are points of the trace, not interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr, ndtri

from inference_core.errors import InferenceError
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.solvers.lmm.dense import MAX_Q
from inference_core.solvers.lmm.profile_setup import Label, ProfileSetup
from inference_core.solvers.lmm.profile_targets import COR, FIXED, RATIO
from inference_core.solvers.profile_search import ProfileSearch
from inference_core.solvers.profile_surface import Surface
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, InferenceState, ModelSpec, REInfo
from inference_core.states.profile import ProfileState

from .coefficient import check_level
from .profile_fixed import coefficient_traces
from .profile_state import REACH, profile_limits, state_of

__all__ = ["compute_profile_inference", "profile_limits", "profile_table"]

_LEVELS = (0.90, 0.95, 0.99)  # their limits are points of every trace
_FINE_TO = 3.3  # zeta up to which at least the curves are exact: the limits of 99.9 %
_APART = 0.02  # zetas of the grid closer than this to a limit are left out
_ASKED = "profile likelihood limits"


def compute_profile_inference(
    spec: ModelSpec,
    bundle: DataBundle,
    fit: FitState,
    conf_level: float = 0.95,
    *,
    n_steps: int = 20,
    verbose: bool = False,
    threshold: float | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> ProfileState:
    """Profile likelihood limits and traces of every parameter.

    Parameters
    ----------
    spec, bundle, fit
        A fitted model.
    conf_level : float
        Between 0 and 1; the limits are where the deviance has risen by the chi-square(1) quantile.
    n_steps : int
        Points of each trace, both sides together, beside the limits of 90, 95 and 99 %; the traces of mixed models get
        more where they bend.
    verbose : bool
        Show a progress bar.
    threshold : float, optional
        Rise of the deviance at the limits, in place of the quantile; ``conf_level`` of the result then is the level it
        amounts to.
    progress, cancel
        ``progress(done, total)`` is called and ``cancel.is_set()`` looked at while the traces grow; traces that were
        stopped are kept, and the result says ``cancelled``.

    Returns
    -------
    ProfileState
        A limit at the end of a parameter's range (an SD at 0, a correlation at -1 or 1) is that number, marked in
        ``at_boundary``; a correlation with an SD that is 0 has no limits.

    Raises
    ------
    InferenceError
        Student's t; a fit that did not converge; several grouping factors of a linear mixed model with more random
        effects than the dense kernel takes; a level, a threshold or a number of steps that cannot be.
    """
    level, rise = _cut(conf_level, threshold)
    if isinstance(n_steps, bool) or not isinstance(n_steps, (int, np.integer)) or n_steps < 4:
        raise InferenceError(f"n_steps={n_steps!r}", "a trace takes a whole number of at least 4 points", "n_steps=20")
    zetas = _grid(int(n_steps), np.sqrt(rise))
    monitor = Monitor(len(zetas), progress, cancel, verbose, "profile")
    if not spec.has_random_effects:
        traces, names, estimate, deviance = coefficient_traces(spec, bundle, fit, zetas, _ASKED, monitor)
        monitor.close()
        labels: Sequence[Label] = [Label(FIXED, column=j) for j in range(len(names))]
        return state_of(traces, labels, names, estimate, deviance, level, rise)
    with one_blas_thread():
        if spec.is_lmer:
            surface, labels, names, deviance = _of_lmer(spec, bundle, fit)
            notes: tuple[str, ...] = ()
        else:
            from .profile_glmer import glmer_surface

            surface, labels, names, deviance, notes = glmer_surface(spec, bundle, fit, _ASKED)
        traces = ProfileSearch(surface).run(zetas, monitor.tick, fine=max(_FINE_TO, np.sqrt(rise)))
    monitor.close()
    return state_of(traces, labels, names, surface.estimate, deviance, level, rise, notes)


def profile_table(profile: ProfileState, bundle: DataBundle) -> InferenceState:
    """The limits of the coefficients as a table: nothing but limits comes from a profile, the rest is NaN."""
    limits = np.array([profile.ci.get(name, (np.nan, np.nan)) for name in bundle.X_names], float).reshape(-1, 2)
    return InferenceState(
        se=np.full(len(limits), np.nan), ci_lower=limits[:, 0], ci_upper=limits[:, 1],
        conf_level=profile.conf_level, method="profile", notes=profile.notes,
    )  # fmt: skip


def _of_lmer(
    spec: ModelSpec, bundle: DataBundle, fit: FitState
) -> tuple[Surface, Sequence[Label], tuple[str, ...], float]:
    problem = MixedProblem.of(spec, bundle, fit, _ASKED)
    if not problem.is_one_factor and problem.re.q > MAX_Q:
        raise InferenceError(
            _ASKED,
            f"{problem.re.q:,} random effects of several grouping factors; profiles take up to {MAX_Q}",
            "use how='boot'",
        )
    assert fit.theta is not None
    if spec.method != "ml":
        start = problem.relative_factors(fit.theta)
        fit = fit_lmer(replace(spec, method="ml"), bundle, start=start)
        assert fit.theta is not None
    setup = ProfileSetup.of(
        problem.X, problem.terms, problem.y, problem.relative_factors(fit.theta), fit.sigma, weights=problem.weights
    )
    surface, labels = setup.surface()
    names = tuple(label_name(label, problem.re, problem.names) for label in labels)
    return surface, labels, names, surface.deviance


# ---- requests ----------------------------------------------------------------------------------------------


def _cut(conf_level: float, threshold: float | None) -> tuple[float, float]:
    """The level, and the rise of the deviance at its limits."""
    level = check_level(conf_level)
    if threshold is None:
        return level, float(ndtri(0.5 + 0.5 * level)) ** 2
    try:
        rise = float(threshold)
    except (TypeError, ValueError):
        rise = float("nan")
    if not np.isfinite(rise) or rise <= 0.0:
        raise InferenceError(
            f"threshold={threshold!r}", "the threshold is a rise of the deviance, a number above 0", "threshold=3.84"
        )
    return float(2.0 * ndtr(np.sqrt(rise)) - 1.0), rise


def _grid(n_steps: int, cut: float) -> Array:
    """Zetas > 0 of one side: evenly spaced, and the limits themselves."""
    cuts = np.unique(np.append(ndtri(0.5 + 0.5 * np.array(_LEVELS)), cut))
    cuts = cuts[np.append(True, np.diff(cuts) > 1e-9)] if cuts.size > 1 else cuts
    even = np.linspace(0.0, max(REACH, 1.05 * cut), n_steps // 2 + 1)[1:]
    even = even[np.abs(even[:, None] - cuts).min(axis=1) > _APART]
    exact = np.where(np.abs(cuts - cut) <= 1e-9, cut, cuts)
    return np.unique(np.concatenate([even, exact]))


def label_name(label: Label, re: REInfo, columns: Sequence[str]) -> str:
    """What lme4 calls a parameter."""
    if label.kind == FIXED:
        return columns[label.column]
    if label.term < 0:
        return "sigma"
    block = re.blocks[label.term]
    effects = block.column_names
    if label.kind == COR:
        return f"cor_{effects[label.first]}.{effects[label.second]}|{block.group_name}"
    if label.kind == RATIO:
        return f"{block.group_name}.{effects[label.first]}"
    return f"sd_{effects[label.first]}|{block.group_name}"
