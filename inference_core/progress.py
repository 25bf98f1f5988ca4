"""The progress and cancel protocol that every long loop obeys.

A long loop works in batches of at most some 50 ms. Between two batches it calls ``monitor.tick(done)``; when that
returns ``False`` the loop stops and returns what it has, marked as cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


class Cancel(Protocol):
    """Anything with ``is_set()``: a ``threading.Event`` does."""

    def is_set(self) -> bool:
        """Whether the loop should stop."""
        ...


Progress = Callable[[int, int], Any]


@dataclass(slots=True)
class Monitor:
    """Reports ``done`` of ``total`` and says whether to go on.

    Parameters
    ----------
    total : int
        How many draws, folds or steps the loop will make.
    progress : callable, optional
        Called with ``(done, total)`` between batches.
    cancel : object with ``is_set()``, optional
        Looked at between batches.
    verbose : bool
        Show a tqdm bar (a notebook's own bar where there is one).
    desc : str
        The label of that bar.
    """

    total: int
    progress: Progress | None = None
    cancel: Cancel | None = None
    verbose: bool = False
    desc: str = ""
    _bar: Any = field(default=None, repr=False)

    def tick(self, done: int) -> bool:
        """Report that ``done`` of ``total`` are finished; ``False`` asks the loop to stop."""
        if self.progress is not None:
            self.progress(done, self.total)
        if self.verbose:
            self._show(done)
        return self.cancel is None or not self.cancel.is_set()

    def _show(self, done: int) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.total, desc=self.desc)
        self._bar.update(done - self._bar.n)
        if done >= self.total:
            self._bar.close()

    def close(self) -> None:
        """Close the bar of a loop that ended early."""
        if self._bar is not None:
            self._bar.close()
