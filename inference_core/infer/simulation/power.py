"""Power by simulation: a grid of truths, many data sets from each, and how often each coefficient is found.

Data set i of a cell is a function of (seed, i) alone, whatever the rest of the grid, the number of data sets or of
workers. Cells share their seeds: neighbours differ by what was changed and not by luck, so a curve is smooth, and the
Monte-Carlo errors of its points go together.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from inference_core.errors import InferenceError
from inference_core.infer.resample import engine
from inference_core.infer.spelling import nearest
from inference_core.progress import Cancel, Monitor, Progress
from inference_core.rng import RNG
from inference_core.states import Array, DataBundle, Frozen, ModelSpec, SimulationInferenceState
from inference_core.states.inference import DRAW_NO_MEAN, DRAW_RANK_DEFICIENT, DRAW_REASONS

from .design import Plan, is_random
from .generate import DESIGN, RESPONSE
from .power_table import power_state
from .study import Estimates, Study, open_study, refuse_dropped
from .truth import Truth, coefficients

DESIGNS = 32  # samples of random predictors in a cell: enough to see how much they matter
FEW = 32  # data sets refitted at once where each such sample has but a share of them
MAX_CELLS = 1_000


@dataclass(frozen=True, slots=True, eq=False)
class Cell(Frozen):
    """One truth of the grid."""

    n: int | None
    coef: Mapping[str, float]
    sigma: float | None
    dispersion: float | None
    spread: Any
    labels: Mapping[str, float | int]  # what varies over the grid, and n


@dataclass(frozen=True, slots=True, eq=False)
class PowerBatch(Frozen):
    """Data sets ``index`` of one cell: an immutable step of a long loop."""

    cell: int
    index: Array  # (b,) which data sets
    estimates: Estimates
    done: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class _Opened:
    """One design of one cell, ready for refits."""

    study: Study | None  # None: by chance the sample of the predictors lacks a column of the model
    draws: Any
    rng: RNG
    size: int  # data sets that are drawn and refitted at once
    p: int

    def chunk(self, start: int, stop: int) -> Estimates:
        """Draws ``start .. stop - 1``, always computed as the whole chunk they belong to."""
        size = self.size
        if self.study is None:
            lost = np.full((stop - start, self.p), np.nan)
            return Estimates(lost, lost, lost, np.full(stop - start, DRAW_RANK_DEFICIENT, np.int8))
        first = start // size * size
        Y = self.draws.simulate(self.rng, first, first + size)
        lost = ~np.isfinite(Y).all(axis=1)
        found = self.study.refit(np.where(lost[:, None], np.nan, Y) if not lost.any() else _possible(Y, lost))
        if lost.any():
            found.coef[lost], found.se[lost], found.status[lost] = np.nan, np.nan, DRAW_NO_MEAN
        rows = slice(start - first, stop - first)
        return Estimates(found.coef[rows], found.se[rows], found.df[rows], found.status[rows])


def _possible(Y: Array, lost: Array) -> Array:
    """Responses with those that could not be drawn replaced by one that could; their refits are thrown away."""
    if lost.all():
        raise InferenceError(
            "a power study",
            "no draw of the random effects gives means that the family can have",
            "a smaller spread, or link='log'",
        )
    return np.where(lost[:, None], Y[np.flatnonzero(~lost)[0]], Y)


@dataclass(eq=False)
class PowerStream:
    """All data sets of a grid as batches; :meth:`collect` sums them up."""

    plan: Plan
    cells: tuple[Cell, ...]
    nsim: int
    rng: RNG
    wanted: Mapping[str, Any]
    trials: Any = None
    designs: int | None = None
    terms: tuple[str, ...] | None = None
    conf_level: float = 0.95
    alternative: str = "two-sided"
    _opened: dict[tuple[int, int], _Opened] = field(default_factory=dict, repr=False)

    @property
    def total(self) -> int:
        """Data sets of all cells."""
        return self.nsim * len(self.cells)

    @cached_property
    def n_designs(self) -> int:
        """Samples of the predictors in each cell: one where every sample would have the same."""
        if not (is_random(self.wanted) or is_random({"trials": self.trials})):
            return 1
        return min(DESIGNS if self.designs is None else self.designs, self.nsim)

    @cached_property
    def first(self) -> tuple[tuple[str, ...], tuple[Array, ...]]:
        """Names of the coefficients, and their true values in each cell; refuses what no cell could have."""
        names: tuple[str, ...] = ()
        beta = []
        for cell in self.cells:
            if not names:
                bundle = self.plan.reference(self.wanted, self.plan.rows(self.wanted, cell.n), self.rng)
                names = tuple(bundle.X_names)
                refuse_dropped(self.plan.formula, bundle)
            beta.append(coefficients(names, cell.coef))
        return names, tuple(beta)

    def _posed(self, cell: Cell, design: int) -> tuple[ModelSpec, DataBundle, Truth | None, RNG, pl.DataFrame]:
        """One sample of the predictors; no truth where it lacks a column of the model."""
        own = self.rng.split(design + 1)[design].split(2)
        n = self.plan.rows(self.wanted, cell.n)
        frame = self.plan.frame(self.wanted, n, self.trials, own[DESIGN])
        spec, bundle = self.plan.build(frame)
        truth = None
        if tuple(bundle.X_names) == self.first[0] and not (self.n_designs > 1 and bundle.rank_info.dropped.size):
            truth = Truth.on(bundle, self.plan.family, cell.coef, cell.sigma, cell.dispersion, cell.spread)
        return spec, bundle, truth, own[RESPONSE], frame

    def data(self, cell: int, i: int) -> pl.DataFrame:
        """Data set ``i`` of a cell, made again: what ``model(formula, data).fit()`` takes."""
        D = self.n_designs
        _, bundle, truth, rng, frame = self._posed(self.cells[cell], i % D)
        if truth is None:
            raise InferenceError(f"data set {i}", DRAW_REASONS[DRAW_RANK_DEFICIENT], "another data set, or more rows")
        y = np.zeros(bundle.n)
        y[truth.rows] = self._draws(truth).simulate(rng, i // D, i // D + 1)[0]
        return self.plan.with_response(frame, y, bundle.prior_weights if self.plan.family.name == "binomial" else None)

    def _draws(self, truth: Truth) -> Any:
        draws = truth.draws()
        return replace(draws, rows_at_once=FEW) if self.n_designs > 1 else draws

    def open(self, cell: int, design: int) -> _Opened:
        """One design; the last few are kept."""
        key = (cell, design)
        if key not in self._opened:
            if len(self._opened) >= 2 * DESIGNS:
                self._opened.pop(next(iter(self._opened)))
            spec, bundle, truth, rng, _ = self._posed(self.cells[cell], design)
            if truth is None:
                return _Opened(None, None, rng, FEW, len(self.first[0]))
            draws = self._draws(truth)
            first = _some_response(draws, rng) if spec.has_random_effects else truth.eta
            study = open_study(spec, bundle, truth, first)
            size = study.chunk_rows if self.n_designs == 1 else min(FEW, study.chunk_rows)
            self._opened[key] = _Opened(study, draws, rng, size, len(self.first[0]))
        return self._opened[key]

    def _tasks(self) -> Iterator[tuple[int, int, int, int]]:
        """(cell, design, first draw, one past the last), each within one chunk of its design."""
        D = self.n_designs
        for cell in range(len(self.cells)):
            for design in range(D):
                count = -(-(self.nsim - design) // D)
                size = self.open(cell, design).size
                for start in range(0, count, size):
                    yield cell, design, start, min(start + size, count)

    def batches(
        self, progress: Progress | None = None, cancel: Cancel | None = None, n_jobs: int = 1
    ) -> Generator[PowerBatch, None, None]:
        """All data sets, cell by cell; stops early when ``cancel`` is set; ``progress(done, total)`` between them."""
        for cell in range(len(self.cells)):
            self.open(cell, 0)  # refuses what no cell could have, before any computing
        monitor = Monitor(self.total, progress=progress, cancel=cancel)
        if cancel is not None and cancel.is_set():
            return
        done, D = 0, self.n_designs
        threads = not self.plan.grouping  # refits of mixed models hold the interpreter's lock
        with closing(engine.batches(_chunk, self._shares(), n_jobs=n_jobs, threads=threads, cancel=cancel)) as work:
            for (cell, design, start, stop), estimates in itertools.chain.from_iterable(work):
                done += stop - start
                yield PowerBatch(cell, design + D * np.arange(start, stop), estimates, done, self.total)
                if not monitor.tick(done):
                    return

    def _shares(self) -> Iterator[tuple[tuple[int, int, int, int], engine.Shared]]:
        """Tasks, each with the design that it is about."""
        last, opened = None, engine.Shared(None)
        for task in self._tasks():
            if task[:2] != last:
                last, opened = task[:2], engine.Shared(self.open(*task[:2]))
            yield task, opened

    def collect(
        self,
        n_jobs: int = 1,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        verbose: bool = False,
    ) -> SimulationInferenceState:
        """The table of the whole study; a cancelled one has what it has, marked."""
        names, beta = self.first
        p = len(names)
        store = [
            {"coef": np.full((self.nsim, p), np.nan), "se": np.full((self.nsim, p), np.nan),
             "df": np.full((self.nsim, p), np.nan), "status": np.full(self.nsim, -1, np.int8)}
            for _ in self.cells
        ]  # fmt: skip
        monitor = Monitor(self.total, progress=progress, cancel=cancel, verbose=verbose, desc="power")
        done = 0
        with closing(monitor), closing(self.batches(cancel=cancel, n_jobs=n_jobs)) as batches:
            for batch in batches:
                for key, values in store[batch.cell].items():
                    values[batch.index] = getattr(batch.estimates, key)
                done = batch.done
                if not monitor.tick(done):
                    break
        return power_state(self, names, beta, store, cancelled=done < self.total)


def _chunk(share: tuple[tuple[int, int, int, int], engine.Shared]) -> tuple[tuple[int, int, int, int], Estimates]:
    """A task and what it found; module-level so that other processes can import it."""
    task, opened = share
    return task, opened.value.chunk(*task[2:])


def _some_response(draws: Any, rng: RNG) -> Array:
    """A response that varies, for kernels that look at one."""
    for y in draws.simulate(rng, 0, 64):
        if np.isfinite(y).all() and np.ptp(y) > 0:
            return y
    raise InferenceError(
        "a power study", "64 simulated responses were the same in every row", "more rows, or other coefficients"
    )


def open_power(
    plan: Plan,
    *,
    n: Any = None,
    coef: Any = None,
    sigma: Any = None,
    dispersion: Any = None,
    spread: Any = None,
    predictors: Any = None,
    trials: Any = None,
    nsim: int = 1000,
    seed: int | None = None,
    designs: int | None = None,
    terms: str | Sequence[str] | None = None,
    conf_level: float = 0.95,
    alternative: str = "two-sided",
) -> PowerStream:
    """The stream behind ``model(formula).power(...)``; a list anywhere in ``n``, ``coef``, ``sigma``, ``dispersion`` or
    ``spread`` spans the grid.

    Raises
    ------
    InferenceError
        As ``generate``; a grid of more than 1,000 cells; terms that the model does not have.
    """
    wanted = plan.wanted(predictors, trials)
    cells = grid(n=n, coef=coef, sigma=sigma, dispersion=dispersion, spread=spread)
    chosen = (terms,) if isinstance(terms, str) else None if terms is None else tuple(terms)
    stream = PowerStream(
        plan, cells, nsim, RNG.from_seed(seed), wanted, trials, designs, chosen, conf_level, alternative
    )
    names, _ = stream.first
    for term in chosen or ():
        if term not in names:
            near = nearest(term, names)
            raise InferenceError(
                f"power(terms={term!r})",
                f"coefficients are {', '.join(names)}",
                f"did you mean {near!r}?" if near else "name one of them",
            )
    return stream


def grid(*, n: Any, coef: Any, sigma: Any, dispersion: Any, spread: Any) -> tuple[Cell, ...]:
    """Every combination of what is given as a list, n varying slowest."""
    axes: list[tuple[str, list[Any]]] = [("n", _values(n))]
    asked = {"coef": coef, "sigma": sigma, "dispersion": dispersion, "spread": spread}
    places: list[tuple[str, ...]] = [("n",)]
    for what, value in asked.items():
        for place, values in _lists(value, (what,)):
            places.append(place)
            axes.append((_label(place), values))
    size = int(np.prod([len(values) for _, values in axes]))
    if size > MAX_CELLS:
        raise InferenceError(
            "a power study", f"{size:,} combinations, more than {MAX_CELLS:,}", "shorter lists, or several studies"
        )
    cells = []
    for combination in itertools.product(*(values for _, values in axes)):
        chosen = dict(zip(places, combination, strict=True))
        made = {what: _filled(value, (what,), chosen) for what, value in asked.items()}
        labels = {label: value for (label, _), value in zip(axes, combination, strict=True) if value is not None}
        rows = combination[0]
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1):
            raise InferenceError(f"power(n={rows!r})", "n is a whole number of rows, or a list of these", "n=[20, 40]")
        cells.append(Cell(n=None if rows is None else int(rows), labels=labels, **made))
    return tuple(cells)


def _values(value: Any) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple, range, np.ndarray)) else [value]
    if not values:
        raise InferenceError("a power study", "an empty list of values", "n=[20, 40, 60]")
    return values


def _lists(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name != "cor":
                yield from _lists(inner, (*place, name))
    elif isinstance(value, (list, tuple, range, np.ndarray)):
        yield place, _values(value)


def _filled(value: Any, place: tuple[str, ...], chosen: Mapping[tuple[str, ...], Any]) -> Any:
    if place in chosen:
        return chosen[place]
    if isinstance(value, Mapping):
        return {name: _filled(inner, (*place, name), chosen) for name, inner in value.items()}
    return value


def _label(place: tuple[str, ...]) -> str:
    """``coef[x]``, ``sigma``, ``spread[g]``, ``spread[g, Days]``."""
    return place[0] if len(place) == 1 else f"{place[0]}[{', '.join(place[1:])}]"
