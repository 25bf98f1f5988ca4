"""What was typed into ``simulate()``, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.infer import arguments
from inference_core.states import ModelSpec

from .responses import RANDOM

_CHECKS = MappingProxyType(
    {
        "nsim": arguments.count,
        "seed": arguments.seed,
        "dispersion": arguments.positive,
        "random": lambda name, value: arguments.word(name, value, RANDOM),
    }
)


def check_simulate_request(given: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Arguments of ``simulations_of_fit`` from those that were typed.

    Raises
    ------
    InferenceError
        Unknown words, numbers out of range, random effects of a model that has none.
    """
    values = {name: _CHECKS[name](name, value) for name, value in given.items()}
    if "random" in values and not spec.has_random_effects:
        raise InferenceError(
            asked=f"simulate(random={values['random']!r})",
            found=f"{spec.formula!r} has no random effects",
            remedy="leave random out",
        )
    if values.get("dispersion") is not None and (spec.has_random_effects or get_family(spec.family).dispersion_known):
        what = "a mixed model, whose random effects go with its own" if spec.has_random_effects else spec.family
        raise InferenceError(
            asked=f"simulate(dispersion={values['dispersion']:g})",
            found=f"a dispersion of one's own belongs to lm and to glm that estimate one; this is {what}",
            remedy="leave dispersion out",
        )
    return values
