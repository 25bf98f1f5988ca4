"""From a bundle of data to a fitted model."""

from .common import fitted_family
from .dispatch import fit_model
from .glm import fit_glm
from .glmer import fit_glmer
from .lm import fit_lm
from .lmer import fit_lmer

__all__ = ["fit_glm", "fit_glmer", "fit_lm", "fit_lmer", "fit_model", "fitted_family"]
