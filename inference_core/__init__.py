"""Linear, generalized linear and mixed models, and inference from them in every way there is."""

__version__ = "0.1.0"
