"""What was typed into ``simulate()``, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.infer import arguments
from inference_core.infer.intervals.requirements import ALTERNATIVES
from inference_core.states import ModelSpec

from .responses import RANDOM

# What says how data are made where there are none.
TRUTH = ("n", "predictors", "coef", "sigma", "spread", "trials")

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
    foreign = next((name for name in TRUTH if name in given), None)
    if foreign is not None:
        raise InferenceError(
            asked=f"simulate({foreign}={arguments.show(given[foreign])}) after fit()",
            found="the fitted model says how its responses are made",
            remedy=f"leave {foreign} out; model({spec.formula!r}) without data simulates from a truth of yours",
        )
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


def check_generate_request(given: Mapping[str, Any], formula: str) -> dict[str, Any]:
    """Arguments of ``generate`` from those that were typed into ``simulate()`` of a model without data.

    Raises
    ------
    InferenceError
        Arguments that belong to a fitted model, numbers out of range.
    """
    for name in ("nsim", "random"):
        if name in given:
            raise InferenceError(
                asked=f"simulate({name}={arguments.show(given[name])}) of a model without data",
                found="before a fit simulate() makes one data set",
                remedy=f"leave {name} out; power() makes and refits many, and after fit() simulate() takes {name}",
            )
    if "coef" not in given:
        raise InferenceError(
            asked=f"simulated data for {formula!r}",
            found="no data to fit, and no truth to make some from",
            remedy="coef={'x': 0.5} and n=100, or model(formula, data)",
        )
    values = dict(given)
    if values.get("n") is not None:
        values["n"] = arguments.count("n", values["n"])
    values["seed"] = arguments.seed("seed", values.get("seed"))
    return values


_POWER = MappingProxyType(
    {
        "nsim": arguments.count,
        "seed": arguments.seed,
        "designs": lambda name, value: None if value is None else arguments.count(name, value),
        "conf_level": arguments.level,
        "alternative": lambda name, value: arguments.word(name, value, ALTERNATIVES),
        "n_jobs": arguments.jobs,
        "verbose": arguments.flag,
        "progress": arguments.function,
        "cancel": arguments.event,
    }
)
RUN = ("n_jobs", "verbose", "progress", "cancel")


def check_power_request(given: Mapping[str, Any], formula: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of ``open_power`` and of its ``collect`` from those that were typed into ``power()``.

    Raises
    ------
    InferenceError
        No truth, unknown words, numbers out of range.
    """
    if "coef" not in given:
        raise InferenceError(
            asked=f"power of {formula!r}",
            found="no truth to simulate from",
            remedy="coef={'x': [0.2, 0.5]}, the smallest effects worth knowing, with n=[20, 40, 80]",
        )
    values = {name: _POWER[name](name, value) if name in _POWER else value for name, value in given.items()}
    return {k: v for k, v in values.items() if k not in RUN}, {k: v for k, v in values.items() if k in RUN}
