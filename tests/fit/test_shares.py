"""R2 and ICC of generalized mixed models: closed forms by family and link, R's numbers, and limits that must agree."""

import numpy as np
import polars as pl
import pytest

from inference_core.datasets import load_dataset
from inference_core.design import build_bundle
from inference_core.families import default_link, get_family
from inference_core.fit import diagnostics
from inference_core.fit.glmer import fit_glmer
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.varcomp import observation_variance, variance_shares
from inference_core.model import model


def fitted(formula, data, family, link=None, **options):
    spec, bundle = build_bundle(formula, data, family=family, link=link or default_link(family), method="ml", **options)
    return spec, bundle, fit_glmer(spec, bundle)


def test_cbpp_as_in_r():
    """R (lme4 1.1-31): m <- glmer(cbind(incidence, size - incidence) ~ period + (1|herd), cbpp, binomial, control =
    glmerControl(optimizer = "bobyqa", tolPwrss = 1e-13, optCtrl = list(rhoend = 1e-9)));
    f <- var(predict(m, re.form = NA, type = "link")); v <- VarCorr(m)$herd[1]; f / (f + v + pi^2/3) and so on.
    """
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", load_dataset("cbpp"), family="binomial").fit()
    row = m.diagnostics.row(0, named=True)
    found = [row["r2_marginal"], row["r2_conditional"], row["icc"]]
    np.testing.assert_allclose(found, [0.0854161, 0.1873145, 0.1114151], rtol=1e-5)  # seven digits
    assert row["nobs"] == 56 and row["is_singular"] is False


def test_counts_as_in_r():
    """R: gt <- grouseticks; gt$H <- as.numeric(scale(gt$HEIGHT));
    g <- glmer(TICKS ~ YEAR + H + (1|BROOD), gt, poisson); the same with log(1 + 1/mean(gt$TICKS)) in place of pi^2/3.
    """
    data = load_dataset("grouseticks")
    data = data.with_columns(
        H=(pl.col("HEIGHT") - pl.col("HEIGHT").mean()) / pl.col("HEIGHT").std(), YEAR=pl.col("YEAR").cast(pl.String)
    )
    spec, bundle, fit = fitted("TICKS ~ YEAR + H + (1 | BROOD)", data, "poisson")
    s = variance_shares(bundle, fit, spec)
    np.testing.assert_allclose(
        [s.r2_marginal, s.r2_conditional, s.icc], [0.6245848, 0.9477509, 0.8608230], rtol=1e-4
    )  # lme4's optimum is 1e-5 off


@pytest.mark.parametrize(
    ("family", "link", "mean", "phi", "expected"),
    [
        ("binomial", "logit", 0.2, 1.0, np.pi**2 / 3),
        ("binomial", "probit", 0.2, 1.0, 1.0),
        ("binomial", "cloglog", 0.2, 1.0, np.pi**2 / 6),
        ("poisson", "log", 4.0, 1.0, np.log(1 + 1 / 4.0)),
        ("poisson", "sqrt", 4.0, 1.0, 0.25),  # the square root has variance 1/4 whatever the mean
        ("poisson", "identity", 4.0, 1.0, 4.0),
        ("negative_binomial(theta=2)", "log", 4.0, 1.0, np.log(1 + 1 / 4.0 + 1 / 2.0)),
        ("gamma", "log", 3.0, 0.3, np.log(1.3)),
        ("gamma", "inverse", 3.0, 0.3, 0.3 / 9.0),
        ("inverse_gaussian", "log", 3.0, 0.2, np.log(1 + 0.2 * 3.0)),
        ("gaussian", "log", 3.0, 0.5, np.log(1 + 0.5 / 9.0)),
    ],
)
def test_closed_forms(family, link, mean, phi, expected):
    assert observation_variance(get_family(family, link), mean, phi) == pytest.approx(expected, rel=1e-12)


def test_a_link_without_a_latent_variance_has_no_share():
    data = load_dataset("cbpp")
    spec, bundle, fit = fitted("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial", "cauchit")
    row = diagnostics.model_summary(spec, bundle, fit)
    assert row["icc"] is None and row["r2_marginal"] is None and row["criterion"] == fit.criterion


def positive(shape, seed=3):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(40), 15)
    x = rng.standard_normal(g.size)
    mu = np.exp(1 + 0.2 * x + 0.3 * rng.standard_normal(40)[g])
    return pl.DataFrame({"g": g, "x": x, "y": rng.gamma(shape, mu / shape)})


def test_a_gamma_of_small_spread_is_a_linear_model_of_logs():
    data = positive(60.0)
    spec, bundle, fit = fitted("y ~ x + (1 | g)", data, "gamma", "log")
    ours = variance_shares(bundle, fit, spec)
    _, b = build_bundle("log(y) ~ x + (1 | g)", data, method="ml")
    logs = variance_shares(b, fit_lmer(_, b))
    # phi = 1/60: Laplace and the lognormal differ from the normal of logs by terms of order phi
    for name in ("r2_marginal", "r2_conditional", "icc"):
        assert getattr(ours, name) == pytest.approx(getattr(logs, name), rel=0.02)


def test_the_offset_explains_nothing_and_slopes_count():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(20), 12)
    x, o = rng.standard_normal(240), rng.uniform(0, 2, 240)
    y = rng.poisson(np.exp(0.2 + 0.3 * x + o + (0.5 + 0.2 * x) * rng.standard_normal(20)[g]))
    data = pl.DataFrame({"g": g, "x": x, "y": y, "o": o})
    spec, bundle, fit = fitted("y ~ x + offset(o) + (x || g)", data, "poisson")
    s = variance_shares(bundle, fit, spec)
    assert fit.theta is not None
    a, b = fit.theta
    assert s.fixed == pytest.approx(np.var(bundle.X @ fit.coef, ddof=1), rel=1e-12)
    assert s.random == pytest.approx(a**2 + b**2 * np.mean(x**2), rel=1e-12)
    assert s.residual == pytest.approx(np.log1p(1 / np.mean(y)), rel=1e-12)
