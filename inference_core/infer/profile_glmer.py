"""The deviance of a generalized mixed model, ready to be profiled: the fit's own rule of integration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.glmer_problem import glmer_problem
from inference_core.solvers.glmm.fit import THETA_MAX
from inference_core.solvers.glmm.profile_setup import GlmmProfileSetup
from inference_core.solvers.lmm.profile_setup import Label
from inference_core.solvers.lmm.profile_targets import SIGMA
from inference_core.solvers.profile_surface import Surface
from inference_core.states import DataBundle, FitState, ModelSpec

_ROUGH = (
    "coefficients of a fit with nAGQ=0 do not minimise its deviance, so they have no profile; fit(nAGQ=1) for theirs"
)


def glmer_surface(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, asked: str
) -> tuple[Surface, Sequence[Label], tuple[str, ...], float, tuple[str, ...]]:
    """The surface, what its targets are and are called, -2 log-likelihood as the fit counts it, and notes.

    SDs are on the link scale. The scale is ``sigma``, the root of the dispersion, or ``theta`` of a negative binomial.

    Raises
    ------
    InferenceError
        A fit whose estimates are not finite or did not converge; a negative binomial without spread of its own.
    """
    from .profile import label_name

    assert fit.theta is not None and fit.criterion is not None
    if not fit.converged or fit.is_separated:
        raise InferenceError(
            asked, "the fit did not converge, so there is no minimum to profile from", "simplify the model"
        )
    if spec.family.startswith("negative_binomial") and fit.family_params and fit.family_params[0] > 0.99 * THETA_MAX:
        raise InferenceError(
            asked,
            f'theta has no finite estimate: "{bundle.y_name}" spreads no more than a Poisson, so the deviance has '
            "no minimum to profile from",
            "family='poisson'",
        )
    problem = glmer_problem(spec, bundle, n_agq=1 if fit.n_agq is None else fit.n_agq)
    solver = problem.solver
    scale = np.log([fit.dispersion if problem.relative else fit.family_params[0]]) if solver.n_scale else np.zeros(0)
    factors = problem.re.t_matrices(fit.theta * (fit.sigma if problem.relative else 1.0))
    setup = GlmmProfileSetup.of(problem.posed, solver.terms, factors, fit.coef[problem.kept], scale)
    surface, labels = setup.surface()
    columns = tuple(bundle.X_names[j] for j in problem.kept)
    names = tuple(
        "theta" if label.kind == SIGMA and setup.has_theta else label_name(label, problem.re, columns)
        for label in labels
    )
    notes = () if solver.n_agq else (_ROUGH,)
    return surface, labels, names, fit.criterion, notes
