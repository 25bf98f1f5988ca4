"""Intervals, p-values and Monte-Carlo errors from stored draws; one engine for every table and panel."""

from .bca import BCa_MIN_NBOOT, acceleration, bias_correction
from .limits import CI_TYPES, IntervalResult, interval
from .order import OrderedDraws, moments
from .pvalues import p_value, p_value_mcse
from .requirements import check_interval_request, draws_needed, tail_level
from .summary import summarise

__all__ = [
    "CI_TYPES", "BCa_MIN_NBOOT", "IntervalResult", "OrderedDraws", "acceleration", "bias_correction",
    "check_interval_request", "draws_needed", "interval", "moments", "p_value", "p_value_mcse", "summarise",
    "tail_level",
]  # fmt: skip
