"""The grouping factor within which all others of a mixed model are nested: its groups share no random effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inference_core.states import Array, RandomBlock, REInfo


class HasBlocks(Protocol):
    """Random effects and the rows that count."""

    @property
    def re(self) -> REInfo:
        """Blocks over the rows of the bundle."""
        ...

    @property
    def rows(self) -> Array | None:
        """(n,) rows of the bundle, None for all."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Nothing but these."""

    re: REInfo
    rows: Array | None


def outermost(problem: HasBlocks) -> RandomBlock | None:
    """The block of that factor; None where factors are crossed."""
    blocks = problem.re.blocks
    for block in sorted(blocks, key=lambda b: b.n_levels):
        codes = rows_of_block(problem, block)
        if all(is_within(rows_of_block(problem, other), codes) for other in blocks):
            return block
    return None


def rows_of_block(problem: HasBlocks, block: RandomBlock) -> Array:
    """(n,) level of each row that counts."""
    return block.group_index if problem.rows is None else block.group_index[problem.rows]


def is_within(inner: Array, outer: Array) -> bool:
    """Whether each level of ``inner`` (n,) lies within one level of ``outer`` (n,)."""
    home = np.full(int(inner.max()) + 1, -1, dtype=int)
    home[inner] = outer
    return bool(np.array_equal(home[inner], outer))
