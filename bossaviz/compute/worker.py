"""Who does the drawing: a thread in a notebook, the caller itself in tests and scripts.

A run is drained batch by batch. Between batches it looks at its cancel event, and it reports frames at a pace that a
browser can paint: the first after 100 ms or 50 draws, then at most 20 a second, and always the last one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

FRAME_SECONDS = 0.05
REST_SECONDS = FRAME_SECONDS / 2
FIRST_SECONDS = 0.1
FIRST_DRAWS = 50


class Run:
    """One request to draw: an epoch number, a goal that can be raised, and a way to stop."""

    def __init__(self, epoch: int, goal: int, query: Any = None, watch: float = 0.0) -> None:
        self.epoch = epoch
        self.goal = goal
        self.query = query  # which draws
        self.watch = watch  # seconds it is held to, so that it can be seen
        self.cancel = threading.Event()
        self.over = False  # nothing more will be drawn
        self.finished = threading.Event()  # and everything was shown


Frame = Callable[[Run, bool], Any]  # (run, last)


def drain(
    run: Run, draws: Iterator[int], frame: Frame, start: int = 0, *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Exhaust ``draws`` and call ``frame(run, last)`` at the pace of a screen; the last frame always comes.

    ``draws`` yields how many there are, ``start`` were there before.
    """
    started = painted = clock()
    first = True
    for done in draws:
        now = clock()
        begin = now - started >= FIRST_SECONDS or done - start >= FIRST_DRAWS
        due = begin if first else now - painted >= FRAME_SECONDS
        if due and done < run.goal:
            frame(run, False)
            # counted from the start of a frame, so that the work of one does not make the next late; never back to back
            first, painted = False, max(now, clock() - REST_SECONDS)
    frame(run, True)


def watched(run: Run, draws: Iterator[int], start: int, seconds: float) -> Iterator[int]:
    """Hold a run that chance finishes sooner to about ``seconds``, so that a reader sees it grow."""
    began = time.monotonic()
    for done in draws:
        share = (done - start) / max(run.goal - start, 1)
        ahead = began + seconds * share - time.monotonic()
        if ahead > 0 and done < run.goal:
            run.cancel.wait(ahead)
        yield done


def watch_seconds(draws: int, longest: float) -> float:
    """Return how long a run of ``draws`` is worth watching: nothing for one, ``longest`` from a thousand on."""
    return longest * min(1.0, math.log10(max(draws, 1)) / 3)


class SyncWorker:
    """Does the work in the calling thread: for tests, scripts, and wherever there are no threads."""

    watch = 0.0  # seconds a run of 1,000 is held to, at least

    def start(self, run: Run, work: Callable[[Run], None]) -> None:
        """Do ``work(run)`` now."""
        try:
            work(run)
        finally:
            run.finished.set()

    def wait(self, run: Run, timeout: float | None = None) -> bool:
        """Return at once: the work was done when it was started."""
        return run.finished.is_set()


class ThreadWorker:
    """One daemon thread a run."""

    watch = 0.8

    def start(self, run: Run, work: Callable[[Run], None]) -> None:
        """Begin ``work(run)`` in a thread of its own."""

        def body() -> None:
            try:
                work(run)
            finally:
                run.finished.set()

        threading.Thread(target=body, name=f"bossaviz-run-{run.epoch}", daemon=True).start()

    def wait(self, run: Run, timeout: float | None = None) -> bool:
        """Wait until the run has ended; return whether it has."""
        return run.finished.wait(timeout)


def default_worker() -> SyncWorker | ThreadWorker:
    """Return a thread where a kernel may have a browser on the other side, else the synchronous worker."""
    import sys

    if "IPython" not in sys.modules or sys.platform == "emscripten":
        return SyncWorker()
    from IPython import get_ipython

    shell = get_ipython()
    return ThreadWorker() if shell is not None and hasattr(shell, "kernel") else SyncWorker()
