"""Linear mixed models: the fit, its variance components, and its random effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_core.design import build_bundle
from inference_core.fit.lmer import fit_lmer
from inference_core.fit.varcomp import random_effects, variance_components
from inference_core.solvers.lmm.dense import MAX_Q
from inference_core.solvers.lmm.structure import components
from inference_core.states import DataBundle, FitState, RandomBlock

from .answer import Answer
from .case import Case, _without_unclass

SINGULAR = "at a singular fit single thetas are not unique"
AT_ZERO = "an SD or correlation at the boundary: the optimiser's distance from it shows as its square root"


@dataclass
class Fitted:
    """A mixed model at its estimate."""

    bundle: DataBundle
    fit: FitState


def bundle_of(case: Case) -> tuple[Any, DataBundle]:
    """Specification and data of a mixed-model case."""
    formula, frame = _without_unclass(case.raw["model"]["formula"], case.frame, case.schema)
    described = case.raw["model"]
    return build_bundle(
        formula, frame, contrasts=case._contrasts(formula) or None, weights=described.get("weights"),
        offset=described.get("offset"), method=described["method"].lower(),
    )  # fmt: skip


def within_reach(case: Case) -> bool:
    """Whether there is a kernel for a model of this size."""
    re = random_effects(bundle_of(case)[1])
    return len(re.blocks) == 1 or re.q <= MAX_Q


def fitted(case: Case) -> Fitted:
    """The case's model at its estimate."""
    spec, bundle = bundle_of(case)
    return Fitted(bundle, fit_lmer(spec, bundle))


def lmer_fit(case: Case) -> Answer:
    """``lmer.fit``: estimates, variance components and the criterion."""
    m = fitted(case)
    fit, n = m.fit, int(np.count_nonzero(m.fit.working_weights > 0))
    kept = np.flatnonzero(np.isfinite(fit.coef))
    values: dict[str, Any] = {
        "theta": fit.theta,
        "beta": fit.coef[kept],
        "se": np.sqrt(np.diagonal(fit.vcov))[kept],
        "vcov": fit.vcov[np.ix_(kept, kept)],
        "varcorr": varcorr(case, m),
        "logLik": fit.loglik,
        "npar": fit.n_params,
        "AIC": -2 * fit.loglik + 2 * fit.n_params,
        "BIC": -2 * fit.loglik + fit.n_params * np.log(n),
        "nobs": n,
        "ngrps": {name: find_block(m.bundle, name).n_levels for name in case.values["ngrps"]},
        "isSingular": fit.is_singular,
        "sigma": fit.sigma,
        "criterion": fit.criterion,
    }
    apart = {"default_control": "where R's default optimiser stops", "theta_names": "R's spelling"}
    if fit.is_singular:
        apart["theta"] = SINGULAR
        del values["theta"]
    return Answer(values, apart=apart)


def varcorr(case: Case, m: Fitted) -> dict[str, Any]:
    """R's table of variance components, row by row as R names them."""
    table = case.values["varcorr"]
    ours = {
        (_parts(c.group), frozenset((_plain(c.term), _plain(c.term2)))): c
        for c in variance_components(m.bundle, m.fit)
    }
    vcov, sdcor = [], []
    for group, one, two, wanted in zip(table["grp"], table["var1"], table["var2"], table["sdcor"], strict=True):
        c = ours[_parts(group.split(".")[0]), frozenset((_plain(one), _plain(two)))]
        vcov.append(c.vcov)
        # A variance that the data put at 0 exactly is sigma^2 1e-14 or so where a derivative-free search stops; what
        # that does to its SD, a square root, is no disagreement once the variances agree.
        boundary = m.fit.is_singular and (np.isnan(c.sdcor) or (not two and abs(c.sdcor - wanted) < 1e-6 * m.fit.sigma))
        sdcor.append(wanted if boundary else c.sdcor)
    return {"vcov": vcov, "sdcor": sdcor}


def lmer_ranef(case: Case) -> Answer:
    """``lmer.ranef``: conditional modes and their variances, by grouping factor and level."""
    m = fitted(case)
    fit, re = m.fit, random_effects(m.bundle)
    effects = re.split_effects(fit.b)
    values = {}
    for name, wanted in case.values.items():
        block = find_block(m.bundle, name)
        t = re.blocks.index(block)
        level = {_parts(label): j for j, label in enumerate(block.levels)}
        rows = [level[_parts(label)] for label in wanted["levels"]]
        term = {_plain(label): a for a, label in enumerate(block.column_names)}
        columns = [term[_plain(label)] for label in wanted["terms"]]
        values[name] = {"blup": effects[t][np.ix_(rows, columns)]}
        if "condVar" in wanted:
            # R keeps the terms of one factor apart and so reports no conditional covariance between them
            together = np.zeros((block.k, block.k), dtype=bool)
            for members in components(block.mask):
                together[np.ix_(members, members)] = True
            values[name]["condVar"] = (fit.cond_var[t] * together)[np.ix_(rows, columns, columns)]
    return Answer(values, inputs=frozenset({"levels", "terms"}))


def find_block(bundle: DataBundle, name: str) -> RandomBlock:
    """The block of a grouping factor; ``b:a`` and ``a:b`` are one factor."""
    return next(b for b in random_effects(bundle).blocks if _parts(b.group_name) == _parts(name))


def _parts(name: str) -> tuple[str, ...]:
    return tuple(sorted(name.split(":")))


def _plain(term: str) -> str:
    return term.replace(" ", "")
