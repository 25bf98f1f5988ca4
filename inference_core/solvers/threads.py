"""One BLAS thread inside kernels: small blocked products lose more to waiting threads than they gain."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the loaded libraries: a millisecond, once


def one_blas_thread() -> AbstractContextManager:
    """Context in which BLAS calls of this process use one thread (40 microseconds to enter)."""
    return _controller().limit(limits=1, user_api="blas")
