"""From a fitted model and what was typed to a bootstrap panel, or to a refusal in words."""

from __future__ import annotations

from typing import Any

import traitlets

from bossaviz.compute.reading import Machine
from bossaviz.state import BootstrapState
from inference_core.errors import InferenceError

from .bootstrap import BootstrapPanel


def make(model: Any, *, worker: Any = None, **choices: Any) -> BootstrapPanel:
    """Return a panel for a fitted model; ``choices`` are traits of :class:`BootstrapState`."""
    from inference_core.infer.cells import model_kind
    from inference_core.infer.request import DEFAULT_CI_TYPE
    from inference_core.rng import RNG

    if not hasattr(model, "fit_state"):
        raise InferenceError(
            asked=f"bootstrap({type(model).__name__})",
            found="an object that is not a model",
            remedy="bv.bootstrap(model('y ~ x', df).fit())",
        )
    schemes = schemes_of(model)
    machine = Machine(model)
    terms = machine.names
    allowed = tuple(machine.types())
    if choices.get("scheme") is None:
        choices["scheme"] = schemes[0]
    if choices.get("seed") is None:
        choices["seed"] = RNG.from_seed(None).seed % 10_000  # short enough to read out and type again
    if choices.get("ci_type") is None:
        usual = DEFAULT_CI_TYPE.get(model_kind(model.spec), "percentile")
        choices["ci_type"] = usual if usual in allowed else allowed[0]
    if choices.get("term") is None:
        coefficients = [t for t in terms if t in model.bundle.X_names]
        choices["term"] = next((t for t in coefficients if t != "(Intercept)"), terms[0])
    unknown = sorted(set(choices) - set(BootstrapState.SAVED))
    if unknown:
        raise InferenceError(
            asked=f"bootstrap({unknown[0]}=...)",
            found=f"no such choice; there are {', '.join(BootstrapState.SAVED)}",
            remedy="leave it out",
        )
    try:
        state = BootstrapState(terms=terms, schemes=schemes, ci_types=allowed, **choices)
    except traitlets.TraitError as problem:
        wrong, _, remedy = str(problem).partition(". ")
        raise InferenceError("bootstrap(m, ...)", wrong, remedy or "see the choices of BootstrapState") from None
    return BootstrapPanel(model, state, worker)


def schemes_of(model: Any) -> tuple[str, ...]:
    """Return the schemes that draws of a model can follow, its default first.

    Raises
    ------
    InferenceError
        No draws are built for this kind of model.
    """
    from inference_core.infer.cells import model_kind
    from inference_core.infer.request import SCHEMES
    from inference_core.infer.resample.stream import STREAMS

    known = SCHEMES.get(("boot", model_kind(model.spec)), ())
    schemes = tuple(scheme for scheme in known if ("boot", scheme) in STREAMS)
    if not schemes:
        raise InferenceError(
            asked=f"bootstrap of {model.formula!r}",
            found=f"a model of kind {model_kind(model.spec)}; draws of it are not built in this version",
            remedy="m.infer() gives limits from a formula",
        )
    return schemes
