"""Which backend answers ``.infer()``, by the last operation: a table and a lookup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.states import (
    CVState,
    DataBundle,
    FitState,
    InferenceState,
    ModelSpec,
    ResamplesState,
    SimulationInferenceState,
)

from .bootstrap import resamples_of
from .cells import require_cell
from .params import dispatch_params_inference


@dataclass(frozen=True, slots=True, eq=False)
class InferResult:
    """What one ``.infer()`` changes in a model; a field left None is left alone.

    ``mee`` is a MeeState or JointTestState, ``pred`` a PredictionState, ``varying_spread`` a
    VaryingSpreadState and ``profile`` a ProfileState.
    """

    params_inference: InferenceState | None = None
    mee: Any = None
    pred: Any = None
    cv: CVState | None = None
    sim_inference: SimulationInferenceState | None = None
    resamples: ResamplesState | None = None
    varying_spread: Any = None
    profile: Any = None
    last_op: str | None = None


_PARAMS_ARGUMENTS = (
    "how", "spec", "bundle", "fit", "data", "conf_level", "errors", "null", "alternative", "link_override",
    "n_boot", "n_perm", "ci_type", "seed", "n_jobs", "save_resamples", "k", "scheme", "verbose", "progress",
    "cancel", "cluster",
)  # fmt: skip


def _after_fit(ask: dict[str, Any]) -> InferResult:
    if ask["how"] == "profile":
        return _profile(ask)
    if ask["how"] == "cv":
        return _cross_validation(ask)
    if ask["how"] == "joint":
        return _joint(ask)
    beside = None
    if ask["profile_auto"] and ask["how"] in ("boot", "perm") and ask["spec"].has_random_effects:
        # first: what it refuses is refused before any draw
        beside = _profile(ask | {"progress": None, "verbose": False})
    inference = dispatch_params_inference(**{name: ask[name] for name in _PARAMS_ARGUMENTS})
    draws = _draws_of(inference, ask)
    if beside is None:
        return InferResult(params_inference=inference, resamples=draws)
    said = "limits of SDs and correlations are those of the profile likelihood"
    inference = replace(inference, notes=(*inference.notes, said))
    return replace(beside, params_inference=inference, resamples=draws)


def _draws_of(inference: InferenceState, ask: dict[str, Any]) -> ResamplesState | None:
    if ask["how"] == "perm":
        from .permutation import permutation_resamples

        return permutation_resamples(inference, ask["spec"], ask["bundle"], ask["fit"], ask["data"])
    return resamples_of(inference, ask["spec"], ask["bundle"], ask["fit"])


def _profile(ask: dict[str, Any]) -> InferResult:
    from .profile import compute_profile_inference, profile_table
    from .spread import augment_spread_with_profile_ci, varying_spread_state

    spec, bundle, fit = ask["spec"], ask["bundle"], ask["fit"]
    wanted = ("conf_level", "n_steps", "verbose", "threshold", "progress", "cancel")
    profile = compute_profile_inference(spec, bundle, fit, **{name: ask[name] for name in wanted})
    spread = None
    if spec.has_random_effects:
        spread = augment_spread_with_profile_ci(varying_spread_state(bundle, fit, spec), profile, profile.conf_level)
    return InferResult(params_inference=profile_table(profile, bundle), profile=profile, varying_spread=spread)


def _cross_validation(ask: dict[str, Any]) -> InferResult:
    from .cv import compute_params_cv_inference

    wanted = (
        "data", "conf_level", "link_override", "k", "seed", "holdout_group_ids", "fit", "scheme", "repeats", "n_jobs",
        "progress", "cancel", "verbose",
    )  # fmt: skip
    inference, cv = compute_params_cv_inference(ask["spec"], ask["bundle"], **{name: ask[name] for name in wanted})
    return InferResult(params_inference=inference, cv=cv)


def _joint(ask: dict[str, Any]) -> InferResult:
    from .joint import joint_contrasts, joint_tests

    model = {name: ask[name] for name in ("spec", "bundle", "fit", "data", "errors", "cluster")}
    if ask["last_op"] == "explore":
        return InferResult(mee=joint_contrasts(ask["mee"], **model))
    return InferResult(mee=joint_tests(**model, ss_type=ask["ss_type"]))


_MEE_ARGUMENTS = (
    "how", "mee", "spec", "bundle", "fit", "data", "conf_level", "errors", "null", "alternative", "n_boot", "n_perm",
    "ci_type", "seed", "save_resamples", "scheme", "n_jobs", "verbose", "progress", "cancel", "cluster",
)  # fmt: skip


def _after_explore(ask: dict[str, Any]) -> InferResult:
    if ask["how"] == "profile":
        return _profile(ask)
    if ask["how"] == "joint":
        return _joint(ask)
    from .mee import infer_mee

    mee, resamples = infer_mee(**{name: ask[name] for name in _MEE_ARGUMENTS})
    return InferResult(mee=mee, resamples=resamples if ask["save_resamples"] else None)


def _after_simulate(ask: dict[str, Any]) -> InferResult:
    from .simulation import compute_simulation_inference

    if ask["simulations"] is None:
        raise InferenceError("infer() after simulate()", "no simulations", "simulations= the frame of m.simulations")
    return InferResult(sim_inference=compute_simulation_inference(ask["simulations"], ask["conf_level"]))


_PREDICTION_ARGUMENTS = (
    "how", "pred", "spec", "bundle", "fit", "data", "conf_level", "errors", "alternative", "cluster", "n_boot",
    "ci_type", "seed", "n_jobs", "save_resamples", "scheme", "k", "holdout_group_ids", "repeats", "verbose", "progress",
    "cancel",
)  # fmt: skip


def _after_predict(ask: dict[str, Any]) -> InferResult:
    if ask["how"] == "profile":
        return _profile(ask)
    if ask["how"] == "joint":
        return _joint(ask)
    if ask["pred"] is None:
        raise InferenceError("infer() after predict()", "no predictions", "pred= the state that predict() made")
    from .prediction import infer_predictions

    pred, cv, resamples = infer_predictions(**{name: ask[name] for name in _PREDICTION_ARGUMENTS})
    return InferResult(pred=pred, cv=cv, resamples=resamples if ask["save_resamples"] else None)


# To add an operation: its function here, its cells in ``cells.BUILT``.
AFTER: MappingProxyType[str, Callable[[dict[str, Any]], InferResult]] = MappingProxyType(
    {"fit": _after_fit, "explore": _after_explore, "predict": _after_predict, "simulate": _after_simulate}
)


def dispatch_infer(
    *,
    how: str = "asymp",
    conf_level: float = 0.95,
    errors: str = "iid",
    null: Any = 0.0,
    alternative: str = "two-sided",
    last_op: str | None = None,
    spec: ModelSpec | None = None,
    bundle: DataBundle | None = None,
    fit: FitState | None = None,
    data: pl.DataFrame | None = None,
    link_override: str | None = None,
    mee: Any = None,
    pred: Any = None,
    simulations: pl.DataFrame | None = None,
    varying_spread: Any = None,
    is_mixed: bool = False,
    n_boot: int = 1000,
    n_perm: int = 1000,
    ci_type: str = "bca",
    seed: int | None = None,
    n_jobs: int = 1,
    save_resamples: bool = True,
    k: int | str | None = 10,
    n_steps: int = 20,
    verbose: bool = False,
    threshold: float | None = None,
    profile_auto: bool = True,
    holdout_group_ids: np.ndarray | None = None,
    scheme: str | None = None,
    repeats: int = 1,
    progress: Any = None,
    cancel: Any = None,
    cluster: Any = None,
    ss_type: str = "III",
) -> InferResult:
    """Send a request to the backend that answers it.

    Parameters
    ----------
    how : str
        asymp, boot, perm, cv, profile or joint.
    conf_level : float
        Between 0 and 1.
    errors, null, alternative, cluster
        As in ``asymptotic.compute_params_asymptotic``.
    last_op : str
        fit, explore, predict or simulate.
    spec, bundle, fit, data
        The fitted model and its original frame.
    link_override, mee, pred, simulations, varying_spread, is_mixed
        Of operations that are not built yet.
    n_steps, threshold
        As in ``profile.compute_profile_inference``.
    n_perm
        As in ``permutation``.
    profile_auto : bool
        After how="boot" and "perm" of a mixed model, limits of its SDs and correlations by profile likelihood as well.
    ss_type : str
        As in ``joint.joint_tests``.
    k, holdout_group_ids, repeats
        As in ``cv.compute_params_cv_inference``; k None is 10, or as many as there are rows or groups.
    n_boot, ci_type, seed, n_jobs, save_resamples, verbose, scheme, progress, cancel
        As in ``bootstrap.compute_params_bootstrap``.

    Returns
    -------
    InferResult
        The fields that changed.

    Raises
    ------
    InferenceError
        No model, or a cell (last operation, how, kind of model) that is refused or not built yet.
    """
    ask = locals()
    if spec is None or bundle is None or fit is None:
        raise InferenceError(
            asked=f"dispatch_infer(how={how!r})",
            found=f"no {', '.join(name for name in ('spec', 'bundle', 'fit') if ask[name] is None)}",
            remedy="give the spec, the bundle and the fit of one model",
        )
    require_cell(last_op, how, spec)
    return AFTER[last_op or ""](ask)
