"""Agreement with lme4: every case of a linear mixed model whose size the kernels take, by its quantity alone."""

from __future__ import annotations

import pytest

from .adapter import load_cases
from .adapter.compare import compare
from .adapter.mixed import fitted, lmer_fit, lmer_ranef, within_reach

ANSWERS = {"lmer.fit": lmer_fit, "lmer.ranef": lmer_ranef}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mixed" in metafunc.fixturenames:
        cases = [c for c in load_cases(metafunc.config.getoption("reference")) if c.quantity in ANSWERS]
        metafunc.parametrize("mixed", [pytest.param(c, id=c.id) for c in cases if within_reach(c)])


def test_agrees_with_lme4(mixed):
    found = compare(mixed.values, ANSWERS[mixed.quantity](mixed), mixed.raw["tolerance"])
    assert not found.failures, "\n".join([mixed.id, *found.failures])
    assert found.compared, f"{mixed.id}: nothing was compared"


def test_the_criterion_is_never_worse(mixed):
    """1e-6 deviance units: a thousandth of what one would see in any table, far above rounding."""
    if "criterion" in mixed.values:
        m = fitted(mixed)
        assert m.fit.converged
        assert m.fit.criterion <= mixed.values["criterion"] + 1e-6
