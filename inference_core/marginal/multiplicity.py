"""Several comparisons at once: p-values and limits that hold for the family.

One procedure gives both where one exists (Tukey, mvt, Bonferroni, Sidak, Scheffe). Holm and false discovery rates have
no limits of their own; theirs are Bonferroni's, as in emmeans, and the table says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from inference_core.errors import InferenceError
from inference_core.states import Array

from .roots import find_root
from .studentized_range import quantile, upper_tail

SOBOL_POINTS = 2**15
NEIGHBOURS = 16
SEED = 20_240_229  # of the scrambled Sobol points: the same table gives the same numbers
PLAIN = ("none", "bonferroni", "sidak")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Statistics of m rows that are judged together.

    ``statistic`` t or z; ``df`` (m,); ``correlation`` (m, m) of the rows' estimates; ``rank`` of their weights;
    ``pairs``: of how many means the rows are all comparisons, 0 where they are something else.
    """

    statistic: Array
    df: Array
    correlation: Array
    rank: int
    pairs: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Adjusted:
    """p-values, and how many standard errors each limit lies from its estimate, both (m,)."""

    p_value: Array
    critical: Array
    words: str  # what a table's foot says
    notes: tuple[str, ...] = ()


def adjust(family: Family, method: str, conf_level: float, alternative: str = "two-sided") -> Adjusted:
    """Adjusted p-values and critical values of one family.

    Parameters
    ----------
    family : Family
    method : {"none", "tukey", "mvt", "bonferroni", "holm", "sidak", "fdr", "scheffe"}
    conf_level : float
        Of all intervals together.
    alternative : {"two-sided", "greater", "less"}

    Raises
    ------
    InferenceError
        tukey where the rows are not all pairs of one factor; tukey or scheffe one-sided.

    Notes
    -----
    With one row nothing is adjusted. Rows without a statistic (not estimable) stay out of the count.
    """
    fine = np.isfinite(family.statistic)
    m = int(fine.sum())
    plain = _tail(family.statistic, family.df, alternative)
    one = Adjusted(plain, _plain_critical(family.df, 1 - conf_level, alternative), "not adjusted")
    if method == "none" or m < 2:
        return one
    if method in ("tukey", "scheffe") and alternative != "two-sided":
        raise InferenceError(f"p_adjust={method!r} with alternative={alternative!r}", f"{method} is two-sided",
                             "p_adjust='mvt', which has directions")  # fmt: skip
    if method == "tukey":
        return _tukey(family, conf_level)
    if method == "mvt":
        return _mvt(family, fine, conf_level, alternative)
    if method == "scheffe":
        return _scheffe(family, conf_level)
    alpha = 1 - conf_level
    if method == "sidak":
        with np.errstate(divide="ignore"):  # a p-value of 1 stays 1
            p = -np.expm1(m * np.log1p(-plain))
        return Adjusted(p, _plain_critical(family.df, -np.expm1(np.log1p(-alpha) / m), alternative), f"Sidak, {m} rows")
    critical = _plain_critical(family.df, alpha / m, alternative)
    if method == "bonferroni":
        return Adjusted(np.minimum(1.0, m * plain), critical, f"Bonferroni, {m} rows")
    step = holm(plain, fine) if method == "holm" else false_discovery(plain, fine)
    name = "Holm" if method == "holm" else "false discovery rate"
    note = f"{name} has no limits of its own: these are Bonferroni's, and may hold a null that the p-value rejects"
    return Adjusted(step, critical, f"{name}, {m} rows; limits Bonferroni", (note,))


def _tail(statistic: Array, df: Array, alternative: str) -> Array:
    t = -np.abs(statistic) if alternative == "two-sided" else -statistic if alternative == "greater" else statistic
    lower = np.where(np.isinf(df), special.ndtr(t), special.stdtr(np.where(np.isinf(df), 1.0, df), t))
    return 2 * lower if alternative == "two-sided" else lower


def _plain_critical(df: Array, alpha: float, alternative: str) -> Array:
    tail = alpha / 2 if alternative == "two-sided" else alpha
    normal = np.isinf(df)
    return -np.where(normal, special.ndtri(tail), special.stdtrit(np.where(normal, 1.0, df), tail))


def holm(p: Array, fine: Array) -> Array:
    """Holm (1979): running maximum of (m - i) p from the smallest up."""
    out, values = p.copy(), p[fine]
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    back = np.empty_like(values)
    back[order] = np.minimum(1.0, stepped)
    out[fine] = back
    return out


def false_discovery(p: Array, fine: Array) -> Array:
    """Benjamini & Hochberg (1995): running minimum of p m / i from the largest down."""
    out, values = p.copy(), p[fine]
    order = np.argsort(values)[::-1]
    m = len(values)
    stepped = np.minimum.accumulate(values[order] * m / np.arange(m, 0, -1))
    back = np.empty_like(values)
    back[order] = np.minimum(1.0, stepped)
    out[fine] = back
    return out


def _tukey(family: Family, conf_level: float) -> Adjusted:
    """Studentized range of ``pairs`` means; each row has its own degrees of freedom, as in emmeans."""
    k = family.pairs
    if k < 2:
        raise InferenceError("p_adjust='tukey'", "the rows are not all pairs of one factor's means",
                             "p_adjust='mvt', which takes any rows")  # fmt: skip
    p = np.full(family.statistic.shape, np.nan)
    critical = np.full(family.statistic.shape, np.nan)
    root = np.sqrt(2.0)
    for i, (t, df) in enumerate(zip(family.statistic, family.df, strict=True)):
        if np.isfinite(t):
            p[i] = upper_tail(root * abs(t), k, float(df))
            critical[i] = quantile(conf_level, k, float(df)) / root
    return Adjusted(p, critical, f"Tukey, {k} means")


def _scheffe(family: Family, conf_level: float) -> Adjusted:
    """Every contrast of the rows' space at once: t^2 / r against F(r, df). Scheffe (1953)."""
    r = family.rank
    with np.errstate(invalid="ignore"):
        square = family.statistic**2
    normal = np.isinf(family.df)
    df = np.where(normal, 1.0, family.df)
    p = np.where(normal, special.chdtrc(r, square), special.fdtrc(r, df, square / r))
    alpha = 1 - conf_level
    limit = np.where(normal, special.chdtri(r, alpha), r * special.fdtri(r, df, conf_level))
    return Adjusted(p, np.sqrt(limit), f"Scheffe, rank {r}")


def _mvt(family: Family, fine: Array, conf_level: float, alternative: str) -> Adjusted:
    """The maximum of correlated t statistics: quasi-random directions, the length of each integrated out exactly.

    Works for singular correlations, which all pairwise sets have. One df for all rows: the smallest.
    """
    df = float(np.min(family.df[fine]))
    R = family.correlation[np.ix_(fine, fine)]
    root = _root(R)
    dimension = root.shape[1]
    along = _directions(dimension) @ root.T
    peak = np.abs(along).max(1) if alternative == "two-sided" else along.max(1)
    # Neighbours among the sorted directions are alike to some 1e-7 of the answer, which is smooth in them.
    peak = np.sort(peak).reshape(-1, NEIGHBOURS).mean(1)

    def inside(q: float) -> float:
        return float(np.mean(_below(peak, q, dimension, df)))

    t = np.abs(family.statistic) if alternative == "two-sided" else (
        family.statistic if alternative == "greater" else -family.statistic
    )  # fmt: skip
    p = np.full(len(fine), np.nan)
    single = _tail(family.statistic, np.full(len(fine), df), alternative)
    for i in np.flatnonzero(fine):
        # Never below the p-value of one row nor above Bonferroni's: the tails of a simulation have few points.
        p[i] = np.clip(1 - inside(t[i]), single[i], min(1.0, fine.sum() * single[i]))
    low = float(_plain_critical(np.array([df]), 1 - conf_level, alternative)[0])
    high = float(_plain_critical(np.array([df]), (1 - conf_level) / fine.sum(), alternative)[0])
    q = find_root(lambda x: inside(x) - conf_level, low - 1e-6, high + 1e-3)
    notes = ()
    if np.unique(family.df[fine]).size > 1:
        notes = (f"degrees of freedom differ by row; the mvt adjustment takes the smallest, {df:.4g}",)
    return Adjusted(p, np.full(len(fine), q), f"mvt, {int(fine.sum())} rows", notes)


def _root(R: Array) -> Array:
    """C with R = C C', for any positive semi-definite R."""
    values, vectors = np.linalg.eigh(R)
    kept = values > 1e-10 * values.max()
    return vectors[:, kept] * np.sqrt(values[kept])


def _directions(dimension: int) -> Array:
    """(points, dimension) unit vectors, evenly spread over the sphere."""
    from scipy.stats import qmc

    points = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(SEED)).random(SOBOL_POINTS)
    normals = special.ndtri(np.clip(points, 1e-15, 1 - 1e-15))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _below(peak: Array, q: float, dimension: int, df: float) -> Array:
    """P(r peak <= q) for each direction: r^2 / dimension is F(dimension, df), or chi-square over its df."""
    if q <= 0:
        far = np.where(peak < 0, q / np.minimum(peak, -1e-300), np.inf)
        return np.where(peak < 0, 1 - _radius_below(far, dimension, df), 0.0 if q < 0 else 1.0 * (peak <= 0))
    return np.where(peak <= 0, 1.0, _radius_below(q / np.maximum(peak, 1e-300), dimension, df))


def _radius_below(r: Array, dimension: int, df: float) -> Array:
    square = np.minimum(r, 1e100) ** 2
    return special.chdtr(dimension, square) if np.isinf(df) else special.fdtr(dimension, df, square / dimension)
