"""Profile likelihood of the coefficients of an lm or a glm."""

from __future__ import annotations

import numpy as np

from inference_core.errors import InferenceError
from inference_core.fit.common import fitted_family
from inference_core.progress import Monitor
from inference_core.solvers.glm_profile import GlmTraces, profile_glm
from inference_core.solvers.profile_traces import Traces
from inference_core.states import Array, DataBundle, FitState, ModelSpec


def coefficient_traces(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, zetas: Array, asked: str, monitor: Monitor
) -> tuple[Traces, tuple[str, ...], Array, float]:
    """Traces of the estimable coefficients, their names and estimates, and the minimum that zeta counts from.

    An lm: -2 log L with sigma profiled out, in closed form: b + se sqrt((n - p) (exp(zeta^2 / n) - 1)). A glm: the
    deviance over its dispersion, held at the estimate, as R's confint does; a size or shape that the family
    estimates is held too.

    Raises
    ------
    InferenceError
        Student's t, whose deviance has no profile here; a fit whose estimates are not finite or did not converge.
    """
    if spec.family == "tdist":
        raise InferenceError(asked, "a model with Student's t errors", "use how='boot'")
    kept = np.flatnonzero(np.isfinite(fit.coef))
    if not fit.converged or not kept.size:
        raise InferenceError(
            asked, "the fit did not converge, so there is no minimum to profile from", "simplify the model"
        )
    names = tuple(bundle.X_names[j] for j in kept)
    beta = fit.coef[kept]
    if spec.is_lm:
        values, slope, middle = _lm(bundle, fit, kept, beta, zetas)
        cancelled = False
        monitor.tick(monitor.total)  # a formula: done before anyone could ask to stop
        deviance = -2.0 * fit.loglik
    else:
        found = _glm(spec, bundle, fit, kept, beta, zetas, monitor)
        values, slope, cancelled = found.beta, found.slope, found.cancelled
        middle = np.full(kept.size, np.nan)  # the vcov is Fisher's, the curve the observed one: left to the neighbours
        deviance = fit.deviance / fit.dispersion
    P = kept.size
    ends, broken = np.full((P, 2), np.inf), np.zeros((P, 2), dtype=bool)
    out = Traces([], [], [], [], [], ends, broken, cancelled)
    for j in range(P):
        parts = [values[j, 0, ::-1], beta[None], values[j, 1]]
        zeta = np.concatenate([-zetas[::-1], [0.0], zetas])
        curve = np.concatenate([slope[j, 0, ::-1], [middle[j]], slope[j, 1]])
        points = np.concatenate(parts)
        there = np.isfinite(points[:, j])
        broken[j] = np.array([~there[0], ~there[-1]]) & (not cancelled)
        out.zeta.append(zeta[there])
        out.value.append(points[there, j])
        out.slope.append(curve[there])
        out.bend.append(np.full(int(there.sum()), np.nan))
        out.others.append(points[there])
    return out, names, beta, float(deviance)


def _lm(bundle: DataBundle, fit: FitState, kept: Array, beta: Array, zetas: Array) -> tuple[Array, Array, Array]:
    n = bundle.n if bundle.weights is None else int(np.count_nonzero(bundle.weights > 0))
    V = fit.vcov[np.ix_(kept, kept)]
    se = np.sqrt(np.diagonal(V))
    t = np.sqrt((n - kept.size) * np.expm1(zetas**2 / n))  # in units of the usual standard error
    slope_of_t = n * t / (t**2 + n - kept.size) / zetas  # d zeta / d t
    along = V / se  # column j: moves of every coefficient for one se of b_j
    values = np.stack([beta + s * t[None, :, None] * along.T[:, None, :] for s in (-1.0, 1.0)], axis=1)
    slope = np.repeat((slope_of_t[None, :] / se[:, None])[:, None, :], 2, axis=1)
    return values, slope, np.sqrt(n / (n - kept.size)) / se


def _glm(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, kept: Array, beta: Array, zetas: Array, monitor: Monitor
) -> GlmTraces:
    weights = bundle.prior_weights
    rows = np.arange(bundle.n) if weights is None else np.flatnonzero(weights > 0)
    def tick(done: int) -> bool:
        return monitor.tick(done * monitor.total // (2 * kept.size * zetas.size))

    return profile_glm(
        np.ascontiguousarray(bundle.X[np.ix_(rows, kept)]), bundle.y[rows], fitted_family(spec, fit), beta,
        fit.dispersion, zetas, weights=None if weights is None else weights[rows],
        offset=None if bundle.offset is None else bundle.offset[rows], tick=tick,
    )  # fmt: skip
