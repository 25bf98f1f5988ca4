"""One BLAS thread inside kernels.

On a busy machine a waiting BLAS thread costs a scheduler's time slice: 12 ms for a fit that takes 0.3 ms alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the loaded libraries: a millisecond, once


def one_blas_thread() -> AbstractContextManager:
    """Context in which BLAS calls of this process use one thread (40 microseconds to enter; it may be nested)."""
    return _controller().limit(limits=1, user_api="blas")
