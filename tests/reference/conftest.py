"""The cases of the reference folder as tests, and an account of what they do not reach yet."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from .adapter import ANSWERS, answers, load_cases


class Account:
    """What the run of the cases came to, per quantity."""

    def __init__(self) -> None:
        self.cases: Counter[str] = Counter()
        self.waiting_cases: Counter[str] = Counter()
        self.compared: Counter[str] = Counter()
        self.fields: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))


ACCOUNT = pytest.StashKey[Account]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ACCOUNT] = Account()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    account = metafunc.config.stash[ACCOUNT]
    ready = []
    for case in load_cases(metafunc.config.getoption("reference")):
        if answers(case) is None:
            account.waiting_cases[f"{case.quantity} ({case.fun})" if case.quantity in ANSWERS else case.quantity] += 1
        else:
            ready.append(pytest.param(case, id=case.id))
    metafunc.parametrize("case", ready)


@pytest.fixture
def account(request: pytest.FixtureRequest) -> Account:
    return request.config.stash[ACCOUNT]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    account = config.stash[ACCOUNT]
    if not account.cases:
        return
    terminalreporter.section("reference: what was compared, and what was not")
    for quantity in sorted(account.cases):
        terminalreporter.line(
            f"{quantity}: {account.cases[quantity]} cases, {account.compared[quantity]:,} fields compared"
        )
        for kind, words in (("waiting", "not covered yet"), ("apart", "not comparable")):
            counts = account.fields[quantity][kind]
            if counts:
                names = ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))
                terminalreporter.line(f"    {words}: {names}")
    waiting = account.waiting_cases
    terminalreporter.line(f"quantities not covered yet: {sum(waiting.values())} cases")
    for quantity in sorted(waiting):
        terminalreporter.line(f"    {quantity}: {waiting[quantity]}")
