"""Factorisation across the batch axis, against LAPACK one system at a time."""

import numpy as np
import pytest

from inference_core.infer.resample import planes
from inference_core.infer.resample.common import refit_indices
from inference_core.infer.resample.lm_operators import LmKernel
from inference_core.rng import RNG


def systems(b, p, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(b, p + 3, p))
    return a.transpose(0, 2, 1) @ a, rng.normal(size=(b, p))


@pytest.mark.parametrize("p", [1, 2, 3, 5, 9])
def test_solutions_residuals_and_inverse_roots(p):
    gram, rhs = systems(7, p)
    packed = np.array([gram[:, i, j] for i, j in zip(*planes.triangle(p), strict=True)])
    full = planes.bordered(np.concatenate([packed, rhs.T, [np.full(7, 100.0)]]), p)
    factor, worst = planes.cholesky(full, p)
    x = planes.back_substitute(factor, factor[p, :p].copy()).T
    exact = np.linalg.solve(gram, rhs[..., None])[..., 0]
    np.testing.assert_allclose(x, exact, rtol=1e-9)  # p <= 9, condition below 1e4: 1e-12 expected
    np.testing.assert_allclose(factor[p, p], 100.0 - (rhs * exact).sum(1), rtol=1e-9)
    root = planes.inverse_root(factor, p)
    np.testing.assert_allclose(np.einsum("ikb,jkb->bij", root, root), np.linalg.inv(gram), rtol=1e-8, atol=1e-12)
    ratio = np.linalg.cholesky(gram).diagonal(axis1=1, axis2=2) ** 2 / gram.diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(worst, ratio.min(1), rtol=1e-10)


def test_a_singular_system_is_flagged_and_leaves_its_neighbours_alone():
    gram, rhs = systems(3, 3)
    gram[1, 2] = gram[1, :, 2] = gram[1, 0] * 2
    gram[1, 2, 2] = gram[1, 0, 0] * 4
    gram[1, 2, :2] = gram[1, :2, 2] = 2 * gram[1, 0, :2]
    full = np.ascontiguousarray(gram.transpose(1, 2, 0))
    factor, worst = planes.cholesky(full, 3)
    assert not worst[1] > 1e-12
    x = planes.back_substitute(factor, rhs.T.copy())
    assert np.isfinite(x[:, [0, 2]]).all()


def test_products_unpack_to_the_gram_matrix():
    columns = np.random.default_rng(1).normal(size=(4, 11))
    gram = planes.unpack(planes.column_products(columns).sum(1)[:, None], 4, symmetric=True)[:, :, 0]
    np.testing.assert_allclose(gram, columns @ columns.T, rtol=1e-12)


def test_products_made_block_by_block_are_those_of_the_table(monkeypatch):
    rng = np.random.default_rng(4)
    columns, extra, weights = rng.normal(size=(5, 1_000)), rng.normal(size=(2, 1_000)), rng.normal(size=(7, 1_000))
    kept = planes.Products.of(columns, extra)
    monkeypatch.setattr(planes, "TABLE_VALUES", 0)
    monkeypatch.setattr(planes, "BLOCK_VALUES", 1_700)
    blocks = planes.Products.of(columns, extra)
    assert kept.table is not None and blocks.table is None and len(blocks) == len(kept) == 17
    np.testing.assert_allclose(blocks.times(weights), kept.times(weights), rtol=1e-11, atol=1e-10)  # sums of 1,000
    packed = rng.normal(size=(15, 3))
    np.testing.assert_allclose(blocks.combine(packed), kept.combine(packed), rtol=1e-12)


def test_a_kernel_without_a_table_gives_the_same_refits(monkeypatch):
    rng = np.random.default_rng(5)
    X, y = np.column_stack([np.ones(300), rng.normal(size=(300, 3))]), rng.normal(size=300)
    indices = RNG(1).indices(0, 20, 300)
    kept = refit_indices(LmKernel.from_arrays(X, y, want_se=True, errors="HC3"), indices)
    monkeypatch.setattr(planes, "TABLE_VALUES", 0)
    monkeypatch.setattr(planes, "BLOCK_VALUES", 1_000)
    made = refit_indices(LmKernel.from_arrays(X, y, want_se=True, errors="HC3"), indices)
    np.testing.assert_allclose(made[0], kept[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(made[2], kept[2], rtol=1e-10)
