"""Random effects from bare arrays: what Z, theta, the number of groups and the kind of structure say of the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inference_core.errors import InferenceError
from inference_core.solvers.lmm.structure import full_mask
from inference_core.states import Array, RandomBlock, REInfo

STRUCTURES = ("intercept", "slope", "diagonal", "nested", "crossed", "mixed")


def random_effects_of(
    Z: Any,
    theta: Array,
    n_groups_list: Sequence[int],
    re_structure: str,
    metadata: dict | None = None,
    group_names: Sequence[str] | None = None,
    random_names: Sequence[Any] | None = None,
) -> REInfo:
    """The blocks behind Z (n, q), whose columns run by factor, level, effect.

    Parameters
    ----------
    Z, theta, n_groups_list, re_structure
        As in ``resample.lmer.simulate_from_lmer``.
    metadata : dict, optional
        "masks": one (k, k) lower triangle of free entries of T per factor. Without it effects of a factor are
        correlated, or independent for "diagonal"; one effect each where there are several factors.
    group_names : list of str, optional
        One per factor.
    random_names : list of str, or a list of such lists, optional
        Effects: the same for every factor, or factor by factor.

    Raises
    ------
    InferenceError
        These do not belong together.
    """
    import scipy.sparse as sp

    asked = f"random effects of {len(n_groups_list)} grouping factor(s), structure {re_structure!r}"
    if re_structure not in STRUCTURES:
        raise InferenceError(asked, f"structures are {', '.join(STRUCTURES)}", "re_structure='intercept'")
    Z = sp.csr_matrix(Z)
    masks = _masks(asked, Z.shape[1], n_groups_list, re_structure, metadata)
    wanted, found = sum(int(mask.sum()) for mask in masks), np.asarray(theta).size
    if wanted != found:
        raise InferenceError(asked, f"theta has {found} entries; these effects have {wanted}", "theta of the same fit")
    if group_names is not None and len(group_names) != len(masks):
        raise InferenceError(asked, f"{len(group_names)} group_names", "one name a factor")
    blocks, start = [], 0
    for t, (J, mask) in enumerate(zip(n_groups_list, masks, strict=True)):
        k = len(mask)
        X_re, group = _rows(asked, Z[:, start : start + J * k], k, t)
        names = _effect_names(asked, random_names, t, k)
        name = f"group{t + 1}" if group_names is None else group_names[t]
        levels = tuple(str(j + 1) for j in range(J))
        blocks.append(RandomBlock(name, levels, group, names, X_re, mask))
        start += J * k
    return REInfo(tuple(blocks), re_structure)


def _masks(
    asked: str, q: int, n_groups_list: Sequence[int], re_structure: str, metadata: dict | None
) -> list[Array]:
    given = (metadata or {}).get("masks")
    if given is not None:
        masks = [np.asarray(mask, dtype=bool) for mask in given]
    elif len(n_groups_list) == 1:
        k = max(q // n_groups_list[0], 1)
        masks = [np.eye(k, dtype=bool) if re_structure == "diagonal" else full_mask(k)]
    else:
        masks = [full_mask(1) for _ in n_groups_list]
    if len(masks) != len(n_groups_list):
        raise InferenceError(asked, f"{len(masks)} masks", "one mask a factor")
    columns = sum(J * len(mask) for J, mask in zip(n_groups_list, masks, strict=True))
    if columns != q:
        raise InferenceError(
            asked,
            f"Z has {q} columns; these factors have {columns}",
            'say which effects vary: metadata={"masks": [..]}',
        )
    return masks


def _rows(asked: str, Z: Any, k: int, t: int) -> tuple[Array, Array]:
    """X_re (n, k) and the group (n,) of each row; a row of zeros belongs to any group, and the first is taken."""
    Z = Z.tocoo()
    X_re, group = np.zeros((Z.shape[0], k)), np.full(Z.shape[0], -1)
    group[Z.row] = Z.col // k
    if np.any(group[Z.row] != Z.col // k):
        row = int(Z.row[np.argmax(group[Z.row] != Z.col // k)])
        raise InferenceError(
            asked,
            f"row {row} of Z belongs to several groups of factor {t + 1}",
            "columns of Z by factor, level, effect",
        )
    X_re[Z.row, Z.col % k] = Z.data
    return X_re, np.maximum(group, 0)


def _effect_names(asked: str, names: Sequence[Any] | None, t: int, k: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"effect{a + 1}" for a in range(k))
    own = names if all(isinstance(name, str) for name in names) else names[t]
    if len(own) < k:
        raise InferenceError(asked, f"{len(own)} random_names for {k} effects of factor {t + 1}", "one name an effect")
    return tuple(own[:k])
