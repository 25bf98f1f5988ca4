"""Bootstrap of effects: draws by hand from the coefficients' draws, standard errors against the delta method, units."""

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceError
from inference_core.infer import build_emm_reference_grid, compute_mee_bootstrap, dispatch_mee_inference

EXACT = 1e-9  # relative: the same sums in another order
B = 1000
# Four Monte-Carlo standard errors of an SE, 1/sqrt(2 B) each, and 3 % for what the delta method leaves out at n = 600.
NEAR = 4 / np.sqrt(2 * B) + 0.03


def made(n=600, seed=11):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.uniform(0, 2, size=n)
    g = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    h = np.array(["u", "v"])[rng.integers(0, 2, n)]
    eta = 0.2 + 0.4 * x - 0.3 * z + 0.5 * (g == "b") - 0.2 * (g == "c") * x + 0.3 * (h == "v")
    return pl.DataFrame(
        {
            "x": x, "z": z, "g": g, "h": h, "y": 3 + eta + rng.normal(size=n), "count": rng.poisson(np.exp(1 + eta)),
            "hit": (rng.uniform(size=n) < 1 / (1 + np.exp(-eta))).astype(int), "pos": rng.gamma(4, np.exp(eta) / 4),
        }
    )  # fmt: skip


FITTED = {}
FORMULAS = {
    "lm": ("y ~ x * g + poly(z, 2) + h", {}), "logit": ("hit ~ x * g + z + h", {"family": "binomial"}),
    "poisson": ("count ~ x * g + z + h", {"family": "poisson"}),
    "gamma": ("pos ~ x * g + z + h", {"family": "gamma", "link": "log"}), "log y": ("log(pos) ~ x * g + z + h", {}),
}  # fmt: skip


def fitted(name):
    if name not in FITTED:
        formula, options = FORMULAS[name]
        m = model(formula, made(), **options).fit()
        draws = m.infer(how="boot", n_boot=B, seed=1, ci_type="percentile").resamples
        FITTED[name] = m, draws.select(m.bundle.X_names).to_numpy()
    return FITTED[name]


ASKED = [
    ("g", {}), ("g", {"weights": "proportional"}), ("pairwise(g)", {}), ("x ~ g", {}), ("x", {"how": "ame"}),
    ("g", {"how": "ame"}), ("pairwise(g)", {"how": "ame"}), ("z@[0.5, 1.5]", {}),
]  # fmt: skip
CURVED = [
    ("pairwise(g)", {"comparison": "ratio"}), ("pairwise(h)", {"how": "ame", "comparison": "ratio"}),
    ("h", {"average_on": "response"}), ("pairwise(h) ~ g", {"comparison": "ratio", "how": "ame"}),
    ("pairwise(h)", {"how": "ame", "effect_scale": "response"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "ask"),
    [(name, *asked) for name in FORMULAS for asked in ASKED + (CURVED if name not in ("lm", "log y") else [])],
    ids=str,
)
def test_the_spread_of_the_draws_is_the_delta_standard_error(name, text, ask):
    """Every effect on well-behaved data; cases are resampled, so the delta method takes HC0 errors."""
    m, _ = fitted(name)
    delta = m.explore(text, **ask).infer(errors="HC0").effects["se"].to_numpy()
    boot = m.infer(how="boot", n_boot=B, seed=1, ci_type="percentile").effects["se"].to_numpy()
    np.testing.assert_allclose(boot, delta, rtol=NEAR)


def test_effects_on_the_response_scale_are_recomputed_in_each_draw():
    """Trap 8: an average effect of a logit, for each draw by a formula written out here."""
    m, draws = fitted("logit")
    data = made()
    b = dict(zip(m.bundle.X_names, draws.T, strict=True))
    p = {}
    for h in ("u", "v"):
        eta = (
            b["(Intercept)"][:, None] + b["x"][:, None] * data["x"].to_numpy() + b["z"][:, None] * data["z"].to_numpy()
            + (b["h[v]"][:, None] if h == "v" else 0.0)
        )  # fmt: skip
        for level in ("b", "c"):
            rows = (data["g"] == level).to_numpy()
            eta[:, rows] += b[f"g[{level}]"][:, None] + b[f"x:g[{level}]"][:, None] * data["x"].to_numpy()[rows]
        p[h] = (1 / (1 + np.exp(-eta))).mean(1)
    m.explore("pairwise(h)", how="ame").infer(how="boot", n_boot=B, seed=1, ci_type="percentile")
    found = m.resamples["u - v"].to_numpy()
    np.testing.assert_allclose(found, p["u"] - p["v"], rtol=1e-8)  # a difference that cancels a digit
    table = m.effects.row(0, named=True)
    assert table["se"] == pytest.approx(np.std(found, ddof=1), rel=EXACT)
    assert table["ci_lower"] < table["estimate"] < table["ci_upper"]
    assert table["ci_upper"] - table["ci_lower"] > 3 * table["se"]  # not [.178, .178] around .706
    ratio = m.explore("pairwise(h)", how="ame", comparison="ratio")
    ratio.infer(how="boot", n_boot=B, seed=1, ci_type="percentile")
    np.testing.assert_allclose(m.resamples["u - v"].to_numpy(), p["u"] / p["v"], rtol=EXACT)


@pytest.mark.parametrize("ci_type", ["percentile", "bca"])
def test_limits_that_follow_a_map(ci_type):
    """Percentile and BCa limits of exp(effect) are the exponentials of those of the effect, draw by draw."""
    m, _ = fitted("poisson")
    ask = {"how": "boot", "n_boot": B, "seed": 1, "ci_type": ci_type}
    link = m.explore("pairwise(g)", effect_scale="link").infer(**ask).effects
    ratio = m.explore("pairwise(g)", comparison="ratio").infer(**ask).effects
    for name in ("ci_lower", "ci_upper"):
        # between two order statistics the rule interpolates on the normal scale of each: 1e-3 of a limit apart
        np.testing.assert_allclose(np.log(ratio[name].to_numpy()), link[name].to_numpy(), atol=2e-3)


def test_a_coefficient_as_an_effect_has_the_coefficients_draws():
    m = model("y ~ x + h", made()).fit()
    for ci_type in ("percentile", "basic", "normal", "bca", "expanded"):
        ask = {"how": "boot", "n_boot": 499, "seed": 3, "ci_type": ci_type}
        alone = m.fit().infer(**ask).params.filter(pl.col("term") == "x").drop("term").to_numpy().astype(float)
        slope = m.explore("x").infer(**ask).effects.drop("term").to_numpy().astype(float)
        np.testing.assert_allclose(slope, alone, rtol=1e-8, equal_nan=True)  # 1 but for rounding


@pytest.mark.parametrize("scheme", ["parametric", "cluster", "residual"])
def test_mixed_models_draw_groups_and_not_rows(scheme):
    """Trap 10: SE of the days of sleep is 1.55 over 18 subjects; resampled rows said .78."""
    m = model("Reaction ~ Days + (Days | Subject)", load_dataset("sleepstudy")).fit()
    ask = {"how": "boot", "n_boot": 299, "seed": 2, "scheme": scheme, "ci_type": "percentile"}
    alone = m.infer(**ask)
    draws = alone.resamples.select("(Intercept)", "Days").to_numpy()
    table = m.explore("Days@[0, 9]").infer(**ask).effects
    np.testing.assert_allclose(m.resamples.drop("draw", "status").to_numpy(), draws @ [[1, 1], [0, 9]], rtol=EXACT)
    slope = m.explore("Days").infer(**ask).effects["se"].item()
    assert slope == pytest.approx(np.std(draws[:, 1], ddof=1), rel=EXACT)
    assert slope == pytest.approx(1.546, rel=4 / np.sqrt(2 * 299))  # lme4; four Monte-Carlo errors
    wald = m.explore("Days@[0, 9]").infer().effects["se"].to_numpy()
    np.testing.assert_allclose(table["se"].to_numpy(), wald, rtol=4 / np.sqrt(2 * 299))


def test_groups_of_a_generalized_mixed_model():
    data = load_dataset("cbpp").with_columns(pl.col("period").cast(pl.String))
    m = model("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, family="binomial").fit()
    ask = {"how": "boot", "n_boot": 199, "seed": 2, "ci_type": "percentile"}
    draws = m.infer(**ask).resamples.select(m.bundle.X_names).to_numpy()
    m.explore("period").infer(**ask)
    eta = draws[:, :1] + np.column_stack([np.zeros(len(draws)), draws[:, 1:4]])
    found = m.resamples.drop("draw", "status").to_numpy()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-eta)), rtol=EXACT)
    wald = m.explore("period").infer().effects["se"].to_numpy()
    # four Monte-Carlo errors, and a third for 15 herds, where the delta method falls short
    np.testing.assert_allclose(m.infer(**ask).effects["se"].to_numpy(), wald, rtol=4 / np.sqrt(2 * 199) + 0.3)


def test_weights_and_offsets_take_part_in_the_draws():
    """Trap 4: the draws of a weighted model with an offset are centred on its own estimate."""
    data = made().with_columns(w=1.0 + pl.col("z"), t=1.0 + pl.col("z"))
    m = model("count ~ g + offset(log(t))", data, family="poisson", weights="w").fit().explore("g")
    table = m.infer(how="boot", n_boot=B, seed=1, ci_type="percentile").effects
    draws = m.resamples.drop("draw", "status").to_numpy()
    assert np.all(np.abs(draws.mean(0) - table["estimate"].to_numpy()) < 0.2 * table["se"].to_numpy())
    robust = m.infer(errors="HC0").effects["se"].to_numpy()
    np.testing.assert_allclose(table["se"].to_numpy(), robust, rtol=NEAR)


def test_a_dropped_column_costs_no_draw():
    m = model("y ~ x + x2 + g", made().with_columns(x2=2 * pl.col("x"))).fit().explore("pairwise(g)")
    table = m.infer(how="boot", n_boot=199, seed=1).effects
    plain = model("y ~ x + g", made()).fit().explore("pairwise(g)").infer(how="boot", n_boot=199, seed=1).effects
    np.testing.assert_allclose(table["se"].to_numpy(), plain["se"].to_numpy(), rtol=1e-8)
    assert m.resamples["status"].unique().to_list() == ["ok"]


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_largest_t_by_hand(alternative):
    m, _ = fitted("lm")
    ask = {"how": "boot", "n_boot": B, "seed": 1, "ci_type": "percentile", "alternative": alternative}
    plain = m.explore("pairwise(g)").infer(**ask).effects
    draws, se = m.resamples.drop("draw", "status").to_numpy(), plain["se"].to_numpy()
    table = m.explore("pairwise(g)", p_adjust="mvt").infer(**ask).effects
    t = (draws - plain["estimate"].to_numpy()) / se
    own = plain["estimate"].to_numpy() / se
    if alternative == "two-sided":
        peak, size = np.abs(t).max(1), np.abs(own)
    else:
        peak, size = ((-t).max(1), own) if alternative == "greater" else (t.max(1), -own)
    by_hand = [(1 + np.sum(peak >= v)) / (B + 1) for v in size]
    np.testing.assert_allclose(table["p_value"].to_numpy(), by_hand, rtol=1e-12)  # counts
    sides = [("ci_lower", -1)] * (alternative != "less") + [("ci_upper", 1)] * (alternative != "greater")
    for side, sign in sides:
        far = sign * (table[side].to_numpy() - table["estimate"].to_numpy()) / se
        np.testing.assert_allclose(far, far[0], rtol=EXACT)  # one critical value for the family
        assert abs(np.mean(peak <= far[0]) - 0.95) <= 1.5 / B  # a step of the empirical distribution


def test_adjustments_of_draws():
    m, _ = fitted("lm")
    ask = {"how": "boot", "n_boot": B, "seed": 1, "ci_type": "percentile"}
    plain = m.explore("pairwise(g)").infer(**ask).effects
    wide = m.explore("pairwise(g)").infer(**ask, conf_level=1 - 0.05 / 3).effects
    for rule in ("bonferroni", "holm", "fdr", "sidak"):
        table = m.explore("pairwise(g)", p_adjust=rule).infer(**ask).effects
        assert np.all(table["p_value"].to_numpy() >= plain["p_value"].to_numpy())
        if rule != "sidak":
            np.testing.assert_array_equal(table["ci_lower"].to_numpy(), wide["ci_lower"].to_numpy())
    np.testing.assert_allclose(
        m.explore("pairwise(g)", p_adjust="bonferroni").infer(**ask).effects["p_value"].to_numpy(),
        np.minimum(1, 3 * plain["p_value"].to_numpy()), rtol=1e-12,
    )  # fmt: skip
    for rule in ("tukey", "scheffe"):
        with pytest.raises(InferenceError, match="rests on a t or F reference"):
            m.explore("pairwise(g)", p_adjust=rule).infer(**ask)


def test_the_functions_of_the_specification():
    m = model("y ~ x + g", made(120)).fit().explore("pairwise(g)")
    state = m.state.mee
    found, draws = compute_mee_bootstrap(m.spec, m.bundle, state, m.data, 0.9, 199, "percentile", 4)
    table = m.infer(how="boot", n_boot=199, ci_type="percentile", seed=4, conf_level=0.9).effects
    np.testing.assert_allclose(found.inference.ci_lower, table["ci_lower"].to_numpy(), rtol=EXACT)
    np.testing.assert_allclose(draws, m.resamples.drop("draw", "status").to_numpy(), rtol=EXACT)
    assert compute_mee_bootstrap(m.spec, m.bundle, state, m.data, n_boot=199, seed=4, save_resamples=False)[1] is None
    again, samples = dispatch_mee_inference(
        how="boot", mee=state, spec=m.spec, bundle=m.bundle, fit=m.fit_state, data=m.data, conf_level=0.9, n_boot=199,
        ci_type="percentile", seed=4,
    )  # fmt: skip
    np.testing.assert_array_equal(samples, draws)
    np.testing.assert_array_equal(again.inference.ci_upper, found.inference.ci_upper)
    means = build_emm_reference_grid(m.data, m.bundle, "g") @ m.fit_state.coef
    np.testing.assert_allclose(m.explore("g").effects["estimate"].to_numpy(), means, rtol=EXACT)


def test_refusals():
    m = model("y ~ x + g", made(120)).fit().explore("pairwise(g)")
    with pytest.raises(InferenceError, match="carries no standard error"):
        m.infer(how="boot", ci_type="studentized")
    with pytest.raises(InferenceError, match="HC3"):
        m.infer(how="boot", errors="HC3")
    with pytest.raises(InferenceError, match="n_boot"):
        m.infer(how="boot", n_boot=5)
    with pytest.raises(InferenceError, match="effects make none"):
        m.infer(how="cv")
