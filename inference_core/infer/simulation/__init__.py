"""Simulations: responses that a fitted model makes up, data that a stated truth makes up, and what they say.

``responses`` draws from a fit, ``summary`` and ``check`` read the draws; ``predictors``, ``truth`` and ``generate``
make data before there are any; ``study`` and ``power`` refit many of those.
"""

from .summary import compute_simulation_inference

__all__ = ["compute_simulation_inference"]
