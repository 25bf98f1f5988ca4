"""What each group of a mixed model adds to the fixed effects, and what its own coefficients are, with intervals.

With C the variance of b given y and the parameters, W the weights at the modes and V_b the covariance of the fixed
effects, the errors of prediction are

    b-hat - b                  C + B V_b B',            B = C Z'W X
    (beta + b)-hat - (beta + b)    C + (E - B) V_b (E - B)'

for E the rows that pick a coefficient: the joint prediction variance of Henderson's equations, which also counts that
the fixed effects are estimated. The covariance parameters are taken as known, so intervals are too short with few
groups or a small spread: 95 % intervals of coefficients held 84 to 87 % with 8 groups of 10 rows, 91 % with 18, and
83 % with 18 where the spread between groups was a third of the noise. Source: Henderson (1975), Biometrics 31; for a
generalized model at the modes, Booth & Hobert (1998), JASA 93, first term.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri

from inference_core.errors import InferenceError
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec, REInfo
from inference_core.states.varying import VaryingState

from .coefficient import check_level

_Split = tuple[Array, ...]  # (J, k) per block


def varying_offsets(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, conf_level: float | None = None
) -> VaryingState:
    """What each group adds to the fixed effects (conditional modes), with intervals where a level is given.

    Parameters
    ----------
    spec, bundle, fit
        A fitted mixed model.
    conf_level : float, optional
        Between 0 and 1; left out, there are no standard errors and limits but ``cond_sd``.

    Raises
    ------
    InferenceError
        The model has no random effects, or a level outside (0, 1).
    """
    re = _random_effects(bundle, "m.varying_offsets")
    assert fit.b is not None
    effects = re.split_effects(fit.b)
    return _state(spec, bundle, fit, re, effects, conf_level, add_fixed=False)


def varying_params(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, conf_level: float | None = None
) -> VaryingState:
    """The coefficients of each group: fixed effect plus what the group adds, for every effect that varies.

    Parameters
    ----------
    spec, bundle, fit, conf_level
        As for :func:`varying_offsets`.

    Notes
    -----
    A random effect without a fixed effect of its name has the fixed effect 0, as in lme4's ``coef``.

    Raises
    ------
    InferenceError
        The model has no random effects, or a level outside (0, 1).
    """
    re = _random_effects(bundle, "m.varying_params")
    assert fit.b is not None
    coef = np.nan_to_num(fit.coef)  # a column that the design dropped has the effect 0
    totals = tuple(
        b + _picks(block.column_names, bundle.X_names) @ coef
        for block, b in zip(re.blocks, re.split_effects(fit.b), strict=True)
    )
    return _state(spec, bundle, fit, re, totals, conf_level, add_fixed=True)


def _random_effects(bundle: DataBundle, asked: str) -> REInfo:
    if bundle.re_metadata is None:
        raise InferenceError(asked, "the model has no random effects", "add one, as + (1 | group)")
    return bundle.re_metadata


def _picks(names: tuple[str, ...], columns: tuple[str, ...]) -> Array:
    """(k, p) rows of 0 and 1: the coefficient of each name, none where there is none."""
    return np.array([[float(name == column) for column in columns] for name in names]).reshape(len(names), len(columns))


def _state(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, re: REInfo, effects: _Split, conf_level: float | None,
    *, add_fixed: bool,
) -> VaryingState:  # fmt: skip
    assert fit.cond_var is not None
    grid = pl.concat(
        pl.DataFrame({"group": [block.group_name] * block.n_levels, "level": list(block.levels)})
        for block in re.blocks
    )
    names = tuple(dict.fromkeys(name for block in re.blocks for name in block.column_names))

    def spread(parts: _Split) -> dict[str, Array]:
        return _by_term(re, names, parts)

    values = spread(effects)
    cond_sd = spread(tuple(np.sqrt(np.maximum(np.diagonal(C, axis1=1, axis2=2), 0.0)) for C in fit.cond_var))
    if conf_level is None:
        return VaryingState(grid, values, cond_sd)
    level = check_level(conf_level)
    se = spread(prediction_errors(spec, bundle, fit, add_fixed=add_fixed))
    reach = float(ndtri(0.5 + 0.5 * level))
    lower = {name: values[name] - reach * se[name] for name in names}
    upper = {name: values[name] + reach * se[name] for name in names}
    return VaryingState(grid, values, cond_sd, se, lower, upper, level)


def _by_term(re: REInfo, names: tuple[str, ...], parts: _Split) -> dict[str, Array]:
    """(r,) numbers of each term over all levels, NaN where a factor does not have it."""
    out = {name: np.full(sum(block.n_levels for block in re.blocks), np.nan) for name in names}
    at = 0
    for block, part in zip(re.blocks, parts, strict=True):
        for a, name in enumerate(block.column_names):
            out[name][at : at + block.n_levels] = part[:, a]
        at += block.n_levels
    return out


def prediction_errors(spec: ModelSpec, bundle: DataBundle, fit: FitState, *, add_fixed: bool) -> _Split:
    """Standard errors of prediction (J, k) of the random effects, or of fixed plus random, block by block."""
    re = _random_effects(bundle, "errors of prediction")
    kept = np.flatnonzero(np.isfinite(fit.coef))
    V = fit.vcov[np.ix_(kept, kept)]
    assert fit.cond_var is not None
    out = []
    with one_blas_thread():
        for block, C, B in zip(re.blocks, fit.cond_var, _shifts(spec, bundle, fit, re, kept), strict=True):
            turn = _picks(block.column_names, bundle.X_names)[:, kept] - B if add_fixed else B
            of_fixed = np.einsum("jap,pq,jaq->ja", turn, V, turn, optimize=True)
            out.append(np.sqrt(np.maximum(np.diagonal(C, axis1=1, axis2=2) + of_fixed, 0.0)))
    return tuple(out)


def _shifts(spec: ModelSpec, bundle: DataBundle, fit: FitState, re: REInfo, kept: Array) -> _Split:
    """B = C Z'W X (J, k, r) of each block: how the modes move down where the fixed part X beta moves up."""
    X = bundle.X[:, kept]
    weights = fit.working_weights / fit.dispersion if spec.is_lmer else fit.working_weights
    WX = weights[:, None] * X
    if len(re.blocks) == 1:
        (block,) = re.blocks
        assert fit.cond_var is not None
        return (np.einsum("jab,jbp->jap", fit.cond_var[0], _sums(block.X_re, WX, block.group_index, block.n_levels)),)
    solve, scale = _several(re, fit, weights)
    right = np.concatenate(
        [_sums(b.X_re, WX, b.group_index, b.n_levels).reshape(b.q, kept.size) for b in re.blocks]
    )
    found = scale @ solve(scale.T @ right)
    stops = np.cumsum([block.q for block in re.blocks])[:-1]
    parts = np.split(found, stops)
    return tuple(part.reshape(b.n_levels, b.k, kept.size) for b, part in zip(re.blocks, parts, strict=True))


def _sums(Z: Array, WX: Array, group: Array, J: int) -> Array:
    """(J, k, p) sums of z w x' over the rows of each level."""
    out = np.empty((J, Z.shape[1], WX.shape[1]))
    for a in range(Z.shape[1]):
        for c in range(WX.shape[1]):
            out[:, a, c] = np.bincount(group, weights=Z[:, a] * WX[:, c], minlength=J)
    return out


def _several(re: REInfo, fit: FitState, weights: Array) -> tuple[Callable[[Array], Array], Any]:
    """Solver of S'Z'WZ S + I, with S S' the covariance of all random effects, and S (sparse)."""
    import scipy.sparse as sp
    from scipy.sparse.linalg import splu

    assert fit.theta is not None
    roots = re.t_matrices(fit.sigma * fit.theta)
    S = sp.block_diag(
        [sp.kron(sp.eye(b.n_levels), T) for b, T in zip(re.blocks, roots, strict=True)], format="csc"
    )
    ZS = (sp.diags(np.sqrt(weights)) @ re.z_matrix() @ S).tocsc()
    system = (ZS.T @ ZS + sp.eye(re.q)).tocsc()
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor.solve, S
