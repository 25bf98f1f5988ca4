"""Cross-validation of a model and of its terms: from a plan to the states that tables are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.coefficient import check_level
from inference_core.progress import Cancel, Progress
from inference_core.states import Array, CVState, DataBundle, FitState, InferenceState, ModelSpec

from .plan import Plan, make_plan
from .refits import NOT_ESTIMABLE
from .run import Outcome, outcome
from .scores import Scored, metrics, scored

if TYPE_CHECKING:
    import polars as pl

FEW_NAMES = 3


def compute_cv_metrics(
    spec: ModelSpec,
    bundle: DataBundle,
    k: int | str = 10,
    seed: int | None = None,
    holdout_group_ids: np.ndarray | None = None,
    *,
    data: pl.DataFrame | None = None,
    fit: FitState | None = None,
    scheme: str | None = None,
    repeats: int = 1,
    folds: np.ndarray | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    verbose: bool = False,
) -> CVState:
    """k-fold or leave-one-out cross-validation of one model.

    Parameters
    ----------
    spec, bundle
        The model; weights, offset, trials, link and codings take part in every fold.
    k : int or "loo"
        Folds; "loo" leaves out one row, or one group, at a time.
    seed : int, optional
        Fold j is a function of (seed, j) alone; None picks one, which the state tells.
    holdout_group_ids : (n,) optional
        Whole groups are held out; a mixed model without them takes its outermost grouping factor.
    data : polars.DataFrame, optional
        The frame of the bundle: transforms that look at rows (bs, ns, rank) are learned from it in each training fold.
    fit : FitState, optional
        The fit of all rows, where refits start.
    scheme : {"rows", "groups"}, optional
        What is held out; "rows" in a mixed model asks for conditional predictions of known groups.
    repeats : int
        Divisions of the same rows.
    folds : (n,) or (R, n) int, optional
        A division of one's own instead of k and seed.
    n_jobs, progress, cancel, verbose
        Of every long loop; numbers do not depend on them. A cancelled run scores the folds it has.

    Raises
    ------
    InferenceError
        See ``plan.make_plan``; and where not one held-out row could be predicted.
    """
    plan = make_plan(
        spec, bundle, data=data, fit=fit, k=k, seed=seed, group_ids=holdout_group_ids, scheme=scheme, repeats=repeats,
        folds=folds, terms=False,
    )  # fmt: skip
    return _run(plan, 0.95, n_jobs, progress, cancel, verbose)


def compute_params_cv_inference(
    spec: ModelSpec,
    bundle: DataBundle,
    data: pl.DataFrame | None,
    conf_level: float,
    *,
    link_override: str | None = None,
    k: int | str = 10,
    seed: int | None = None,
    holdout_group_ids: np.ndarray | None = None,
    fit: FitState | None = None,
    scheme: str | None = None,
    repeats: int = 1,
    folds: np.ndarray | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    verbose: bool = False,
) -> tuple[InferenceState, CVState]:
    """What each term is worth for prediction: the loss of held-out R2 when it is left out.

    A term is left out as columns of the design, with the interactions that contain it and with its random slope; its
    value is given to every column that belongs to it. In fold f, with n_f of n rows (weights count),

        pre_f = (SSE_without,f - SSE_full,f) / (n_f SST / n),   SST = sum (y - mean of the training rows)^2

    so that the mean over folds is the difference of pooled R2; deviances take the place of squares where the family
    is not normal. Limits are Student's t on k - 1 degrees of freedom with the standard error
    sd sqrt(1/(R k) + 1/(k - 1)) of Nadeau and Bengio, because training folds overlap.

    Parameters
    ----------
    spec, bundle, data
        The full model and its frame.
    conf_level : float
        Of the limits of pre.
    link_override : str, optional
        Another link than the specification's.
    k, seed, holdout_group_ids, fit, scheme, repeats, folds, n_jobs, progress, cancel, verbose
        As in :func:`compute_cv_metrics`.

    Returns
    -------
    InferenceState
        ``pre``, ``pre_sd`` (over folds; no standard error), ``pre_ratio`` = 1 - SSE_full / SSE_without, pooled, and
        ``pre_lower``, ``pre_upper``: (p,), NaN for the intercept.
    CVState
        Scores of the full model, and ``terms``.

    Notes
    -----
    Nadeau & Bengio (2003), Inference for the generalization error; Bouckaert & Frank (2004), Evaluating the
    replicability of significance tests.
    """
    level = check_level(conf_level)
    if link_override is not None and link_override != spec.link:
        spec, fit = replace(spec, link=link_override), None
    plan = make_plan(
        spec, bundle, data=data, fit=fit, k=k, seed=seed, group_ids=holdout_group_ids, scheme=scheme, repeats=repeats,
        folds=folds,
    )  # fmt: skip
    state = _run(plan, level, n_jobs, progress, cancel, verbose)
    return _broadcast(plan, state, level), state


def nadeau_bengio(k: int, repeats: int = 1) -> float:
    """What the SD over R k folds is multiplied by for a standard error: sqrt(1/(R k) + 1/(k - 1)).

    Examples
    --------
    >>> round(nadeau_bengio(10), 6)
    0.459468
    """
    return float(np.sqrt(1.0 / (repeats * k) + 1.0 / (k - 1)))


def _run(
    plan: Plan, level: float, n_jobs: int, progress: Progress | None, cancel: Cancel | None, verbose: bool
) -> CVState:
    return state_of(plan, outcome(plan, n_jobs=n_jobs, progress=progress, cancel=cancel, verbose=verbose), level)


def state_of(plan: Plan, found: Outcome, level: float = 0.95) -> CVState:
    """The state of what was found so far.

    Raises
    ------
    InferenceError
        Everything was done and not one held-out row could be predicted.
    """
    s = scored(plan, found)
    if not found.cancelled and not np.any(s.weights > 0):
        raise InferenceError(
            asked=f"cross-validation of {plan.spec.formula} in {plan.k} folds",
            found=f"no held-out row could be predicted: {_most_common(found)}",
            remedy="use fewer terms, or fewer and larger folds",
        )
    pooled, by_fold = metrics(plan, s, found) if np.any(s.weights > 0) else ({}, {})
    R, n = plan.folds.shape
    predictions = s.mu.reshape(R, n)
    failures = _failures(plan, found)
    bundle = plan.bundle
    rows = np.flatnonzero(bundle.valid_mask) if bundle.valid_mask.size == bundle.n_total else np.arange(n)
    return CVState(
        k=plan.k, scheme=plan.scheme, folds=plan.folds[0], metrics=pooled, fold_metrics=by_fold,
        oos_predictions=predictions[0], oos_residuals=bundle.y - predictions[0], group_rule=plan.question,
        conditional=plan.conditional, loo=plan.loo, seed=plan.seed, repeats=R, assignment=plan.folds,
        predictions=predictions, rows=rows if rows.size == n else np.arange(n), y=bundle.y,
        n_unscored=int(sum(failures.values())), failures=failures,
        terms=term_table(plan, s, found, level) if len(plan.models) > 1 else {}, fold_pre=_fold_pre(plan, s, found),
        conf_level=level,
        cancelled=found.cancelled, notes=_notes(plan, found, failures),
    )  # fmt: skip


# ---- terms -------------------------------------------------------------------------------------------------


def term_table(plan: Plan, s: Scored, found: Outcome, level: float) -> dict[str, Any]:
    """Columns of one value per source term: ``term, pre, pre_sd, pre_se, ci_lower, ci_upper, pre_ratio, without``."""
    from scipy.special import stdtrit

    out: dict[str, list[Any]] = {
        name: [] for name in ("term", "pre", "pre_sd", "pre_se", "ci_lower", "ci_upper", "pre_ratio", "without")
    }
    critical = float(stdtrit(plan.k - 1, 0.5 + 0.5 * level))
    sums = _FoldSums.of(s)
    for v, model in enumerate(plan.models[1:], start=1):
        values = _pre(sums, s.by_fold(s.loss[v]) if found.finished[v].all() else None)
        se = values["pre_sd"] * nadeau_bengio(plan.k, plan.repeats)
        values |= {"pre_se": se, "ci_lower": values["pre"] - critical * se, "ci_upper": values["pre"] + critical * se}
        slopes = tuple(f"the effect of {slope}" for slope in model.slopes)
        row = {"term": model.term, "without": ", ".join((*model.without, *slopes)), **values}
        for name, column in out.items():
            column.append(row[name])
    return {name: column if name in ("term", "without") else np.array(column) for name, column in out.items()}


def _fold_pre(plan: Plan, s: Scored, found: Outcome) -> dict[str, Array]:
    """Term -> (F,) pre of each fold, NaN where the fold has none."""
    sums, out = _FoldSums.of(s), {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for v, model in enumerate(plan.models[1:], start=1):
            assert model.term is not None  # only the full model leaves out none
            done = found.finished[v].ravel()
            out[model.term] = np.where(done, sums.by_fold(s.by_fold(s.loss[v])), np.nan)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _FoldSums:
    """What every term's value is measured by."""

    weight: Array  # (F,)
    full: Array  # (F,) loss of the full model
    null: float  # loss of the training means

    @classmethod
    def of(cls, s: Scored) -> _FoldSums:
        """Of the scored rows."""
        return cls(s.by_fold(np.ones_like(s.y)), s.by_fold(s.loss[0]), float(s.by_fold(s.null).sum()))

    def by_fold(self, less: Array) -> Array:
        """(F,) pre of each fold from the losses (F,) of the model without the term; NaN in a fold without rows."""
        share = np.where(self.weight > 0, self.weight, np.nan) / self.weight.sum()
        return (less - self.full) / (share * self.null)


def _pre(sums: _FoldSums, less: Array | None) -> dict[str, float]:
    """pre, its spread over folds, and the ratio, from the losses (F,) of the model without the term."""
    if less is None or not np.all(np.isfinite(less)):
        return {"pre": float("nan"), "pre_sd": float("nan"), "pre_ratio": float("nan")}
    with np.errstate(invalid="ignore", divide="ignore"):
        pre = sums.by_fold(less)
        pre = pre[np.isfinite(pre)]
        pooled = float((less.sum() - sums.full.sum()) / sums.null)
        ratio = float(1.0 - sums.full.sum() / less.sum())
    return {"pre": pooled, "pre_sd": float(np.std(pre, ddof=1)) if pre.size > 1 else float("nan"), "pre_ratio": ratio}


def _broadcast(plan: Plan, state: CVState, level: float) -> InferenceState:
    """A term's values for every design column that belongs to it."""
    source = np.asarray(plan.bundle.term_of_column)
    p = source.size

    def spread(name: str) -> Array:
        out = np.full(p, np.nan)
        for t in range(len(plan.models) - 1):
            out[source == t] = state.terms[name][t]
        return out

    nothing = np.full(p, np.nan)
    return InferenceState(
        se=nothing, ci_lower=nothing, ci_upper=nothing, conf_level=level, method="cv", scheme=state.scheme,
        cancelled=state.cancelled, seed=state.seed, pre=spread("pre"), pre_sd=spread("pre_sd"),
        pre_ratio=spread("pre_ratio"), pre_lower=spread("ci_lower"), pre_upper=spread("ci_upper"), notes=state.notes,
    )  # fmt: skip


# ---- what a reader must know -------------------------------------------------------------------------------


def _failures(plan: Plan, found: Outcome) -> dict[str, int]:
    """Rows without a prediction by the full model, by the reason."""
    out: dict[str, int] = {}
    for (v, repeat, fold), why in found.failures.items():
        if v == 0:
            held = plan.folds[repeat] == fold
            out[why] = out.get(why, 0) + int(np.count_nonzero(held & np.isnan(found.eta[0, repeat])))
    return {why: count for why, count in out.items() if count}


def _most_common(found: Outcome) -> str:
    reasons = [why for (v, _, _), why in found.failures.items() if v == 0]
    return max(set(reasons), key=reasons.count) if reasons else "every weight is 0"


def _notes(plan: Plan, found: Outcome, failures: dict[str, int]) -> tuple[str, ...]:
    notes = [_division(plan)]
    for why, count in failures.items():
        names = _unknown(plan, found) if why == NOT_ESTIMABLE else ()
        named = f" ({_listed(names)})" if names else ""
        notes.append(f"{count:,} held-out row{'s' if count != 1 else ''} not scored: {why}{named}")
    if found.separated:
        n = len(found.separated)
        notes.append(f"{n} training fold{'s are' if n != 1 else ' is'} separated: predictions there are at 0 or 1")
    slopes = {slope: model.term for model in plan.models[1:] for slope in model.slopes}
    for slope, term in slopes.items():
        notes.append(f"the model without {term} is without the random effect of {slope} too")
    lost = sorted({plan.models[v].term or "" for v, _, _ in found.failures if v > 0} - {""})
    lost = [t for t in lost if not failures]
    if lost:
        notes.append(f"no value for {_listed(lost)}: the model without it could not be fitted in every fold")
    if found.cancelled:
        done = int(found.finished[0].sum())
        notes.append(f"cancelled: {done} of {plan.repeats * plan.k} folds of the full model are done")
    return tuple(notes)


def _division(plan: Plan) -> str:
    """How the rows were divided, and which question that asks."""
    unit = "group" if plan.scheme == "groups" else "row"
    folds = f"one {unit} left out at a time" if plan.loo else f"{plan.k} folds of {unit}s"
    if plan.scheme == "given":
        folds = f"{plan.k} folds as given"
    times = f", {plan.repeats} times" if plan.repeats > 1 else ""
    seed = f", seed {plan.seed}" if plan.seed is not None else ""
    return f"{folds}{times}{seed}; held out: {plan.question}"


def _unknown(plan: Plan, found: Outcome) -> list[str]:
    """What the training rows of unscored rows had never seen: design columns that were 0 in all of them."""
    bundle = plan.bundle
    names: dict[str, None] = {}
    for (v, repeat, fold), why in found.failures.items():
        if v or why != NOT_ESTIMABLE or len(names) > FEW_NAMES:
            continue
        held = plan.folds[repeat] == fold
        rows = np.flatnonzero(held & np.isnan(found.eta[0, repeat]))
        names |= dict.fromkeys(_levels_only_in(plan, rows, ~held))
        if not names:
            empty = ~np.any(bundle.X[~held] != 0, axis=0) & np.any(bundle.X[rows] != 0, axis=0)
            names |= dict.fromkeys(bundle.X_names[j] for j in np.flatnonzero(empty))
    return list(names)


def _levels_only_in(plan: Plan, rows: Array, train: Array) -> list[str]:
    """Levels of factors in these rows that no training row has, as ``g = "b"``."""
    design = plan.design
    if design.state is None or not design.has_frame:
        return []
    out = []
    for operand in design.operands:
        coding = operand.state.coding
        if coding is not None:
            new = np.setdiff1d(operand.values[rows], operand.values[train])
            out += [f'{operand.state.text} = "{coding.levels[j]}"' for j in new]
    return out


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW_NAMES} more" if len(names) > FEW_NAMES else ""
    return ", ".join(names[:FEW_NAMES]) + more
