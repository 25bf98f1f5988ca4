"""Degrees of freedom where nothing dense of the size of the model is formed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from inference_core import model
from inference_core.design import build_bundle
from inference_core.errors import InferenceError
from inference_core.fit import mixed_df as module
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.mixed_df import mixed_df
from inference_core.solvers.lmm.crossed import CrossedKernel
from inference_core.solvers.lmm.crossed_design import CrossedDesign
from inference_core.solvers.lmm.denominator import KenwardRoger, Satterthwaite
from inference_core.solvers.lmm.dense import DenseDesign
from inference_core.solvers.lmm.dense_fit import fit_dense
from inference_core.solvers.lmm.information import information_of_terms
from inference_core.solvers.lmm.information_large import moves_of_crossed
from tests.solvers.lmm.crossed_models import draw_crossed


def slopes(n=2500, a=320, b=60, seed=1):
    """Crossed factors, a slope by one of them: 700 random effects."""
    rng = np.random.default_rng(seed)
    g, h, x = rng.integers(0, a, n), rng.integers(0, b, n), rng.standard_normal(n)
    y = 1 + 0.3 * x + 0.6 * rng.standard_normal(a)[g] + 0.4 * x * rng.standard_normal(a)[g]
    y = y + 0.5 * rng.standard_normal(b)[h] + rng.standard_normal(n)
    return pl.DataFrame({"y": y, "x": x, "a": [f"a{i}" for i in g], "b": [f"b{i}" for i in h]})


@pytest.fixture(scope="module")
def fitted():
    spec, bundle = build_bundle("y ~ x + (x | a) + (1 | b)", slopes(), method="reml")
    return spec, bundle, fit_lmer(spec, bundle)


@pytest.mark.parametrize(
    ("effects", "kind"), [((1, 1), "full"), ((2, 1), "full"), ((1, 2), "diagonal"), ((2, 2), "full")]
)
@pytest.mark.parametrize("weighted", [True, False])
def test_differences_of_the_gradient_give_the_hessian(effects, kind, weighted):
    d = draw_crossed(21, effects, kind, weighted=weighted)
    T = fit_dense(d.X, d.terms, d.y, weights=d.weights).T
    dense = information_of_terms(DenseDesign.of(d.X, d.terms, d.weights), d.y, T)
    ours = moves_of_crossed(CrossedKernel(CrossedDesign.of(d.X, d.terms, d.weights)), d.y, T)
    # h^2 times fourth derivatives, h = 1e-4
    np.testing.assert_allclose(ours.hessian, dense.hessian, atol=1e-6 * np.abs(dense.hessian).max())
    np.testing.assert_allclose(ours.turns, dense.turns, atol=1e-9 * np.abs(dense.turns).max())
    L = np.vstack([np.eye(3), [1.0, -1.0, 2.0]])
    np.testing.assert_allclose(Satterthwaite.of(ours).df(L), Satterthwaite.of(dense).df(L), rtol=1e-5)


def test_a_model_with_slopes(fitted):
    spec, bundle, fit = fitted
    assert bundle.re_metadata.q == 700
    df = mixed_df(spec, bundle, fit)
    problem = df.problem
    dense = information_of_terms(
        DenseDesign.of(problem.X, problem.terms), problem.y, problem.relative_factors(fit.theta)
    )
    np.testing.assert_allclose(df.satterthwaite(), Satterthwaite.of(dense).df(np.eye(2)), rtol=1e-5)  # as above
    np.testing.assert_allclose(df.kenward_roger(), KenwardRoger.of(dense).df(np.eye(2)), rtol=1e-9)  # the same algebra


def test_kenward_roger_is_refused_where_its_matrices_are_too_large(fitted, monkeypatch):
    monkeypatch.setattr(module, "MAX_DENSE", 650)
    monkeypatch.setattr(module, "_RECENT", [])  # an answer under the other bound may be at hand
    df = mixed_df(*fitted)
    assert np.all(df.satterthwaite() > 10)
    with pytest.raises(InferenceError, match="700 random effects of several grouping factors in 2,500 rows"):
        df.kenward_roger()


def test_the_table_does_not_fail_for_want_of_df(monkeypatch):
    monkeypatch.setattr(module, "MAX_WORK", 0)
    table = model("y ~ x + (x | a) + (1 | b)", slopes()).fit().infer()
    assert any("z in place of t" in note for note in table._state.inference.notes)
    estimate, se, p = (table.params[name].to_numpy() for name in ("estimate", "se", "p_value"))
    from scipy.stats import norm

    np.testing.assert_allclose(p, 2 * norm.sf(np.abs(estimate / se)), rtol=1e-10)
