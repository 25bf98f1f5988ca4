"""From a bundle of data to a fitted model. Mixed models are imported when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .common import fitted_family
from .dispatch import fit_model
from .glm import fit_glm
from .lm import fit_lm

if TYPE_CHECKING:
    from .glmer import fit_glmer
    from .lmer import fit_lmer

_LAZY = {"fit_glmer": ".glmer", "fit_lmer": ".lmer"}

__all__ = ["fit_glm", "fit_glmer", "fit_lm", "fit_lmer", "fit_model", "fitted_family"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
