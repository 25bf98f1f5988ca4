"""The nearest valid spelling of a word that was not understood."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from inference_core.formula.names import suggest

# What people type who know another program; by argument, in lower case.
KNOWN_AS = MappingProxyType(
    {
        "how": {
            "bootstrap": "boot",
            "permutation": "perm",
            "permute": "perm",
            "wald": "asymp",
            "asymptotic": "asymp",
            "analytic": "asymp",
            "crossvalidation": "cv",
            "cross-validation": "cv",
            "kfold": "cv",
        },
        "ci_type": {"perc": "percentile", "quantile": "percentile", "stud": "studentized", "norm": "normal"},
        "alternative": {
            "two.sided": "two-sided",
            "both": "two-sided",
            "larger": "greater",
            "smaller": "less",
            ">": "greater",
            "<": "less",
        },
        "errors": {
            "robust": "hetero",
            "white": "HC0",
            "welch": "unequal_var",
            "classical": "iid",
            "kr": "kenward-roger",
            "satterthwaite": "iid",
            "cluster": "CR2",
            "stata": "CR1S",
        },
        "scheme": {"cases": "case", "pairs": "case", "rows": "case"},
        "argument": {
            "level": "conf_level",
            "b": "n_boot",
            "r": "n_boot",
            "nsim": "n_boot",
            "random_state": "seed",
        },
    }
)  # fmt: skip


def nearest(word: Any, valid: Iterable[str], argument: str = "") -> str | None:
    """The valid spelling closest to ``word``, or None where nothing is close.

    Synonyms from other programs first, then case, then typing errors.
    """
    text, valid = str(word).strip(), list(valid)
    synonym = KNOWN_AS.get(argument, {}).get(text.lower())
    return synonym if synonym in valid else suggest(text, valid)
