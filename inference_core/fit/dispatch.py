"""Which fitting function serves which model."""

from __future__ import annotations

from typing import Any

from inference_core.families import Family
from inference_core.states import DataBundle, FitState, ModelSpec

from .glm import fit_glm
from .lm import fit_lm


def fit_model(
    spec: ModelSpec,
    bundle: DataBundle,
    *,
    tol: float | None = None,
    max_iter: int | None = None,
    family: Family | None = None,
    n_agq: int = 1,
) -> FitState:
    """Fit any model this version knows.

    Parameters
    ----------
    tol, max_iter
        Where an iteration may stop, and its largest number of steps; each kind of model has its own default, and
        least squares ignores both.
    family : Family, optional
        The family and link, where the names in ``spec`` do not say all (a fixed theta, another df).
    n_agq : int
        How a generalized mixed model integrates its random effects out, see :func:`fit_glmer`; others ignore it.

    Raises
    ------
    DataError, FitError
        See :func:`fit_lm`, :func:`fit_glm`, :func:`fit_lmer` and :func:`fit_glmer`.
    """
    if spec.is_lm:
        return fit_lm(spec, bundle)
    given = {"tol": tol, "max_iter": max_iter}
    limits: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not spec.has_random_effects:
        return fit_glm(spec, bundle, family=family, **limits)
    if spec.is_lmer:
        from .lmer import fit_lmer  # mixed models are a third of the code; who fits an lm does not wait for it

        return fit_lmer(spec, bundle, **limits)
    from .glmer import fit_glmer

    limits.pop("tol", None)  # refused by the checks of a request; a direct caller's has no meaning here
    return fit_glmer(spec, bundle, family=family, n_agq=n_agq, **limits)
