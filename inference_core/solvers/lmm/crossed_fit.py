"""Fits of large crossed and nested models: one from few starts, replicates from a warm start, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference_core.states import Array

from .crossed import CrossedKernel, CrossedLanes, Point
from .crossed_design import CrossedDesign
from .crossed_leverage import leverage
from .dense import Term
from .newton import FIT_TOL, REPLICATE_TOL, NewtonResult, best_of, newton
from .solution import Solution
from .structure import canonical, to_theta

STARTS = (1.0, 0.3)
SAME_OPTIMUM = 1e-4  # deviance units within which two starts have met
AT_BOUND = 1e-4  # whitened diagonal of T that counts as 0
_NEAR_BOUND = 1e-3  # and that is worth a look at whether the deviance falls from there
_LIFT = 0.3
_ONE_START = 1000  # columns of the rest above which scalar terms are searched from one start only
_ROUNDING = 1e-9  # decrement below which another step with the average information gains nothing that shows


def fit_crossed(
    X: Array, terms: Sequence[Term], y: Array, *, weights: Array | None = None, reml: bool = True,
    tol: float = FIT_TOL, max_iter: int = 60, start: Sequence[Array] | None = None,
) -> Solution:  # fmt: skip
    """Fit several terms with many levels.

    Parameters
    ----------
    X : (n, p) array of full rank
    terms : sequence of Term
        Two or more.
    y : (n,) array, the offset already taken off
    weights : (n,) array > 0, optional
    start : sequence of (k, k) arrays, optional
        A further start, in the units of the data.

    Returns
    -------
    Solution
        ``hessian`` is the average information in theta.

    Notes
    -----
    Two starts (1 and 0.3 times the identity); one where all effects are scalar and the terms that stay have over 1,000
    columns. A variance that ends at 0 although the deviance falls from there is lifted, and the search goes on.
    """
    kernel = CrossedKernel(CrossedDesign.of(X, terms, weights))
    lanes = kernel.lanes(y, reml=reml)
    d = kernel.design
    tol = max(tol, _ROUNDING)
    unit = np.concatenate([[float(a == b) for a, b in slot.entries] for slot in d.slots])
    single = all(slot.k == 1 for slot in d.slots) and d.q2 > _ONE_START
    first = [s * unit for s in (STARTS[:1] if single else STARTS)]
    if start is not None:
        first.insert(0, d.theta_inside([np.asarray(t)[None] for t in start])[0])
    tried = [newton(lanes, s[None], tol=tol, max_iter=max_iter) for s in first]
    best = best_of(tried)
    best = _off_saddles(lanes, best, tol, max_iter)
    ends = np.array([r.deviance[0] for r in tried if r.converged[0]])
    apart = float(np.ptp(ends)) if ends.size else 0.0
    messages = ()
    if apart > SAME_OPTIMUM:
        messages = (
            f"starting points ended in different optima, up to {apart:.2g} deviance units apart; the best was taken",
        )
    return _finish(lanes, best, messages)


def replicate_crossed(
    kernel: CrossedKernel, Y: Array, start: Sequence[Array], *, reml: bool = True, tol: float = REPLICATE_TOL,
    max_iter: int = 60,
) -> tuple[list[Array], Array, Array, NewtonResult]:  # fmt: skip
    """B refits from a warm start: T_t (B, k, k), beta (B, p), sigma (B,), and the search's own result."""
    d = kernel.design
    begin = d.theta_inside([np.asarray(t)[None] for t in start])
    at_bound = (np.abs(begin) < _NEAR_BOUND) & (_diagonal(d, 1.0) > 0)
    begin = np.where(at_bound, 0.1, begin)
    parts, beta = [], []
    for y in np.atleast_2d(Y):  # one by one: to the last bit the same in any batch, and large matrices fill the cache
        lanes = kernel.lanes(y, reml=reml)
        part = newton(lanes, begin, tol=tol, max_iter=max_iter)
        if np.any((np.abs(part.theta) < _NEAR_BOUND) & (_diagonal(d, 1.0) > 0)):
            part = _off_saddles(lanes, part, tol, max_iter)
        parts.append(part)
        beta.append(d.beta_outside(part.beta, lanes.sums.shift)[0])
    found = parts[0].join(parts[1:])
    dof = d.n - (d.p if reml else 0)
    return d.t_outside(found.theta), np.array(beta), np.sqrt(found.r2 / dof), found


def _diagonal(d: CrossedDesign, value: float) -> Array:
    """(1, m) ``value`` at the entries of the diagonals, 0 elsewhere."""
    return np.array([[value if a == b else 0.0 for slot in d.slots for a, b in slot.entries]])


def _off_saddles(lanes: CrossedLanes, best: NewtonResult, tol: float, max_iter: int) -> NewtonResult:
    """Average information is exact at 0 but not near it: a variance close to 0 is lifted where that pays."""
    for _ in range(len(lanes.kernel.design.slots)):
        lifted = _lifted(lanes, best.theta[0])
        if lifted is None:
            break
        again = newton(lanes, lifted[None], tol=tol, max_iter=max_iter)
        if not again.deviance[0] < best.deviance[0] - 1e-9 * (1.0 + abs(best.deviance[0])):
            break
        best = best_of([best, again])
    return best


def _lifted(lanes: CrossedLanes, theta: Array) -> Array | None:
    d = lanes.kernel.design
    T = [t[0] for t in d.t_inside(theta[None])]
    near = [bool(np.any(np.abs(np.diagonal(t)) < _NEAR_BOUND)) for t in T]
    if not any(near):
        return None
    at = lanes.at(T)
    if at is None:
        return None
    out, found = theta.copy(), False
    for t, slot in enumerate(d.slots):
        for i, (a, b) in enumerate(slot.entries, start=slot.first):
            if a == b and abs(T[t][a, a]) < _NEAR_BOUND and at.slopes[t][a, a] < 0.0:
                out[i], found = _LIFT, True
    return out if found else None


def _finish(lanes: CrossedLanes, best: NewtonResult, messages: tuple[str, ...]) -> Solution:
    d = lanes.kernel.design
    inside = [t[0] for t in d.t_inside(best.theta)]
    at = lanes.at(inside)
    assert at is not None  # the search ended at a finite point
    T = [t[0] for t in d.t_outside(best.theta)]
    sigma = float(np.sqrt(at.r2 / lanes.dof))
    root_S = _root(at.S_inverse)
    root_x = np.linalg.solve(d.x_factor, root_S) if d.p else np.zeros((0, 0))
    blocks = variances(at)
    b, u, cond_var = [], [], []
    for t, R, g, v in zip(T, d.z_factors, at.g, blocks, strict=True):
        g = g @ R  # Z'P y for Z as given
        b.append(g @ (t @ t.T))
        u.append(g @ t)
        inverse = np.linalg.inv(R)
        cond_var.append(sigma**2 * (inverse @ v @ inverse.T))
    singular = any(
        bool(np.any(np.diagonal(canonical(t, term.mask)) < AT_BOUND)) for t, term in zip(inside, d.terms, strict=True)
    )
    theta = [to_theta(t[None], slot.entries)[0] for t, slot in zip(T, d.slots, strict=True)]
    return Solution(
        T=tuple(T), beta=d.beta_outside(best.beta, lanes.sums.shift)[0], sigma=sigma,
        deviance=float(best.deviance[0]), vcov_unscaled=root_x @ root_x.T, u=tuple(u), b=tuple(b),
        cond_var=tuple(cond_var), leverage=leverage(at, blocks, root_S), gradient=_gradient(at, T, theta),
        hessian=at.curvature(d.z_factors, T), singular=singular, converged=bool(best.converged[0]),
        n_iter=int(best.n_iter[0]), messages=messages,
    )  # fmt: skip


def variances(at: Point) -> list[Array]:
    """(J, k, k) variance of b given y over sigma^2, by term, in the kernel's coordinates.

    Sigma - Sigma N Sigma: for the leading term Q + Q a (T M^-1 T') a'Q, Q = Sigma (I + A Sigma)^-1.
    """
    d = at.lanes.kernel.design
    rest = iter(at.rest.variances())
    out = []
    for t in range(len(d.slots)):
        part = at.Q + at.Q @ at.rest.lead_quads() @ at.Q.transpose(0, 2, 1) if t == d.lead else next(rest)
        out.append(0.5 * (part + part.transpose(0, 2, 1)))
    return out


def _gradient(at: Point, T: Sequence[Array], theta: Sequence[Array]) -> Array:
    """(m,) of the deviance in the entries of T in the units of the data: 2 (R'K R T)_ab."""
    d = at.lanes.kernel.design
    parts = []
    for R, K, t, slot in zip(d.z_factors, at.slopes, T, d.slots, strict=True):
        KT = 2.0 * (R.T @ K @ R @ t)
        parts.append([KT[a, b] for a, b in slot.entries])
    return np.concatenate(parts)


def _root(M: Array) -> Array:
    """F with F F' = M, for M symmetric and not negative."""
    w, V = np.linalg.eigh(M)
    return V * np.sqrt(np.maximum(w, 0.0))
