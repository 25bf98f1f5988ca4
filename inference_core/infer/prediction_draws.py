"""Single new responses around the draws of a bootstrap: residuals, responses of the family, and new groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_core.fit.common import fitted_family
from inference_core.rng import RNG, Purpose
from inference_core.states import Array, DataBundle, FitState, ModelSpec, ResamplesState
from inference_core.states.prediction import PredictionState

from .intervals.requirements import tail_level, tails
from .prediction_noise import NewResponse, draw, order_limits, quantiles

if TYPE_CHECKING:
    from .resample.stream import DrawStream

PER_DRAW = 10  # new responses around each draw: 999 draws give 10,000
_FULL = 1.0 - 1e-8  # leverage of a row that is fitted whatever it is: it has no residual
_CELLS = 1 << 22  # rows times draws worked at once


@dataclass(frozen=True, eq=False)
class Groups:
    """The random part of m rows: roots of the covariances, and the errors of known groups in each draw."""

    z: tuple[Array, ...]  # (m, k) of each block
    group: tuple[Array, ...]  # (m,) -1 where new
    T: tuple[Array, ...]  # (k, k) of each block, units of the linear predictor
    parts: tuple[Array, ...] | None  # (B, J, k) of each block: effects drawn less effects found
    rng: RNG  # of new groups; none of the draws' own

    @classmethod
    def of(
        cls, bundle: DataBundle, fit: FitState, pred: PredictionState, errors: Array | None, rng: RNG
    ) -> Groups:
        """For a fitted mixed model; ``errors`` (B, q) of conditional predictions."""
        assert pred.random is not None and fit.theta is not None
        re = bundle.re_metadata
        new = [np.full(len(r.group_index), -1) for r in pred.random]
        group = [r.group_index for r in pred.random] if pred.conditional else new
        parts = None if errors is None else re.split_effects(errors)
        T = tuple(fit.sigma * t for t in re.t_matrices(fit.theta))
        return cls(tuple(r.X_re for r in pred.random), tuple(group), T, parts, rng)

    @property
    def width(self) -> int:
        """Normals that a new group of every factor takes."""
        return sum(t.shape[0] for t in self.T)

    @cached_property
    def _draws(self) -> int:
        assert self.parts is not None
        return len(self.parts[0])

    def errors(self, rows: slice) -> Array:
        """(B, r) what known groups are off by, and what new ones add, in each draw."""
        return self.known_groups(rows) + self.new_groups(self._normals[:, : self.width], rows)

    def known_groups(self, rows: slice | Array) -> Array:
        """(B, r) what known groups are off by in each draw."""
        assert self.parts is not None
        total = np.zeros((self._draws, len(self.group[0][rows])))
        for z, group, part in zip(self.z, self.group, self.parts, strict=True):
            known = group[rows] >= 0
            at = np.where(known, group[rows], 0)
            total += np.einsum("bmk,mk->bm", part[:, at], np.where(known[:, None], z[rows], 0.0))
        return total

    @cached_property
    def _normals(self) -> Array:
        """(B, width) of new groups, the same for every row."""
        if not self._draws:  # stopped before the first
            return np.empty((0, self.width))
        draw_rows = partial(_normals, self.width)
        return self.rng.rows(0, self._draws, self.width, draw_rows, Purpose.NORMAL)

    def new_groups(self, normals: Array, rows: slice | Array) -> Array:
        """(d, r) effects of groups that are new, for standard normals (d, width)."""
        total = np.zeros((len(normals), len(self.group[0][rows])))
        first = 0
        for z, group, t in zip(self.z, self.group, self.T, strict=True):
            k = t.shape[0]
            own = normals[:, first : first + k] @ t.T
            first += k
            total += own @ np.where((group[rows] < 0)[:, None], z[rows], 0.0).T
        return total


def single_responses(
    pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, draws: ResamplesState,
    stream: DrawStream, groups: Groups | None, new: NewResponse, level: float, alternative: str, df: Array | None,
) -> tuple[Array, Array]:  # fmt: skip
    """Limits (m,) of a single new response; ``df`` widens those of linear models, NaN where there is none."""
    m = len(pred.link)
    lower, upper = np.full(m, np.nan), np.full(m, np.nan)
    fine = np.flatnonzero(np.asarray(draws.status) == 0)
    if not new.any or not fine.size:
        return lower, upper
    maker = _Maker.of(pred, spec, bundle, fit, draws, stream, groups, fine)
    wanted = np.flatnonzero(new.possible & np.isfinite(pred.link))
    firsts, same = _different(pred, groups, new, wanted)
    step = max(1, _CELLS // (PER_DRAW * fine.size))
    for at in range(0, len(firsts), step):
        rows = firsts[at : at + step]
        linear = maker.linear(rows)  # (d, r)
        for j, i in enumerate(rows):
            weight = None if new.weights is None else float(new.weights[i])
            y = maker.responses(linear[:, j], weight)
            if maker.normal:
                lower[i], upper[i] = _percentiles(y, level, alternative, np.inf if df is None else float(df[i]))
            else:
                lower[i], upper[i] = quantiles(y, maker.family, level, alternative)
    lower[wanted], upper[wanted] = lower[firsts][same], upper[firsts][same]
    return lower, upper


def _different(
    pred: PredictionState, groups: Groups | None, new: NewResponse, wanted: Array
) -> tuple[Array, Array]:
    """The first row of each kind among those wanted, and which kind each of them is."""
    parts = [pred.X_pred[wanted]]
    parts += [x[wanted, None] for x in (pred.offset, new.weights) if x is not None]
    if groups is not None:
        parts += [z[wanted] for z in groups.z] + [g[wanted, None] for g in groups.group]
    _, first, same = np.unique(np.concatenate(parts, axis=1), axis=0, return_index=True, return_inverse=True)
    return wanted[first], same.ravel()


@dataclass(frozen=True, eq=False)
class _Maker:
    """d = 10 new responses around each of the draws that gave an estimate."""

    pred: PredictionState
    spec: ModelSpec
    family: Any
    moved: Array  # (b, r) coefficients of each draw less the fit's, or the other way round for errors
    kept: Array
    groups: Groups | None
    fine: Array  # (b,) draws
    normals: Array | None  # (d, width) of new groups
    noise: Array | None  # (d,) residuals of unit weight of a linear model
    dispersion: Array | float  # (d,) of each draw's fit
    rng: RNG

    @classmethod
    def of(
        cls, pred: PredictionState, spec: ModelSpec, bundle: DataBundle, fit: FitState, draws: ResamplesState,
        stream: DrawStream, groups: Groups | None, fine: Array,
    ) -> _Maker:  # fmt: skip
        family = fitted_family(spec, fit)
        kept = bundle.rank_info.kept
        samples = np.asarray(draws.samples)[fine]
        moved = samples[:, kept] - fit.coef[kept]
        rng = stream.rng.split(1)[0]
        mixed = spec.has_random_effects
        width = (groups.width if groups is not None else 0) + 1
        B = int(fine.max()) + 1
        z = rng.rows(0, B, PER_DRAW * width, partial(_normals, PER_DRAW * width), Purpose.NORMAL)
        z = z[fine].reshape(-1, width)
        noise, dispersion = None, 1.0
        if spec.is_lm:
            noise = _residuals(bundle, fit, rng, B)[fine].ravel()
        elif spec.is_lmer:
            noise = fit.sigma * z[:, -1]
        elif not family.dispersion_known:
            own = samples[:, bundle.p + _spread_columns(bundle) - 1] ** 2 if mixed else _dispersions(
                family, bundle, fit, stream, samples[:, : bundle.p], fine
            )
            dispersion = np.repeat(own, PER_DRAW)
        return cls(
            pred, spec, family, moved, kept, groups, fine, z[:, :-1] if mixed else None, noise, dispersion, rng
        )

    @property
    def normal(self) -> bool:
        """Whether a response is its linear predictor plus noise."""
        return self.noise is not None

    def linear(self, rows: Array) -> Array:
        """(d, r) linear predictors of new responses."""
        # An error has the sign of the truth less what is found; coefficients move the other way.
        sign = -1.0 if self.spec.has_random_effects or self.normal else 1.0
        eta = self.pred.link[rows] + sign * (self.moved @ self.pred.X_pred[rows][:, self.kept].T)
        if self.groups is not None and self.groups.parts is not None:
            eta = eta + self.groups.known_groups(rows)[self.fine]
        eta = np.repeat(eta, PER_DRAW, axis=0)
        if self.groups is not None and self.normals is not None:
            eta += self.groups.new_groups(self.normals, rows)
        return eta

    def responses(self, eta: Array, weight: float | None) -> Array:
        """(d,) new responses; the random numbers are the same for every row."""
        if self.noise is not None:
            return eta + (self.noise if weight is None else self.noise / np.sqrt(weight))
        return draw(self.family, self.rng.stream(0, Purpose.RESPONSE), eta, self.dispersion, weight)


def _normals(width: int, generator: np.random.Generator, rows: int) -> Array:
    return generator.standard_normal((rows, width))


def _percentiles(y: Array, level: float, alternative: str, df: float) -> tuple[float, float]:
    """Limits of draws, a t of ``df`` in place of the normal widening the tails."""
    below, above = (None if t is None else tail_level("expanded", t, df) for t in tails(level, alternative))
    return order_limits(y, below, above, (-np.inf, np.inf), discrete=False)


def _residuals(bundle: DataBundle, fit: FitState, rng: RNG, B: int) -> Array:
    """(B, 10) residuals of a new row of weight 1: e sqrt(w / (1 - h)), centred, drawn with replacement."""
    w = np.ones(bundle.n) if bundle.prior_weights is None else bundle.prior_weights
    use = (w > 0) & (fit.leverage < _FULL)
    pool = fit.residuals[use] * np.sqrt(w[use] / (1.0 - fit.leverage[use]))
    pool = pool - pool.mean()
    index = rng.rows(0, B, PER_DRAW, lambda g, n: g.integers(0, pool.size, (n, PER_DRAW)), Purpose.INDEX)
    return pool[index]


def _spread_columns(bundle: DataBundle) -> int:
    """SDs, correlations and sigma of a mixed model."""
    from .resample.lmer_kernel import spread_names

    return len(spread_names(bundle.re_metadata))


def _dispersions(
    family: Any, bundle: DataBundle, fit: FitState, stream: DrawStream, coef: Array, fine: Array
) -> Array:
    """(b,) Pearson dispersion of each draw's own fit to its own rows."""
    kept, n = bundle.rank_info.kept, bundle.n
    out = np.empty(len(fine))
    step = max(1, _CELLS // n)
    w = np.ones(n) if bundle.prior_weights is None else bundle.prior_weights
    for at in range(0, len(fine), step):
        some = fine[at : at + step]
        counts = stream.rng.counts(int(some[0]), int(some[-1]) + 1, n)[some - some[0]]
        eta = coef[at : at + step][:, kept] @ bundle.X[:, kept].T
        if bundle.offset is not None:
            eta = eta + bundle.offset
        with np.errstate(all="ignore"):
            s, v = family.score_weight(eta, bundle.y)
            chi2 = np.where(v > 0, s * s / v, 0.0)
        out[at : at + step] = (chi2 * counts * w).sum(1) / fit.df_resid
    return out
