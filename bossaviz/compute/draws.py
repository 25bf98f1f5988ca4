"""Stored draws: each stream of draws is kept as far as it was drawn, so nothing is ever drawn twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .query import DrawQuery

KEPT = 16  # streams a panel remembers


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The first draws of one stream at one moment; the arrays are views that nobody writes to."""

    samples: np.ndarray  # (B, p) NaN rows where status != 0
    status: np.ndarray  # (B,) int8
    se: np.ndarray | None  # (B, p)

    @property
    def count(self) -> int:
        """How many draws, failed ones included."""
        return self.status.shape[0]


class DrawStore:
    """One stream and what was drawn from it. Appended to by one run at a time, read by any thread."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._lock = threading.Lock()
        p = len(stream.names)
        self._samples = np.empty((256, p))
        self._status = np.empty(256, np.int8)
        self._se: np.ndarray | None = None
        self._count = 0

    @property
    def count(self) -> int:
        """How many draws are stored."""
        return self._count

    def append(self, batch: Any) -> None:
        """Store a batch that starts where the store ends; one that was overtaken by another run is ignored."""
        with self._lock:
            skip = self._count - batch.start
            size = len(batch.status) - skip
            if skip < 0 or size <= 0:
                return
            stop = self._count + size
            self._reserve(stop, batch.se is not None)
            self._samples[self._count : stop] = batch.samples[skip:]
            self._status[self._count : stop] = batch.status[skip:]
            if self._se is not None and batch.se is not None:
                self._se[self._count : stop] = batch.se[skip:]
            self._count = stop

    def first(self, n: int | None = None) -> Draws:
        """Return the first ``n`` draws (all of them by default)."""
        with self._lock:
            n = self._count if n is None else min(n, self._count)
            views = [self._samples[:n], self._status[:n], None if self._se is None else self._se[:n]]
        for view in views:
            if view is not None:
                view.flags.writeable = False
        return Draws(*views)

    def _reserve(self, size: int, with_se: bool) -> None:
        """Grow by doubling. A view given out before keeps the old array, so it never changes under a reader."""
        if with_se and self._se is None:
            self._se = np.full(self._samples.shape, np.nan)
        room = self._status.shape[0]
        if size <= room:
            return
        new = max(size, 2 * room)
        self._samples = _grown(self._samples, new)
        self._status = _grown(self._status, new)
        if self._se is not None:
            self._se = _grown(self._se, new)

    def batches(self, upto: Callable[[], int], cancel: Any, most: Callable[[], int] | None = None) -> Iterator[int]:
        """Draw until ``upto()`` draws are stored or ``cancel`` is set; yield the count after each batch.

        ``upto`` is asked again as the run goes on, so a run can be lengthened while it runs. ``most`` bounds a batch
        from above, for a run that is to be seen growing.
        """
        while not cancel.is_set():
            want = upto() - self._count
            if most is not None:
                want = min(want, most())
            if want <= 0:
                return
            before = self._count
            for batch in self.stream.batches(want, start=before, cancel=cancel):
                self.append(batch)
                yield self._count
                if cancel.is_set():
                    return
            if self._count == before:
                return


def _grown(array: np.ndarray, rows: int) -> np.ndarray:
    out = np.empty((rows, *array.shape[1:]), array.dtype)
    out[: array.shape[0]] = array
    return out


class DrawCache:
    """The stores of one panel, by what decides the draws; the oldest go first."""

    def __init__(self, open_stream: Callable[[DrawQuery], Any]) -> None:
        self._open = open_stream
        self._stores: OrderedDict[DrawQuery, DrawStore] = OrderedDict()
        self._lock = threading.Lock()

    def store(self, query: DrawQuery) -> DrawStore:
        """Return the store of ``query``, opened at the first request."""
        with self._lock:
            store = self._stores.get(query)
            if store is None:
                store = self._stores[query] = DrawStore(self._open(query))
                while len(self._stores) > KEPT:
                    self._stores.popitem(last=False)
            self._stores.move_to_end(query)
            return store

    def count(self, query: DrawQuery) -> int:
        """Return how many draws are stored for ``query``, without opening its stream."""
        store = self._stores.get(query)
        return 0 if store is None else store.count
