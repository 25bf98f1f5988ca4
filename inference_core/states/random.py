"""Random effects as data: one block per grouping factor, and the order of their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import Array, Frozen


@dataclass(frozen=True, slots=True, eq=False)
class RandomBlock(Frozen):
    """All random effects of one grouping factor: J levels, k effects a level, n rows.

    The relative covariance factor T (k x k, lower triangular, b = T u with u ~ N(0, sigma^2)) is free where ``mask``
    is true: everywhere in the lower triangle for ``(x | g)``, on the diagonal for ``(x || g)``, in blocks along the
    diagonal where several terms share the factor.
    """

    group_name: str  # "Subject", "batch:cask"
    levels: tuple[str, ...]  # (J,)
    group_index: Array  # (n,) int, 0 .. J - 1
    column_names: tuple[str, ...]  # (k,) "(Intercept)", "Days"
    X_re: Array  # (n, k)
    mask: Array  # (k, k) bool, within the lower triangle
    terms: tuple[str, ...] = ()  # ("(Days | Subject)",) the terms that were merged into this block
    group_columns: tuple[str, ...] = ()  # data columns that make the grouping

    @property
    def n_levels(self) -> int:
        """J."""
        return len(self.levels)

    @property
    def k(self) -> int:
        """Effects a level."""
        return self.X_re.shape[1]

    @property
    def q(self) -> int:
        """Columns of Z."""
        return self.n_levels * self.k

    @property
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Free entries (row, column) of T, column by column, as lme4 orders theta."""
        return tuple((a, b) for b in range(self.k) for a in range(b, self.k) if self.mask[a, b])

    @property
    def correlated(self) -> bool:
        """Whether any two effects of a level may be correlated."""
        return bool(np.any(np.tril(self.mask, -1)))

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Names as lme4 gives them: ``Subject.(Intercept)``, ``Subject.Days.(Intercept)``."""
        names = self.column_names
        return tuple(
            f"{self.group_name}.{names[a]}" if a == b else f"{self.group_name}.{names[a]}.{names[b]}"
            for a, b in self.entries
        )

    def t_matrix(self, theta: Array) -> Array:
        """(..., k, k) lower-triangular T from this block's part (..., m) of theta."""
        theta = np.asarray(theta, dtype=float)
        T = np.zeros((*theta.shape[:-1], self.k, self.k))
        for i, (a, b) in enumerate(self.entries):
            T[..., a, b] = theta[..., i]
        return T

    def theta_of(self, T: Array) -> Array:
        """(..., m) free entries of T (..., k, k)."""
        rows, columns = (list(x) for x in zip(*self.entries, strict=True))
        return np.asarray(T)[..., rows, columns]


@dataclass(frozen=True, slots=True, eq=False)
class REInfo(Frozen):
    """Every random effect of a model.

    Blocks stand in lme4's order (falling number of levels); theta holds their free entries one block after the other;
    u, b and the columns of Z run by block, within it by level, within that by effect.
    """

    blocks: tuple[RandomBlock, ...]
    structure: str  # "intercept", "slope", "diagonal", "nested", "crossed" or "mixed"
    nested_in: tuple[int | None, ...] = ()  # per block: the block whose levels contain this one's, if any

    @property
    def n(self) -> int:
        """Rows."""
        return self.blocks[0].group_index.shape[0]

    @property
    def q(self) -> int:
        """Columns of Z."""
        return sum(block.q for block in self.blocks)

    @property
    def n_theta(self) -> int:
        """Covariance parameters, sigma apart."""
        return sum(len(block.entries) for block in self.blocks)

    @property
    def theta_names(self) -> tuple[str, ...]:
        """Names of theta as lme4 gives them."""
        return tuple(name for block in self.blocks for name in block.theta_names)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the grouping factors."""
        return tuple(block.group_name for block in self.blocks)

    def split_theta(self, theta: Array) -> tuple[Array, ...]:
        """The part (..., m_t) of theta (..., m) that belongs to each block."""
        stops = np.cumsum([len(block.entries) for block in self.blocks])[:-1]
        return tuple(np.split(np.asarray(theta, dtype=float), stops, axis=-1))

    def t_matrices(self, theta: Array) -> tuple[Array, ...]:
        """T (..., k, k) of each block."""
        parts = self.split_theta(theta)
        return tuple(block.t_matrix(part) for block, part in zip(self.blocks, parts, strict=True))

    def split_effects(self, b: Array) -> tuple[Array, ...]:
        """Random effects (..., q) as one array (..., J, k) per block."""
        stops = np.cumsum([block.q for block in self.blocks])[:-1]
        parts = np.split(np.asarray(b), stops, axis=-1)
        return tuple(
            part.reshape(*part.shape[:-1], block.n_levels, block.k)
            for block, part in zip(self.blocks, parts, strict=True)
        )

    def z_matrix(self) -> Any:
        """Z as a scipy csc matrix (n, q), built anew at each call: the solvers never need it."""
        import scipy.sparse as sp

        n = self.n
        parts = []
        for block in self.blocks:
            columns = block.group_index[:, None] * block.k + np.arange(block.k)
            indptr = np.arange(0, n * block.k + 1, block.k)
            parts.append(sp.csr_matrix((block.X_re.ravel(), columns.ravel(), indptr), shape=(n, block.q)))
        return sp.hstack(parts, format="csc")

    def random_part(self, b: Array) -> Array:
        """(..., n) Zb for random effects b (..., q)."""
        total = 0.0
        for block, effects in zip(self.blocks, self.split_effects(b), strict=True):
            total = total + np.einsum("...nk,nk->...n", effects[..., block.group_index, :], block.X_re)
        return np.asarray(total)
