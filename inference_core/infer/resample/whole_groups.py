"""Whole groups of a mixed model as the units that are drawn, flipped or left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.errors import InferenceError
from inference_core.infer.outermost import HasBlocks, outermost, rows_of_block
from inference_core.infer.spelling import nearest
from inference_core.states import Array, RandomBlock

FEWEST = 5  # groups, below which drawing them says nothing about their spread


@dataclass(frozen=True, slots=True, eq=False)
class WholeGroups:
    """J groups over n rows; a level without rows that count is none of them."""

    name: str
    block: int  # which block of the model
    levels: Array  # (J,) positions among the levels of the block
    codes: Array  # (n,) 0 .. J - 1
    order: Array  # (n,) rows, group by group
    starts: Array  # (J + 1,) where each group begins in ``order``

    @classmethod
    def of_block(cls, problem: HasBlocks, block: RandomBlock) -> WholeGroups:
        """The levels of one grouping factor."""
        levels, codes = np.unique(rows_of_block(problem, block), return_inverse=True)
        codes = codes.ravel()
        starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=levels.size))])
        at = next(i for i, other in enumerate(problem.re.blocks) if other is block)
        return cls(block.group_name, at, levels, codes, np.argsort(codes, kind="stable"), starts)

    @classmethod
    def outermost(
        cls, problem: HasBlocks, asked: str, fewest: int = 0,
        remedy: str = "scheme='parametric', with ci_type='expanded' or 'percentile'",
    ) -> WholeGroups:  # fmt: skip
        """The levels of the factor within which all others are nested; ``remedy`` is for crossed factors.

        Raises
        ------
        InferenceError
            Crossed factors have none; fewer than ``fewest`` levels.
        """
        block = outermost(problem)
        if block is None:
            names = ", ".join(problem.re.group_names)
            raise InferenceError(
                asked,
                f"the factors {names} are crossed: no group of rows is independent of the others",
                remedy,
            )
        groups = cls.of_block(problem, block)
        if fewest > groups.J:
            raise InferenceError(
                asked,
                f"{groups.name} has {groups.J} groups; fewer than {fewest} groups say too little about their spread",
                "scheme='parametric'",
            )
        return groups

    @classmethod
    def named(cls, problem: HasBlocks, factor: str) -> WholeGroups:
        """The levels of the factor of this name.

        Raises
        ------
        InferenceError
            No such factor.
        """
        names = problem.re.group_names
        if factor not in names:
            near = nearest(factor, names, "factor")
            raise InferenceError(
                f"groups of {factor!r} left out",
                f"the grouping factors are {', '.join(names)}",
                f"did you mean {near!r}?" if near else f"factor={names[0]!r}",
            )
        return cls.of_block(problem, problem.re.blocks[names.index(factor)])

    @property
    def J(self) -> int:
        """Groups."""
        return self.levels.size

    def rows(self, group: int) -> Array:
        """Rows of one group."""
        return self.order[self.starts[group] : self.starts[group + 1]]

    def drawn_rows(self, groups: Array) -> tuple[Array, Array]:
        """Rows of groups, repeated as they are, and which of the draws each row came with."""
        parts = [self.rows(int(j)) for j in groups]
        copies = np.repeat(np.arange(len(parts)), [part.size for part in parts])
        return np.concatenate(parts) if parts else np.empty(0, np.intp), copies
