"""From text to terms: the safety guard, the splitting of bars, the functions a formula may call."""

from .guard import Expression, admit, admit_column
from .names import suggest
from .parse import ParsedFormula, RandomTerm, parse_formula
from .tokens import quote_name
from .transforms import TRANSFORMS

__all__ = [
    "TRANSFORMS", "Expression", "ParsedFormula", "RandomTerm", "admit", "admit_column", "parse_formula", "quote_name",
    "suggest",
]  # fmt: skip
