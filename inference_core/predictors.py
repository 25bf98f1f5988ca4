"""Columns of data that do not exist yet, for ``model(formula).simulate(predictors={...})`` and ``.power()``."""

from .infer.simulation.predictors import Predictor, balanced, binary, groups, levels, normal, per, uniform

__all__ = ["Predictor", "balanced", "binary", "groups", "levels", "normal", "per", "uniform"]
