"""The grouping factor within which all others of a mixed model are nested: its groups share no random effect."""

from __future__ import annotations

import numpy as np

from inference_core.fit.mixed_problem import MixedProblem
from inference_core.states import Array, RandomBlock


def outermost(problem: MixedProblem) -> RandomBlock | None:
    """The block of that factor; None where factors are crossed."""
    blocks = problem.re.blocks
    for block in sorted(blocks, key=lambda b: b.n_levels):
        codes = rows_of_block(problem, block)
        if all(is_within(rows_of_block(problem, other), codes) for other in blocks):
            return block
    return None


def rows_of_block(problem: MixedProblem, block: RandomBlock) -> Array:
    """(n,) level of each row that counts."""
    return block.group_index if problem.rows is None else block.group_index[problem.rows]


def is_within(inner: Array, outer: Array) -> bool:
    """Whether each level of ``inner`` (n,) lies within one level of ``outer`` (n,)."""
    home = np.full(int(inner.max()) + 1, -1, dtype=int)
    home[inner] = outer
    return bool(np.array_equal(home[inner], outer))
