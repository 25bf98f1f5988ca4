"""What a sentence is made from: numbers and flags (Situation), words (Labels), and what comes out (Sentence)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .ink import Run

# What kind of number a term's coefficient is. Rows and clauses are chosen by these, never by reading names.
KINDS = MappingProxyType(
    {
        "slope": "a numeric predictor: change for one step (log(x): one doubling)",
        "scaled": "a standardised predictor: change for one standard deviation",
        "level": "one level compared with another (treatment and sequential coding)",
        "average": "one level compared with the average of all groups, or of those before it",
        "mean": "the intercept of a model without predictors",
        "intercept": "the intercept of a model with predictors",
        "levels_by_levels": "interaction of two factors: a difference of differences",
        "slopes_by_levels": "interaction of a number with something else: a difference of slopes",
        "ordered": "a polynomial column of an ordered factor",
        "curve": "a column of poly(x, d) or a power of x",
        "smooth": "one basis function of a spline: has no meaning by itself",
        "coefficient": "anything else: said as a coefficient",
        "spread": "a standard deviation between groups",
        "correlation": "a correlation between two random effects of a group",
        "scatter": "the residual standard deviation, within groups",
    }
)
# How the coefficient is spoken. Ratios are stored as logarithms and spoken as ratios.
SCALES = MappingProxyType(
    {
        "identity": "units of the response",
        "odds": "log odds, spoken as an odds ratio",
        "rate": "log of an expected count, spoken as a ratio of counts",
        "factor": "log of the response or of its mean, spoken as a factor",
        "probability": "a probability (an intercept sent through the link)",
        "link": "units of another link: no everyday unit",
    }
)
RATIOS = ("odds", "rate", "factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Numbers and flags of one result; no words.

    Numbers are in the unit the sentence speaks: y units for one ``step`` of the term; logarithms for ratio scales.
    ``None`` (or NaN) means "not computed", and what was not computed is not said.
    """

    # what was asked
    operation: str = "params"  # params, effects, predictions, variance, simulate
    how: str = "asymp"
    term: str = ""  # key into Labels.terms
    kind: str = "slope"  # one of KINDS
    degree: int = 1  # 1 straight, 2 curved, 3 S-shaped: for ordered and curve
    scale: str = "identity"  # one of SCALES
    alternative: str = "two-sided"  # two-sided, less, greater
    null: float = 0.0  # on the scale of the estimate
    level: float = 0.95
    test_asked: bool = False  # bootstrap: the reader asked about the null, so its p leads (PB5)

    # the estimate
    estimate: float | None = None
    lower: float | None = None  # infinite or None on the open side of a one-sided interval
    upper: float | None = None
    se: float | None = None
    p: float | None = None
    errors: str = "iid"  # iid, HC0 ... HC4
    se_ratio: float | None = None  # robust SE over the usual one
    sd_x: float | None = None  # one standard deviation of a standardised predictor
    at: tuple[float, float] | None = None  # interactions: the effect at the first and at the second setting
    settings: tuple[float, float] | None = None  # interactions of two numbers: those settings
    zero_inside: bool = True  # intercept: some rows come near zero
    base: float | None = None  # a probability to show what the odds ratio does to it (M11)

    # the data
    n: int = 0
    n_total: int = 0  # rows before those with a missing value were left out
    aliased: bool = False
    separated: bool = False
    separated_rows: int = 0  # rows whose event the column sorts; all n of them in a complete separation

    # the draws
    draws: int = 0  # B that gave an estimate
    requested: int = 0
    scheme: str = "case"
    ci_type: str = "percentile"
    mcse_lower: float | None = None
    mcse_upper: float | None = None
    crossings: int | None = None  # draws at or beyond the null, seen from the estimate
    boot_mean: float | None = None
    stops: tuple[str, ...] = ()  # interval types that stop short of the null
    crosses: tuple[str, ...] = ()  # interval types that hold it
    groups: int | None = None  # k, where whole groups are drawn, or the number is one of groups
    at_zero: int = 0  # draws in which the spread came out as 0
    first_resampling: bool = False  # the first one of a notebook (M16)

    # one draw
    dot: int | None = None  # number of the draw under the pointer, from 1
    value: float | None = None  # its estimate
    distinct: int | None = None  # different rows in it

    # the run
    failures: int = 0
    reason: str = ""  # code of the most frequent reason, see words.REASONS
    remedy: str = ""  # code of the way out, see words.REMEDIES
    cancelled: bool = False
    stale: tuple[str, str] | None = None  # the settings shown and the settings chosen

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("scale", SCALES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not one of {', '.join(allowed)}")
        if self.alternative not in ("two-sided", "less", "greater"):
            raise ValueError(f"alternative={self.alternative!r} is not one of two-sided, less, greater")

    @property
    def is_ratio(self) -> bool:
        """Whether the estimate is a logarithm that is spoken as a ratio."""
        return self.scale in RATIOS


@dataclass(frozen=True, slots=True, kw_only=True)
class TermWords:
    """How one term is said. Unused fields stay empty.

    Levels carry their preposition ("with VC", "at low tension"); ``first`` and ``second`` are the settings between
    which an interaction compares ("at low tension" and "at medium tension").
    """

    noun: str = ""  # "weight"
    plural: bool = False
    unit: str = ""  # of the predictor: "thousand lb"
    step: str = ""  # "1,000 lb of weight"
    step_unit: str = ""  # "1,000 lb"
    factor: str = ""  # "species"
    level: str = ""  # "with VC"
    reference: str = ""  # "with OJ"; kind average: "the average of the 3 species groups"
    level_name: str = ""  # "wool B"
    reference_name: str = ""  # "wool A"
    first: str = ""
    second: str = ""
    others: tuple[str, ...] = ()  # terms held fixed
    condition: str = ""  # where the rest of an interaction stands: "at low tension"
    zeros: str = ""  # intercept: "weight and horsepower are both 0"
    which: str = ""  # separation: "3 and 5 gears"
    group: str = ""  # numbers of the random part: "subject"
    groups: str = ""  # "subjects"
    per: str = ""  # the unit of a slope behind that of the response: "per day"
    repeats: str = "the other columns"  # aliased: what it repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Words of one model: the response, its rows, and each term. Made by ``bossaviz.labels.labels_for``."""

    response: str = "the response"
    plural: bool = False  # the response is a plural noun: "breaks are"
    unit: str = ""
    subject: str = ""  # with ``verb``: "Chicks weigh 5 g more"
    mean_subject: str = ""  # the same, only for a plain average: "Chinstrap penguins"
    verb: str = ""
    comparatives: tuple[str, str] = ("higher", "lower")
    rises_falls: tuple[str, str] = ("rises", "falls")
    count: str = ""  # what is counted: "breaks"
    event: str = "an event"
    unit_name: str = "row"
    units: str = "rows"
    group: str = "group"
    groups: str = "groups"
    origin: str = "unknown"  # experiment, observational, case-control
    terms: Mapping[str, TermWords] = field(default_factory=dict)

    def term(self, name: str) -> TermWords:
        """Words of one term; a term without words is said by its own name."""
        from .ink import column

        return self.terms.get(name) or TermWords(noun=column(name), step=f"unit of {column(name)}")


@dataclass(frozen=True, slots=True)
class Sentence:
    """What the panel says.

    ``main`` is at most two sentences and 45 words, ``more`` the closed expansions, ``row`` the row of section 4 that
    fired, ``tone`` one of info, caution, refusal. ``state`` names the state of the run that joined (ST1 ... ST7), and
    ``runs`` is ``main`` cut into stretches with a role each (plain, real, sim, theory, tail) for colouring numbers.
    """

    main: str
    more: tuple[str, ...]
    row: str
    tone: str
    state: str = ""
    runs: tuple[Run, ...] = ()
