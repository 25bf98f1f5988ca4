"""Small mixed models drawn at random, and their deviance by brute force."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FULL, DIAGONAL, BLOCKS = "full", "diagonal", "blocks"


@dataclass(frozen=True)
class Drawn:
    """One model and one response."""

    X: np.ndarray
    Z: np.ndarray
    group: np.ndarray
    mask: np.ndarray
    weights: np.ndarray | None
    y: np.ndarray


def mask_of(kind: str, k: int) -> np.ndarray:
    """Free entries of T: everything, the diagonal, or the first effect apart from the others."""
    full = np.tril(np.ones((k, k), dtype=bool))
    if kind == DIAGONAL:
        return np.eye(k, dtype=bool)
    if kind == BLOCKS:
        full[1:, 0] = False
    return full


def draw(seed: int, k: int = 2, kind: str = FULL, *, groups: int = 8, n: int = 60, weighted: bool = False,
         spread: float = 0.8, p: int = 3) -> Drawn:  # fmt: skip
    """Unbalanced groups, an intercept among the effects, and a response with that structure."""
    rng = np.random.default_rng(seed)
    group = np.r_[np.arange(groups), rng.integers(0, groups, n - groups)]
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    Z = np.column_stack([np.ones(n), rng.standard_normal((n, k - 1)) + 0.5])
    mask = mask_of(kind, k)
    T = spread * np.where(mask, rng.standard_normal((k, k)), 0.0)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    noise = rng.standard_normal(n) / np.sqrt(1.0 if weights is None else weights)
    b = rng.standard_normal((groups, k)) @ T.T
    return Drawn(X, Z, group, mask, weights, X @ rng.standard_normal(p) + (Z * b[group]).sum(axis=1) + noise)


def covariance(terms, n: int, weights: np.ndarray | None) -> np.ndarray:
    """V in units of sigma^2: diag(1 / w) + sum of Z T T'Z' over (Z, group, T)."""
    V = np.diag(np.ones(n) if weights is None else 1.0 / weights)
    for Z, group, T in terms:
        V += np.where(group[:, None] == group, Z @ (T @ T.T) @ Z.T, 0.0)
    return V


def brute_deviance(X, y, V, reml: bool) -> tuple[float, np.ndarray, float]:
    """Profiled deviance, beta and sigma from the n x n covariance."""
    n, p = X.shape
    Vi = np.linalg.inv(V)
    S = X.T @ Vi @ X
    beta = np.linalg.solve(S, X.T @ Vi @ y)
    e = y - X @ beta
    r2, dof = e @ Vi @ e, n - p if reml else n
    d = np.linalg.slogdet(V)[1] + dof * (1 + np.log(2 * np.pi * r2 / dof))
    return d + (np.linalg.slogdet(S)[1] if reml else 0.0), beta, float(np.sqrt(r2 / dof))


def differences(evaluate, theta: np.ndarray, h: float = 1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (m,) of the deviance and Hessian (m, m) from the gradient, by central differences at theta (m,)."""
    gradient, hessian = [], []
    for step in h * np.eye(theta.size):
        up, down = evaluate((theta + step)[None]), evaluate((theta - step)[None])
        gradient.append((up.deviance[0] - down.deviance[0]) / (2 * h))
        hessian.append((up.gradient[0] - down.gradient[0]) / (2 * h))
    return np.array(gradient), np.array(hessian)
