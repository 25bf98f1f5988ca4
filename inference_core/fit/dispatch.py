"""Which fitting function serves which model."""

from __future__ import annotations

from inference_core.errors import FitError
from inference_core.families import Family
from inference_core.states import DataBundle, FitState, ModelSpec

from .glm import fit_glm
from .lm import fit_lm


def fit_model(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    tol: float = 1e-12,
    max_iter: int = 100,
    family: Family | None = None,
) -> FitState:
    """Fit any model this version knows.

    Parameters
    ----------
    tol, max_iter
        Relative change of the deviance at which IRLS may stop, and its largest number of steps; least squares
        ignores both.
    family : Family, optional
        The family and link, where the names in ``spec`` do not say all (a fixed theta, another df).

    Raises
    ------
    DataError, FitError
        See :func:`fit_lm` and :func:`fit_glm`; models with random terms are refused.
    """
    if spec.has_random_effects:
        raise FitError(
            f"a fit of {spec.formula!r}",
            "mixed models cannot be fitted by this version",
            "remove the terms in ( | ), or enter the group as a factor",
        )
    if spec.is_lm:
        return fit_lm(spec, bundle)
    return fit_glm(spec, bundle, tol=tol, max_iter=max_iter, family=family)
