"""JAX as the kernels use it: float64 for the length of a call, padded shapes, compilations kept on disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from inference_core.errors import InferenceError

from .namespace import is_numpy

Array = np.ndarray
WITHOUT = "set_backend('numpy'), or backend='auto'"


def require_jax(asked: str) -> None:
    """Import jax and try its float64.

    Raises
    ------
    InferenceError
        It cannot be imported, or computes in single precision.
    """
    try:
        _jax()
    except ImportError as why:
        raise InferenceError(
            asked, f"jax cannot be imported ({why})", f"pip install jax; or {WITHOUT}, which need none"
        ) from why
    try:
        rest = float(compiled(_rest_of_one)(np.ones(())))
    except (RuntimeError, TypeError, ValueError) as why:
        first = (str(why).splitlines() or [type(why).__name__])[0]
        raise InferenceError(asked, f"jax cannot compute in float64 on {_platform()}: {first}", WITHOUT) from why
    if not abs(rest - 1e-12) < 1e-15:
        raise InferenceError(
            asked, f"jax computes in single precision on {_platform()}; estimates need float64", WITHOUT
        )


def _rest_of_one(one: Any) -> Any:
    """What adding a little to 1 leaves: the little in double precision, 0 in single."""
    return (one + 1e-12) - 1.0


def float64() -> Any:
    """Context in which jax computes in double precision, in this thread only."""
    jax = _jax()
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax import experimental  # before jax 0.8

    return getattr(experimental, "enable_x64")()  # noqa: B009  the name is gone from the newer ones


@cache
def _jax() -> Any:
    import jax

    _keep_compilations(jax)
    return jax


def jax_numpy() -> Any:
    """``jax.numpy``."""
    return _jax().numpy


@cache
def jax_special() -> Any:
    """The functions of ``scipy.special`` that the families use, under the same names."""
    jax = _jax()
    from jax.scipy import special

    names = ("expit", "logit", "ndtr", "ndtri", "log_ndtr", "xlogy", "xlog1py", "gammaln")
    functions: dict[str, Any] = {name: getattr(special, name) for name in names}
    return SimpleNamespace(**functions, log_expit=jax.nn.log_sigmoid)


def _platform() -> str:
    try:
        return str(_jax().default_backend())
    except RuntimeError:
        return "this machine"


def _keep_compilations(jax: Any) -> None:
    """Let compilations outlive the process, unless the user has said where, or there is nowhere."""
    if jax.config.jax_compilation_cache_dir is not None:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def cache_folder() -> Path:
    """The user's cache folder for compiled kernels."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
        root = Path(base) if base else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME")
        root = Path(base) if base else Path.home() / ".cache"
    return root / "inference_core" / "jax"


# ---- compiled functions ------------------------------------------------------------------------------------


@cache
def compiled(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """``function`` compiled by jax with the keyword arguments ``fixed`` held, one compilation a shape.

    Takes and returns NumPy arrays (or tuples of them); one object for the same function and arguments, so that a
    shape is compiled once in a process.
    """
    jax = _jax()
    run = jax.jit(lambda *arguments: function(*arguments, **fixed))

    def call(*arguments: Any) -> Any:
        with float64():
            return jax.tree_util.tree_map(np.asarray, run(*arguments))

    return call


def on_device(*arrays: Array | None) -> tuple[Any, ...]:
    """The arrays where jax computes, for what many calls share; None stays None."""
    jax = _jax()
    with float64():
        return tuple(None if array is None else jax.device_put(np.asarray(array)) for array in arrays)


class OnDevice:
    """Mixin of frozen dataclasses that hold arrays of JAX: they travel to another process in float64.

    JAX itself unpickles in single precision wherever double is not switched on.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        values = [getattr(self, f.name) for f in fields(self)]  # type: ignore[arg-type]
        return _unpacked, (type(self), [v if is_numpy(v) else np.asarray(v) for v in values])


def _unpacked(kind: type, values: list[Any]) -> Any:
    return kind(*(on_device(v)[0] if isinstance(v, np.ndarray) else v for v in values))


# ---- padding -----------------------------------------------------------------------------------------------

LEAST_ROWS = 64
LANES = (16, 256)


def padded_rows(n: int) -> int:
    """The next power of two, 64 at least: rows of data sets of about one size have one shape."""
    return max(LEAST_ROWS, 1 << (n - 1).bit_length())


def padded_lanes(b: int, chunk: int) -> int:
    """16, 256 or the usual ``chunk``: a last batch or a few lanes are no new shape. Above, a power of two."""
    for size in LANES:
        if b <= size < chunk:
            return size
    return chunk if b <= chunk else 1 << (b - 1).bit_length()


def padded_columns(r: int) -> int:
    """The next of 2, 3, 4, 6, 8, 12, 16, ..: work grows with the square or the cube of it."""
    size = 2
    while size < r:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


def pad(array: Array, *shape: int | None, fill: float = 0.0) -> Array:
    """``array`` in the corner of one of this shape (None: as it is), ``fill`` elsewhere."""
    array = np.asarray(array)
    target = tuple(have if want is None else want for have, want in zip(array.shape, shape, strict=True))
    if target == array.shape:
        return array
    out = np.full(target, fill, dtype=array.dtype)
    out[tuple(slice(have) for have in array.shape)] = array
    return out
