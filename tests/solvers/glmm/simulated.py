"""Small grouped responses of every family a mixed model takes."""

from __future__ import annotations

import numpy as np

from inference_core.families import get_family, links_of, with_params
from inference_core.solvers.glmm.problem import RandomTerm
from inference_core.solvers.glmm.rows import FAMILIES, RowModel

PAIRS = [(family, link) for family in FAMILIES for link in links_of(family) if family != "gaussian"]
PAIRS += [("gaussian", "identity"), ("gaussian", "log")]
TRIALS = 5.0


def centre(family: str, link: str) -> float:
    """An eta around which every mean is possible."""
    if family == "binomial":
        return {"log": -1.5, "identity": 0.4}.get(link, 0.2)
    return {"sqrt": 2.0, "identity": 3.0, "inverse": 1.0, "inverse_squared": 1.0}.get(link, 0.4)


def eta_of(family: str, link: str, part: np.ndarray) -> np.ndarray:
    """The centre and a part of size 1 scaled so that means stay possible."""
    size = 0.5 if link in ("logit", "probit", "cauchit", "cloglog") or (link, family) == ("log", "poisson") else 0.12
    return centre(family, link) + size * part


def responses(family: str, link: str, eta: np.ndarray, seed: int = 1) -> RowModel:
    """Responses at eta (n,), with trials for the binomial; theta or dispersion estimated."""
    rng = np.random.default_rng(seed)
    made = get_family(family, link)
    drawn = with_params(made, (2.0,)) if family == "negative_binomial" else made
    trials = np.full(eta.size, TRIALS) if family == "binomial" else None
    y = drawn.simulate(rng, made.link.inverse(eta), trials, 0.05)
    return RowModel(made, y[None], trials)


def log_scale(model: RowModel) -> np.ndarray | None:
    """A plausible log scale, or None."""
    if not model.has_scale:
        return None
    return np.log([2.0]) if model.family.name == "negative_binomial" else np.log([0.06])


def design(seed: int = 3, n: int = 60, J: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X (n, 2), groups (n,) that all occur, and a covariate (n,)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    group = np.concatenate([np.arange(J), rng.integers(0, J, n - J)])
    return np.column_stack([np.ones(n), x]), rng.permutation(group), rng.uniform(-1, 1, n)


def term(group: np.ndarray, *columns: np.ndarray, diagonal: bool = False) -> RandomTerm:
    """Random intercepts, and slopes of the columns."""
    Z = np.column_stack([np.ones(group.size), *columns])
    k = Z.shape[1]
    mask = np.eye(k, dtype=bool) if diagonal else np.tril(np.ones((k, k), dtype=bool))
    return RandomTerm(Z, group, int(group.max()) + 1, mask)
