"""What all containers share: arrays become read-only views when a container is made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

Array = np.ndarray


def readonly(value: Any) -> Any:
    """A view of an array that cannot be written; anything else unchanged."""
    if isinstance(value, np.ndarray) and value.flags.writeable:
        value = value.view()
        value.flags.writeable = False
    return value


class Frozen:
    """Mixin of the containers: freezes every array field after construction."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, f.name, readonly(value))
