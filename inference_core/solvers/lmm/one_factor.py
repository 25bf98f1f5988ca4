"""Fits with one grouping factor: one fit from several starts, or B replicates at once from a warm start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inference_core.backends import Backend
from inference_core.states import Array

from . import planes as pl
from .groups import GroupDesign
from .lanes import Lanes
from .newton import FIT_TOL, REPLICATE_TOL, Evaluation, NewtonResult, best_of, newton
from .structure import canonical, components, to_matrix, to_theta

VALLEY_ITERATIONS = 15  # after so many, a lane is in the curved valley T_11 -> 0 and wants other coordinates
SCALES = (0.1, 0.3, 1.0, 3.0)  # of T in whitened coordinates, at the points that are looked at first
FEW_GROUPS = 6  # groups for each effect, below which a second optimum is no rarity (6 of 800 data sets of 4 groups)
LOOSE_TOL = 1e-4  # decrement at which starts are compared; the best is then polished
SAME_OPTIMUM = 1e-4  # deviance units within which two starts have met
CHUNK = 20_000  # numbers in one plane: replicates times patterns
BIG = 20_000  # patterns times effects above which k >= 3 alone does not call for further searches


@dataclass(frozen=True, slots=True, eq=False)
class LaneFits:
    """B fits in the units of the data."""

    T: Array  # (B, k, k) canonical relative factors
    beta: Array  # (B, p)
    sigma: Array  # (B,)
    deviance: Array  # (B,) the REML criterion or -2 log L
    converged: Array  # (B,) bool
    n_iter: Array  # (B,)
    inside: NewtonResult  # in search coordinates


def solve(
    lanes: Lanes, start: Array, *, full: bool, tol: float, max_iter: int = 60, at: Evaluation | None = None,
    backend: Backend = "numpy",
) -> NewtonResult:  # fmt: skip
    """Newton for every lane, then other coordinates for the few that are stuck.

    With T_11 near 0 and k >= 2 the triangle is a bad gauge: (T_21, T_22) may rotate freely. Those lanes go again with
    the effects in order of falling variance; for k >= 3 then from two small multiples of the identity.
    """
    k = lanes.patterns.k
    curved = full and k > 1
    first = min(VALLEY_ITERATIONS, max_iter) if curved else max_iter
    if backend == "jax":
        from .newton_jax import newton_jax

        out = newton_jax(lanes, start, tol=tol, max_iter=first)
    else:
        out = newton(lanes, start, tol=tol, max_iter=first, at=at)
    if not curved or max_iter <= VALLEY_ITERATIONS:
        return out
    stuck = np.flatnonzero(~out.converged & np.isfinite(out.deviance))
    if stuck.size:
        _reorder(lanes, out, stuck, tol, max_iter)
    if k > 2:
        for scale in (0.5, 0.1):
            stuck = np.flatnonzero(~out.converged & np.isfinite(out.deviance))
            if not stuck.size:
                break
            again = np.tile(scaled_start(lanes, scale, off=0.2), (stuck.size, 1))
            other = newton(lanes.take(stuck), again, tol=tol, max_iter=max_iter)
            better = np.flatnonzero(other.converged & (other.deviance <= out.deviance[stuck] + 1e-7))
            out.put(stuck[better], other, better)
    return out


def scaled_start(lanes: Lanes, scale: float, off: float = 0.0) -> Array:
    """(m,) a multiple of the identity, with ``off`` times as much below the diagonal."""
    return np.array([scale if a == b else off * scale for a, b in lanes.patterns.entries])


def _reorder(lanes: Lanes, out: NewtonResult, stuck: Array, tol: float, max_iter: int) -> None:
    k, entries = lanes.patterns.k, lanes.patterns.entries
    mask = np.tril(np.ones((k, k), dtype=bool))
    T = to_matrix(out.theta[stuck], entries, k)
    orders = np.argsort(-np.square(T).sum(axis=2), axis=1, kind="stable")
    for order in np.unique(orders, axis=0):
        here = (orders == order).all(axis=1)
        which = stuck[here]
        swapped = lanes.take(which).rebased(np.eye(k)[:, order])
        begin = to_theta(canonical(T[here][:, order], mask), entries)
        found = newton(swapped, begin, tol=tol, max_iter=max_iter)
        turned = np.empty((which.size, k, k))
        turned[:, order] = to_matrix(found.theta, entries, k)
        found.theta = to_theta(canonical(turned, mask), entries)
        # derivatives belong to coordinates; nothing downstream reads them in these
        out.put(which, found)


def fit_one(design: GroupDesign, y: Array, *, reml: bool = True, tol: float = FIT_TOL, max_iter: int = 60,
            start: Array | None = None, lanes: Lanes | None = None) -> tuple[LaneFits, tuple[str, ...]]:  # fmt: skip
    """The best optimum for one response.

    The search begins at the lowest of a moment estimate and a few multiples of the identity. Where it ends on the
    boundary, does not settle, k >= 3, or slopes rest on few groups, further searches begin at all of those points, at
    points with strong correlations of either sign, and at the best point with each effect's variance at zero and
    lifted off zero. Big designs do so only at a boundary, and only by lifting what is
    at zero.

    Returns
    -------
    LaneFits, messages
        One lane; messages say where starts ended in different optima.
    """
    one = design.lanes(y, reml=reml) if lanes is None else lanes
    full = bool(np.all(design.mask == np.tril(np.ones_like(design.mask))))
    loose = max(tol, LOOSE_TOL)
    big = design.patterns.U * design.k > BIG
    points = np.vstack([moment_start(one, design.mask)[0]] + [scaled_start(one, scale) for scale in SCALES])
    looked_at = points[[0, 1 + SCALES.index(1.0)]] if big else points
    begin, there = _lowest(one, looked_at)
    # usually the only search, so it goes to the end
    if start is None:
        tried = [solve(one, begin, full=full, tol=tol, max_iter=max_iter, at=there)]
    else:
        tried = _from_starts(one, np.vstack([design.theta_inside(start[None]), begin]), full, tol, max_iter)
    best = best_of(tried)
    inside = canonical(to_matrix(best.theta, design.entries, design.k), design.mask)[0]
    risky = design.k > 1 and not big and (design.k > 2 or design.n_groups < FEW_GROUPS * design.k)
    if risky or _apart(tried) > SAME_OPTIMUM or not best.converged[0] or on_boundary(inside, 1e-2):
        more = [] if big else [*points[1:]]
        if design.k > 1 and not big:
            more += [scaled_start(one, scale, off) for scale in (1.0, 3.0) for off in (-1.0, 1.0)]
        for a in range(design.k):
            if big and inside[a, a] >= 1e-2:
                continue
            for value in (0.5,) if big else (0.0, 0.5):
                T = inside.copy()
                T[a] *= value > 0
                T[a, a] = value
                more.append(to_theta(T[None], design.entries)[0])
        if more:
            tried += _from_starts(one, np.array(more), full, loose, max_iter)
        best = best_of(tried)
    apart = _apart(tried)
    messages = ()
    if apart > SAME_OPTIMUM:
        messages = (
            f"starting points ended in different optima, up to {apart:.2g} deviance units apart; the best was taken",
        )
    if best.converged[0] and best.decrement[0] < tol:
        return outside(design, one, best), messages
    polished = solve(one, best.theta, full=full, tol=tol, max_iter=max_iter)
    polished.n_iter += best.n_iter
    return outside(design, one, best_of([best, polished] if not polished.converged[0] else [polished])), messages


def fit_many(lanes: Lanes, design: GroupDesign, start: Array, *, tol: float = REPLICATE_TOL,
             max_iter: int = 60, backend: Backend = "numpy") -> LaneFits:  # fmt: skip
    """B replicates from one warm start T (k, k) in the units of the data, in chunks that stay in cache.

    Of balanced designs, where all groups are one pattern, a lane begins at its own moment estimate if that is inside.
    A lane that does not converge has ``converged`` false.
    """
    full = bool(np.all(design.mask == np.tril(np.ones_like(design.mask))))
    begin = np.tile(design.theta_inside(np.asarray(start)[None]), (lanes.size, 1))
    if lanes.patterns.U == 1 and lanes.count is None:
        own, inside = moment_start(lanes, design.mask)
        begin = np.where(inside[:, None], own, begin)
    chunk = max(1, CHUNK // lanes.patterns.U)
    parts = []
    for at in range(0, lanes.size, chunk):
        stop = min(at + chunk, lanes.size)
        some = lanes if chunk >= lanes.size else lanes.take(np.arange(at, stop))
        found = solve(some, begin[at:stop], full=full, tol=tol, max_iter=max_iter, backend=backend)
        parts.append(outside(design, some, found))
    return parts[0] if len(parts) == 1 else _concatenate(parts)


def outside(design: GroupDesign, lanes: Lanes, found: NewtonResult) -> LaneFits:
    """Search coordinates back to the units of the data."""
    with np.errstate(invalid="ignore", divide="ignore"):
        sigma = np.sqrt(found.r2 / lanes.dof)
    return LaneFits(
        design.t_outside(found.theta), design.beta_outside(found.beta, lanes.shift), sigma, found.deviance,
        found.converged, found.n_iter, found,
    )  # fmt: skip


def on_boundary(T: Array, tol: float = 1e-4) -> bool:
    """Whether the covariance T T' (k, k) is singular, as lme4 judges: a diagonal entry of T below ``tol``.

    Given T in search coordinates, the answer does not depend on the units of the predictors.
    """
    return bool(np.any(np.abs(np.diagonal(T)) < tol))


@dataclass(frozen=True, slots=True, eq=False)
class Modes:
    """Conditional modes of one response: J groups, k effects."""

    u: Array  # (J, k) spherical
    b: Array  # (J, k)
    cond_var: Array  # (J, k, k) variance of b given y and the parameters


def conditional_modes(design: GroupDesign, y: Array, T: Array, beta: Array, sigma: float, X: Array) -> Modes:
    """Random effects at given parameters: b = Sigma Z'V^-1 (y - X beta), Var = sigma^2 T (T'Z'Z T + I)^-1 T'.

    y (n,) and X (n, p) as given to the design, the offset taken off y; T (k, k) in the units of the data.
    """
    k, J = design.k, design.n_groups
    e = y - X @ beta
    if design.root_weights is not None:
        e = e * design.root_weights
    c = (design.scatter @ e).reshape(k, J)
    A = design.patterns.A_planes
    if design.pattern_of is not None:
        A = [[plane[design.pattern_of] for plane in row] for row in A]
    Ts = design.z_factor @ T
    Sigma = [[np.full(1, value) for value in row] for row in Ts @ Ts.T]
    pencil = pl.product(A, Sigma)
    for a in range(k):
        pencil[a][a] = pencil[a][a] + 1.0
    D, _ = pl.invert(pencil)
    g = np.stack(pl.times_vector(D, list(c)), axis=1) @ design.z_factor  # in the units of the data
    Q = np.stack([np.stack(row, axis=-1) for row in pl.symmetric_product(Sigma, D)], axis=-2)
    R_inverse = np.linalg.inv(design.z_factor)
    u = g @ T
    return Modes(u, u @ T.T, sigma**2 * (R_inverse @ Q @ R_inverse.T))


def leverage(design: GroupDesign, T: Array) -> Array:
    """(n,) diagonal of the matrix that maps y to its conditional fitted values, weights included."""
    k = design.k
    modes = _cross(design, T)
    rows = design.Z
    Q, W, S_root = modes
    Qz = np.einsum("nab,nb->na", Q[design.group], rows)
    hat = np.einsum("na,na->n", rows, Qz)
    if design.p:
        x = design.X - np.einsum("na,nap->np", rows, W[design.group]) if k else design.X
        hat = hat + np.square(x @ S_root).sum(axis=1)
    return hat


def _cross(design: GroupDesign, T: Array) -> tuple[Array, Array, Array]:
    """Q (J, k, k), Q B (J, k, p), and a root of S^-1 (p, p), in the design's coordinates."""
    d, k = design.patterns, design.k
    Ts = design.z_factor @ T
    Sigma = Ts @ Ts.T
    D = np.linalg.inv(np.eye(k) + d.A @ Sigma)
    Q = Sigma @ D
    QB = Q @ d.B
    m = np.ones(d.U) if d.count is None else d.count
    S = np.eye(design.p) - np.einsum("u,uap,uaq->pq", m, d.B, QB)
    w, V = np.linalg.eigh(0.5 * (S + S.T))
    root = V / np.sqrt(np.maximum(w, 1e-300))
    if design.pattern_of is not None:
        Q, QB = Q[design.pattern_of], QB[design.pattern_of]
    return Q, QB, root


def vcov_unscaled(design: GroupDesign, T: Array) -> Array:
    """(p, p) (X'V^-1 X)^-1 with V in units of sigma^2, for X as given."""
    if not design.p:
        return np.zeros((0, 0))
    root = np.linalg.solve(design.x_factor, _cross(design, T)[2])
    return root @ root.T


def moment_start(lanes: Lanes, mask: Array) -> tuple[Array, Array]:
    """T from the spread of the groups' own least-squares effects, less what noise explains of it.

    For balanced data whose X is made of the columns of Z this is the estimate itself, where it is inside. Groups too
    small to estimate all effects are passed over.

    Returns
    -------
    (B, m) theta, (B,) inside
        The identity where too few groups are left; ``inside`` where no variance had to be lifted off the boundary.
    """
    d, k, size = lanes.patterns, lanes.patterns.k, lanes.size
    w = np.linalg.eigvalsh(d.A)
    usable = w[:, 0] > 1e-6 * w[:, -1]
    m = (np.ones(d.U) if d.count is None else d.count) * usable
    groups = float(m.sum())
    identity = np.tile(scaled_start(lanes, 1.0), (size, 1))
    if groups < k + 1:
        return identity, np.zeros(size, dtype=bool)
    A, m = d.A[usable], m[usable]
    Ai = np.linalg.inv(A)
    within = float(np.einsum("u,uap,uab,ubp->", m, d.B[usable], Ai, d.B[usable]))  # columns of X that Z can imitate
    rest, between = d.n - k * groups - (d.p - within), groups - within / k if lanes.reml else groups
    if rest < 1 or between < 1:
        return identity, np.zeros(size, dtype=bool)
    E = np.empty((size, m.size, k, k))
    for a in range(k):
        for b in range(k):
            product = lanes.c[a] * lanes.c[b] if lanes.C is None else lanes.C[a][b]
            E[:, :, a, b] = product[:, usable]
    half = Ai @ E
    sigma2 = (lanes.yy - np.einsum("suaa->s", half)) / rest
    noise = np.einsum("u,uab->ab", m, Ai) / groups
    with np.errstate(divide="ignore", invalid="ignore"):
        S = (half @ Ai).sum(axis=1) / (between * sigma2)[:, None, None] - noise
    linked = np.zeros((k, k), dtype=bool)
    for members in components(mask):
        linked[np.ix_(members, members)] = mask[np.ix_(members, members)] | mask[np.ix_(members, members)].T
    possible = sigma2 > 0
    S = np.where(possible[:, None, None], np.where(linked, 0.5 * (S + S.transpose(0, 2, 1)), 0.0), np.eye(k))
    values, V = np.linalg.eigh(S)
    least = np.maximum(0.01, 0.02 * values[:, -1:])  # off the boundary, where nothing pulls
    T = V * np.sqrt(np.maximum(values, least))[:, None, :]
    return to_theta(canonical(_lower(T), mask), d.entries), possible & (values[:, 0] >= least[:, 0])


def _lower(T: Array) -> Array:
    return np.asarray(np.linalg.qr(T.transpose(0, 2, 1), mode="r")).transpose(0, 2, 1)


def _lowest(one: Lanes, points: Array) -> tuple[Array, Evaluation]:
    """(1, m) the point with the lowest deviance, and what is there: many lanes cost little more than one."""
    found = one.repeated(len(points)).evaluate(points)
    best = int(np.argmin(np.where(np.isfinite(found.deviance), found.deviance, np.inf)))
    return points[[best]], Evaluation(*(value[[best]] for value in found))


def _from_starts(one: Lanes, starts: Array, full: bool, tol: float, max_iter: int) -> list[NewtonResult]:
    out = []
    together = max(1, 5 * CHUNK // one.patterns.U)
    for at in range(0, len(starts), together):
        some = starts[at : at + together]
        found = solve(one.repeated(len(some)), some, full=full, tol=tol, max_iter=max_iter)
        out += [found.pick(np.array([i])) for i in range(len(some))]
    return out


def _apart(tried: list[NewtonResult]) -> float:
    """How far the worst of the starts that converged ended above the best."""
    values = np.array([r.deviance[0] for r in tried if r.converged[0]])
    return float(values.max() - values.min()) if values.size else 0.0


def _concatenate(parts: list[LaneFits]) -> LaneFits:
    def join(name: str, of: list) -> Array:
        return np.concatenate([getattr(part, name) for part in of])

    inside = [part.inside for part in parts]
    names = ("theta", "deviance", "beta", "r2", "gradient", "hessian", "n_iter", "converged", "decrement")
    joined = NewtonResult(*(join(name, inside) for name in names))
    outer = ("T", "beta", "sigma", "deviance", "converged", "n_iter")
    return LaneFits(*(join(name, parts) for name in outer), joined)  # type: ignore[arg-type]
