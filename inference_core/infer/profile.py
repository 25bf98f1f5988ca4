"""Profile likelihood: SDs, correlations, sigma and fixed effects of a linear mixed model; coefficients of lm and glm.

The deviance profiled is that of maximum likelihood, fixed effects included; after a fit by REML the maximum-likelihood
optimum is found first. Limits are points of the trace, not interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, ndtri

from inference_core.errors import InferenceError
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_problem import MixedProblem
from inference_core.progress import Monitor
from inference_core.solvers.lmm.dense import MAX_Q
from inference_core.solvers.lmm.profile import Traces
from inference_core.solvers.lmm.profile_setup import Label, ProfileSetup
from inference_core.solvers.lmm.profile_targets import COR, FIXED, RATIO
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, InferenceState, ModelSpec
from inference_core.states.profile import Limits, ProfileState

from .coefficient import check_level
from .profile_fixed import coefficient_traces

if TYPE_CHECKING:
    import polars as pl

_LEVELS = (0.90, 0.95, 0.99)  # their limits are points of every trace
_REACH = 4.0  # zeta to which traces go: past the limits of 99.99 %
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
) -> ProfileState:
    """Profile likelihood limits and traces of every parameter.

    Parameters
    ----------
    spec, bundle, fit
        A fitted linear mixed model, lm or glm.
    conf_level : float
        Between 0 and 1; the limits are where the deviance has risen by the chi-square(1) quantile.
    n_steps : int
        Points of each trace, both sides together, beside the limits of 90, 95 and 99 %.
    verbose : bool
        Show a progress bar.
    threshold : float, optional
        Rise of the deviance at the limits, in place of the quantile; ``conf_level`` of the result then is the level it
        amounts to.

    Returns
    -------
    ProfileState
        A limit at the end of a parameter's range (an SD at 0, a correlation at -1 or 1) is that number, marked in
        ``at_boundary``; a correlation with an SD that is 0 has no limits.

    Raises
    ------
    InferenceError
        A generalized mixed model, or Student's t; several grouping factors with more random effects than the dense
        kernel takes; a level, a threshold or a number of steps that cannot be.
    """
    level, rise = _cut(conf_level, threshold)
    if isinstance(n_steps, bool) or not isinstance(n_steps, (int, np.integer)) or n_steps < 4:
        raise InferenceError(f"n_steps={n_steps!r}", "a trace takes a whole number of at least 4 points", "n_steps=20")
    zetas = _grid(int(n_steps), np.sqrt(rise))
    if not spec.has_random_effects:
        traces, names, estimate, deviance = coefficient_traces(spec, bundle, fit, zetas, _ASKED)
        labels: Sequence[Label] = [Label(FIXED, column=j) for j in range(len(names))]
        return _state(traces, labels, names, estimate, deviance, level, rise)
    return _of_mixed(spec, bundle, fit, zetas, level, rise, verbose)


def profile_table(profile: ProfileState, bundle: DataBundle) -> InferenceState:
    """The limits of the coefficients as a table: nothing but limits comes from a profile, the rest is NaN."""
    limits = np.array([profile.ci.get(name, (np.nan, np.nan)) for name in bundle.X_names], float).reshape(-1, 2)
    return InferenceState(
        se=np.full(len(limits), np.nan), ci_lower=limits[:, 0], ci_upper=limits[:, 1],
        conf_level=profile.conf_level, method="profile", notes=profile.notes,
    )  # fmt: skip


def _of_mixed(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, zetas: Array, level: float, rise: float, verbose: bool
) -> ProfileState:
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
    with one_blas_thread():
        setup = ProfileSetup.of(
            problem.X, problem.terms, problem.y, problem.relative_factors(fit.theta), fit.sigma,
            weights=problem.weights,
        )  # fmt: skip
        search, labels = setup.search()
        monitor = Monitor(len(zetas), verbose=verbose, desc="profile")
        traces = search.run(zetas, monitor.tick)
        monitor.close()
    names = tuple(_name(label, problem) for label in labels)
    return _state(traces, labels, names, search.estimate, search.deviance, level, rise)


def profile_limits(profile: ProfileState, conf_level: float) -> dict[str, Limits]:
    """Limits of every parameter at another level, read off the traces.

    Raises
    ------
    InferenceError
        A level outside (0, 1), or beyond the end of the traces.
    """
    level = check_level(conf_level)
    if level == profile.conf_level:
        return dict(profile.ci)
    cut = float(ndtri(0.5 + 0.5 * level))
    out = {}
    for name in profile.ci:
        rows = profile.table.filter(profile.table["parameter"] == name)
        zeta, value = rows["zeta"].to_numpy(), rows["value"].to_numpy()
        if not zeta.size:
            out[name] = (float("nan"), float("nan"))
            continue
        if cut > _REACH and cut > np.abs(zeta).max():
            raise InferenceError(
                f"profile limits at conf_level={level!r}",
                f"the traces end at zeta = {np.abs(zeta).max():.3g}, this level lies at {cut:.3g}",
                "profile again with this conf_level",
            )
        out[name] = (
            _read(profile, name, zeta, value, -cut, 0), _read(profile, name, zeta, value, cut, 1),
        )  # fmt: skip
    return out


def _read(profile: ProfileState, name: str, zeta: Array, value: Array, at: float, side: int) -> float:
    exact = np.flatnonzero(np.abs(zeta - at) < 1e-9)
    if exact.size:
        return float(value[exact[0]])
    end = int(np.argmin(zeta) if side == 0 else np.argmax(zeta))
    if abs(at) > abs(zeta[end]) or name not in profile.spline_reverse:
        bounded = _is_bound(name, float(value[end]), side)
        return float(value[end]) if bounded else float("nan")
    return float(profile.spline_reverse[name](at))


def _is_bound(name: str, value: float, side: int) -> bool:
    return (name.startswith("sd_") and side == 0 and value == 0.0) or (name.startswith("cor_") and abs(value) == 1.0)


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
    even = np.linspace(0.0, max(_REACH, 1.05 * cut), n_steps // 2 + 1)[1:]
    even = even[np.abs(even[:, None] - cuts).min(axis=1) > _APART]
    exact = np.where(np.abs(cuts - cut) <= 1e-9, cut, cuts)
    return np.unique(np.concatenate([even, exact]))


def _name(label: Label, problem: MixedProblem) -> str:
    if label.kind == FIXED:
        return problem.names[label.column]
    if label.term < 0:
        return "sigma"
    block = problem.re.blocks[label.term]
    effects = block.column_names
    if label.kind == COR:
        return f"cor_{effects[label.first]}.{effects[label.second]}|{block.group_name}"
    if label.kind == RATIO:
        return f"{block.group_name}.{effects[label.first]}"
    return f"sd_{effects[label.first]}|{block.group_name}"


# ---- the state ---------------------------------------------------------------------------------------------


def _state(
    traces: Traces, labels: Sequence[Label], names: Sequence[str], estimate: Array, deviance: float, level: float,
    rise: float,
) -> ProfileState:  # fmt: skip
    cut = np.sqrt(rise)
    ci: dict[str, Limits] = {}
    boundary: dict[str, tuple[bool, bool]] = {}
    forward: dict[str, Callable[[Any], Array]] = {}
    reverse: dict[str, Callable[[Any], Array]] = {}
    notes: list[str] = []
    for j, (name, label) in enumerate(zip(names, labels, strict=True)):
        if not np.isfinite(estimate[j]):
            ci[name], boundary[name] = (float("nan"), float("nan")), (False, False)
            notes.append(f"{name} is not identified: one of its SDs is 0")
            continue
        limits, ended = [], []
        for side in (0, 1):
            value, at_end = _limit(traces, j, label, side, cut)
            limits.append(value)
            ended.append(at_end)
            if np.isnan(value):
                which = "lower" if side == 0 else "upper"
                notes.append(f"the {which} limit of {name} could not be found: its profile ends before the level")
        ci[name], boundary[name] = (limits[0], limits[1]), (ended[0], ended[1])
        splines = _splines(*_with_ends(traces, j, label))
        if splines is not None:
            forward[name], reverse[name] = splines
    shown = [j for j, label in enumerate(labels) if label.kind != RATIO]
    theta = {names[j]: ci.pop(names[j]) for j, label in enumerate(labels) if label.kind == RATIO}
    for name in theta:
        del boundary[name]
        forward.pop(name, None)
        reverse.pop(name, None)
    return ProfileState(
        table=_table(traces, labels, names, shown), spline_forward=forward, spline_reverse=reverse, ci=ci,
        ci_sd={n: limits for n, limits in ci.items() if n == "sigma" or n.startswith("sd_")}, ci_theta=theta,
        conf_level=level, threshold=rise, dev_opt=deviance, at_boundary=boundary,
        estimate={names[j]: float(estimate[j]) for j in shown}, notes=tuple(n for n in notes if not _about(n, theta)),
    )  # fmt: skip


def _about(note: str, names: dict[str, Limits]) -> bool:
    return any(f" {name} " in note for name in names)


def _limit(traces: Traces, j: int, label: Label, side: int, cut: float) -> tuple[float, bool]:
    sign = 1.0 if side else -1.0
    found = np.flatnonzero(np.abs(traces.zeta[j] - sign * cut) < 1e-9)
    if found.size:
        return float(traces.value[j][found[0]]), False
    if np.isfinite(traces.ends[j, side]) and traces.ends[j, side] <= cut + 1e-9:
        return _bound(label, sign), True
    return float("nan"), False


def _bound(label: Label, sign: float) -> float:
    return sign if label.kind == COR else 0.0


def _with_ends(traces: Traces, j: int, label: Label) -> tuple[Array, Array, Array]:
    """The trace of a parameter, with the boundary where it meets one."""
    zeta, value, slope = traces.zeta[j], traces.value[j], traces.slope[j]
    if 0.0 < traces.ends[j, 0] < np.inf and -traces.ends[j, 0] < zeta[0] - 1e-9:
        zeta, value = np.append(-traces.ends[j, 0], zeta), np.append(_bound(label, -1.0), value)
        slope = np.append(np.nan, slope)
    if 0.0 < traces.ends[j, 1] < np.inf and traces.ends[j, 1] > zeta[-1] + 1e-9:
        zeta, value = np.append(zeta, traces.ends[j, 1]), np.append(value, _bound(label, 1.0))
        slope = np.append(slope, np.nan)
    return zeta, value, slope


def _splines(zeta: Array, value: Array, slope: Array) -> tuple[Callable, Callable] | None:
    """Zeta of a value and value of a zeta: cubic, with the exact slopes of the trace."""
    from scipy.interpolate import CubicHermiteSpline

    if zeta.size < 2 or not np.all(np.diff(value) > 0):
        return None
    secant = np.diff(zeta) / np.diff(value)
    ends = np.concatenate([secant[:1], np.sqrt(secant[1:] * secant[:-1]), secant[-1:]])
    slope = np.where(np.isfinite(slope) & (slope > 0), slope, ends)
    return (
        CubicHermiteSpline(value, zeta, slope, extrapolate=False),
        CubicHermiteSpline(zeta, value, 1.0 / slope, extrapolate=False),
    )


def _table(traces: Traces, labels: Sequence[Label], names: Sequence[str], shown: Sequence[int]) -> pl.DataFrame:
    import polars as pl

    parts = []
    for j in shown:
        zeta, value, _ = _with_ends(traces, j, labels[j])
        at = np.searchsorted(traces.zeta[j], zeta)
        known = np.isin(zeta, traces.zeta[j])
        columns: dict[str, Any] = {"parameter": [names[j]] * zeta.size, "value": value, "zeta": zeta}
        for i in shown:
            others = np.full(zeta.size, np.nan)
            others[known] = traces.others[j][at[known], i]
            columns[names[i]] = others
        frame = pl.DataFrame(columns)
        parts.append(frame.with_columns(pl.col(names[i]).fill_nan(None) for i in shown))
    frame = pl.concat(parts)
    return frame.filter(pl.col("value").is_not_nan())


