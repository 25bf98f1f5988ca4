"""Frozen containers: what is carried between rooms of the house. Read-only arrays, no algorithms."""

from .base import Array, Frozen, readonly
from .bundle import DataBundle, RankInfo
from .fit import FitState
from .inference import (
    DRAW_FAILED,
    DRAW_NOT_CONVERGED,
    DRAW_OK,
    DRAW_RANK_DEFICIENT,
    DRAW_REASONS,
    DRAW_SEPARATED,
    Batch,
    CVState,
    InferenceState,
    ResamplesState,
    SimulationInferenceState,
    SimulationState,
)
from .marginal import JointDf, JointTestState, MeeState, RowFamily
from .prediction import PredictionState
from .random import RandomBlock, REInfo
from .spec import ModelSpec

__all__ = [
    "DRAW_FAILED", "DRAW_NOT_CONVERGED", "DRAW_OK", "DRAW_RANK_DEFICIENT", "DRAW_REASONS", "DRAW_SEPARATED",
    "Array", "Batch", "CVState", "DataBundle", "FitState", "Frozen", "InferenceState", "JointDf", "JointTestState",
    "MeeState", "ModelSpec", "PredictionState", "REInfo", "RandomBlock", "RankInfo", "ResamplesState", "RowFamily",
    "SimulationInferenceState", "SimulationState", "readonly",
]  # fmt: skip
