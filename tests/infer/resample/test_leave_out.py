"""The jackknife: closed form and batched refits against refitting without each row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core import load_dataset, model
from inference_core.fit import fit_model
from inference_core.infer.bootstrap import compute_jackknife_coefs
from inference_core.infer.resample import leave_out
from inference_core.infer.resample.lm_operators import LmKernel
from inference_core.infer.resample.stream import refit_kernel
from inference_core.infer.resample_bundle import build_resampled_bundle
from inference_core.solvers.lstsq import lstsq


@given(seed=st.integers(0, 10**6), n=st.integers(6, 30), weighted=st.booleans())
def test_the_closed_form_equals_refitting_without_the_row(seed, n, weighted):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    y = rng.normal(size=n) + 100
    w = rng.uniform(0.1, 4, n) if weighted else None
    found = leave_out.leave_one_out(LmKernel.from_arrays(X, y, weights=w))
    for i in range(n):
        rows = np.delete(np.arange(n), i)
        expected = lstsq(X[rows], y[rows], None if w is None else w[rows]).coef
        np.testing.assert_allclose(found[i], expected, rtol=1e-8, atol=1e-8)  # 1 / (1 - h) may cost 2 digits


def test_a_row_that_alone_carries_a_column_has_no_jackknife():
    X = np.column_stack([np.ones(6), np.arange(6.0), [0, 0, 1, 0, 0, 0]])
    found = leave_out.leave_one_out(LmKernel.from_arrays(X, np.array([1.0, 3, 2, 5, 4, 7])))
    assert np.isnan(found[2]).all()
    assert np.isfinite(np.delete(found, 2, axis=0)).all()


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("mpg ~ wt + hp", {}),
        ("mpg ~ wt + hp", {"weights": "qsec", "offset": "drat"}),
        ("carb ~ wt", {"family": "poisson"}),
        ("mpg ~ wt", {"family": "gamma", "link": "log", "weights": "qsec"}),
        ("mpg ~ wt", {"family": "gamma"}),
    ],
)
def test_the_specified_jackknife_equals_refitting_the_model(formula, options):
    m = model(formula, load_dataset("mtcars"), **options).fit()
    found = compute_jackknife_coefs(m.spec, m.bundle)
    for i in (0, 5, 31):
        keep = np.arange(32) != i
        expected = fit_model(m.spec, build_resampled_bundle(m.bundle, keep)).coef
        np.testing.assert_allclose(found[i], expected, rtol=1e-8)  # two iterations to their own last digits


def test_dropped_columns_stay_missing():
    m = model("mpg ~ wt + I(2 * wt) + hp", load_dataset("mtcars")).fit()
    found = compute_jackknife_coefs(m.spec, m.bundle)
    assert np.isnan(found[:, 2]).all()
    assert np.isfinite(np.delete(found, 2, axis=1)).all()


def test_many_rows_take_one_step_each_and_the_acceleration_hardly_notices(monkeypatch):
    m = model("carb ~ wt + hp", load_dataset("mtcars"), family="poisson").fit()
    kernel = refit_kernel(m.spec, m.bundle, m.fit_state)
    exact = leave_out.leave_one_out_for_bca(kernel)
    monkeypatch.setattr(leave_out, "EXACT_ROWS", 10)
    quick = leave_out.leave_one_out_for_bca(kernel)
    assert not np.array_equal(quick, exact)
    moves = np.abs(exact - m.fit_state.coef).max(0)
    # 32 rows are the worst case: the error of a step is of the order of its own relative size
    assert np.all(np.abs(quick - exact).max(0) < 0.1 * moves)


def test_the_jackknife_error_is_hc3_for_a_linear_model():
    """Sum of squared moves = HC3, exactly: both are e / (1 - h)."""
    m = model("mpg ~ wt + hp", load_dataset("mtcars")).fit()
    moves = compute_jackknife_coefs(m.spec, m.bundle) - m.fit_state.coef
    hc3 = m.infer(errors="HC3").inference.se
    np.testing.assert_allclose(np.sqrt((moves**2).sum(0)), hc3, rtol=1e-10)


def test_resampled_bundles_keep_everything_and_refuse_nonsense():
    from inference_core.errors import DataError

    m = model("mpg ~ wt + factor(cyl)", load_dataset("mtcars"), weights="qsec", offset="drat").fit()
    bundle = replace(m.bundle, trials=np.arange(1.0, 33.0))
    rows = np.r_[np.arange(32)[::-1], 3, 3]
    again = build_resampled_bundle(bundle, rows)
    for name in ("y", "X", "weights", "offset", "trials"):
        np.testing.assert_array_equal(getattr(again, name), getattr(bundle, name)[rows])
    for name in ("X_names", "contrast_matrices", "factor_levels", "rank_info", "source_terms", "design_state"):
        assert getattr(again, name) is getattr(bundle, name)
    np.testing.assert_array_equal(again.term_of_column, bundle.term_of_column)
    assert again.n_total == again.n == again.valid_mask.sum() == 34
    mask = np.arange(32) != 4
    assert build_resampled_bundle(bundle, mask).n == 31
    for bad in (mask[:-1], np.array([0.0, 1.0]), np.array([32]), np.array([-1]), np.zeros((2, 2), int)):
        with pytest.raises(DataError):
            build_resampled_bundle(bundle, bad)
