"""HC covariances against the defining sums, replication, and designs whose answer is known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import InferenceError
from inference_core.families import get_family
from inference_core.infer.sandwich import (
    INFLATION,
    covariance,
    disagreement_note,
    fixed_row_notes,
    hc3_ratio,
    influence_parts,
    sandwich_vcov,
)

from .handmade import GLMS, fit_by_newton, generalized, linear, make_bundle, make_spec

KINDS = tuple(INFLATION)


def brute_force(spec, bundle, fit, kind):
    """The sum over rows of (bread x_i)(bread x_i)' times the squared working residual, as written in the papers."""
    X = bundle.X
    n, p = X.shape
    W = fit.working_weights
    bread = np.linalg.inv(X.T @ np.diag(W) @ X)
    derivative = get_family(spec.family, spec.link).link.derivative(fit.eta)
    total = np.zeros((p, p))
    for i in range(n):
        h = W[i] * X[i] @ bread @ X[i]
        g = {
            "HC0": 1,
            "HC1": n / (n - p),
            "HC2": 1 / (1 - h),
            "HC3": (1 - h) ** -2,
            "HC4": (1 - h) ** -min(4, n * h / p),
        }[kind]
        score = W[i] * fit.residuals[i] / derivative[i]
        total += g * score**2 * np.outer(bread @ X[i], bread @ X[i])
    return total


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1), weighted=st.booleans())
def test_lm_equals_the_sum_over_rows(kind, seed, weighted):
    weights = np.random.default_rng(seed).uniform(0.2, 5, 25) if weighted else None
    spec, bundle, fit = linear(seed, weights=weights)
    # both invert X'WX of a random design: 1e-9 leaves room for its condition
    np.testing.assert_allclose(
        sandwich_vcov(spec, bundle, fit, kind), brute_force(spec, bundle, fit, kind), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("family", "link"), GLMS)
def test_glm_equals_the_sum_over_rows(family, link, kind):
    weights = np.random.default_rng(5).integers(1, 4, 60).astype(float)
    spec, bundle, fit = generalized(family, link, seed=3, weights=weights)
    # the two ways to the working residual cancel differently: 1e-8
    np.testing.assert_allclose(sandwich_vcov(spec, bundle, fit, kind), brute_force(spec, bundle, fit, kind), rtol=1e-8)


def test_the_mean_has_known_errors():
    """y ~ 1: h = 1/n, so HC0 is sum (y - m)^2 / n^2, HC2 the classical s^2/n, HC3 divides once more by 1 - 1/n."""
    y = np.array([1.0, 2.0, 4.0, 9.0, 3.0])
    bundle = make_bundle(np.ones((5, 1)), y)
    fit = fit_by_newton(make_spec(), bundle, steps=1)
    ss = np.sum((y - y.mean()) ** 2)
    expected = {"HC0": ss / 25, "HC1": ss / 20, "HC2": ss / 20, "HC3": ss / 16, "HC4": ss / 20}
    for kind, value in expected.items():
        assert sandwich_vcov(make_spec(), bundle, fit, kind)[0, 0] == pytest.approx(value, rel=1e-13)  # closed form


@given(seed=st.integers(0, 2**32 - 1))
def test_kinds_are_ordered(seed):
    """Every kind divides by a larger power of 1 - h than the one before: HC0 <= HC2 <= HC3."""
    spec, bundle, fit = linear(seed, n=12)
    hc0, hc2, hc3 = (np.diag(sandwich_vcov(spec, bundle, fit, kind)) for kind in ("HC0", "HC2", "HC3"))
    assert np.all(hc0 <= hc2 * (1 + 1e-12)) and np.all(hc2 <= hc3 * (1 + 1e-12))  # equal up to rounding if h = 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_weight_zero_is_no_row(kind):
    spec, bundle, fit = linear(4, n=20)
    weights = np.ones(22)
    weights[20:] = 0.0
    padded = make_bundle(
        np.vstack([bundle.X, [[1, 50, -50], [1, 9, 9]]]), np.append(bundle.y, [1e3, -1e3]), weights=weights
    )
    fit0 = fit_by_newton(spec, padded, steps=2)
    # same rows count, so the same numbers up to the rounding of two factorisations
    np.testing.assert_allclose(
        sandwich_vcov(spec, padded, fit0, kind), sandwich_vcov(spec, bundle, fit, kind), rtol=1e-9
    )


@pytest.mark.parametrize(("family", "link"), [("gaussian", "identity"), *GLMS])
def test_scores_of_copies_add_up(family, link):
    """k copies of every row and weight k give one fit; HC0 of the copies is HC0 of the weighted rows divided by k."""
    spec, bundle, _ = generalized(family, link) if (family, link) != ("gaussian", "identity") else linear(2)
    copies = make_bundle(np.repeat(bundle.X, 3, axis=0), np.repeat(bundle.y, 3))
    weighted = make_bundle(bundle.X, bundle.y, weights=np.full(bundle.n, 3.0))
    vcov_copies = sandwich_vcov(spec, copies, fit_by_newton(spec, copies), "HC0")
    vcov_weighted = sandwich_vcov(spec, weighted, fit_by_newton(spec, weighted), "HC0")
    np.testing.assert_allclose(vcov_copies, vcov_weighted / 3, rtol=1e-8)  # two converged fits of one likelihood


def test_weights_only_up_to_scale_matter():
    weights = np.random.default_rng(0).uniform(0.5, 2, 25)
    spec, a, fit_a = linear(1, weights=weights)
    _, b, fit_b = linear(1, weights=7 * weights)
    for kind in KINDS:
        np.testing.assert_allclose(sandwich_vcov(spec, a, fit_a, kind), sandwich_vcov(spec, b, fit_b, kind), rtol=1e-10)


def one_level_seen_once():
    """Cells A A A B B B C: the last row alone carries the third coefficient."""
    X = np.zeros((7, 3))
    X[:, 0] = 1
    X[3:6, 1] = 1
    X[6, 2] = 1
    y = np.array([1.0, 2.0, 4.0, 5.0, 5.5, 8.0, 11.0])
    bundle = make_bundle(
        X, y, names=("(Intercept)", "g[B]", "g[C]"), valid_mask=np.array([False, *[True] * 7]), n_total=8
    )
    return make_spec(), bundle, fit_by_newton(make_spec(), bundle, steps=2)


@pytest.mark.parametrize("kind", ["HC2", "HC3", "HC4"])
def test_a_row_that_fixes_its_own_value_takes_only_what_it_touches(kind):
    spec, bundle, fit = one_level_seen_once()
    vcov = sandwich_vcov(spec, bundle, fit, kind)
    assert np.array_equal(np.isnan(vcov), [[False, False, True], [False, False, True], [True, True, True]])
    alone = make_bundle(bundle.X[:6, :2], bundle.y[:6])
    expected = sandwich_vcov(spec, alone, fit_by_newton(spec, alone, steps=2), kind)
    if kind != "HC4":  # HC4 knows n and p, which differ
        np.testing.assert_allclose(vcov[:2, :2], expected, rtol=1e-10)  # the other cells do not see that row
    note = fixed_row_notes(bundle, fit, influence_parts(spec, bundle, fit), kind)
    assert note == (f"row 7 (counting from 0) fixes its own value: {kind} has no standard error for g[C]",)


@pytest.mark.parametrize("kind", ["HC0", "HC1"])
def test_kinds_without_leverage_say_that_the_row_counts_as_exact(kind):
    spec, bundle, fit = one_level_seen_once()
    assert np.all(np.isfinite(sandwich_vcov(spec, bundle, fit, kind)))
    notes = fixed_row_notes(bundle, fit, influence_parts(spec, bundle, fit), kind)
    assert notes == (f"row 7 (counting from 0) fixes its own value: {kind} takes it to be without error in g[C]",)


@pytest.mark.parametrize("kind", KINDS)
def test_a_separated_level_has_no_robust_error(kind):
    """Row 9 alone has its level: that slope runs off, its score is 0, and HC0 would call it exact."""
    x = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    y = np.array([0.0, 1, 0, 0, 1, 0, 1, 1, 0, 1])
    bundle = make_bundle(np.column_stack([np.ones(10), x, x == 9]), y)
    spec = make_spec("binomial", "logit")
    fit = fit_by_newton(spec, bundle, steps=22)  # one unit further out each step
    vcov = sandwich_vcov(spec, bundle, fit, kind)
    assert np.isnan(vcov).tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    (note,) = fixed_row_notes(bundle, fit, influence_parts(spec, bundle, fit), kind)
    assert note == f"row 9 (counting from 0) fixes its own value: {kind} has no standard error for b2"


@pytest.mark.parametrize("kind", KINDS)
def test_tall_designs_go_block_by_block_to_the_same_numbers(kind, monkeypatch):
    weights = np.random.default_rng(5).uniform(0.5, 2, 5000)
    spec, bundle, fit = linear(7, n=5000, p=4, weights=weights)
    tall = sandwich_vcov(spec, bundle, fit, kind)
    monkeypatch.setattr("inference_core.infer.sandwich.TALL", 10**9)
    np.testing.assert_allclose(tall, sandwich_vcov(spec, bundle, fit, kind), rtol=1e-10)  # two factorisations


@pytest.mark.parametrize("kind", ["HC0", "HC3"])
def test_tall_designs_with_a_level_seen_once(kind):
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(5000), np.arange(5000) == 4321]).astype(float)
    bundle = make_bundle(X, rng.normal(size=5000))
    fit = fit_by_newton(make_spec(), bundle, steps=2)
    vcov = sandwich_vcov(make_spec(), bundle, fit, kind)
    assert np.isnan(vcov).any() == (kind == "HC3") and np.isfinite(vcov[0, 0])
    (note,) = fixed_row_notes(bundle, fit, influence_parts(make_spec(), bundle, fit), kind)
    assert note.startswith("row 4321 (counting from 0) fixes its own value") and note.endswith(" b1")


def test_tall_designs_that_are_ill_conditioned_are_factored_whole():
    rng = np.random.default_rng(1)
    x = rng.uniform(size=5000)
    X = np.column_stack([np.ones(5000), x, x + 1e-6 * rng.normal(size=5000)])
    bundle = make_bundle(X, rng.normal(size=5000))
    fit = fit_by_newton(make_spec(), bundle, steps=2)
    vcov = sandwich_vcov(make_spec(), bundle, fit, "HC0")
    turned = make_bundle(X @ np.array([[1, 0, 0], [0, 1, -1], [0, 0, 1.0]]), bundle.y)  # x, and the difference
    other = sandwich_vcov(make_spec(), turned, fit_by_newton(make_spec(), turned, steps=2), "HC0")
    assert vcov[2, 2] == pytest.approx(other[2, 2], rel=1e-6)  # the residuals of the normal equations lose digits


def test_dropped_columns_stay_empty():
    spec, bundle, fit = linear(3)
    X = np.column_stack([bundle.X[:, :2], 2 * bundle.X[:, 1], bundle.X[:, 2]])
    wide = make_bundle(X, bundle.y, kept=[0, 1, 3])
    vcov = sandwich_vcov(spec, wide, fit_by_newton(spec, wide, steps=2), "HC3")
    assert np.all(np.isnan(vcov[2])) and np.all(np.isnan(vcov[:, 2]))
    np.testing.assert_allclose(vcov[np.ix_([0, 1, 3], [0, 1, 3])], sandwich_vcov(spec, bundle, fit, "HC3"), rtol=1e-9)


def test_ill_conditioned_designs_keep_their_digits():
    """Years squared: centring leaves the last column's coefficient alone, so its error must stay."""
    rng = np.random.default_rng(8)
    year = np.linspace(1990.0, 2020.0, 31)
    y = rng.normal(size=31)
    raw = make_bundle(np.vander(year, 3, increasing=True), y)
    centred = make_bundle(np.vander(year - 2005.0, 3, increasing=True), y)
    errors = []
    for bundle in (raw, centred):
        q, r = np.linalg.qr(bundle.X)
        coef = np.linalg.solve(r, q.T @ y)
        eta = bundle.X @ coef
        fit = fit_by_newton(make_spec(), centred, steps=2)
        fit = type(fit)(
            **{**{f: getattr(fit, f) for f in fit.__dataclass_fields__}, "coef": coef, "residuals": y - eta}
        )
        errors.append(np.sqrt(covariance(influence_parts(make_spec(), bundle, fit), "HC3")[2, 2]))
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)  # the raw design has condition 1e10: ten digits are gone


@pytest.mark.parametrize(
    ("bad", "message"), [("HC5", "sandwich kinds are HC0, HC1, HC2, HC3, HC4"), ("hc3", "sandwich kinds")]
)
def test_unknown_kinds_are_refused(bad, message):
    with pytest.raises(InferenceError, match=message):
        sandwich_vcov(*linear(), bad)


def test_mixed_models_are_refused():
    _, bundle, fit = linear()
    with pytest.raises(InferenceError, match="not independent within groups"):
        sandwich_vcov(make_spec(has_random_effects=True), bundle, fit, "HC3")


def test_the_note_on_unequal_scatter():
    _, bundle, _ = linear()
    assert disagreement_note(bundle, np.array([1.0, 1.25, 0.75])) is None  # exactly a quarter is not more
    assert disagreement_note(bundle, np.array([np.nan, np.inf, 1.1])) is None
    assert disagreement_note(bundle, np.array([1.3, 0.5, 1.9])) == (
        "HC3 and classical standard errors differ by more than 25% (b1: HC3 is 0.50 times the classical): "
        "errors='HC3' allows unequal scatter"
    )


def test_the_ratio_is_that_of_the_two_errors():
    spec, bundle, fit = linear(6)
    expected = np.sqrt(np.diag(brute_force(spec, bundle, fit, "HC3")) / np.diag(fit.vcov))
    np.testing.assert_allclose(hc3_ratio(spec, bundle, fit), expected, rtol=1e-9)  # condition of the design
