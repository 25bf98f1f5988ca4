"""Reads the tables of SENTENCES.md beside this file: they are the test data."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Line(NamedTuple):
    """One line of a table: its id, the template and the worked example."""

    id: str
    template: str
    example: str


@lru_cache(maxsize=1)
def _sections() -> dict[str, list[list[str]]]:
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    for line in (HERE / "SENTENCES.md").read_text(encoding="utf-8").splitlines():
        heading = re.match(r"#+ ([\d.]+)", line)
        if heading:
            current = sections.setdefault(heading[1].rstrip("."), [])
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            current.append([cell.strip().replace("\\|", "|") for cell in cells])
    return sections


def _lines(section: str, template: int, example: int | None) -> list[Line]:
    lines = [row for row in _sections()[section] if re.match(r"[A-Z]+\d+", row[0])]
    return [Line(row[0].split()[0], row[template], row[example] if example is not None else "") for row in lines]


def rows() -> list[Line]:
    """Section 4, all rows but the states of a run."""
    return [line for k in range(1, 10) for line in _lines(f"4.{k}", 2, 3)]


def states() -> list[Line]:
    """Section 4.10."""
    return _lines("4.10", 2, 3)


def more() -> list[Line]:
    """Section 5."""
    return _lines("5", 2, 3)


def status() -> list[Line]:
    """Section 7; the kind stands in place of an example."""
    return _lines("7", 2, 1)


def charts() -> list[Line]:
    """Section 8."""
    return _lines("8", 1, 2)


def forbidden() -> list[tuple[int, str]]:
    """Section 6: number and phrasing."""
    return [(int(row[0]), row[1]) for row in _sections()["6"] if row[0].isdigit()]


def examples() -> dict[str, str]:
    """Worked examples by id."""
    return {line.id: line.example for line in [*rows(), *states(), *more(), *charts()]}
