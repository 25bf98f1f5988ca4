"""Heteroskedasticity-consistent covariances of lm and glm coefficients: HC0 to HC4, weights included.

With W the working weights (for an lm the prior weights), U = (X'WX)^-1, r the working residuals and h the
leverages,

    V = U X' diag(W^2 r^2 g(h)) X U

    HC0 g = 1      HC1 n / (n - p)      HC2 1 / (1 - h)      HC3 1 / (1 - h)^2      HC4 (1 - h)^-min(4, n h /
    p)

computed in the orthonormal basis Q of W^1/2 X, so that no cross-product is inverted.

Sources: White (1980) Econometrica 48; MacKinnon & White (1985) J. Econometrics 29; Cribari-Neto (2004) CSDA
45; the conventions for weights and for glm are those of Zeileis (2006), J. Stat. Softw. 16(9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.linalg import solve_triangular

from inference_core.errors import InferenceError
from inference_core.families import get_family, with_params
from inference_core.solvers.lstsq import expand_square, lstsq
from inference_core.solvers.threads import one_blas_thread
from inference_core.states import Array, DataBundle, FitState, ModelSpec

# A row this close to leverage 1 fixes its own fitted value: its residual says nothing about its error.
FIXED_ROW = 1e-8

# The share by which HC3 and classical standard errors may differ before a reader must be told.
DISAGREEMENT = 0.25


# From here on the basis is made block by block: rows that fit in cache, and never a second copy of the design.
TALL = 4096
_BLOCK = 1 << 16  # doubles in a block of rows


@dataclass(frozen=True, slots=True, eq=False)
class Influence:
    """What every HC kind is made of, for the ``rank`` estimable columns.

    ``basis(rows)`` gives those rows of Q, the orthonormal basis of W^1/2 X = Q R; ``score`` = W^1/2 r are the working
    residuals on that scale.
    """

    basis: Callable[[slice | Array], Array]  # rows -> (b, rank)
    r_factor: Array  # (rank, rank) upper triangular
    score: Array  # (n,)
    leverage: Array  # (n,)
    n: float  # rows that count: those of weight 0 do not
    linear: bool  # an lm

    def leaves_out_fixed_rows(self, kind: str) -> bool:
        """Whether what a row of leverage 1 takes part in has no standard error.

        HC2 to HC4 divide 0 by 0 there. In a glm such a row sits at the bound of its mean (separation): its score is 0
        by construction, so HC0 and HC1 would call an infinite estimate exact.
        """
        return kind in DIVIDES_BY_ONE_MINUS_H or not self.linear

    @property
    def rank(self) -> int:
        """Estimable columns."""
        return self.r_factor.shape[0]

    def blocks(self) -> Iterator[tuple[slice, Array]]:
        """All rows of Q, a block at a time."""
        step = max(512, _BLOCK // max(self.rank, 1))
        for start in range(0, self.leverage.size, step):
            rows = slice(start, start + step)
            yield rows, self.basis(rows)


def _hc0(leverage: Array, n: float, p: int) -> Array:
    return np.ones_like(leverage)


def _hc1(leverage: Array, n: float, p: int) -> Array:
    return np.full_like(leverage, n / (n - p))


def _hc2(leverage: Array, n: float, p: int) -> Array:
    return 1.0 / (1.0 - leverage)


def _hc3(leverage: Array, n: float, p: int) -> Array:
    return (1.0 - leverage) ** -2.0


def _hc4(leverage: Array, n: float, p: int) -> Array:
    return (1.0 - leverage) ** -np.minimum(4.0, n * leverage / p)


# How each kind inflates a squared residual of leverage h.
INFLATION: MappingProxyType[str, Callable[[Array, float, int], Array]] = MappingProxyType(
    {"HC0": _hc0, "HC1": _hc1, "HC2": _hc2, "HC3": _hc3, "HC4": _hc4}
)
DIVIDES_BY_ONE_MINUS_H = frozenset({"HC2", "HC3", "HC4"})


CLUSTER_KINDS = ("CR0", "CR1", "CR1S", "CR2")  # see cluster_robust
KENWARD_ROGER = "kenward-roger"  # see fit.mixed_df


def check_error_type(spec: ModelSpec, kind: str, cluster: object = None) -> None:
    """Refuse errors that belong to another kind of model: clusters need groups, and HC independent rows.

    ``cluster`` is what was given as such, None where nothing was.

    Raises
    ------
    InferenceError
        With the kind that does fit.
    """
    if kind in CLUSTER_KINDS and not spec.has_random_effects and cluster is None:
        raise InferenceError(
            asked=f"errors={kind!r}",
            found="cluster-robust errors need clusters, and this model has no groups",
            remedy=f"errors={kind!r} with cluster= the column that tells them; errors='HC3' for independent rows",
        )
    if kind in ("CR1S", "CR2") and spec.has_random_effects and not spec.is_lmer:
        raise InferenceError(
            asked=f"errors={kind!r} of a generalized mixed model",
            found="its correction is made for a covariance that does not depend on the coefficients; here it does",
            remedy="errors='CR1' from every group's score, or how='boot', scheme='cluster'",
        )
    if kind == KENWARD_ROGER and not spec.is_lmer:
        what = "is a generalized one" if spec.has_random_effects else "has no random effects"
        raise InferenceError(
            asked=f"errors={kind!r}",
            found=f"Kenward and Roger's method is for linear mixed models; this model {what}",
            remedy="leave errors out",
        )
    if kind in INFLATION and spec.has_random_effects:
        raise InferenceError(
            asked=f"errors={kind!r} of a mixed model",
            found="rows are not independent within groups, and HC errors pretend they are",
            remedy=f"errors={'CR2' if spec.is_lmer else 'CR1'!r} lets whole groups scatter as they like",
        )


def sandwich_vcov(spec: ModelSpec, bundle: DataBundle, fit: FitState, kind: str) -> Array:
    """Heteroskedasticity-consistent covariance of the coefficients.

    Parameters
    ----------
    spec, bundle, fit
        A fitted lm or glm of n rows and p columns.
    kind : {"HC0", "HC1", "HC2", "HC3", "HC4"}
        How residuals are inflated.

    Returns
    -------
    (p, p) array
        Link units squared. NaN in the rows and columns that the design dropped, and, for HC2 to HC4 and for a
        glm, in those of parameters that a row of leverage 1 takes part in.

    Raises
    ------
    InferenceError
        Unknown kind, or a mixed model.
    """
    check_error_type(spec, kind)
    parts = influence_parts(spec, bundle, fit)
    if kind not in INFLATION:
        raise InferenceError(
            asked=f"errors={kind!r}",
            found=f"sandwich kinds are {', '.join(INFLATION)}",
            remedy="errors='HC3'",
        )
    return expand_square(covariance(parts, kind), estimable(fit), bundle.p)


def influence_parts(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Influence:
    """Factor the weighted design once; every HC kind, and the rows of leverage 1, follow from it."""
    score, weight = score_and_weight(spec, bundle, fit)
    root = np.sqrt(weight)
    scaled = np.divide(score, root, out=np.zeros_like(root), where=root > 0)
    columns = estimable(fit)
    X = bundle.X if columns.size == bundle.p else bundle.X[:, columns]
    with one_blas_thread():
        basis, r_factor, leverage = _factor(X, root)
    return Influence(basis, r_factor, scaled, leverage, n=fit.df_resid + fit.rank, linear=spec.is_lm)


def _factor(X: Array, root: Array) -> tuple[Callable[[slice | Array], Array], Array, Array]:
    """Q by rows, R and the leverages of ``root * X``."""
    if X.shape[0] >= TALL:
        even = bool(np.all(root == 1.0))
        tall = lstsq(X, root, None if even else root**2)  # the response is of no interest; R and the leverages are
        if tall.method == "cholesky":  # which it uses only where the design is well conditioned
            inverse = solve_triangular(tall.r_factor, np.eye(X.shape[1]))
            if even:
                return lambda rows: X[rows] @ inverse, tall.r_factor, tall.leverage
            return lambda rows: (X[rows] @ inverse) * root[rows, None], tall.r_factor, tall.leverage
    q, r_factor = np.linalg.qr(root[:, None] * X)
    return lambda rows: q[rows], r_factor, np.einsum("ij,ij->i", q, q)


def estimable(fit: FitState) -> Array:
    """Positions of the columns that have an estimate."""
    return np.flatnonzero(np.isfinite(fit.coef))


def score_and_weight(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> tuple[Array, Array]:
    """(n,) W r and W, up to the dispersion, which cancels.

    From the score itself, since the working residual (y - mu) / (dmu/deta) is 0/0 where mu saturates.
    """
    if spec.is_lm:
        score, weight = fit.residuals, np.ones(bundle.n)
    else:
        family = with_params(get_family(spec.family, spec.link), fit.family_params)
        score, weight = family.score_weight(fit.eta, bundle.y)
    prior = bundle.prior_weights
    return (score, weight) if prior is None else (prior * score, prior * weight)


def covariance(parts: Influence, kind: str) -> Array:
    """(rank, rank) covariance; NaN where a row of leverage 1 takes part (HC2 to HC4, and any kind of a glm)."""
    fixed = fixed_rows(parts.leverage) if parts.leaves_out_fixed_rows(kind) else np.zeros(0, int)
    leverage, score = parts.leverage, parts.score
    if fixed.size:
        leverage, score = leverage.copy(), score.copy()
        leverage[fixed], score[fixed] = 0.0, 0.0
    omega = score**2 * INFLATION[kind](leverage, parts.n, parts.rank)
    meat = np.zeros((parts.rank, parts.rank))
    with one_blas_thread():
        for rows, q in parts.blocks():
            meat += q.T @ (omega[rows, None] * q)
    half = solve_triangular(parts.r_factor, meat)
    vcov = solve_triangular(parts.r_factor, half.T)
    vcov = (vcov + vcov.T) / 2.0
    touched = touched_by(parts, fixed)
    vcov[touched, :] = np.nan
    vcov[:, touched] = np.nan
    return vcov


def fixed_rows(leverage: Array) -> Array:
    """Positions of rows whose leverage is 1 to within rounding."""
    return np.flatnonzero(leverage > 1.0 - FIXED_ROW)


def touched_by(parts: Influence, rows: Array) -> Array:
    """(rank,) bool: which coefficients the responses of ``rows`` take part in."""
    if not rows.size:
        return np.zeros(parts.rank, bool)
    # Row j of R^-1 Q' holds what each response adds to coefficient j; compare with the row's largest entry.
    largest = np.max([_shares(parts, q).max(axis=1) for _, q in parts.blocks()], axis=0)
    return _shares(parts, parts.basis(rows)).max(axis=1) > 1e-7 * largest


def _shares(parts: Influence, q: Array) -> Array:
    return np.abs(solve_triangular(parts.r_factor, q.T))


def fixed_row_notes(bundle: DataBundle, fit: FitState, parts: Influence, kind: str) -> tuple[str, ...]:
    """One sentence for every row that fixes its own value: what it does to the standard errors."""
    names = [bundle.X_names[j] for j in estimable(fit)]
    positions = np.flatnonzero(bundle.valid_mask)
    if parts.leaves_out_fixed_rows(kind):
        effect = f"{kind} has no standard error for"
    else:
        effect = f"{kind} takes it to be without error in"
    notes = []
    for row in fixed_rows(parts.leverage):
        touched = [name for name, hit in zip(names, touched_by(parts, np.array([row])), strict=True) if hit]
        notes.append(f"row {positions[row]} (counting from 0) fixes its own value: {effect} {', '.join(touched)}")
    return tuple(notes)


def hc3_ratio(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Array:
    """(p,) HC3 over classical standard errors: far from 1 where scatter is not what the model supposes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.diag(sandwich_vcov(spec, bundle, fit, "HC3")) / np.diag(fit.vcov))


def disagreement_note(bundle: DataBundle, ratio: Array) -> str | None:
    """The sentence for HC3 and classical standard errors that differ by more than a quarter, else None."""
    far = np.flatnonzero(np.isfinite(ratio) & (np.abs(ratio - 1.0) > DISAGREEMENT))
    if not far.size:
        return None
    worst = far[np.argmax(np.abs(np.log(ratio[far])))]
    return (
        f"HC3 and classical standard errors differ by more than {100 * DISAGREEMENT:g}% "
        f"({bundle.X_names[worst]}: HC3 is {ratio[worst]:.2f} times the classical): "
        "errors='HC3' allows unequal scatter"
    )
