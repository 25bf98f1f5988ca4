"""One BLAS thread inside kernels: small blocked products lose more to waiting threads than they gain."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_depth = 0
_limit: Any = None


@cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  brings a BLAS of its own, which must be found too
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")  # looks through the loaded libraries: a millisecond, once


def _take_control() -> None:
    """Let this thread set limits, whichever did before.

    Threadpoolctl from 3.8 on listens to one thread alone, the first to set a limit of OpenBLAS, and ignores all others
    without a word: draws of a panel's thread then ran on several BLAS threads, slower and rounded another way.
    """
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context in which BLAS calls of this process use one thread (40 microseconds to enter, 2 when nested).

    The limit belongs to the process. Nested and concurrent contexts share one, and the last to leave lifts
    it; otherwise two threads that overlap would each put back what they found, and the second would leave the
    limit on.
    """
    global _depth, _limit
    with _lock:
        if _depth == 0:
            _take_control()
            _limit = _controller().limit(limits=1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _take_control()  # the last to leave need not be the one that entered first
                _limit.restore_original_limits()
                _limit = None
                _take_control()
