"""The engine under every long computation: many small tasks, done here, by threads, by processes or by a cluster.

A computation is a function and the items it is called with, chunks of draws or folds. Each result is a function of its
item alone, so who computes it, in which order and how many at a time changes nothing, and what a lost worker had in
hand is computed again. Only the items on their way and their results take memory.

joblib carries the tasks: ``joblib.parallel_config("dask")`` or ``("ray")`` sends them to a cluster.
"""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from inference_core.errors import InferenceError
from inference_core.progress import Cancel
from inference_core.solvers.threads import one_blas_thread

# A task should take about this long: short enough for a smooth picture and a prompt stop, long beside what it costs
# to hand it over (a millisecond to another process).
TARGET_SECONDS = 0.03
WAITING = "2*n_jobs"  # tasks handed out at a time
LIVES = 3  # times that all workers may be lost without a single result in between
KEPT = 4  # computations that a worker remembers

Item = TypeVar("Item")
Result = TypeVar("Result")
Timed = tuple[float, list[Any]]  # seconds that a task took, and its results


def batches(
    compute: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    n_jobs: int = 1,
    threads: bool = False,
    cancel: Cancel | None = None,
) -> Generator[list[Result], None, None]:
    """``compute(item)`` of every item, in their order, in lists that take some 30 ms each.

    Parameters
    ----------
    compute : callable
        A pure function, picklable where other processes are to call it. It is sent once and kept there, so what it
        caches is found again by its later calls.
    items : iterable
        Small and picklable; drawn from as results come in, never all at once.
    n_jobs : int
        1 computes here, -1 on all cores.
    threads : bool
        Whether threads suit ``compute`` better than processes: it leaves the interpreter lock alone most of the time.
        A backend chosen by ``joblib.parallel_config`` has the last word.
    cancel : object with ``is_set()``, optional
        Looked at between batches; what was under way is then given up.

    Raises
    ------
    InferenceError
        Workers die again and again with the same tasks in hand. Errors of ``compute`` come through as they are.
    """
    run = _Run(iter(items), cancel)
    work = _here(compute, run) if n_jobs == 1 else _elsewhere(compute, run, n_jobs, threads)
    try:
        for seconds, results in work:
            run.learn(seconds, len(results))
            yield results
            if run.is_cancelled:
                return
    finally:
        work.close()


@dataclass(slots=True, eq=False)
class _Run:
    """The items of one computation, cut into tasks as they are asked for."""

    items: Iterator[Any]
    cancel: Cancel | None
    each: int = 1  # items of the next task
    on_their_way: deque[list[Any]] = field(default_factory=deque)  # tasks without a result, the oldest first
    lost: deque[list[Any]] = field(default_factory=deque)  # tasks to be handed out again
    error: BaseException | None = None  # that the items themselves ended with
    lock: Any = field(default_factory=threading.Lock)

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self.cancel is not None and self.cancel.is_set()

    def learn(self, seconds: float, size: int) -> None:
        """Size the next tasks by one that took ``seconds``; at most double, for the first ones warm up."""
        self.each = max(1, min(2 * size, int(TARGET_SECONDS * size / max(seconds, 1e-6))))

    def task(self) -> list[Any]:
        """The next items; empty at the end, and once a stop was asked for."""
        with self.lock:
            if self.is_cancelled or self.error is not None:
                return []
            return self.lost.popleft() if self.lost else list(islice(self.items, self.each))

    def start_over(self) -> None:
        """Take back what is on its way."""
        self.lost.extendleft(reversed(self.on_their_way))
        self.on_their_way.clear()


def _here(compute: Callable[[Any], Any], run: _Run) -> Generator[Timed, None, None]:
    while task := run.task():
        yield _timed(compute, task)


def _elsewhere(compute: Callable[[Any], Any], run: _Run, n_jobs: int, threads: bool) -> Generator[Timed, None, None]:
    """Results of joblib's workers; tasks of workers that died are handed out again."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    shared, lives = Shared(compute), LIVES
    while True:
        run.start_over()
        results = _handed_out(shared, run, n_jobs, threads)
        try:
            for found in results:
                run.on_their_way.popleft()
                lives = LIVES
                yield found
        except BrokenProcessPool as error:
            lives -= 1
            if not lives:
                raise InferenceError(
                    asked=f"n_jobs={n_jobs}",
                    found=f"workers died {LIVES} times with the same tasks in hand; they may lack memory",
                    remedy="n_jobs=1",
                ) from error
            continue
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tasks that are given up: a cancelled result says so itself
                results.close()
        if run.error is not None:
            raise run.error
        return


def _handed_out(shared: Shared, run: _Run, n_jobs: int, threads: bool) -> Any:
    """Generate the results of joblib's workers, in the order of the tasks."""
    from joblib import Parallel, delayed

    perform = delayed(_perform)

    def tasks() -> Iterator[Any]:
        while True:
            try:
                task = run.task()
            except BaseException as error:
                run.error = error  # this may be a thread of joblib's, where it would be lost: raised again at the end
                return
            if not task:
                return
            run.on_their_way.append(task)
            yield perform(shared, task)

    options: dict[str, Any] = {"return_as": "generator", "pre_dispatch": WAITING, "batch_size": 1}
    return Parallel(n_jobs=n_jobs, prefer="threads" if threads else "processes", **options)(tasks())


def _perform(shared: Shared, task: list[Any]) -> Timed:
    """A worker's share; module-level so that other processes can import it."""
    return _timed(shared.value, task)


def _timed(compute: Callable[[Any], Any], task: list[Any]) -> Timed:
    begin = time.perf_counter()
    # One thread here and everywhere: the rounding of a product depends on how many share it.
    with one_blas_thread():
        results = [compute(item) for item in task]
    return time.perf_counter() - begin, results


# ---- what all tasks need -----------------------------------------------------------------------------------


class Shared:
    """Something that every task of a computation needs: packed once, unpacked once in each process.

    The bytes travel with every task, for a worker may be new at any time, but as one array that joblib maps into
    the memory of local workers instead of copying it.
    """

    __slots__ = ("_packed", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._packed: tuple[str, np.ndarray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self._packed is None:
            from joblib.externals.loky.backend.reduction import dumps  # takes functions of a notebook too

            block = bytes(dumps(self.value))
            self._packed = hashlib.blake2b(block, digest_size=16).hexdigest(), np.frombuffer(block, np.uint8)
        return _unpacked, self._packed


_memory: OrderedDict[str, Shared] = OrderedDict()
_memory_lock = threading.Lock()


def _unpacked(key: str, block: np.ndarray) -> Shared:
    """What was packed, from memory if it came before."""
    with _memory_lock:
        found = _memory.get(key)
        if found is None:
            found = _memory[key] = Shared(pickle.loads(block.data))
            while len(_memory) > KEPT:
                _memory.popitem(last=False)
        _memory.move_to_end(key)
        return found
