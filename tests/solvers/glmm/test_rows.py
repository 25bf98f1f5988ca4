"""Rows of a GLMM: every derivative against central differences, and the deviance against the log-likelihood."""

from __future__ import annotations

import numpy as np
import pytest

from inference_core.families import with_params
from inference_core.solvers.glmm.rows import RowModel

from .simulated import PAIRS, eta_of, log_scale, responses

STEP = 1e-5
# central differences at 1e-5: truncation 1e-10 times the third derivative, rounding 1e-11; 1e-6 leaves room
RTOL, ATOL = 1e-6, 1e-6


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_score_and_weights_are_derivatives(family, link):
    eta = eta_of(family, link, np.linspace(-1, 1, 40))
    model = responses(family, link, eta)
    model = RowModel(model.family, model.y, np.linspace(0.5, 2.0, 40)[None])
    scale = log_scale(model)
    at = model(eta[None], scale)
    up, down = model(eta[None] + STEP, scale), model(eta[None] - STEP, scale)

    def slope(name):
        return (getattr(up, name) - getattr(down, name)) / (2 * STEP)

    np.testing.assert_allclose(-2.0 * at.score, slope("deviance"), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(-at.observed, slope("score"), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(at.slope, slope("fisher"), rtol=RTOL, atol=ATOL)
    assert np.all(at.fisher >= 0)
    assert (at.observed is at.fisher) == model.canonical


@pytest.mark.parametrize(("family", "link"), [p for p in PAIRS if p[0] not in ("binomial", "poisson")])
def test_derivatives_in_the_scale(family, link):
    eta = eta_of(family, link, np.linspace(-1, 1, 30))
    model = responses(family, link, eta)
    scale = log_scale(model)
    rows = model(eta[None], scale)
    got = model.scale_rows(eta[None], scale, rows)
    up, down = model(eta[None], scale + STEP), model(eta[None], scale - STEP)
    for name in ("deviance", "score", "fisher"):
        wanted = (getattr(up, name) - getattr(down, name)) / (2 * STEP)
        np.testing.assert_allclose(getattr(got, name), wanted, rtol=RTOL, atol=ATOL, err_msg=name)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_deviance_is_minus_twice_the_log_likelihood(family, link):
    """Up to a constant of y alone: differences between two points of (eta, scale) agree."""
    part = np.linspace(-1, 1, 30)
    eta = eta_of(family, link, part)
    model = responses(family, link, eta)
    scale = log_scale(model)
    other = eta_of(family, link, 0.5 * part[::-1])
    moved = None if scale is None else scale + 0.3

    def loglik(eta, scale):
        made = model.family
        if made.name == "negative_binomial":
            made = with_params(made, (float(np.exp(scale[0])),))
        phi = None if scale is None or made.name == "negative_binomial" else float(np.exp(scale[0]))
        return float(made.loglik(model.y[0], made.link.inverse(eta), model.weights, phi))

    got = np.sum(model(eta[None], scale).deviance) - np.sum(model(other[None], moved).deviance)
    # 1e-9: sums of 30 terms, some of them of size 1e2
    assert got == pytest.approx(-2.0 * (loglik(eta, scale) - loglik(other, moved)), rel=1e-9, abs=1e-9)


def test_extreme_eta_gives_no_warning():
    eta = np.array([[-800.0, -40.0, 40.0, 800.0]])
    for family, link in PAIRS:
        model = responses(family, link, np.full(4, eta_of(family, link, np.zeros(1))[0]))
        rows = model(eta, log_scale(model))
        assert rows.deviance.shape == (1, 4)


def test_lanes_share_what_does_not_differ():
    model = responses("binomial", "logit", np.zeros(10))
    many = RowModel(model.family, np.repeat(model.y, 3, axis=0), model.weights)
    assert many.take(np.array([2, 0])).y.shape == (2, 10)
    assert model.take(np.array([0, 0, 0])).y is model.y
