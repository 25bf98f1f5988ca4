"""The algebra of ``planes`` for arrays of JAX: the same results, without writing into what was given.

Loops over columns are loops of the compiled program, so that its size does not grow with the number of columns.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from .planes import triangle, unpacking


def bordered(packed: Any, p: int, spare: Any) -> Any:
    """See :func:`planes.bordered`."""
    q = p * (p + 1) // 2
    square = packed[:q][unpacking(p)]
    if spare is not None:
        square = square + jnp.eye(p)[:, :, None] * spare[:, None, None]
    rest = packed[q : q + p]
    b = packed.shape[1]
    corner = packed[q + p] if packed.shape[0] > q + p else jnp.zeros(b)
    top = jnp.concatenate([square, rest[:, None]], axis=1)
    return jnp.concatenate([top, jnp.concatenate([rest, corner[None]])[None]], axis=0)


def symmetric(packed: Any, p: int, spare: Any) -> Any:
    """See :func:`planes.unpack`."""
    square = packed[: p * (p + 1) // 2][unpacking(p)]
    return square if spare is None else square + jnp.eye(p)[:, :, None] * spare[:, None, None]


def cholesky(gram: Any, n_pivots: int) -> tuple[Any, Any]:
    """See :func:`planes.cholesky`."""
    m = gram.shape[0]
    diagonal = gram[jnp.arange(m), jnp.arange(m)]
    below = jnp.arange(m)[:, None]

    def column(j: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        gram, worst = state
        pivot = gram[j, j]
        worst = jnp.minimum(worst, pivot / diagonal[j])
        root = jnp.sqrt(pivot)
        scaled = jnp.where(below > j, gram[:, j] / root, 0.0)
        gram = gram - scaled[:, None] * scaled[None, :]
        return gram.at[:, j].set(jnp.where(below == j, root, jnp.where(below > j, scaled, gram[:, j]))), worst

    start = (gram, jnp.full(gram.shape[2], jnp.inf))
    return lax.fori_loop(0, n_pivots, column, start)


def back_substitute(factor: Any, rhs: Any) -> Any:
    """See :func:`planes.back_substitute`."""
    p = rhs.shape[0]
    rows = jnp.arange(p)[:, None]

    def row(i: Any, rhs: Any) -> Any:
        j = p - 1 - i
        x = rhs[j] / factor[j, j]
        return jnp.where(rows < j, rhs - factor[j, :p] * x, rhs).at[j].set(x)

    return lax.fori_loop(0, p, row, rhs)


def inverse_root(factor: Any, p: int) -> Any:
    """See :func:`planes.inverse_root`."""
    identity = jnp.eye(p)
    columns = jnp.arange(p)[:, None]

    def row(i: Any, inverse: Any) -> Any:  # row i of L^-1 from those above it
        left = jnp.where(columns < i, factor[i, :p], 0.0)
        return inverse.at[i].set((identity[i][:, None] - (left[:, None] * inverse).sum(0)) / factor[i, i])

    inverse = lax.fori_loop(0, p, row, jnp.zeros((p, p, factor.shape[2])))
    return inverse.transpose(1, 0, 2)


def times(columns: Any, table: Any, extra: Any, weights: Any) -> Any:
    """See :meth:`planes.Products.times`: with the table one product, without it one product a lane."""
    if table is not None:
        return table @ weights.T
    rows, cols = triangle(columns.shape[0])

    def lane(weight: Any) -> Any:
        pairs = ((columns * weight) @ columns.T)[rows, cols]
        return pairs if extra is None else jnp.concatenate([pairs, extra @ weight])

    return lax.map(lane, weights).T


def combine(columns: Any, table: Any, packed: Any) -> Any:
    """See :meth:`planes.Products.combine`."""
    if table is not None:
        return packed.T @ table[: packed.shape[0]]
    rows, cols = triangle(columns.shape[0])
    r = columns.shape[0]

    def lane(form: Any) -> Any:
        upper = jnp.zeros((r, r)).at[rows, cols].set(form)
        return (columns * (upper @ columns)).sum(0)

    return lax.map(lane, packed.T)
