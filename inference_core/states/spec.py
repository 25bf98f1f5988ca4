"""What the user asked for: formula, family, link, method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .base import Frozen


@dataclass(frozen=True, slots=True, eq=False)
class ModelSpec(Frozen):
    """A model as it was asked for; nothing in it was estimated.

    ``fixed_terms`` are the source terms of the fixed part in the order of the design, the intercept excluded
    (``("wt", "hp", "wt:hp")``); ``random_terms`` keep their parentheses (``("(Days | Subject)",)``).
    ``method`` is "ols", "irls", "ml" or "reml". ``contrasts`` maps a factor to the name of its coding.
    """

    formula: str
    response_var: str
    response_transform: str | None = None
    fixed_terms: tuple[str, ...] = ()
    random_terms: tuple[str, ...] = ()
    family: str = "gaussian"
    link: str = "identity"
    method: str = "ols"
    has_random_effects: bool = False
    contrasts: Mapping[str, Any] = field(default_factory=dict)
    has_intercept: bool = True

    @property
    def is_lm(self) -> bool:
        """Gaussian with the identity link and no random effects: least squares in one step."""
        return self.family == "gaussian" and self.link == "identity" and not self.has_random_effects

    @property
    def is_lmer(self) -> bool:
        """Gaussian with the identity link and random effects."""
        return self.family == "gaussian" and self.link == "identity" and self.has_random_effects
