"""The optimum: on every case of a mixed model the default search ends no worse than the best one known."""

from __future__ import annotations

import pytest

from .adapter import answers, load_cases

CRITERION = {"lmer.fit": "criterion", "glmer.fit": "minus2logLik"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mixed" in metafunc.fixturenames:
        cases = load_cases(metafunc.config.getoption("reference"))
        ready = [c for c in cases if c.quantity in CRITERION and answers(c) is not None]
        metafunc.parametrize("mixed", [pytest.param(c, id=c.id) for c in ready])


def test_the_criterion_is_never_worse(mixed):
    """1e-6 deviance units: a thousandth of what one would see in any table, far above rounding."""
    info = mixed.fitted().diagnostics.row(0, named=True)
    assert info["converged"]
    assert info["criterion"] <= mixed.values[CRITERION[mixed.quantity]] + 1e-6


def test_local_optima_of_the_default_search_of_r_are_left_behind(pytestconfig):
    """Where plain ``lmer()`` stops short by a deviance unit and more, fit() must not."""
    for case in load_cases(pytestconfig.getoption("reference")):
        if case.quantity == "lmer.fit":
            plain = case.values.get("default_control", {}).get("criterion", -float("inf"))
            if plain > case.values["criterion"] + 1.0:
                assert case.fitted().diagnostics["criterion"].item() < plain - 1.0
