"""Models of several grouping factors drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.solvers.lmm.dense import Term

from .models import mask_of


@dataclass(frozen=True)
class Crossed:
    """Several terms and one response."""

    X: np.ndarray
    terms: list[Term]
    weights: np.ndarray | None
    y: np.ndarray


def draw_crossed(seed: int, effects, kind="full", *, levels=(20, 12, 5), n=200, weighted=True, spread=0.6) -> Crossed:
    """``effects`` of each factor, an intercept among them; every level has a row."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    y = rng.standard_normal(n) / np.sqrt(1.0 if weights is None else weights)
    terms = []
    for J, k in zip(levels, effects, strict=False):
        group = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
        Z = np.column_stack([np.ones(n), rng.standard_normal((n, k - 1)) + 0.3])
        mask = mask_of(kind, k)
        T = spread * np.where(mask, np.eye(k) + 0.5 * rng.standard_normal((k, k)), 0.0)
        y = y + (Z * (rng.standard_normal((J, k)) @ T.T)[group]).sum(axis=1)
        terms.append(Term.of(Z, group, J, mask))
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    return Crossed(X, terms, weights, y + X @ [1.0, -0.5, 0.2])
