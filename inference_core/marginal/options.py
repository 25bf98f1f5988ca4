"""What explore was asked beside the question, checked together before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.errors import InferenceError
from inference_core.families.links import Link
from inference_core.formula.names import suggest
from inference_core.states import ModelSpec

from .quantity import IDENTITY, Map
from .question import Question

ADJUSTMENTS = ("none", "tukey", "mvt", "bonferroni", "holm", "sidak", "fdr", "scheffe")
COMPARISONS = ("difference", "ratio", "odds_ratio")
# Transforms of the response that can be undone: inverse, and its derivative.
INVERSES = {
    "log": (np.exp, np.exp),
    "log2": (np.exp2, lambda eta: np.log(2) * np.exp2(eta)),
    "log10": (lambda eta: 10.0**eta, lambda eta: np.log(10) * 10.0**eta),
    "log1p": (np.expm1, np.exp),
    "sqrt": (np.square, lambda eta: 2 * eta),
}


@dataclass(frozen=True, slots=True)
class Options:
    """Resolved choices."""

    effect_scale: str
    how: str
    p_adjust: str
    comparison: str
    average_on: str
    link_name: str  # of the map from the linear predictor to the response scale: the link, or the transform
    response_transform: str | None

    def map_of(self, link: Link) -> Map:
        """From the linear predictor to the scale of the effects."""
        if self.effect_scale == "link" or self.link_name == "identity":
            return IDENTITY
        if self.response_transform is not None:
            return Map("inverse_response", *INVERSES[self.response_transform])
        return Map("inverse_link", link.inverse, link.derivative)


def check_options(
    spec: ModelSpec,
    question: Question,
    *,
    effect_scale: str | None,
    how: str | None,
    p_adjust: str,
    comparison: str,
    average_on: str,
) -> Options:
    """Fill in what was left open and refuse what does not go together.

    Raises
    ------
    InferenceError
    """
    for name, value, words in (
        ("effect_scale", effect_scale, ("response", "link")), ("how", how, ("mem", "ame")),
        ("p_adjust", p_adjust, ADJUSTMENTS), ("comparison", comparison, COMPARISONS),
        ("average_on", average_on, ("link", "response")),
    ):  # fmt: skip
        if value is not None and value not in words:
            near = suggest(str(value), words)
            raise InferenceError(f"explore(..., {name}={value!r})", f"{name} is one of {', '.join(words)}",
                                 f"did you mean {near!r}?" if near else f"{name}={words[0]!r}")  # fmt: skip
    transform = spec.response_transform
    scale = effect_scale or ("link" if transform is not None else "response")
    link = transform if transform is not None and spec.link == "identity" else spec.link
    if scale == "response" and transform is not None and (transform not in INVERSES or spec.link != "identity"):
        raise InferenceError(
            asked=f"effects of {spec.response_var!r} on the response scale",
            found=f"{transform}() of the response cannot be undone here; {', '.join(INVERSES)} can",
            remedy="effect_scale='link', the scale of the transform",
        )
    curved = scale == "response" and link != "identity"
    _check_comparison(question, comparison, scale, spec)
    chosen = how or ("ame" if question.slope is not None and curved else "mem")
    if average_on == "response" and chosen == "ame":
        raise InferenceError("average_on='response' with how='ame'", "averages over rows are always of the response",
                             "leave average_on out")  # fmt: skip
    return Options(scale, chosen, p_adjust, comparison, average_on if curved else "link", link, transform)


def _check_comparison(question: Question, comparison: str, scale: str, spec: ModelSpec) -> None:
    if comparison == "difference":
        return
    asked = f"explore({question.text!r}, comparison={comparison!r})"
    if not question.is_contrast or question.slope is not None:
        found = "nothing is compared, or slopes are"
        raise InferenceError(asked, found, "comparison belongs to pairwise(group) and its kin")
    if scale == "link":
        raise InferenceError(asked, "ratios are of means on the response scale", "effect_scale='response'")
    if comparison == "odds_ratio" and spec.family != "binomial":
        raise InferenceError(asked, f"a {spec.family} model has no probabilities", "comparison='ratio'")
