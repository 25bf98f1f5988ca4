"""lme4 as a peer: one R process that does a task when asked, so that both sides can be timed in turns."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from types import TracebackType

from .floors import timed

HERE = Path(__file__).parent
ABSENT = "not measured against lme4: Rscript or lme4 is not installed (make bench-r installs both on Debian)"


@cache
def has_lme4() -> bool:
    """Whether R and lme4 are here to be compared with."""
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(lme4)"], capture_output=True).returncode == 0


class Lme4:
    """A running R with lme4 loaded; a context manager. Its BLAS has the threads that the environment allows."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["Rscript", str(HERE / "lme4.R")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Lme4:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def ask(self, task: str, *arguments: object) -> list[float]:
        """Seconds of one task, and what it found."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(" ".join([task, *map(str, arguments)]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline().split()
        if not answer:
            raise RuntimeError(f"R stopped at {task} {arguments}")
        return [float(word) for word in answer]

    def beside(
        self, ours: Callable[[], object], task: str, *arguments: object, rounds: int = 5, times: int = 1
    ) -> tuple[float, float, list[float]]:
        """Median seconds of ours and of the task, in turns, and what the task found; both are warm.

        Ours goes ``times`` times in a row, so that both sides of a round last long enough to be slowed alike.
        """
        ours()
        mine, theirs, found = [], [], []
        for _ in range(rounds):
            mine.append(timed(ours, times))
            seconds, *found = self.ask(task, *arguments)
            theirs.append(seconds)
        return median(mine), median(theirs), found
