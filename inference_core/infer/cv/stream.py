"""Cross-validation as it happens: folds one after the other, and the state of what is known so far."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inference_core.infer.request import InferRequest
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.states import Array, CVState, DataBundle, FitState, ModelSpec

from .ablation import family_of
from .compute import state_of
from .plan import Plan, make_plan
from .run import FoldBatch, Outcome, empty_outcome, stream

if TYPE_CHECKING:
    import polars as pl


@dataclass(slots=True, eq=False)
class FoldStream:
    """The folds of one model, computed when they are asked for.

    ``plan`` tells how the rows are divided before anything is fitted: ``folds`` (R, n), ``k``, ``seed``, ``question``.
    """

    plan: Plan
    conf_level: float = 0.95
    _found: Outcome | None = field(default=None, repr=False)

    @property
    def folds(self) -> Array:
        """(R, n) fold of each row."""
        return self.plan.folds

    @property
    def seed(self) -> int | None:
        """What makes the same division again; None where there is only one."""
        return self.plan.seed

    @property
    def question(self) -> str:
        """What the held-out rows stand for."""
        return self.plan.question

    def batches(
        self, *, n_jobs: int = 1, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Generator[FoldBatch, None, None]:
        """Held-out rows as they are predicted, the full model first, then the model without each term.

        Stops when ``cancel`` is set; ``state()`` then tells what the folds so far have shown.
        """
        found = self._found = empty_outcome(self.plan)
        monitor = Monitor(found.finished.size, progress=progress, cancel=cancel)
        if cancel is not None and cancel.is_set():
            return
        with closing(stream(self.plan, n_jobs=n_jobs)) as batches:
            for batch in batches:
                found.take(batch)
                yield batch
                if not monitor.tick(batch.done):
                    return

    def predictions(self, batch: FoldBatch) -> Array:
        """(len(batch.variants), m) means on the response's scale of a batch's rows."""
        return family_of(self.plan.spec).link.inverse(batch.eta)

    def state(self) -> CVState:
        """Scores and terms of what is done; marked cancelled while that is not everything."""
        found = self._found if self._found is not None else empty_outcome(self.plan)
        found.cancelled = not bool(found.finished.all())
        return state_of(self.plan, found, self.conf_level)


def open_folds(
    request: InferRequest, data: pl.DataFrame | None, spec: ModelSpec, bundle: DataBundle, fit: FitState
) -> FoldStream:
    """The stream of a checked request.

    Raises
    ------
    InferenceError
        See ``plan.make_plan``.
    """
    ask = request.dispatch_arguments()
    plan = make_plan(
        spec, bundle, data=data, fit=fit, k=ask["k"], seed=request.seed, group_ids=request.groups(data, spec, bundle),
        scheme=request.scheme, repeats=request.repeats,
    )  # fmt: skip
    return FoldStream(plan, request.conf_level)
