"""Which scheme a model gets, and which it cannot have."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.request import SCHEMES as _SCHEMES
from inference_core.infer.sandwich import INFLATION
from inference_core.solvers.lstsq import rank_of_design
from inference_core.states.base import Array
from inference_core.states.bundle import DataBundle
from inference_core.states.fit import FitState
from inference_core.states.spec import ModelSpec

from .hypotheses import Hypothesis, coefficient_hypotheses, keeps_constant
from .mixed_rules import check_mixed_scheme, default_mixed_scheme

# By kind of model; the first is the default of an lm. A glm's is chosen by :func:`default_scheme`.
SCHEMES = MappingProxyType({kind: schemes for (how, kind), schemes in _SCHEMES.items() if how == "perm"})
SHUFFLING = frozenset({"y", "freedman_lane", "ter_braak", "within"})  # the others flip signs

# What one draw is, in words.
WORDS = MappingProxyType(
    {
        "y": "responses were shuffled",
        "freedman_lane": "what the other terms leave over was shuffled",
        "ter_braak": "residuals of the full model were shuffled",
        "score_flip": "signs of the rows' score contributions were flipped by coin",
        "sign_flip": "signs of what the other terms leave over were flipped by coin",
        "group_flip": "what the other terms leave over kept or changed its sign by coin, whole groups at a time",
        "residual": "signs of group effects and of residuals were flipped by coin",
        "within": "responses were shuffled within groups",
    }
)

KINDS_OF_ERRORS = ("iid", *INFLATION, "unequal_var")

CANNOT_MOVE_A_MEAN = "permuting cannot move a mean"


def default_scheme(
    spec: ModelSpec, bundle: DataBundle, null: float | Array = 0.0, fit: FitState | None = None
) -> str:
    """The scheme of ``model.infer(how="perm")`` where none is named.

    Shuffled responses where the null model of a glm is the intercept alone and all rows count alike, which is exact;
    score flips for every other glm; Freedman and Lane for an lm; flips of whole groups for mixed models.
    """
    if spec.has_random_effects:
        return default_mixed_scheme(spec)
    if spec.is_lm:
        return "freedman_lane"
    if bundle.rank_info.rank != 2 or bundle.offset is not None or not equal_weights(bundle):
        return "score_flip"
    if fit is not None and (fit.is_separated or not fit.converged):  # its z-values say nothing
        return "score_flip"
    tested = [h for h, keeps in testable(bundle, estimable(bundle), null) if keeps]
    return "y" if tested and all(h.value[0] == 0.0 for h in tested) else "score_flip"


def testable(bundle: DataBundle, kept: Array, null: float | Array) -> list:
    """(hypothesis, whether its null model keeps the constant) of every estimable coefficient."""
    hypotheses = coefficient_hypotheses(bundle, kept, null)
    return list(zip(hypotheses, keep_the_constant(bundle, hypotheses, kept), strict=True))


def keep_the_constant(bundle: DataBundle, hypotheses: Sequence[Hypothesis], kept: Array | None = None) -> list[bool]:
    """Whether the null model of each hypothesis about the coefficients ``kept`` can still move the mean."""
    rows, kept = counted_rows(bundle), estimable(bundle) if kept is None else kept
    root = np.ones(rows.size) if bundle.prior_weights is None else np.sqrt(bundle.prior_weights[rows])
    basis, r_factor = np.linalg.qr(bundle.X[np.ix_(rows, kept)] * root[:, None])
    ones, length = basis.T @ root, float(np.linalg.norm(root))
    return [keeps_constant(ones, length, h.tested(r_factor)[0]) for h in hypotheses]


def estimable(bundle: DataBundle) -> Array:
    """Positions of the columns that the rows which take part can estimate."""
    kept = np.asarray(bundle.rank_info.kept)
    if bundle.prior_weights is None:
        return kept
    return kept[rank_of_design(bundle.X[np.ix_(counted_rows(bundle), kept)]).kept]


def counted_rows(bundle: DataBundle) -> Array:
    """Positions of the rows that take part: those of weight 0 do not."""
    weights = bundle.prior_weights
    return np.arange(bundle.n) if weights is None else np.flatnonzero(weights > 0)


def equal_weights(bundle: DataBundle) -> bool:
    """Whether all rows that take part have one weight and one number of trials."""
    weights = bundle.prior_weights
    if weights is None:
        return True
    counted = weights[weights > 0]
    return bool(np.ptp(counted) == 0.0)


def check_scheme(spec: ModelSpec, bundle: DataBundle | None, scheme: str, errors: str, null: float | Array) -> None:
    """Refuse a scheme that this model cannot have, before anything is drawn.

    Raises
    ------
    InferenceError
        With the scheme that does fit.
    """
    if spec.has_random_effects:
        schemes = SCHEMES["lmer" if spec.is_lmer else "glmer"]
        return check_mixed_scheme(spec, bundle, scheme, schemes, errors)
    kind = "lm" if spec.is_lm else "glm"
    asked = f".infer(how='perm', scheme={scheme!r})"
    if scheme not in SCHEMES[kind]:
        found = f"schemes of {'an lm' if kind == 'lm' else 'a glm'} are {', '.join(SCHEMES[kind])}"
        if kind == "glm" and scheme in SCHEMES["lm"]:
            found = f"a {spec.family} model has no residuals that could change places: their variance follows the mean"
        raise InferenceError(asked=asked, found=found, remedy=f"scheme={SCHEMES[kind][0]!r}")
    if scheme == "score_flip" and errors != "iid":
        raise InferenceError(
            asked=f".infer(how='perm', scheme='score_flip', errors={errors!r})",
            found="score flips standardise every draw themselves and hold whatever the variance of each row",
            remedy="leave errors out" + ("; scheme='freedman_lane' takes them" if kind == "lm" else ""),
        )
    if errors not in KINDS_OF_ERRORS:
        raise InferenceError(
            asked=f".infer(how='perm', errors={errors!r})",
            found=f"standard errors inside a draw are {', '.join(KINDS_OF_ERRORS)}",
            remedy="errors='HC3' allows unequal scatter",
        )
    if errors == "unequal_var" and kind == "glm":
        raise InferenceError(
            asked=".infer(how='perm', errors='unequal_var')",
            found=f"a {spec.family} model with {spec.link} link: its variance follows from its mean, not a cell",
            remedy="leave errors out",
        )
    if bundle is not None and scheme == "y":
        _check_raw(spec, bundle, asked, null)


def _check_raw(spec: ModelSpec, bundle: DataBundle, asked: str, null: float | Array) -> None:
    parts = [
        ("an offset", bundle.offset is not None),
        ("unequal trials", bundle.trials is not None and np.ptp(bundle.trials) != 0),
        ("unequal weights", bundle.weights is not None and not equal_weights(bundle)),
    ]
    unlike = [name for name, there in parts if there]
    better = "scheme='freedman_lane' shuffles residuals" if spec.is_lm else "score_flip keeps each row's exposure"
    if unlike:
        raise InferenceError(
            asked=asked,
            found=f"{' and '.join(unlike)}: rows are not exchangeable",
            remedy=better if spec.is_lm else f"scheme='score_flip': {better}",
        )
    if spec.is_lm:
        return
    tested = [h for h, keeps in testable(bundle, estimable(bundle), null) if keeps]
    moved = [h for h in tested if h.value[0] != 0.0]
    if moved:
        raise InferenceError(
            asked=f"{asked} with null={moved[0].value[0]:g} for {moved[0].name}",
            found="a null value other than 0 is an offset of its own in every row: rows are not exchangeable",
            remedy="scheme='score_flip'",
        )
