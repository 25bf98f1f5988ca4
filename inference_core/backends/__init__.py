"""Which library runs the batched kernels: NumPy, or JAX where it is asked for.

The choice is made where a kernel is built and travels with it, so that workers, other threads and later batches of a
stream all run on what was asked for. Nothing here imports jax before somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from inference_core.errors import InferenceError

__all__ = ["BACKENDS", "Backend", "check_backend", "chosen_backend", "set_backend", "using_backend"]

Backend = Literal["numpy", "jax"]
BACKENDS = ("auto", "numpy", "jax")

_default: str = "auto"
_here: ContextVar[str | None] = ContextVar("backend", default=None)


def set_backend(backend: Literal["numpy", "jax", "auto"]) -> None:
    """Choose what runs the batched kernels of all models that do not choose for themselves.

    Parameters
    ----------
    backend : {"numpy", "jax", "auto"}
        "numpy": lanes leave the batch as they finish. "jax": the same steps compiled, shapes padded to a few sizes, in
        float64 (switched on for these calls alone), compilations kept in the user's cache folder. "auto": what was
        measured to be faster, which is NumPy; see below.

    Raises
    ------
    InferenceError
        For another word, and for "jax" where it is not installed or has no float64.

    Notes
    -----
    The two agree to 1e-9; which draws are drawn does not depend on it. JAX runs the case bootstrap of lm and glm, the
    permutations and folds that refit a glm, and bootstraps and folds of linear mixed models with one grouping factor.
    All else is NumPy and SciPy under either: closed forms (folds of an lm), permutations that refit nothing, several
    grouping factors, generalized mixed models, and single refits of what a batch leaves over.

    Measured on two shared cores without a GPU, best of four: CPU time of NumPy over that of JAX, once compiled; then
    what JAX's first call took without and with the compilations of an earlier process.

    ====================================  =====  =============
    2,048 draws of an lm, n = 300           0.6  1.0, 0.1 s
    the same, logit                         0.6  3.7, 0.3 s
    the same, gamma with a log link         0.8
    256 draws of an lm, n = 5,000           0.6
    the same, logit                         0.6
    the same, gamma with a log link         1.0
    1,024 draws of sleepstudy, intercepts   2.1  2.2, 0.4 s
    the same, slopes                        1.1  3.3, 0.6 s
    ====================================  =====  =============

    JAX wins with mixed models alone, 1 to 9 ms in a thousand draws: its first call is paid back after some 40,000 draws
    at best. "auto" therefore takes NumPy everywhere. No GPU was measured; "jax" takes what JAX finds.

    Examples
    --------
    >>> from inference_core import set_backend
    >>> set_backend("numpy")
    >>> set_backend("auto")
    """
    global _default
    _default = check_backend(backend, f"set_backend({backend!r})")


def check_backend(backend: str, asked: str) -> str:
    """The word itself, if it is one and what it names can run here; ``asked`` is what a refusal quotes.

    Raises
    ------
    InferenceError
        Another word; or "jax", and jax is missing or has no float64.
    """
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InferenceError(
            asked=asked,
            found=f"the batched kernels run on {', '.join(map(repr, BACKENDS[1:]))}; 'auto' takes what was faster",
            remedy="backend='auto'",
        )
    if backend == "jax":
        from .jax_runtime import require_jax

        require_jax(asked)
    return backend


def chosen_backend() -> Backend:
    """What a kernel built now runs on."""
    word = _here.get() or _default
    return "jax" if word == "jax" else "numpy"


@contextmanager
def using_backend(backend: str | None) -> Iterator[None]:
    """Context in which kernels are built for ``backend``; None leaves the choice to where this is, or to
    :func:`set_backend`.
    """
    token = _here.set(backend or _here.get())
    try:
        yield
    finally:
        _here.reset(token)
