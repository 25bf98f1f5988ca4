"""Groups of a mixed model: coefficients as lme4 has them, errors by Henderson's equations in full."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtri

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreError

SLEEP = "Reaction ~ Days + (Days | Subject)"


def test_coefficients_of_groups_are_those_of_lme4():
    """R: coef(lmer(Reaction ~ Days + (Days | Subject), sleepstudy))$Subject, the rows 308, 309, 310 and 372."""
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    wanted = {
        "308": (253.663656, 19.66626173), "309": (211.006367, 1.84760534), "310": (212.444696, 5.01842949),
        "372": (263.719697, 11.751308),
    }  # fmt: skip
    table = m.varying_params
    assert table.columns == ["group", "level", "term", "estimate"] and table.height == 36
    for level, values in wanted.items():
        found = table.filter(pl.col("level") == level)
        assert found["term"].to_list() == ["(Intercept)", "Days"]
        # lme4's optimiser stops 1e-6 off in theta, which moves effects of tens of milliseconds by as much
        np.testing.assert_allclose(found["estimate"], values, rtol=1e-6, atol=5e-5)


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_model_without_fixed_effects_has_groups_all_the_same(family):
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(6), 5)
    y = rng.poisson(np.exp(rng.normal(size=6))[g]).astype(float)
    m = model("y ~ 0 + (1 | g)", pl.DataFrame({"y": y, "g": g.astype(str)}), family=family).fit()
    assert m.params.height == 0
    np.testing.assert_array_equal(m.varying_params["estimate"], m.varying_offsets["estimate"])
    np.testing.assert_array_equal(m.infer().varying_params["se"], m.varying_offsets["se"])
    assert "y ~ 0 + (1 | g)" in repr(m)


def test_coefficients_of_groups_of_a_glmer():
    """R: coef(glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial))$herd, rows 1 to 3."""
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial").fit()
    table = m.varying_params.head(3)
    assert table["level"].to_list() == ["1", "2", "3"]  # what varies alone: the periods are those of params
    np.testing.assert_allclose(table["estimate"], [-0.808511380, -1.697435456, -0.992277666], rtol=1e-4)  # R's tolPwrss


def test_offsets_carry_lme4s_conditional_sd():
    """R: sqrt(diag(attr(ranef(fit)$Subject, "postVar")[, , 1])) of the sleepstudy fit."""
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    table = m.varying_offsets
    assert table.columns == ["group", "level", "term", "estimate", "cond_sd"]
    np.testing.assert_allclose(table["cond_sd"][:2], [12.07085695, 2.30483902], rtol=5e-6)  # lme4's optimiser
    np.testing.assert_array_equal(table["estimate"].to_numpy(), m.fit_state.b)


def study(seed=4, n=150):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 9, n), rng.integers(0, 6, n)
    x, z = rng.normal(size=n), rng.normal(size=n)
    eta = 1 + 0.5 * x + rng.normal(size=9)[a] + 0.6 * rng.normal(size=9)[a] * x + 0.7 * rng.normal(size=6)[b]
    return pl.DataFrame(
        {
            "y": eta + rng.normal(size=n), "k": rng.poisson(np.exp(0.4 * eta)), "x": x, "z": z, "a": a.astype(str),
            "b": b.astype(str), "w": rng.uniform(0.5, 2.0, n), "zero": (rng.random(n) > 0.1).astype(float),
        }
    )  # fmt: skip


def henderson(m):
    """Inverse of the mixed-model equations in full: (p + q, p + q) variance of (b-hat, u-hat - u)."""
    f, re, kept = m.fit_state, m.bundle.re_metadata, np.flatnonzero(np.isfinite(m.fit_state.coef))
    X, Z = m.bundle.X[:, kept], re.z_matrix().toarray()
    W = f.working_weights / (f.dispersion if m.spec.is_lmer else 1.0)
    G = np.zeros((re.q, re.q))
    at = 0
    for block, T in zip(re.blocks, re.t_matrices(f.theta), strict=True):
        for _ in range(block.n_levels):
            G[at : at + block.k, at : at + block.k] = f.sigma**2 * T @ T.T
            at += block.k
    XZ = np.column_stack([X, Z])
    equations = XZ.T @ (W[:, None] * XZ)
    equations[kept.size :, kept.size :] += np.linalg.inv(G)
    return np.linalg.inv(equations), kept


def picks(m, kept):
    """(q, p + q) rows that make each group's coefficient out of fixed and random effects."""
    names = [m.bundle.X_names[j] for j in kept]
    own = [name for block in m.bundle.re_metadata.blocks for _ in block.levels for name in block.column_names]
    fixed = np.array([[float(name == other) for other in names] for name in own])
    return np.column_stack([fixed, np.eye(len(own))])


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x + z + (x | a)", {}),
        ("y ~ x + (1 | a)", {"weights": "w", "method": "ml"}),
        ("y ~ x + (x || a) + (1 | b)", {"weights": "w"}),
        ("y ~ x + I(2 * x) + (x | a) + (0 + z | b)", {}),  # a dropped column, and an effect without a fixed one
        ("y ~ x + (x | a)", {"weights": "zero"}),
        ("y ~ 1 + (1 | a) + (1 | b)", {}),
    ],
)
def test_errors_are_those_of_hendersons_equations(formula, options):
    m = model(formula, study(), **options).fit().infer(conf_level=0.9)
    C, kept = henderson(m)
    r = kept.size
    # both invert the same matrix, one of them whole
    np.testing.assert_allclose(m.varying_offsets["se"], np.sqrt(np.diagonal(C))[r:], rtol=1e-7)
    L = picks(m, kept)
    table = m.varying_params
    np.testing.assert_allclose(table["se"], np.sqrt(np.einsum("qi,ij,qj->q", L, C, L)), rtol=1e-7)
    estimates = L @ np.concatenate([m.fit_state.coef[kept], m.fit_state.b])
    np.testing.assert_allclose(table["estimate"], estimates, rtol=1e-9, atol=1e-12)
    width = (table["ci_upper"] - table["ci_lower"]).to_numpy()
    np.testing.assert_allclose(width, 2 * ndtri(0.95) * table["se"].to_numpy(), rtol=1e-9)


@pytest.mark.parametrize("formula", ["k ~ x + (1 | a)", "k ~ x + (x | a) + (1 | b)"])
def test_errors_of_a_generalized_model(formula):
    """At nAGQ=0 the covariance of the fixed effects is the factor's own, and Henderson's equations are exact."""
    m = model(formula, study(), family="poisson").fit(nAGQ=0).infer()
    C, kept = henderson(m)
    L = picks(m, kept)
    # the modes are found to a gradient of 1e-8 or so
    np.testing.assert_allclose(m.varying_offsets["se"], np.sqrt(np.diagonal(C))[kept.size :], rtol=1e-6)
    np.testing.assert_allclose(m.varying_params["se"], np.sqrt(np.einsum("qi,ij,qj->q", L, C, L)), rtol=1e-6)


def test_a_gamma_model_has_its_dispersion_in_the_weights():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(12), 10)
    mu = np.exp(0.5 + 0.4 * rng.normal(size=12)[g])
    frame = pl.DataFrame({"y": rng.gamma(3, mu / 3), "g": g.astype(str), "h": np.tile(np.arange(10), 12).astype(str)})
    one = model("y ~ 1 + (1 | g)", frame, family="gamma", link="log").fit(nAGQ=0).infer()
    C, kept = henderson(one)
    np.testing.assert_allclose(one.varying_offsets["se"], np.sqrt(np.diagonal(C))[kept.size :], rtol=1e-6)


def test_limits_follow_the_last_inference():
    m = model(SLEEP, load_dataset("sleepstudy")).fit()
    before = m.varying_params
    wide = m.infer(conf_level=0.99).varying_params
    narrow = m.infer(conf_level=0.5).varying_params
    assert (wide["ci_lower"] < narrow["ci_lower"]).all() and (wide["ci_upper"] > narrow["ci_upper"]).all()
    assert m.fit().varying_params.equals(before)  # a new fit drops what belonged to the old one


def test_effects_of_several_factors_stand_in_one_table():
    m = model("y ~ x + (x || a) + (1 | b)", study()).fit().infer()
    table = m.varying_params
    assert table.group_by("group").len().sort("group").rows() == [("a", 18), ("b", 6)]
    assert table.null_count().sum_horizontal().item() == 0
    assert table.filter(pl.col("group") == "b")["term"].unique().to_list() == ["(Intercept)"]


@pytest.mark.parametrize("name", ["varying_params", "varying_offsets"])
def test_models_without_groups_are_refused(name):
    m = model("mpg ~ wt", load_dataset("mtcars"))
    with pytest.raises(InferenceCoreError, match="not been fitted"):
        getattr(m, name)
    with pytest.raises(InferenceCoreError, match=f"m.{name}\nfound: the model has no random effects"):
        getattr(m.fit(), name)
