"""The table of ratios: filled by the benchmarks, printed at the end, written to bench-artefacts/."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from .lme4 import Lme4, has_lme4

ARTEFACTS = Path(__file__).parents[2] / "bench-artefacts"


@dataclass
class Row:
    """One comparison, seconds each."""

    what: str
    ours: float
    other: float
    against: str
    at_most: float | None = None  # ours / other
    at_least: float | None = None  # other / ours

    @property
    def ratio(self) -> float:
        """How many times the floor, or how many times faster than the peer."""
        return self.other / self.ours if self.at_least is not None else self.ours / self.other

    @property
    def verdict(self) -> str:
        """Met, missed, or nothing promised."""
        if self.at_most is None and self.at_least is None:
            return "for comparison"
        met = self.ratio <= self.at_most if self.at_most is not None else self.ratio >= self.at_least
        promise = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"{promise}: {'met' if met else 'MISSED'}"


class Ratios(list):
    """The rows of one run, lines that are no ratio, and what could not be measured."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[str] = []
        self.absent: list[str] = []

    def add(self, *args, **kwargs) -> Row:
        """Append a row and hand it back."""
        self.append(Row(*args, **kwargs))
        return self[-1]

    def lines(self) -> list[str]:
        """The table as aligned text."""
        cells = [["operation", "ours", "other", "ratio", "against", "promise"]]
        cells += [
            [
                r.what,
                f"{1e3 * r.ours:.1f} ms",
                f"{1e3 * r.other:.1f} ms",
                f"{r.ratio:.2f}",
                r.against,
                r.verdict,
            ]
            for r in self
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return table + self.facts + self.absent


RATIOS = pytest.StashKey[Ratios]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RATIOS] = Ratios()


@pytest.fixture
def ratios(request: pytest.FixtureRequest) -> Ratios:
    return request.config.stash[RATIOS]


@pytest.fixture(scope="session")
def lme4():
    """A running R with lme4, or None where it is not installed."""
    if not has_lme4():
        yield None
        return
    with Lme4() as peer:
        yield peer


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    ratios = config.stash[RATIOS]
    if not ratios:
        return
    terminalreporter.section("ratios of one run")
    for line in ratios.lines():
        terminalreporter.line(line)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "ratios.txt").write_text("\n".join(ratios.lines()) + "\n")
    rows = [asdict(r) | {"ratio": r.ratio, "verdict": r.verdict} for r in ratios]
    (ARTEFACTS / "ratios.json").write_text(json.dumps(rows, indent=1) + "\n")
