"""Forbidden phrasings and reading level: what the suite asks of templates, labels, docs and notebooks.

The numbers are those of section 6 of the sentences' specification. A notebook may quote a misreading in a cell tagged
``misreading``, a text file in a fenced block of that name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

_LEVEL = r"\d+(?:\.\d+)? ?%"

FORBIDDEN: tuple[tuple[int, str], ...] = (
    (1, r"\b(?:there (?:is|was)|has|had|shows?|found) no (?:effect|difference)\b"),
    (2, r"\baccept(?:s|ed|ing)? (?:the )?(?:null|h0)\b"),
    (3, r"\bp(?:-value)? (?:is|gives) the (?:probability|chance) that the null\b"),
    (4, r"\bdue to chance\b"),
    (5, rf"{_LEVEL} (?:probability|chance) that\b|\bprobability of {_LEVEL} that\b"),
    (6, rf"{_LEVEL} confident\b"),
    (7, rf"{_LEVEL} of (?:the |all )?(?:data|rows|observations|means)\b.{{0,20}}\b(?:lie|fall|are)\b"),
    (8, r"\b(?:in)?significan(?:t|tly|ce)\b(?! (?:digit|figure|decimal))"),
    (9, r"\b(?:highly|very) significant\b"),
    (10, r"\b(?:not significant|n\.s\.)"),
    (11, r"\bmarginal(?:ly)? significan|\btrend towards?\b"),
    (12, r"\bp ?= ?0(?:\.0+)?(?![\d.]|\.\d)"),
    (13, r"\b(?:proves?|proved|confirms?|confirmed) (?:that|the)\b|\bshows? that \w+ works\b"),
    (14, r"\b(?:bigger|larger|stronger) effect\b.{0,40}\bsmaller p\b"),
    (14, r"\bsmaller p\b.{0,40}\b(?:bigger|larger|stronger) effect\b"),
    (16, r"\bintervals? overlaps?,? (?:so|hence|therefore)\b"),
    (17, r"\bmore (?:resamples|draws|shuffles) (?:make|give|makes|gives)\b.{0,30}\b(?:accurate|precise)\b"),
    (18, r"\bbootstrap(?:ping)? (?:creates?|generates?|makes?) (?:new|more) data\b"),
    (19, r"\bbootstrap(?:ping)? (?:needs?|makes?|requires?|has) no assumptions?\b|\bassumption-free\b"),
    (20, r"\bnull distribution is cent(?:re|er)d on the estimate\b"),
    (21, r"\bodds\b.{0,30}\b(?:times|twice) (?:as|more) likely\b"),
    (22, r"\beffect of \w+ causes\b|\bcauses? (?:an? )?(?:increase|decrease|rise|fall)\b"),
    (23, rf"\bprediction is {_LEVEL} (?:certain|sure)\b"),
    (24, r"\bthe (?:model is correct|fit is good)\b"),
    (25, r"\boutliers? (?:was|were) removed to improve\b"),
)  # fmt: skip
"""Number of the phrasing and its pattern; 15 is caught by 8."""

NEVER_IN_SENTENCES = (
    r"\b(?:(?:in)?significant|proves?|confirms?|rejects?|accepts?|trend towards?|highly|due to chance|no effect)\b"
)
"""Words of rule 7, for what the panel itself says."""

_COMPILED = tuple((number, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for number, pattern in FORBIDDEN)
_RULE_7 = re.compile(NEVER_IN_SENTENCES, re.IGNORECASE)
_QUOTED = re.compile(r"^```misreading\b.*?^```", re.MULTILINE | re.DOTALL)


class Finding(NamedTuple):
    """A forbidden phrasing: its number in the table, and the words that were found."""

    number: int
    phrase: str


def forbidden(text: str) -> list[Finding]:
    """Forbidden phrasings in a text; quotations in blocks tagged ``misreading`` are allowed."""
    text = " ".join(_QUOTED.sub("", text).split())
    return [Finding(number, m[0]) for number, pattern in _COMPILED for m in pattern.finditer(text)]


def forbidden_in_sentence(text: str) -> list[Finding]:
    """The same for what the panel says, where the words of rule 7 do not occur either."""
    return [*forbidden(text), *(Finding(0, m[0]) for m in _RULE_7.finditer(text))]


def forbidden_in_notebook(path: str | Path) -> list[Finding]:
    """Forbidden phrasings in the text cells and text outputs of a notebook, cells tagged ``misreading`` apart."""
    book = json.loads(Path(path).read_text(encoding="utf-8"))
    found: list[Finding] = []
    for cell in book.get("cells", []):
        if "misreading" in cell.get("metadata", {}).get("tags", ()):
            continue
        if cell.get("cell_type") == "markdown":
            found += forbidden("".join(cell["source"]))
        for output in cell.get("outputs", ()):
            plain = output.get("text") or output.get("data", {}).get("text/plain", "")
            found += forbidden("".join(plain))
    return found


# ---- reading level -------------------------------------------------------------------------------------------------

_VOWELS = re.compile(r"[aeiouy]+")


def syllables(word: str) -> int:
    """Syllables of an English word, by its groups of vowels; a number or a sign counts one."""
    word = re.sub(r"[^a-z]", "", word.lower())
    if not word:
        return 1
    groups = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    if word.endswith("ed") and not word.endswith(("ted", "ded")) and groups > 1:
        silent = True
    return max(1, groups - silent)


def reading_grade(text: str) -> float:
    """Flesch-Kincaid grade: 0.39 words a sentence + 11.8 syllables a word - 15.59.

    Source: Kincaid, Fishburne, Rogers & Chissom (1975), Research Branch Report 8-75, Naval Air Station Memphis.
    """
    tokens = text.split()
    sentences = max(1, len(re.findall(r"[.!?](?=\s|$)", text)))
    return 0.39 * len(tokens) / sentences + 11.8 * sum(syllables(t) for t in tokens) / len(tokens) - 15.59
