"""Carrying a plan out: which way each model goes, in tasks that any process can do, as a stream of held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from inference_core.backends import using_backend
from inference_core.families import get_family
from inference_core.infer.resample import engine
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.solvers.lstsq import lstsq
from inference_core.states import Array, FitState

from .ablation import Variant
from .batched import GlmFolds, LmerFolds
from .closed import LeastSquares, by_leverage
from .plan import Plan, splits_groups
from .refits import NOT_ESTIMABLE, Held, Refitter, fit_of_all_rows

CHUNK_CELLS = 1 << 22  # rows times columns of the folds that one closed-form task takes


@dataclass(frozen=True, slots=True, eq=False)
class FoldBatch:
    """Held-out linear predictors of some folds by some of the models: a step of the long loop."""

    variants: tuple[int, ...]
    repeat: int
    folds: Array  # (f,) int
    rows: Array  # (m,) row positions
    eta: Array  # (len(variants), m)
    held: tuple[Held, ...] = ()  # what a fold has to say beside its predictions
    done: int = 0
    total: int = 0


@dataclass(slots=True, eq=False)
class Outcome:
    """Everything that came: linear predictors (V, R, n), NaN where there is none, and what was said of folds."""

    eta: Array
    finished: Array  # (V, R, k) bool
    params: dict[tuple[int, int], tuple[float, ...]] = field(default_factory=dict)  # (repeat, fold) of the full model
    dispersion: Array | None = None  # (R, k)
    failures: dict[tuple[int, int, int], str] = field(default_factory=dict)  # (variant, repeat, fold) -> why
    separated: set[tuple[int, int]] = field(default_factory=set)  # (repeat, fold) of the full model
    cancelled: bool = False

    def take(self, batch: FoldBatch) -> None:
        """Put one batch where it belongs."""
        for i, v in enumerate(batch.variants):
            self.eta[v, batch.repeat, batch.rows] = batch.eta[i]
            self.finished[v, batch.repeat, batch.folds] = True
        for held in batch.held:
            at = (held.repeat, held.fold)
            if held.failure:
                self.failures[held.variant, held.repeat, held.fold] = held.failure
            if held.variant == 0:
                if held.remark:
                    self.separated.add(at)
                self.params[at] = held.params
                if self.dispersion is not None:
                    self.dispersion[at] = held.dispersion


def outcome(
    plan: Plan,
    *,
    n_jobs: int = 1,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    verbose: bool = False,
) -> Outcome:
    """Do all of a plan; a cancelled run has what was done by then."""
    out = empty_outcome(plan)
    monitor = Monitor(out.finished.size, progress=progress, cancel=cancel, verbose=verbose, desc="cross-validation")
    if cancel is None or not cancel.is_set():
        with closing(monitor), closing(stream(plan, n_jobs=n_jobs)) as batches:
            for batch in batches:
                out.take(batch)
                if not monitor.tick(batch.done):
                    break
    out.cancelled = not bool(out.finished.all())
    return out


def empty_outcome(plan: Plan) -> Outcome:
    """Nothing yet."""
    V, (R, n) = len(plan.models), plan.folds.shape
    return Outcome(np.full((V, R, n), np.nan), np.zeros((V, R, plan.k), bool), dispersion=np.full((R, plan.k), np.nan))


def stream(plan: Plan, *, n_jobs: int = 1) -> Generator[FoldBatch, None, None]:
    """Batches of held-out rows, the full model's folds first; the same for any ``n_jobs``."""
    total, done = len(plan.models) * plan.repeats * plan.k, 0
    with closing(_results(plan, n_jobs)) as results:
        for batches in results:
            for batch in batches:
                done += len(batch.variants) * len(batch.folds)
                yield replace(batch, done=done, total=total)


Task = Callable[[], list[FoldBatch]]


def _results(plan: Plan, n_jobs: int) -> Generator[list[FoldBatch], None, None]:
    if plan.spec.is_lm and not plan.design.space_depends_on_rows:
        for task in _closed_tasks(plan):  # shorter than it takes to tell another process
            yield task()
        return
    with closing(engine.batches(_carry_out, refit_tasks(plan), n_jobs=n_jobs)) as work:
        for several in work:
            yield from several


def _carry_out(task: Task) -> list[FoldBatch]:
    return task()


# ---- least squares -----------------------------------------------------------------------------------------


def _closed_tasks(plan: Plan) -> Iterator[Task]:
    plain = [v for v, model in enumerate(plan.models) if model.recoded is None]
    if plan.k == plan.bundle.n and len(plan.models) == 1:
        yield partial(_one_by_one, plan, [0], _by_leverage(plan), 0)
        return
    yield from _closed_of(plan, plain, LeastSquares.of(plan.bundle, [plan.models[v].columns for v in plain]))
    for v, model in enumerate(plan.models):
        if model.recoded is not None:
            bundle = model.bundle(plan.bundle, model.design(plan.design, None))
            yield from _closed_of(plan, [v], LeastSquares.of(bundle, [np.ones(bundle.p, bool)]))


def _closed_of(plan: Plan, models: list[int], problem: LeastSquares) -> Iterator[Task]:
    single = plan.k == plan.bundle.n
    step = max(1, plan.k * CHUNK_CELLS // max(1, problem.rows.size))
    for repeat in range(plan.repeats):
        if single:
            yield partial(_one_by_one, plan, models, problem.leave_one_out(), repeat)
            continue
        for at in range(0, plan.k, step):
            wanted = list(range(at, min(at + step, plan.k)))
            yield partial(_downdated, plan, models, problem, repeat, wanted)


def _by_leverage(plan: Plan) -> Array:
    """(1, n) each row by the others, from residuals and leverages of the fit: nothing else is needed."""
    bundle, fit = plan.bundle, plan.fit
    target = bundle.y if bundle.offset is None else bundle.y - bundle.offset
    if fit is not None:
        return by_leverage(target, fit.residuals, fit.leverage)[None]
    found = lstsq(bundle.X, target, bundle.prior_weights)
    return by_leverage(target, found.residuals, found.leverage)[None]


def _one_by_one(plan: Plan, models: list[int], predictions: Array, repeat: int) -> list[FoldBatch]:
    eta = _with_offset(plan, predictions)
    lost = np.flatnonzero(np.isnan(eta[0])) if models[0] == 0 else ()
    folds = plan.folds[repeat]
    held = tuple(
        Held(0, repeat, int(folds[i]), np.array([i]), np.array([np.nan]), failure=NOT_ESTIMABLE) for i in lost
    )
    return [FoldBatch(tuple(models), repeat, np.arange(plan.k), np.arange(plan.bundle.n), eta, held)]


def _downdated(
    plan: Plan, models: list[int], problem: LeastSquares, repeat: int, wanted: list[int]
) -> list[FoldBatch]:
    folds = plan.folds[repeat]
    eta, again = problem.held_out(folds, plan.k, wanted)
    eta = _with_offset(plan, eta)
    good = [j for j in wanted if j not in again]
    rows = np.flatnonzero(np.isin(folds, good)) if len(good) < plan.k else np.arange(folds.size)
    out = [FoldBatch(tuple(models), repeat, np.array(good), rows, eta[:, rows])] if good else []
    return out + [_refitted(Refitter(plan.design, plan.models[v], v), repeat, j, folds) for j in again for v in models]


def _with_offset(plan: Plan, eta: Array) -> Array:
    return eta if plan.bundle.offset is None else eta + plan.bundle.offset


# ---- everything else ---------------------------------------------------------------------------------------


def refit_tasks(plan: Plan) -> Iterator[Task]:
    """One model after the other, each from its fit of all rows."""
    for v, model in enumerate(plan.models):
        refitter = Refitter(plan.design, model, v, None, plan.conditional, plan.n_agq)
        fit = plan.fit if v == 0 and plan.fit is not None else fit_of_all_rows(refitter)
        refitter = replace(refitter, start=fit)
        for repeat, folds in enumerate(plan.folds):
            with using_backend(plan.backend):  # a generator runs where it is read, not where it was made
                batched = _batched(plan, model, v, fit, folds)
            common = engine.Shared((batched, refitter, folds))
            if batched is None:
                yield from (partial(_one_fold, common, repeat, j) for j in range(plan.k))
                continue
            step = batched.chunk
            for at in range(0, plan.k, step):
                yield partial(_many_folds, common, repeat, np.arange(at, min(at + step, plan.k)))


def _batched(plan: Plan, model: Variant, v: int, fit: FitState | None, folds: Array) -> GlmFolds | LmerFolds | None:
    """The kernel that takes this model's folds all at once, if there is one."""
    if fit is None or not fit.converged or fit.is_separated:
        return None
    if not model.spec.has_random_effects:
        if plan.design.space_depends_on_rows or plan.spec.has_random_effects:
            return None
        if get_family(model.spec.family, model.spec.link).estimated:
            return None  # a refit has its own theta, and the deviance needs it
        return GlmFolds.of(v, model.spec, model.bundle(plan.bundle, model.design(plan.design, None)), fit)
    bundle = model.bundle(plan.bundle, model.design(plan.design, None))
    assert bundle.re_metadata is not None
    weights = bundle.prior_weights
    one_factor = model.spec.is_lmer and len(bundle.re_metadata.blocks) == 1 and not plan.design.relearned
    if not one_factor or plan.conditional or (weights is not None and not np.all(weights > 0)):
        return None
    if splits_groups(folds, bundle.re_metadata.blocks[0].group_index):
        return None
    return LmerFolds.of(v, model.spec, bundle, fit)


def _many_folds(common: engine.Shared, repeat: int, wanted: Array) -> list[FoldBatch]:
    kernel, refitter, folds = common.value
    held, again = kernel.hold_out(repeat, folds, wanted)
    return [_single(h) for h in held] + [_refitted(refitter, repeat, j, folds) for j in again]


def _one_fold(common: engine.Shared, repeat: int, fold: int) -> list[FoldBatch]:
    _, refitter, folds = common.value
    return [_refitted(refitter, repeat, fold, folds)]


def _refitted(refitter: Refitter, repeat: int, fold: int, folds: Array) -> FoldBatch:
    return _single(refitter.hold_out(repeat, fold, folds == fold))


def _single(held: Held) -> FoldBatch:
    return FoldBatch((held.variant,), held.repeat, np.array([held.fold]), held.rows, held.eta[None], (held,))
