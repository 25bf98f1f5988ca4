"""Mixed models: the fit, its variance components, and its random effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from inference_core.solvers.lmm.structure import components
from inference_core.states import DataBundle, RandomBlock

from .answer import Answer
from .case import Case
from .table import column, estimable, vcov

SINGULAR = "at a singular fit single thetas are not unique"
AT_ZERO = 1e-6  # of sigma: where a derivative-free search stops beside an SD of 0, see ``varcorr``
NOT_NUMBERS = {
    "default_control": "where R's default optimiser stops",
    "r_messages": "R's words",
    "criterion_name": "R's words",
}


def lmer_fit(case: Case) -> Answer:
    """``lmer.fit``: estimates, variance components and the criterion."""
    m = case.fitted()
    values = _shared(case, m) | {"sigma": m.diagnostics["sigma"].item(), "criterion": m.diagnostics["criterion"].item()}
    return _without_theta_where_singular(Answer(values, apart=dict(NOT_NUMBERS)), m)


def glmer_fit(case: Case) -> Answer:
    """``glmer.fit``: the same, the conditional deviance, and standard errors from the penalised factor too."""
    m = case.fitted()
    params = m.infer().params
    rx = factor_vcov(m)
    values = _shared(case, m) | {
        "deviance_resid": m.fit_state.deviance,
        "minus2logLik": m.diagnostics["criterion"].item(),
        "z": column(params, "statistic"),
        "p": _p_of_z(case, column(params, "p_value")),
        "vcov_rx": rx,
        "se_rx": np.sqrt(np.diagonal(rx)),
    }
    return _without_theta_where_singular(Answer(values, apart=dict(NOT_NUMBERS)), m)


def _shared(case: Case, m) -> dict[str, Any]:
    info = m.diagnostics.row(0, named=True)
    assert info["converged"]
    kept = estimable(m)
    return {
        "theta": m.fit_state.theta,
        "theta_names": [name for part in case.values["ngrps"] for name in _theta_names(m.bundle, part)],
        "beta": column(m.params, "estimate")[kept],
        "se": np.sqrt(np.diagonal(vcov(m))),
        "vcov": vcov(m),
        "varcorr": varcorr(case, m),
        "logLik": info["loglik"],
        "npar": info["n_params"],
        "AIC": info["aic"],
        "BIC": info["bic"],
        "nobs": info["nobs"],
        "ngrps": {name: find_block(m.bundle, name).n_levels for name in case.values["ngrps"]},
        "isSingular": info["is_singular"],
    }


def _without_theta_where_singular(answer: Answer, m) -> Answer:
    if m.fit_state.is_singular:
        answer.apart["theta"] = SINGULAR
        del answer.values["theta"]
    return answer


def _p_of_z(case: Case, p: np.ndarray) -> np.ndarray:
    """P-values, the reference's own where they differ by no more than what the case allows z to differ.

    Far from 0 a p-value magnifies a relative error of z, by some z^2; the case states one tolerance for both.
    """
    z, wanted = np.asarray(case.values["z"]), np.asarray(case.values["p"])
    tolerance = case.raw["tolerance"]
    room = tolerance["abs"] + tolerance["rel"] * np.abs(z)
    return np.where(np.abs(p - wanted) <= 2.0 * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) * room, wanted, p)


def varcorr(case: Case, m) -> dict[str, Any]:
    """R's table of variance components, row by row as R names them."""
    spread, corr = m.varying_spread, m.varying_corr
    ours: dict[Any, tuple[float, float]] = {}
    for group, term, variance, sd in spread.select("group", "term", "variance", "sd").iter_rows():
        ours[_parts(group), frozenset({_plain(term), ""})] = (variance, sd)
    names = ("group", "term", "term2", "covariance", "correlation")
    for group, one, two, covariance, correlation in corr.select(names).iter_rows():
        ours[_parts(group), frozenset({_plain(one), _plain(two)})] = (covariance, correlation)
    table = case.values["varcorr"]
    vcov, sdcor = [], []
    for group, one, two, wanted in zip(table["grp"], table["var1"], table["var2"], table["sdcor"], strict=True):
        variance, sd = ours[_parts(group.split(".")[0]), frozenset({_plain(one), _plain(two)})]
        vcov.append(variance)
        # A variance that the data put at 0 exactly is sigma^2 1e-14 or so where a derivative-free search stops; what
        # that does to its SD, a square root, is no disagreement once the variances agree.
        boundary = m.fit_state.is_singular and (
            sd is None or (not two and abs(sd - wanted) < AT_ZERO * m.fit_state.sigma)
        )
        sdcor.append(wanted if boundary else sd)
    # R's names of the rows were the keys of the lookup
    return {"vcov": vcov, "sdcor": sdcor} | {name: table[name] for name in ("grp", "var1", "var2")}


def factor_vcov(m) -> np.ndarray:
    """(p, p) covariance of the coefficients with theta taken as known, by Henderson's equations at the modes."""
    re, W = m.bundle.re_metadata, m.fit_state.working_weights
    Z, X = re.z_matrix().toarray(), m.bundle.X[:, estimable(m)]
    effects = np.zeros((re.q, re.q))
    at = 0
    for block, T in zip(re.blocks, re.t_matrices(m.fit_state.theta), strict=True):
        for _ in range(block.n_levels):
            effects[at : at + block.k, at : at + block.k] = m.fit_state.sigma * T
            at += block.k
    ZT = Z @ effects
    ZWX = ZT.T @ (W[:, None] * X)
    inner = ZT.T @ (W[:, None] * ZT) + np.eye(re.q)
    information = X.T @ (W[:, None] * X) - ZWX.T @ np.linalg.solve(inner, ZWX)
    return np.linalg.inv(information)


def ranef(case: Case) -> Answer:
    """``lmer.ranef``, ``glmer.ranef``: conditional modes and their variances, by grouping factor and level."""
    m = case.fitted()
    table = m.varying_offsets
    values: dict[str, Any] = {}
    for name, wanted in case.values.items():
        block = find_block(m.bundle, name)
        t = m.bundle.re_metadata.blocks.index(block)
        level = {_parts(label): j for j, label in enumerate(block.levels)}
        rows = [level[_parts(label)] for label in wanted["levels"]]
        term = {_plain(label): a for a, label in enumerate(block.column_names)}
        columns = [term[_plain(label)] for label in wanted.get("terms", block.column_names)]
        own = table.filter(pl.col("group") == block.group_name)
        blup = own["estimate"].to_numpy().reshape(block.n_levels, block.k)
        blup = blup[np.ix_(rows, columns)]
        values[name] = {"blup": blup if np.ndim(wanted["blup"]) == 2 else blup[:, 0]}
        values[name] |= {key: wanted[key] for key in ("levels", "terms") if key in wanted}  # keys of the lookup
        if "condVar" in wanted:
            # R keeps the terms of one factor apart and so reports no conditional covariance between them
            together = np.zeros((block.k, block.k), dtype=bool)
            for members in components(block.mask):
                together[np.ix_(members, members)] = True
            values[name]["condVar"] = (m.fit_state.cond_var[t] * together)[np.ix_(rows, columns, columns)]
    return Answer(values)


def find_block(bundle: DataBundle, name: str) -> RandomBlock:
    """The block of a grouping factor; ``b:a`` and ``a:b`` are one factor."""
    return next(b for b in bundle.re_metadata.blocks if _parts(b.group_name) == _parts(name))


def _theta_names(bundle: DataBundle, group: str) -> list[str]:
    """R's names of one factor's theta, R's name of the factor given."""
    block = find_block(bundle, group)
    return [_plain(group + name.removeprefix(block.group_name)) for name in block.theta_names]


def _parts(name: str) -> tuple[str, ...]:
    return tuple(sorted(name.split(":")))


def _plain(term: str) -> str:
    """``kid2p[Y]`` is R's ``kid2pY``."""
    return "" if term is None else term.replace(" ", "").replace("[", "").replace("]", "")
