"""Which kinds of interval a number has, and in a few words why it lacks the others."""

from __future__ import annotations

from typing import Any

from bossaviz.spreads import find_spread
from bossaviz.state import CI_TYPES
from inference_core.errors import InferenceError

WHY_NOT = {
    "bca": "No group can be left out of this model alone.",
    "studentized": "Refits of this model carry no standard errors of their own.",
}
WHY_NOT_SPREAD = "could leave the possible values"
EXPANDED = "made for coefficients"


def types_of(model: Any, term: str | None = None) -> dict[str, str]:
    """Return kinds of interval in their fixed order, each with the reason why ``term`` has none, or an empty text.

    Kinds that no number of the model has are left out; see :func:`types_left_out`.
    """
    if not model.spec.has_random_effects:
        return dict.fromkeys(CI_TYPES, "")
    known = [name for name in CI_TYPES if not _refused(model, name)]
    if term is None or find_spread(model.bundle, term) is None:
        return dict.fromkeys(known, "")
    return {
        name: EXPANDED if name == "expanded" else WHY_NOT_SPREAD if _refused(model, name, spread=True) else ""
        for name in known
    }


def types_left_out(model: Any) -> dict[str, str]:
    """Return the kinds of interval that no number of the model has, each with the reason."""
    known = types_of(model)
    return {name: WHY_NOT.get(name, "Not for this model.") for name in CI_TYPES if name not in known}


def _refused(model: Any, ci_type: str, *, spread: bool = False) -> bool:
    from inference_core.infer.resample.mixed_limits import refuse_interval

    try:
        refuse_interval(ci_type, spread=spread, linear=model.spec.is_lmer)
    except InferenceError:
        return True
    return False
