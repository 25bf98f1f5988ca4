"""The groups of a mixed model in panes A and B: their own lines, for the data and for any draw.

A draw tells coefficients, SDs and correlations; what its groups are like (the conditional modes) follows from these
and the draw's responses, so it is computed for the one draw that is shown and stored for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from bossaviz.spreads import covariances_of, observed_statistics

MOST_GROUPS = 60  # groups drawn; more are thinned evenly, and the pane says so
MOST_EFFECTS = 5_000  # random effects beyond which a draw shows no lines of its groups
BENDS = 11  # points of a group's curve; a straight line has two
STEPS = 50


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The groups that are drawn, and the rows of new data along the line of each."""

    block: int  # which block of random effects
    name: str  # the grouping factor
    total: int  # groups there are
    shown: np.ndarray  # (G,) positions of those drawn
    x: tuple[np.ndarray, ...]  # per group: where its line stands (k,)
    design: tuple[np.ndarray, ...]  # per group (k, p)
    effects: tuple[np.ndarray, ...]  # per group (k, K): columns of the random effects of this block
    offset: tuple[np.ndarray, ...]  # per group (k,)
    index: np.ndarray  # (n,) the group of each row

    def lines(
        self, coef: np.ndarray, modes: np.ndarray, inverse: Any, here: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Return the lines for coefficients (p,) and effects of this block (J, K), each (k, 2).

        ``here`` names the groups that are there, if not all are.
        """
        there = set(self.shown.tolist() if here is None else here.tolist())
        parts = zip(self.shown, self.x, self.design, self.effects, self.offset, strict=True)
        return tuple(
            np.column_stack([x, inverse(design @ coef + effects @ modes[g] + offset)])
            for g, x, design, effects, offset in parts
            if int(g) in there
        )


def block_of_focus(bundle: Any, focal: str, asked: int) -> int:
    """Return the block whose groups are drawn: the one asked about, else one with a slope of ``focal``, else the last.

    asked is a position among the blocks, or -1.
    """
    re = bundle.re_metadata
    if asked >= 0:
        return asked
    for t, block in enumerate(re.blocks):
        if focal in block.column_names:
            return t
    return len(re.blocks) - 1  # the fewest groups


def drawn_groups(n: int) -> np.ndarray:
    """Return which of ``n`` groups are drawn: all, or ``MOST_GROUPS`` of them spread evenly."""
    return np.arange(n) if n <= MOST_GROUPS else np.unique(np.linspace(0, n - 1, MOST_GROUPS).astype(int))


def group_lines(
    bundle: Any, data: pl.DataFrame, block: int, across: Any, typical: Any, schema: dict, offset: float | None
) -> Groups | None:
    """Prepare the lines of the groups of a block.

    Parameters
    ----------
    bundle : DataBundle
        Of the fitted model.
    data : DataFrame
        The rows kept, in the order of the bundle.
    block : int
        Which block.
    across : callable
        ``across(rows, bends)`` gives the focal values (k,) and where they stand (k,) for the rows of one group.
    typical : callable
        ``typical(frame)`` gives the values of every other column for one group.
    schema : dict
        Types of the new rows.
    offset : float, optional
        On the scale of the link.

    Returns
    -------
    Groups or None
        None where no group spans two values of the predictor.
    """
    from inference_core.design import design_new
    from inference_core.design.random import random_new

    info = bundle.re_metadata.blocks[block]
    shown = drawn_groups(info.n_levels)
    order = np.argsort(info.group_index, kind="stable")
    starts = np.searchsorted(info.group_index[order], np.arange(info.n_levels + 1))
    frames, places, kept = [], [], []
    for g in shown:
        rows = order[starts[g] : starts[g + 1]]
        if rows.size == 0:
            continue
        values, stand = across(rows)
        if len(values) < 2:
            continue
        base = typical(data[rows])
        frames += [{**base, **value} for value in values]
        places.append(np.asarray(stand, float))
        kept.append(int(g))
    if not kept:
        return None
    new = pl.DataFrame(frames, schema=schema)
    design, offsets = design_new(bundle, new)
    effects = random_new(bundle, new)[block].X_re
    offsets = np.zeros(new.height) if offsets is None else np.asarray(offsets, float)
    if offset is not None:
        offsets = np.full(new.height, offset)
    ends = np.cumsum([len(x) for x in places])[:-1]
    return Groups(
        block, info.group_name, info.n_levels, np.asarray(kept), tuple(places), tuple(np.split(design, ends)),
        tuple(np.split(effects, ends)), tuple(np.split(offsets, ends)), info.group_index,
    )  # fmt: skip


def conditional_modes(model: Any, statistics: np.ndarray, y: np.ndarray) -> list[np.ndarray] | None:
    """Return the conditional modes (J, K) of each block for the statistics (k,) of a draw and its responses (n,).

    The most probable effects given the draw's own coefficients and covariances: for a linear mixed model in one step,
    else by Newton's method, as in the inner loop of a fit. None where there are too many, or no end is found.
    """
    bundle, spec = model.bundle, model.spec
    re = bundle.re_metadata
    if len(statistics) <= bundle.p:  # a scheme that draws coefficients only: SDs are those of the fit
        statistics = np.concatenate([statistics, observed_statistics(model)[bundle.p :]])
    if re.q > MOST_EFFECTS or not np.isfinite(np.asarray(statistics)[bundle.rank_info.kept]).all():
        return None
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    from inference_core.families import get_family

    family = get_family(spec.family, spec.link)
    covariances, sigma = covariances_of(bundle, statistics)
    roots = [_root(S) for S in covariances]
    parts = [sp.kron(sp.identity(b.n_levels), root) for b, root in zip(re.blocks, roots, strict=True)]
    L = sp.block_diag(parts, format="csc")
    A = (re.z_matrix() @ L).tocsc()
    coef = np.nan_to_num(np.asarray(statistics, float)[: bundle.p])
    fixed = bundle.X @ coef + (0.0 if bundle.offset is None else bundle.offset)
    weight = np.ones(bundle.n) if bundle.prior_weights is None else np.asarray(bundle.prior_weights, float)
    weight = weight / sigma**2
    u = np.zeros(re.q)
    for _ in range(STEPS):
        score, information = family.score_weight(fixed + A @ u, np.asarray(y, float))
        step = splu((A.T @ sp.diags(weight * information) @ A + sp.identity(re.q)).tocsc()).solve(
            A.T @ (weight * score) - u
        )
        u = u + step
        if not np.isfinite(u).all():
            return None
        if np.max(np.abs(step)) < 1e-9:
            return [np.asarray(part) for part in re.split_effects(L @ u)]
    return None


def _root(S: np.ndarray) -> np.ndarray:
    """A square root of a covariance that may be singular."""
    values, vectors = np.linalg.eigh(S)
    return vectors * np.sqrt(np.maximum(values, 0.0))
