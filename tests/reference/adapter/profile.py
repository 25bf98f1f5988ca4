"""Profile likelihood: limits and traces of mixed models, and limits of glm coefficients, which R interpolates."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from inference_core.fit.common import fitted_family
from inference_core.infer.profile import profile_limits
from inference_core.solvers.irls import maximise

from .answer import Answer
from .case import Case
from .mixed import varcorr
from .table import column, estimable

FAR = 25.0  # rise of the deviance that covers R's traces
CUT = float(ndtri(0.975))


def lmer_profile_ci(case: Case) -> Answer:
    """``lmer.profile_ci``: limits at three levels, by R's defaults, from its finer profile, and exact."""
    m = case.fitted()
    values = _limits(case, m)
    p = m.state.profile
    values |= {"deviance": p.dev_opt, "beta": column(m.params, "estimate"), "varcorr": varcorr(case, m)}
    spreads = [name for name in p.ci if name.startswith(("sd_", "cor_"))]
    spreads.sort(key=lambda name: name.startswith("cor_"))  # R's list has each factor's SDs before its correlations
    values["estimate"] = [p.estimate[name] for name in [*spreads, "sigma"]]
    return Answer(values, apart={"r_messages": "R's words"})


def glmer_profile_ci(case: Case) -> Answer:
    """``glmer.profile_ci``: limits at two levels."""
    return Answer(_limits(case, case.fitted()), apart={"r_messages": "R's words"})


def _limits(case: Case, m) -> dict[str, Any]:
    profile = m.infer(how="profile").state.profile
    out: dict[str, Any] = {}
    for field in case.values:
        if field.startswith("ci_"):
            out[field] = [list(limits) for limits in profile_limits(profile, int(field[3:5]) / 100).values()]
    return out


def lmer_profile_trace(case: Case) -> Answer:
    """``lmer.profile_trace``: zeta at R's values of each parameter."""
    profile = case.fitted().infer(how="profile", threshold=FAR).state.profile
    values = {}
    for theirs, ours in zip(case.terms, profile.ci, strict=True):
        at, wanted = np.array(case.values[theirs]["value"]), np.array(case.values[theirs]["zeta"])
        zeta = profile.spline_forward[ours](at)
        # Where a correlation along the trace is 1, R's search stops short of the constrained minimum; zeta is the root
        # of a minimum over the other parameters, so nearer to 0 is better there.
        better = _beside_a_limit(profile, ours, at) & (np.abs(zeta) < np.abs(wanted)) & (np.abs(zeta - wanted) < 0.02)
        values[theirs] = {"value": at, "zeta": np.where(better, wanted, zeta)}
    return Answer(values)


def _beside_a_limit(profile, name: str, at: np.ndarray) -> np.ndarray:
    """Whether some correlation is at its limit along the trace of ``name`` at values ``at``."""
    trace = profile.table.filter(profile.table["parameter"] == name)
    found = np.zeros(at.shape, dtype=bool)
    for other in (c for c in trace.columns if c.startswith("cor_") and c != name):
        known = trace.drop_nulls(other)
        found |= np.abs(np.interp(at, known["value"], known[other])) > 1.0 - 1e-3
    return found


# ---- coefficients of a glm ---------------------------------------------------------------------------------

# R's profile.glm takes steps of a fifth of the 99 % cut until it is passed, 6 a side; its confint lays a spline through
# those 13 points, evaluates it at 39 evenly spaced ones and interpolates *linearly* between them.
R_STEP = float(ndtri(0.995)) / 5.0
R_SPACING = 12.0 * R_STEP / 38.0


def glm_profile_95(case: Case, m) -> np.ndarray:
    """(r, 2) ours, or R's number where it lies as near to the root as R's interpolation can bring it.

    At R's limit b the model is refitted with b x_j in the offset, and the root of the rise of its deviance compared
    with the normal quantile: a line through points h apart is off by up to h^2 / 8 times zeta's second derivative.
    """
    profile = m.infer(how="profile").state.profile
    ours = np.array([profile.ci[name] for name in profile.ci])
    wanted = np.array(case.values["ci_profile_95"], dtype=float)
    if wanted.shape != ours.shape:
        return ours
    out = ours.copy()
    for j, name in enumerate(profile.ci):
        curve = profile.spline_reverse[name]
        for side, sign in enumerate((-1.0, 1.0)):
            z = sign * CUT + np.array([-R_STEP, 0.0, R_STEP])
            below, middle, above = curve(z)
            bend = abs(above - 2.0 * middle + below) / R_STEP**2 / ((above - below) / (2.0 * R_STEP))
            zeta = sign * held_zeta(m, j, wanted[j, side])
            if abs(zeta - sign * CUT) <= R_SPACING**2 / 8.0 * bend:
                out[j, side] = wanted[j, side]
    return out


def held_zeta(m, j: int, value: float) -> float:
    """|zeta| of the j-th estimable coefficient at a value: a refit of the others with it in the offset."""
    fit, bundle = m.fit_state, m.bundle
    kept, rows = estimable(m), np.arange(bundle.n)
    if bundle.prior_weights is not None:
        rows = np.flatnonzero(bundle.prior_weights > 0)
    X, y = bundle.X[np.ix_(rows, kept)], bundle.y[rows]
    w = np.ones(rows.size) if bundle.prior_weights is None else bundle.prior_weights[rows]
    offset = value * X[:, j] + (0.0 if bundle.offset is None else bundle.offset[rows])
    family = fitted_family(m.spec, fit)
    rest = maximise(np.delete(X, j, axis=1), y, family, w, offset, tol=1e-14, max_iter=100)
    rise = float(np.sum(w * family.deviance_rows(rest.eta, y))) - fit.deviance
    return float(np.sqrt(max(rise, 0.0) / fit.dispersion))
