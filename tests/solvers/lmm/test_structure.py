"""Masks, coordinates, and the T that stands for a covariance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.solvers.lmm import planes
from inference_core.solvers.lmm.structure import canonical, components, free_entries, full_mask, whitening

from .models import BLOCKS, DIAGONAL, FULL, mask_of

SEEDS = st.integers(0, 2**32 - 1)


def test_entries_run_down_the_columns():
    assert free_entries(full_mask(3)) == ((0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2))
    assert free_entries(mask_of(BLOCKS, 3)) == ((0, 0), (1, 1), (2, 1), (2, 2))


def test_components():
    assert [c.tolist() for c in components(full_mask(3))] == [[0, 1, 2]]
    assert [c.tolist() for c in components(mask_of(BLOCKS, 3))] == [[0], [1, 2]]
    assert [c.tolist() for c in components(np.eye(2, dtype=bool))] == [[0], [1]]


@given(seed=SEEDS, k=st.integers(1, 4), kind=st.sampled_from([FULL, DIAGONAL, BLOCKS]), rank=st.integers(0, 4))
def test_canonical_keeps_the_covariance(seed, k, kind, rank):
    """Also where it is singular, which a Cholesky factor would not survive."""
    mask = mask_of(kind, k)
    T = np.where(mask, np.random.default_rng(seed).standard_normal((2, k, k)), 0.0)
    T[:, :, rank:] = 0.0
    L = canonical(T, mask)
    np.testing.assert_allclose(L @ L.transpose(0, 2, 1), T @ T.transpose(0, 2, 1), atol=1e-12)
    assert np.all(np.diagonal(L, axis1=1, axis2=2) >= 0) and np.all(L[:, ~mask] == 0)


@given(seed=SEEDS, k=st.integers(1, 4))
def test_whitening(seed, k):
    Z = np.random.default_rng(seed).standard_normal((30, k)) * 10.0 ** np.arange(k)
    W = Z @ np.linalg.inv(whitening(Z, full_mask(k)))
    np.testing.assert_allclose(W.T @ W / 30, np.eye(k), atol=1e-10)
    D = whitening(Z, np.eye(k, dtype=bool))
    np.testing.assert_array_equal(D, np.diag(np.diagonal(D)))  # `||`: columns are scaled and no more


def test_whitening_of_a_repeated_column():
    x = np.arange(5.0)
    R = whitening(np.column_stack([x, 2 * x]), full_mask(2))
    assert np.all(np.isfinite(np.linalg.inv(R)))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_inverse_of_planes(k):
    rng = np.random.default_rng(k)
    M = rng.standard_normal((4, 3, k, k)) * 0.1 + np.eye(k)
    inverse, logdet = planes.invert([[M[..., a, b] for b in range(k)] for a in range(k)])
    got = np.stack([np.stack(row, axis=-1) for row in inverse], axis=-2)
    np.testing.assert_allclose(got, np.linalg.inv(M), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(M)[1], rtol=1e-10, atol=1e-13)
