"""The bootstrap of generalized mixed models through the public names: a loop of fits, limits, notes, refusals."""

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.errors import InferenceError
from inference_core.infer.intervals import interval, p_value
from inference_core.model import model

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp():
    return model(CBPP, load_dataset("cbpp"), family="binomial").fit()


@pytest.fixture(scope="module")
def booted(cbpp):
    m = model(CBPP, load_dataset("cbpp"), family="binomial").fit()
    return m.infer(how="boot", n_boot=400, seed=5)


@pytest.mark.parametrize("nodes", [0, 1, 9])
def test_a_loop_of_fits_gives_the_same_rows(nodes):
    """Simulated cases written into the data frame, and ``model(...).fit()`` called again: five of the draws."""
    data = load_dataset("cbpp")
    m = model(CBPP, data, family="binomial").fit(nAGQ=nodes)
    m.infer(how="boot", n_boot=39, seed=8, ci_type="percentile", n_jobs=2)
    draws = m.resamples
    se = draws.select(m.bundle.X_names).to_numpy().std(axis=0)
    for i in (0, 1, 17, 38):
        hits = np.rint(m.state.resamples.draw(i) * data["size"].to_numpy()).astype(int)
        again = model(CBPP, data.with_columns(incidence=pl.Series(hits)), family="binomial").fit(nAGQ=nodes)
        row = draws.row(i, named=True)
        apart = np.abs(again.params["estimate"].to_numpy() - [row[name] for name in m.bundle.X_names])
        assert (apart < 5e-6 * se).all()  # a refit stops at a decrement of 1e-12 by an approximate Hessian
        # near an SD of 0 the deviance is flat in the variance: the root of 1e-8
        assert row["sd_(Intercept)|herd"] == pytest.approx(again.varying_spread["sd"][0], rel=1e-4, abs=1e-4)


def test_tables(booted):
    draws = booted.resamples.select(booted.bundle.X_names).to_numpy()
    observed = booted.fit_state.coef
    # the reference is normal: expanded limits with infinite df are percentile limits
    expected = interval("percentile", draws, observed, 0.95)
    np.testing.assert_allclose(booted.params["ci_lower"], expected.lower, rtol=1e-12)
    np.testing.assert_allclose(booted.params["ci_upper"], expected.upper, rtol=1e-12)
    np.testing.assert_allclose(booted.params["se"], draws.std(axis=0, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(
        booted.params["p_value"], p_value("percentile", draws, observed, 0.0, level=0.95), rtol=1e-12
    )
    sd = booted.resamples["sd_(Intercept)|herd"].to_numpy()[:, None]
    limits = interval("percentile", sd, np.array([0.6422]), 0.95)
    spread = booted.varying_spread
    assert spread.height == 1  # no residual: the family has none to estimate
    assert spread["sd_ci_lower"][0] == pytest.approx(limits.lower[0], rel=1e-12)
    assert spread["sd_ci_upper"][0] == pytest.approx(limits.upper[0], rel=1e-12)
    assert "sigma" not in booted.resamples.columns
    assert booted.inference.ci_type == "expanded" and booted.inference.scheme == "parametric"
    assert "bootstrap (parametric), 400 draws, seed 5" in repr(booted)


def test_standard_errors_are_near_those_of_the_hessian(booted):
    ratio = booted.params["se"].to_numpy() / np.sqrt(np.diag(booted.fit_state.vcov))
    # 56 rows of 15 herds: the curvature's errors are a few per cent off, 400 draws know an SE to 4 %
    np.testing.assert_allclose(ratio, 1.0, atol=0.15)


def test_a_family_with_a_dispersion_has_limits_of_sigma():
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(20), 8)
    mu = np.exp(1 + 0.4 * rng.standard_normal(20)[g])
    data = pl.DataFrame({"g": g, "y": rng.gamma(6, mu / 6)})
    m = model("y ~ 1 + (1 | g)", data, family="gamma", link="log").fit()
    m.infer(how="boot", n_boot=199, seed=2)
    table = m.varying_spread
    assert table["group"].to_list() == ["g", "Residual"]
    assert (table["sd_ci_lower"] < table["sd"]).all() and (table["sd"] < table["sd_ci_upper"]).all()
    assert m.resamples["sigma"].mean() == pytest.approx(m.fit_state.sigma, rel=0.05)


def test_correlations_have_limits():
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(24), 12)
    x = rng.standard_normal(g.size)
    b = rng.standard_normal((24, 2)) @ np.array([[0.6, 0.3], [0.0, 0.3]])
    data = pl.DataFrame({"g": g, "x": x, "y": rng.poisson(np.exp(0.6 + 0.3 * x + b[g, 0] + b[g, 1] * x))})
    m = model("y ~ x + (x | g)", data, family="poisson").fit().infer(how="boot", n_boot=199, seed=4)
    row = m.varying_corr.row(0, named=True)
    assert -1 <= row["ci_lower"] < row["correlation"] < row["ci_upper"] <= 1
    assert m.varying_spread.height == 2 and m.varying_spread["sd_ci_lower"].null_count() == 0


def test_schemes_and_types(cbpp):
    m = model(CBPP, load_dataset("cbpp"), family="binomial").fit()
    whole = m.infer(how="boot", scheme="cluster", n_boot=399, seed=1)
    assert whole.inference.scheme == "cluster" and whole.state.resamples.indices_of is not None
    assert len(whole.state.resamples.draw(0)) == len(whole.draw_stream(scheme="cluster", seed=1).indices_of(0))
    bca = m.infer(how="boot", ci_type="bca", n_boot=399, seed=1)
    assert bca.inference.ci_type == "bca" and np.isfinite(bca.params["ci_upper"].to_numpy()).all()
    for scheme in ("wild", "residual"):
        with pytest.raises(InferenceError, match="residuals there have no spread of their own"):
            m.infer(how="boot", scheme=scheme)
    with pytest.raises(InferenceError, match="parametric, cluster"):
        m.infer(how="boot", scheme="case")
    with pytest.raises(InferenceError, match="no standard errors of their own"):
        m.infer(how="boot", ci_type="studentized")
    with pytest.raises(InferenceError, match="n_boot >= 39"):
        m.infer(how="boot", n_boot=20)


def test_the_stream_grows(cbpp):
    stream = cbpp.draw_stream(seed=3)
    assert stream.names == (*cbpp.bundle.X_names, "sd_(Intercept)|herd")
    first = stream.batch(0, 10).samples
    np.testing.assert_array_equal(stream.collect(300).samples[:10], first)
