"""What the reader chose: traits that can be set, observed, saved as JSON and written as code. No widgets here."""

from __future__ import annotations

import json
from types import MappingProxyType

import traitlets

from .compute.query import DrawQuery, ReadQuery

# Fixed order of the interval types, and how each is written on the screen.
CI_TYPES = MappingProxyType(
    {
        "percentile": "percentile",
        "basic": "basic",
        "normal": "normal",
        "bca": "BCa",
        "studentized": "studentized",
        "expanded": "expanded",
    }
)
LEVELS = (0.5, 0.999)
MOST_DRAWS = 1_000_000


class BootstrapState(traitlets.HasTraits):
    """The choices of a bootstrap panel.

    ``terms`` are the names that ``term`` may take, ``schemes`` and ``ci_types`` what ``scheme`` and ``ci_type`` may be:
    all fixed by the model. Every other trait may be set at any time; a
    value that makes no sense raises ``TraitError`` with the sentence that the status line shows.
    """

    how = traitlets.Enum(("boot",), default_value="boot", help="fixed: this panel bootstraps")
    scheme = traitlets.Unicode("case", help="what is drawn anew: rows with replacement, or what the model allows")
    seed = traitlets.Int(1, help="draw i is a function of (seed, i)")
    n_boot = traitlets.Int(0, help="draws wanted for this seed")
    term = traitlets.Unicode(help="the number whose distribution is shown")
    ci_type = traitlets.Unicode("bca", help=", ".join(CI_TYPES))
    conf_level = traitlets.Float(0.95, help="0.5 to 0.999")
    null = traitlets.Float(0.0, help="the value that p-values are for")
    alternative = traitlets.Enum(("two-sided", "less", "greater"), default_value="two-sided")
    shown = traitlets.Int(None, allow_none=True, help="the draw that pane B shows, from 1; None: the latest")
    bins = traitlets.Int(6, min=2, max=20, help="bars per standard error, beyond 500 draws")
    overlay = traitlets.Bool(False, help="the t or normal curve behind Wald's interval")
    tab = traitlets.Enum(("estimates", "pinned", "draws"), default_value="estimates")
    more = traitlets.Bool(False, help="whether the sentence is expanded")

    SAVED = (
        "how", "scheme", "seed", "n_boot", "term", "ci_type", "conf_level", "null", "alternative", "shown", "bins",
        "overlay", "tab",
    )  # fmt: skip

    def __init__(
        self,
        terms: tuple[str, ...] = (),
        schemes: tuple[str, ...] = ("case",),
        ci_types: tuple[str, ...] = tuple(CI_TYPES),
        **choices,
    ) -> None:
        self.terms, self.schemes, self.ci_types = tuple(terms), tuple(schemes), tuple(ci_types)
        super().__init__(**choices)

    # ---- what makes sense ---------------------------------------------------------------------------------------

    @traitlets.validate("conf_level")
    def _level_makes_sense(self, proposal):
        value = round(float(proposal["value"]), 9)  # a slider says 0.8999999999999999
        if not LEVELS[0] <= value <= LEVELS[1]:
            raise traitlets.TraitError(f"A level of {value:g} is outside 0.50 to 0.999. Type 0.95 for 95%.")
        return value

    @traitlets.validate("seed")
    def _seed_makes_sense(self, proposal):
        value = int(proposal["value"])
        if not 0 <= value < 2**63:
            raise traitlets.TraitError(f"A seed of {value:,} is outside 0 to 2^63 - 1. Type a whole number such as 7.")
        return value

    @traitlets.validate("n_boot")
    def _draws_make_sense(self, proposal):
        value = int(proposal["value"])
        if not 0 <= value <= MOST_DRAWS:
            raise traitlets.TraitError(f"{value:,} draws are outside 0 to {MOST_DRAWS:,}. Type 1,000 for a first look.")
        return value

    @traitlets.validate("term")
    def _term_exists(self, proposal):
        value = proposal["value"]
        if self.terms and value not in self.terms:
            near = _nearest(value, self.terms)
            hint = f' Did you mean "{near}"?' if near else ""
            raise traitlets.TraitError(f'"{value}" is not a term of this model.{hint} Terms: {", ".join(self.terms)}.')
        return value

    @traitlets.validate("ci_type")
    def _interval_exists(self, proposal):
        value = str(proposal["value"]).lower()
        if value not in CI_TYPES:
            near = _nearest(value, self.ci_types)
            hint = f' Did you mean "{near}"?' if near else ""
            raise traitlets.TraitError(f'"{value}" is not a kind of interval.{hint} Choose {", ".join(self.ci_types)}.')
        if value not in self.ci_types:
            shown = CI_TYPES[value]
            raise traitlets.TraitError(f"A mixed model has no {shown} limits. Choose {', '.join(self.ci_types)}.")
        return value

    @traitlets.validate("scheme")
    def _scheme_exists(self, proposal):
        value = str(proposal["value"]).lower()
        if value not in self.schemes:
            raise traitlets.TraitError(
                f'"{value}" is not a scheme of this model in this version. Choose {", ".join(self.schemes)}.'
            )
        return value

    @traitlets.validate("shown")
    def _draw_counts_from_one(self, proposal):
        value = proposal["value"]
        if value is not None and value < 1:
            raise traitlets.TraitError(f"Draws are counted from 1; there is no draw {value}. Type 1 for the first.")
        return value

    # ---- snapshots ----------------------------------------------------------------------------------------------

    def draw_query(self) -> DrawQuery:
        """Return a frozen snapshot of what decides the draws."""
        return DrawQuery(self.how, self.scheme, self.seed)

    def read_query(self) -> ReadQuery:
        """Return a frozen snapshot of how the draws are read."""
        return ReadQuery(self.term, self.ci_type, self.conf_level, self.null, self.alternative)

    # ---- JSON ---------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the choices as JSON, in a fixed order."""
        return json.dumps({name: getattr(self, name) for name in self.SAVED})

    @classmethod
    def from_json(cls, text: str, terms: tuple[str, ...] = (), **allowed: tuple[str, ...]) -> BootstrapState:
        """Return the state that ``to_json`` wrote; words it does not know are refused by name.

        ``allowed`` may hold ``schemes`` and ``ci_types``.
        """
        choices = json.loads(text)
        unknown = sorted(set(choices) - set(cls.SAVED))
        if unknown:
            raise traitlets.TraitError(f'"{unknown[0]}" is not a choice of this panel. Known: {", ".join(cls.SAVED)}.')
        return cls(terms=terms, **allowed, **choices)

    def __repr__(self) -> str:
        return f"BootstrapState({', '.join(f'{n}={getattr(self, n)!r}' for n in self.SAVED)})"


def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None
