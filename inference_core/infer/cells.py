"""Which kind of inference exists after which operation, for which model: one table, looked up.

To open a cell in a later version, add it to ``BUILT`` and register its function in ``params`` or
``dispatch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from inference_core.errors import InferenceError
from inference_core.states import ModelSpec

HOWS = ("asymp", "boot", "perm", "cv", "profile", "joint")
LAST_OPS = ("fit", "explore", "predict", "simulate")
KINDS = ("lm", "glm", "lmer", "glmer")

WORKS, LATER, REFUSED = "works", "later", "refused"


@dataclass(frozen=True, slots=True)
class Cell:
    """What ``.infer(how)`` does after one operation on one kind of model, or why not."""

    status: str  # WORKS, LATER or REFUSED
    found: str = ""
    remedy: str = ""


# What works in this version.
BUILT = frozenset(
    {("fit", how, kind) for how in ("asymp", "boot") for kind in ("lm", "glm")}
    | {("fit", "asymp", kind) for kind in ("lmer", "glmer")}
    | {("fit", "boot", kind) for kind in ("lmer", "glmer")}
    | {("fit", "cv", kind) for kind in KINDS}
    | {("fit", "profile", kind) for kind in KINDS}
    | {("fit", "perm", kind) for kind in KINDS}
    | {("explore", how, kind) for how in ("asymp", "boot", "perm", "profile", "joint") for kind in KINDS}
    | {("fit", "joint", kind) for kind in KINDS}
    | {("simulate", "asymp", kind) for kind in KINDS}
    | {("predict", how, kind) for how in ("asymp", "boot", "cv", "profile", "joint") for kind in KINDS}
)

# What no version will do: a question without an answer, and the way out.
_SIMULATED = (
    "simulated responses come from the fitted model; testing them tests nothing",
    "how='asymp' summarises them",
)
NEVER = MappingProxyType(
    {
        ("explore", "cv"): (
            "how='cv' scores predictions; effects make none",
            "cross-validate after fit() or predict()",
        ),
        ("predict", "perm"): (
            "how='perm' tests a comparison; predictions are none",
            "how='boot' or how='asymp', or explore a contrast",
        ),
        **{("simulate", how): _SIMULATED for how in ("boot", "perm", "cv", "profile", "joint")},
    }
)


def _cell(last_op: str, how: str, kind: str) -> Cell:
    if (last_op, how) in NEVER:
        return Cell(REFUSED, *NEVER[last_op, how])
    if (last_op, how, kind) in BUILT:
        return Cell(WORKS)
    built = [f"how={other!r}" for other in HOWS if (last_op, other, kind) in BUILT]
    if built:
        return Cell(LATER, f"how={how!r} is not built yet in this version", f"{' or '.join(built)}")
    kinds = [other for other in KINDS if ("fit", "asymp", other) in BUILT]
    return Cell(
        LATER,
        f"inference after {last_op}() of {_article(kind)} is not built yet in this version",
        f"fit() and infer() of {' or '.join(map(_article, kinds))}",
    )


def _article(kind: str) -> str:
    return f"{'an' if kind.startswith('l') else 'a'} {kind}"


CELLS = MappingProxyType({(op, how, kind): _cell(op, how, kind) for op in LAST_OPS for how in HOWS for kind in KINDS})


def model_kind(spec: ModelSpec) -> str:
    """lm, glm, lmer or glmer."""
    if spec.has_random_effects:
        return "lmer" if spec.is_lmer else "glmer"
    return "lm" if spec.is_lm else "glm"


def require_cell(last_op: str | None, how: str, spec: ModelSpec) -> None:
    """Pass if this cell works; otherwise say in one sentence why not and what to do instead.

    Raises
    ------
    InferenceError
        The operation or the kind of inference is unknown, refused, or not built yet.
    """
    kind = model_kind(spec)
    cell = CELLS.get((last_op or "", how, kind))
    if cell is None:
        raise InferenceError(
            asked=f".infer(how={how!r}) after {last_op or 'no operation'}",
            found=f"how is one of {', '.join(HOWS)}, after one of {', '.join(LAST_OPS)}",
            remedy="fit() first, then how='asymp' or how='boot'",
        )
    if cell.status != WORKS:
        raise InferenceError(
            asked=f".infer(how={how!r}) after {last_op}() of {_article(kind)}",
            found=cell.found,
            remedy=cell.remedy,
        )
