"""The array namespace of a value: what lets one function serve NumPy arrays and those of JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

_NUMPY = (np.ndarray, np.generic, float, int)


def is_numpy(x: Any) -> bool:
    """Whether NumPy computes with ``x``, so that buffers may be written and positions chosen by value."""
    return isinstance(x, _NUMPY) or not type(x).__module__.startswith("jax")


def namespace(x: Any) -> Any:
    """``numpy``, or ``jax.numpy`` for arrays of JAX."""
    if is_numpy(x):
        return np
    from .jax_runtime import jax_numpy

    return jax_numpy()


def special_functions(x: Any) -> Any:
    """``scipy.special``, or the namespace of the same functions of JAX."""
    if is_numpy(x):
        return special
    from .jax_runtime import jax_special

    return jax_special()
