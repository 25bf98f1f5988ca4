"""New responses from a fitted model: y* around its means, with new random effects or with its own.

Draw i is a function of (seed, i) alone. With new random effects the draws of a mixed model are those that its
parametric bootstrap refits.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from inference_core.errors import InferenceCoreWarning, InferenceError
from inference_core.families import Family
from inference_core.fit.common import fitted_family
from inference_core.rng import RNG, Purpose, block_rows
from inference_core.solvers.lmm.dense import Term
from inference_core.states import Array, DataBundle, FitState, ModelSpec, SimulationState

Draw = Callable[[RNG, int, int], Array]  # responses (b, m) of draws start .. stop - 1

RANDOM = ("new", "fitted")
MAX_VALUES = 1 << 28  # numbers of one table: 2 GiB
_WHOLE = 1e-7  # trials that went through a float division


@dataclass(frozen=True, slots=True, eq=False)
class MeanDraws:
    """Responses around given means, row by row independent: m rows."""

    mu: Array  # (m,) response scale
    family: Family  # at its parameters
    dispersion: float
    weights: Array | None  # (m,) prior weights; trials of the binomial
    rows_at_once: int = 0  # draws of one block; 0: as many as pay

    def simulate(self, rng: RNG, start: int, stop: int) -> Array:
        """(b, m) responses of draws ``start .. stop - 1``; blocks of draws are always drawn whole.

        Variates of some families take more or fewer random words by their mean, so that a part of a block cannot be
        drawn alone.
        """
        size = self.rows_at_once or block_rows(self.mu.size)
        first = start // size
        blocks = [self._block(rng, block, size) for block in range(first, -(-stop // size))]
        whole = np.concatenate(blocks) if len(blocks) != 1 else blocks[0]
        return whole[start - first * size : stop - first * size]

    def _block(self, rng: RNG, block: int, size: int) -> Array:
        mu = np.broadcast_to(self.mu, (size, self.mu.size))
        y = self.family.simulate(rng.stream(block, Purpose.RESPONSE), mu, self.weights, self.dispersion)
        return np.asarray(y, dtype=float)


def simulate_fitted(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, nsim: int, rng: RNG, random: str = "new",
    dispersion: float | None = None,
) -> tuple[Array, int]:  # fmt: skip
    """Responses that a fitted model makes up.

    Parameters
    ----------
    spec, bundle, fit
        The model; weights, trials, offset and dispersion take part.
    nsim : int
        Draws.
    rng : RNG
        Draw i is a function of it and i.
    random : {"new", "fitted"}
        Of mixed models: random effects drawn anew in each draw, or those of the fit in all.
    dispersion : float, optional
        Instead of the fit's own (Pearson chi-square over its degrees of freedom; of an lm sigma^2); lm and glm.

    Returns
    -------
    Y : (n, nsim)
        On the scale of the formula's left side; proportions where there are trials. NaN in rows of weight 0 (no
        response belongs to them) and in whole draws with a mean that the family cannot have.
    n_lost : int
        Such draws.

    Raises
    ------
    InferenceError
        Trials that are not whole, a family without a distribution, more numbers than memory should hold.
    """
    asked = f"simulate(nsim={nsim})"
    if nsim * bundle.n > MAX_VALUES:
        raise InferenceError(
            asked,
            f"{bundle.n:,} rows times {nsim:,} draws, more than the {MAX_VALUES:,} numbers that one table may hold",
            f"nsim={max(MAX_VALUES // bundle.n, 1)}, again with other seeds",
        )
    refuse_parts_of_trials(spec, bundle, asked)
    weights = bundle.prior_weights
    rows = np.arange(bundle.n) if weights is None else np.flatnonzero(weights > 0)
    new = spec.has_random_effects and random == "new"
    if new:
        draw = (_new_linear if spec.is_lmer else _new_generalized)(spec, bundle, fit)
    else:
        draw = _given(spec, bundle, fit, dispersion)
    Y = np.full((bundle.n, nsim), np.nan)
    Y[rows] = draw(rng, 0, nsim).T
    lost = np.isnan(Y[rows]).all(axis=0) if rows.size else np.zeros(nsim, bool)
    return Y, int(np.count_nonzero(lost))


def simulations_of_fit(
    spec: ModelSpec, bundle: DataBundle, fit: FitState, nsim: int = 1, seed: int | None = None, random: str = "new",
    dispersion: float | None = None,
) -> SimulationState:  # fmt: skip
    """The table of :func:`simulate_fitted`: one row per row of the data, null where it took no part, ``sim_1 ...``.

    Warns
    -----
    InferenceCoreWarning
        Some draws have a mean that the family cannot have; their columns are null.
    """
    rng = RNG.from_seed(seed)
    Y, n_lost = simulate_fitted(spec, bundle, fit, nsim, rng, random, dispersion)
    if n_lost == nsim:
        raise InferenceError(
            f"simulate(nsim={nsim})",
            f"every draw of the random effects gives a mean that {spec.family} responses cannot have",
            "random='fitted', or a link whose inverse is always possible, as link='log'",
        )
    if n_lost:
        warnings.warn(
            InferenceCoreWarning(
                f"{n_lost} of {nsim} simulations have a mean that {spec.family} responses cannot have under the "
                f"{spec.link} link; their columns are null"
            ),
            stacklevel=3,
        )
    whole = Y
    if bundle.n_total != bundle.n:
        whole = np.full((bundle.n_total, nsim), np.nan)
        whole[bundle.valid_mask] = Y
    frame = pl.DataFrame(whole, schema=[f"sim_{i + 1}" for i in range(nsim)], orient="row")
    if np.isnan(whole).any():
        frame = frame.fill_nan(None)
    mixed = random if spec.has_random_effects else None
    return SimulationState(frame, "post_fit", nsim, rng.seed, random=mixed)


def refuse_parts_of_trials(spec: ModelSpec, bundle: DataBundle, asked: str) -> None:
    """Refuse binomial rows of a fraction of a trial: they have no response that could be drawn."""
    trials = bundle.prior_weights
    if spec.family != "binomial" or trials is None:
        return
    parts = np.abs(trials - np.rint(trials)) > _WHOLE
    if np.any(parts):
        row = int(np.argmax(parts))
        raise InferenceError(
            asked,
            f"row {np.flatnonzero(bundle.valid_mask)[row]} (counting from 0) has {trials[row]:g} trials, weights "
            "included: a response of part of a trial cannot be drawn",
            "weights= whole numbers of trials; infer(how='boot') of an lm or glm draws rows as they are",
        )


def _counted(bundle: DataBundle) -> tuple[slice | Array, Array | None]:
    """The rows of positive weight, and their weights."""
    weights = bundle.prior_weights
    if weights is None or np.all(weights > 0):
        return slice(None), weights
    rows = np.flatnonzero(weights > 0)
    return rows, weights[rows]


def _given(spec: ModelSpec, bundle: DataBundle, fit: FitState, dispersion: float | None) -> Draw:
    """Around the fitted means: those of an lm or glm, or of a mixed model given its own random effects."""
    rows, weights = _counted(bundle)
    phi = float(fit.dispersion if dispersion is None else dispersion)
    return MeanDraws(fit.fitted[rows], fitted_family(spec, fit), phi, weights).simulate


def _new_linear(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Draw:
    from inference_core.fit.mixed_problem import MixedProblem
    from inference_core.infer.resample.lmer_kernel import LmerKernel

    problem = MixedProblem.of(spec, bundle, fit, "simulated responses")
    assert fit.theta is not None
    T = tuple(problem.relative_factors(fit.theta))
    kernel = LmerKernel(problem, T, fit.coef[problem.kept], fit.sigma, reml=True, with_spread=False)
    rows, _ = _counted(bundle)
    shift = 0.0 if bundle.offset is None else bundle.offset[rows]
    return lambda rng, start, stop: kernel.simulate(rng, start, stop) + shift


def _new_generalized(spec: ModelSpec, bundle: DataBundle, fit: FitState) -> Draw:
    from inference_core.fit.predict import linear_predictor
    from inference_core.infer.resample.glmer_draws import GlmerDraws, block_of

    rows, weights = _counted(bundle)
    re = bundle.re_metadata
    assert fit.theta is not None
    family = fitted_family(spec, fit)
    relative = not family.dispersion_known  # theta of these is in units of sigma
    T = tuple(t * (fit.sigma if relative else 1.0) for t in re.t_matrices(fit.theta))
    terms = tuple(Term(b.X_re[rows], b.group_index[rows], b.n_levels, b.mask) for b in re.blocks)
    eta = linear_predictor(fit, bundle.X, bundle.offset)[rows]
    size = block_of(eta.size + re.q, len(re.blocks) == 1)
    phi = float(fit.dispersion) if relative else 1.0
    return GlmerDraws(eta, terms, T, family, phi, weights, size).simulate
