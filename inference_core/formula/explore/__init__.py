"""The language of ``explore``: text to a query, with no reference to data."""

from .contrasts import METHODS, rows_of_combinations
from .parse import parse_explore
from .query import At, Cell, Combination, Contrast, ExploreQuery, Group, Part, Variable, Wildcard

__all__ = [
    "METHODS", "At", "Cell", "Combination", "Contrast", "ExploreQuery", "Group", "Part", "Variable", "Wildcard",
    "parse_explore", "rows_of_combinations",
]  # fmt: skip
