"""The language of ``explore``: text to a query, with no reference to data."""

from .contrasts import METHODS, contrast_rows
from .parse import SLOPE, parse_explore
from .query import At, Cell, Combination, Contrast, ExploreQuery, Group, Part, Variable, Wildcard

__all__ = [
    "METHODS", "SLOPE", "At", "Cell", "Combination", "Contrast", "ExploreQuery", "Group", "Part", "Variable",
    "Wildcard", "contrast_rows", "parse_explore",
]  # fmt: skip
