"""The distributions: variance, deviance, likelihood, start and simulation of each family.

Functions take ``y`` (n,) and ``mu`` (..., n); sums run over the last axis. Log-likelihoods follow what R's
``logLik`` counts: for gamma, inverse gaussian and gaussian models the dispersion put into the density is
deviance / n.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from inference_core.backends.namespace import is_numpy, namespace
from inference_core.errors import InferenceError
from inference_core.states.base import Array

_LOG_2PI = float(np.log(2.0 * np.pi))
_TINY = 1e-300


def _weighted(rows: Array, weights: Array | None) -> Array:
    return np.sum(rows if weights is None else rows * weights, axis=-1)


def _total(y: Array, weights: Array | None) -> float:
    return float(y.shape[-1]) if weights is None else float(np.sum(weights))


def _used(weights: Array | None, y: Array) -> tuple[float, float]:
    """Rows with positive weight, and the sum of the logs of those weights."""
    if weights is None:
        return float(y.shape[-1]), 0.0
    positive = weights[weights > 0]
    return float(positive.size), float(np.sum(np.log(positive)))


def _positive(mu: Array) -> Array:
    """Means that divide and have a logarithm; anything at or below 0 becomes NaN, quietly."""
    return np.where(np.asarray(mu) > 0, mu, np.nan)


# gaussian ---------------------------------------------------------
def gaussian_variance(mu: Array) -> Array:
    """V = 1."""
    return namespace(mu).ones_like(mu, dtype=float)


def gaussian_deviance(y: Array, mu: Array) -> Array:
    """(y - mu)^2."""
    return np.square(y - mu)


def gaussian_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """Normal density with variance phi / w; phi = rss / n unless given. Rows of weight 0 do not count."""
    n, log_w = _used(weights, y)
    rss = _weighted(np.square(y - mu), weights)
    with np.errstate(divide="ignore"):
        if dispersion is None:
            return 0.5 * (log_w - n * (_LOG_2PI + np.log(rss / n) + 1.0))
        return 0.5 * (log_w - n * (_LOG_2PI + np.log(dispersion)) - rss / dispersion)


def gaussian_start(y: Array, weights: Array | None = None) -> Array:
    """The response itself."""
    return np.array(y, dtype=float)


def gaussian_simulate(rng, mu, weights=None, dispersion=1.0):
    """Normal with variance phi / w."""
    sd = np.sqrt(dispersion) if weights is None else np.sqrt(dispersion / weights)
    return rng.normal(mu, sd)


# binomial: y is a proportion, weights are the numbers of trials
# ---------------------------------------------------------
def binomial_variance(mu: Array) -> Array:
    """V = mu (1 - mu)."""
    return mu * (1.0 - mu)


def binomial_deviance(y: Array, mu: Array) -> Array:
    """2 [y log(y/mu) + (1 - y) log((1 - y)/(1 - mu))], per trial."""
    # each difference of logs on its own: y log(y/mu) would divide by a mu that underflowed
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2.0 * (xlogy(y, y) - xlogy(y, mu) + xlogy(1.0 - y, 1.0 - y) - xlog1py(1.0 - y, -mu))


def binomial_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """R's count: the binomial coefficient belongs to ``trials``; prior weights beyond the trials multiply.

    Without ``trials`` the weights are the trials, as R reads a proportion with weights.
    """
    total = np.ones_like(y) if weights is None else np.asarray(weights, dtype=float)
    size = total if trials is None else np.asarray(trials, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows = xlogy(size * y, mu) + xlog1py(size * (1.0 - y), -mu)
        rows = rows + gammaln(size + 1.0) - gammaln(size * y + 1.0) - gammaln(size * (1.0 - y) + 1.0)
        share = np.where(size > 0, total / np.where(size > 0, size, 1.0), 0.0)
    return np.sum(np.where(share > 0, rows * share, 0.0), axis=-1)


def binomial_start(y: Array, weights: Array | None = None) -> Array:
    """(w y + 1/2) / (w + 1), w the number of trials."""
    w = 1.0 if weights is None else weights
    return (w * y + 0.5) / (w + 1.0)


def binomial_simulate(rng, mu, weights=None, dispersion=1.0):
    """Proportions of ``weights`` trials; single trials without weights."""
    if weights is None:
        return rng.binomial(1, mu).astype(float)
    size = np.rint(weights).astype(np.int64)
    if np.any(np.abs(size - weights) > 1e-7):  # 1e-7: integers that went through a float division
        row = int(np.argmax(np.abs(size - weights)))
        raise InferenceError(
            "binomial responses simulated with these weights",
            f"row {row} has {np.asarray(weights)[row]:g} trials, which is not a whole number",
            "give whole numbers of trials, or family='quasibinomial' with how='boot' on rows",
        )
    return rng.binomial(size, mu) / np.maximum(size, 1)


# poisson ---------------------------------------------------------
def poisson_variance(mu: Array) -> Array:
    """V = mu."""
    return np.asarray(mu, dtype=float) if is_numpy(mu) else mu


def poisson_deviance(y: Array, mu: Array) -> Array:
    """2 [y log(y/mu) - (y - mu)]."""
    mu = _positive(mu)
    return 2.0 * (xlogy(y, y) - xlogy(y, mu) - (y - mu))


def poisson_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """Poisson log-probabilities, times the weights."""
    mu = _positive(mu)
    return _weighted(xlogy(y, mu) - mu - gammaln(y + 1.0), weights)


def poisson_start(y: Array, weights: Array | None = None) -> Array:
    """Y + 0.1."""
    return y + 0.1


def poisson_simulate(rng, mu, weights=None, dispersion=1.0):
    """Poisson counts; prior weights do not change them."""
    return rng.poisson(mu).astype(float)


# gamma ---------------------------------------------------------
def gamma_variance(mu: Array) -> Array:
    """V = mu^2."""
    return namespace(mu).square(mu)


def gamma_deviance(y: Array, mu: Array) -> Array:
    """2 [(y - mu)/mu - log(y/mu)]."""
    ratio = y / _positive(mu)
    with np.errstate(divide="ignore"):  # an infinite mean loses everything
        return 2.0 * (ratio - 1.0 - np.log(ratio))


def gamma_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """Gamma density of shape 1/phi and mean mu, times the weights; phi = deviance / sum w unless given."""
    n = _total(y, weights)
    if dispersion is None:
        dispersion = np.asarray(_weighted(gamma_deviance(y, mu), weights) / n)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = 1.0 / np.maximum(dispersion, _TINY)
        scaled = shape * y / _positive(mu)
        rows = shape * np.log(np.maximum(scaled, _TINY)) - scaled - gammaln(shape) - np.log(y)
    return _weighted(rows, weights)


def gamma_simulate(rng, mu, weights=None, dispersion=1.0):
    """Gamma of shape w / phi and mean mu."""
    shape = (1.0 if weights is None else weights) / dispersion
    return rng.gamma(shape, mu / shape)


# inverse gaussian ---------------------------------------------------------
def inverse_gaussian_variance(mu: Array) -> Array:
    """V = mu^3."""
    with np.errstate(over="ignore"):
        return (np.asarray(mu, dtype=float) if is_numpy(mu) else mu) ** 3


def inverse_gaussian_deviance(y: Array, mu: Array) -> Array:
    """(y - mu)^2 / (mu^2 y)."""
    mu = _positive(mu)
    return np.square((y - mu) / mu) / y


def inverse_gaussian_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """Inverse Gaussian density, times the weights; phi = deviance / sum w unless given."""
    n = _total(y, weights)
    deviance = _weighted(inverse_gaussian_deviance(y, mu), weights)
    logs = _weighted(np.log(y), weights)
    with np.errstate(divide="ignore"):
        if dispersion is None:
            return -0.5 * (n * (np.log(deviance / n) + _LOG_2PI + 1.0) + 3.0 * logs)
        return -0.5 * (n * (np.log(dispersion) + _LOG_2PI) + deviance / dispersion + 3.0 * logs)


def inverse_gaussian_simulate(rng, mu, weights=None, dispersion=1.0):
    """Inverse Gaussian of shape w / phi and mean mu."""
    return rng.wald(mu, (1.0 if weights is None else weights) / dispersion)


# negative binomial, theta fixed ---------------------------------------------------------
def negbin_variance(mu: Array, theta: float) -> Array:
    """V = mu + mu^2 / theta."""
    return mu + namespace(mu).square(mu) / theta


def negbin_deviance(y: Array, mu: Array, theta: float) -> Array:
    """2 [y log(y/mu) - (y + theta) log((y + theta)/(mu + theta))]."""
    mu = _positive(mu)
    # log1p of the small ratio: for theta far above mu the two terms nearly cancel
    return 2.0 * (xlogy(y, y) - xlogy(y, mu) - (y + theta) * np.log1p((y - mu) / (mu + theta)))


def negbin_loglik(y, mu, weights=None, dispersion=None, trials=None, *, theta: float):
    """Negative binomial log-probabilities, times the weights."""
    mu = _positive(mu)
    rows = (
        log_rising(theta, y) - gammaln(y + 1.0) + xlogy(y, mu) - y * np.log(theta + mu) - theta * np.log1p(mu / theta)
    )
    return _weighted(rows, weights)


def log_rising(theta: float, y: Array) -> Array:
    """Log of Gamma(theta + y) over Gamma(theta), also where theta dwarfs y and the difference would
    cancel.
    """
    if theta < 1e6:
        return gammaln(theta + y) - gammaln(theta)
    # Stirling with both terms expanded around theta: error O(y / theta^2)
    a = theta + y
    return (a - 0.5) * np.log1p(y / theta) + y * np.log(theta) - y + (1.0 / a - 1.0 / theta) / 12.0


def negbin_start(y: Array, weights: Array | None = None) -> Array:
    """y, and 1/6 for a 0."""
    return y + (y == 0) / 6.0


def negbin_simulate(rng, mu, weights=None, dispersion=1.0, *, theta: float):
    """Poisson counts whose means are gamma of shape theta."""
    return rng.poisson(rng.gamma(theta, np.asarray(mu) / theta)).astype(float)


# Student's t, df and scale fixed ---------------------------------------------------------
def t_deviance(y: Array, mu: Array, df: float, scale: float) -> Array:
    """In units of scale^2, so that it tends to (y - mu)^2 as df grows."""
    return scale**2 * (df + 1.0) * np.log1p(np.square((y - mu) / scale) / df)


def t_loglik(y, mu, weights=None, dispersion=None, trials=None, *, df: float, scale: float):
    """Rows repeated ``weights`` times; ``dispersion`` (scale^2) overrides the scale."""
    if dispersion is not None:
        scale = float(np.sqrt(dispersion))
    constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * np.log(df * np.pi) - np.log(scale)
    return _weighted(constant - 0.5 * (df + 1.0) * np.log1p(np.square((y - mu) / scale) / df), weights)


def t_score_weight(eta: Array, y: Array, *, link, df: float, scale: float) -> tuple[Array, Array]:
    """Score of the location and its expected information, both in units of 1 / scale^2."""
    with np.errstate(all="ignore"):
        slope = link.derivative(eta)
        resid = y - link.inverse(eta)
        score = (df + 1.0) * resid * slope / (df + namespace(eta).square(resid / scale))
        return score, (df + 1.0) / (df + 3.0) * slope**2


def t_simulate(rng, mu, weights=None, dispersion=1.0, *, df: float):
    """Mu plus scaled t noise, variance phi / w df / (df - 2)."""
    noise = rng.standard_t(df, size=np.shape(mu))
    return mu + noise * (np.sqrt(dispersion) if weights is None else np.sqrt(dispersion / weights))


# quasi families ---------------------------------------------------------
def quasi_loglik(y, mu, weights=None, dispersion=None, trials=None):
    """A quasi-likelihood has no density: NaN, as R's NA."""
    return np.full(np.shape(mu)[:-1], np.nan)[()]


def quasi_simulate(rng, mu, weights=None, dispersion=1.0):
    """Refused: a quasi family has no distribution to draw from."""
    raise InferenceError(
        "responses simulated from a quasi family",
        "a quasi family has a mean and a variance but no distribution to draw from",
        "use negative_binomial for spread counts, or resample rows with how='boot'",
    )


# fast scores ---------------------------------------------------------
def logit_score_weight(eta: Array, y: Array) -> tuple[Array, Array]:
    """S = y - mu, w = mu (1 - mu) without cancellation.

    mu = exp(min(eta, 0)) / (1 + exp(-|eta|)). Two exponentials and no choice between two branches: NumPy's exp is
    vectorised, its ``where`` is not, and neither is scipy's expit. Buffers are reused; this is what a bootstrap of a
    logistic model spends its time on.
    """
    if not is_numpy(eta):
        xp = namespace(eta)
        tail = xp.exp(-xp.abs(eta))
        q = 1.0 / (1.0 + tail)
        return y - xp.exp(xp.minimum(eta, 0.0)) * q, tail * q * q
    eta = np.asarray(eta, float)
    tail = np.abs(eta, out=np.empty_like(eta))
    np.exp(np.negative(tail, out=tail), out=tail)
    q = np.add(tail, 1.0, out=np.empty_like(eta))
    np.reciprocal(q, out=q)
    mu = np.minimum(eta, 0.0, out=np.empty_like(eta))
    np.exp(mu, out=mu)
    mu *= q
    tail *= q
    tail *= q
    return y - mu, tail


def logit_deviance(eta: Array, y: Array) -> Array:
    """2 [log(1 + e^eta) - y eta] plus what depends on y alone."""
    return 2.0 * (xlogy(y, y) + xlogy(1.0 - y, 1.0 - y) + np.logaddexp(0.0, eta) - y * eta)


def log_poisson_score_weight(eta: Array, y: Array) -> tuple[Array, Array]:
    """S = y - mu, w = mu."""
    xp = namespace(eta)
    mu = xp.exp(xp.clip(eta, -700.0, 700.0))
    return y - mu, mu


def tails_score_weight(eta: Array, y: Array, *, link) -> tuple[Array, Array]:
    """Binomial with any probability link; rows in the tails by logarithms, where mu (1 - mu) has lost its
    digits.
    """
    with np.errstate(all="ignore"):
        mu, slope = link.inverse(eta), link.derivative(eta)
        variance = mu * (1.0 - mu)
        ratio = slope / variance
        s, w = (y - mu) * ratio, slope * ratio
        tail = ~(variance > 1e-4)  # above it 1 - mu still has 12 digits
        if not is_numpy(eta):
            xp = namespace(eta)
            low, high, log_slope = link.log_tails(eta)
            careful = y * xp.exp(log_slope - low) - (1.0 - y) * xp.exp(log_slope - high)
            return xp.where(tail, careful, s), xp.where(tail, xp.exp(2.0 * log_slope - low - high), w)
        if np.any(tail):
            yt = np.broadcast_to(y, np.shape(eta))[tail]
            low, high, log_slope = link.log_tails(np.asarray(eta)[tail])
            s[tail] = yt * np.exp(log_slope - low) - (1.0 - yt) * np.exp(log_slope - high)
            w[tail] = np.exp(2.0 * log_slope - low - high)
    return s, w


def tails_deviance(eta: Array, y: Array, *, link) -> Array:
    """Binomial deviance from log mu and log(1 - mu)."""
    low, high, _ = link.log_tails(np.asarray(eta, dtype=float))
    with np.errstate(all="ignore"):
        lost = np.where(y > 0, y * low, 0.0) + np.where(y < 1, (1.0 - y) * high, 0.0)
        return 2.0 * (xlogy(y, y) + xlogy(1.0 - y, 1.0 - y) - lost)
