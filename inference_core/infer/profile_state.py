"""Traces of a profile as a state: limits, curves and the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from inference_core.errors import InferenceError
from inference_core.solvers.lmm.profile_setup import Label
from inference_core.solvers.lmm.profile_targets import COR, RATIO
from inference_core.solvers.profile_traces import Traces
from inference_core.states import Array
from inference_core.states.profile import Limits, ProfileState

from .coefficient import check_level

if TYPE_CHECKING:
    import polars as pl

REACH = 4.0  # zeta to which traces go: past the limits of 99.99 %


def state_of(
    traces: Traces, labels: Sequence[Label], names: Sequence[str], estimate: Array, deviance: float, level: float,
    rise: float, notes: Sequence[str] = (),
) -> ProfileState:  # fmt: skip
    """The state of P traces, with limits where zeta is -+ sqrt(rise)."""
    cut = np.sqrt(rise)
    ci: dict[str, Limits] = {}
    boundary: dict[str, tuple[bool, bool]] = {}
    forward: dict[str, Callable[[Any], Array]] = {}
    reverse: dict[str, Callable[[Any], Array]] = {}
    said = list(notes)
    missing: list[str] = []
    for j, (name, label) in enumerate(zip(names, labels, strict=True)):
        if not np.isfinite(estimate[j]):
            ci[name], boundary[name] = (float("nan"), float("nan")), (False, False)
            said.append(f"{name} is not identified: one of its SDs is 0")
            continue
        limits, ended = [], []
        for side in (0, 1):
            value, at_end = _limit(traces, j, label, side, cut)
            limits.append(value)
            ended.append(at_end)
            if np.isnan(value) and label.kind != RATIO:
                if traces.broken[j, side] or not traces.cancelled:
                    which = "lower" if side == 0 else "upper"
                    said.append(f"the {which} limit of {name} could not be found: its profile ends before the level")
                elif name not in missing:
                    missing.append(name)
        ci[name], boundary[name] = (limits[0], limits[1]), (ended[0], ended[1])
        curve = traces.curve(j)
        if curve is not None and label.kind != RATIO:
            forward[name], reverse[name] = curve.at_value, curve
    if traces.cancelled:
        said.insert(0, _cancelled(missing))
    shown = [j for j, label in enumerate(labels) if label.kind != RATIO]
    theta = {names[j]: ci.pop(names[j]) for j, label in enumerate(labels) if label.kind == RATIO}
    for name in theta:
        del boundary[name]
    spread = {names[j] for j in shown if labels[j].kind not in (COR,) and labels[j].column < 0}
    return ProfileState(
        table=_table(traces, labels, names, shown), spline_forward=forward, spline_reverse=reverse, ci=ci,
        ci_sd={n: limits for n, limits in ci.items() if n in spread and (n == "sigma" or n.startswith("sd_"))},
        ci_theta=theta, conf_level=level, threshold=rise, dev_opt=deviance, at_boundary=boundary,
        estimate={names[j]: float(estimate[j]) for j in shown}, notes=tuple(said), cancelled=traces.cancelled,
    )  # fmt: skip


def _cancelled(missing: Sequence[str]) -> str:
    if not missing:
        return "the profile was stopped early; the limits shown are final, traces end where it stood"
    return f"the profile was stopped before it reached the limits of {', '.join(missing)}"


def profile_limits(profile: ProfileState, conf_level: float) -> dict[str, Limits]:
    """Limits of every parameter at another level, read off the traces.

    Between the points of a trace they are a quintic's: within some 1e-7 of a standard error for levels from 50 to
    99.9 %.

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
        if cut > REACH and cut > np.abs(zeta).max():
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
    return (name.startswith("sd_") and side == 0 and value == 0.0) or (
        name.startswith("cor_") and abs(value) > 1.0 - 1e-9 and (value > 0) == (side == 1)
    )


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


def _with_ends(traces: Traces, j: int, label: Label) -> tuple[Array, Array]:
    """Zeta and value of a trace, with the boundary where it meets one."""
    zeta, value = traces.zeta[j], traces.value[j]
    if 0.0 < traces.ends[j, 0] < np.inf and -traces.ends[j, 0] < zeta[0] - 1e-9:
        zeta, value = np.append(-traces.ends[j, 0], zeta), np.append(_bound(label, -1.0), value)
    if 0.0 < traces.ends[j, 1] < np.inf and traces.ends[j, 1] > zeta[-1] + 1e-9:
        zeta, value = np.append(zeta, traces.ends[j, 1]), np.append(value, _bound(label, 1.0))
    return zeta, value


def _table(traces: Traces, labels: Sequence[Label], names: Sequence[str], shown: Sequence[int]) -> pl.DataFrame:
    """Every trace under the next; the columns of the parameters are null at a boundary, where nothing was fitted."""
    import polars as pl

    parameter: list[str] = []
    values, zetas, others = [], [], []
    for j in shown:
        zeta, value = _with_ends(traces, j, labels[j])
        along = np.full((zeta.size, len(shown)), np.nan)
        along[np.isin(zeta, traces.zeta[j])] = traces.others[j][:, shown]
        parameter += [names[j]] * zeta.size
        values.append(value)
        zetas.append(zeta)
        others.append(along)
    value, along = np.concatenate(values), np.concatenate(others)
    columns: dict[str, Any] = {"parameter": parameter, "value": value, "zeta": np.concatenate(zetas)}
    columns |= {names[i]: pl.Series(along[:, c]).fill_nan(None) for c, i in enumerate(shown)}
    return pl.DataFrame(columns).filter(pl.col("value").is_not_nan())
