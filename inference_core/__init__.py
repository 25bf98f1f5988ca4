"""Linear, generalized linear and mixed models, and inference from them in every way there is."""

from .model import model

__version__ = "0.1.0"

__all__ = ["model"]
