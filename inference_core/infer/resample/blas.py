"""One BLAS thread inside a kernel: many small products on several threads spin against each other.

Two BLAS threads on a busy two-core machine made one fit 25 times slower. Parallelism belongs to chunks (``n_jobs``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_lock = threading.Lock()
_depth = 0
_limit: Any = None


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController  # finding the libraries costs 1 ms: once

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread; nested and concurrent uses share the limit, the last one to leave lifts it."""
    global _depth, _limit
    with _lock:
        if _depth == 0:
            _limit = _controller().limit(limits=1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _limit.restore_original_limits()
                _limit = None
