"""Words of a column and of a data set, as sentences need them.

The registry of ``inference_core.datasets`` holds nouns, units, steps and levels of the data sets that ship; ``GRAMMAR``
adds what only an English sentence needs: verbs, plurals, levels that are numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

ORIGINS = ("experiment", "observational", "case-control", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How one column is said.

    ``levels`` maps a level to a phrase with its preposition ("with VC"); ``phrase`` makes one for every level
    ("on diet {}"); ``names`` maps a level to its name without a preposition.
    """

    noun: str
    response: str = ""  # as a response, where it differs: "the breaking angle"
    unit: str = ""
    step: str = ""  # one step, said after "for each extra"
    step_unit: str = ""  # that step as a unit: "1,000 lb"
    plural: bool = False
    levels: Mapping[str, str] = field(default_factory=dict)
    phrase: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    event: str = ""  # as a response: what 1 means
    count: str = ""  # as a response: what is counted
    subject: str = ""  # as a response, with ``verb``: "chicks" weigh
    mean_subject: str = ""  # the same for a plain average; {} takes the one level left of ``mean_level``
    mean_level: str = ""
    verb: str = ""
    comparatives: tuple[str, str] = ("higher", "lower")
    rises_falls: tuple[str, str] = ("rises", "falls")

    @property
    def one_step(self) -> str:
        """One step of x: "mm of bill length"."""
        if self.step:
            return self.step
        return f"{self.unit} of {self.noun}" if self.unit else f"unit of {self.noun}"

    @property
    def one_step_unit(self) -> str:
        """One step as a unit: "mm", "1,000 lb"."""
        return self.step_unit or self.one_step.partition(" of ")[0]

    def level(self, name: str) -> str:
        """A level with its preposition."""
        if name in self.levels:
            return self.levels[name]
        if self.phrase:
            return self.phrase.format(self.names.get(name, name))
        return f"where {self.level_name(name)}" if name in ("True", "False") else f"for {self.level_name(name)}"

    def level_name(self, name: str) -> str:
        """A level without its preposition."""
        if name in self.names:
            return self.names[name]
        if name in self.levels or self.phrase:
            return self.level(name).partition(" ")[2]
        if name in ("True", "False"):
            return f"{self.noun} is {name.lower()}"
        number = name.replace(".", "", 1).removeprefix("-").isdigit()
        return f"{self.noun} {name}" if number else name


    def is_level(self, name: str) -> str:
        """Such as "tension is low", "species is Adelie": where a factor stands when its columns are 0."""
        spoken = self.level_name(name) if name in self.levels or name in self.names or self.phrase else name
        shorter = " ".join(word for word in spoken.split() if word != self.noun)
        short = shorter if shorter and shorter != spoken else name
        return f"{self.noun} {'are' if self.plural else 'is'} {short}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Words of one data set: its columns, what one row and one group is, how the data came about."""

    columns: Mapping[str, Words] = field(default_factory=dict)
    rows: tuple[str, str] = ("row", "rows")
    group: tuple[str, str] = ("group", "groups")
    origin: str = "unknown"


_WEIGH = {"subject": "chicks", "verb": "weigh", "comparatives": ("more", "less")}
_PENGUINS = {"verb": "weigh", "mean_subject": "{} penguins", "mean_level": "species"}

GRAMMAR: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "mtcars": {
            "cyl": {"plural": True, "phrase": "with {} cylinders"},
            "gear": {"plural": True, "phrase": "with {} gears"},
            "carb": {"plural": True, "phrase": "with {} carburettors"},
            "am": {"levels": {"0": "with an automatic gearbox", "1": "with a manual gearbox"}},
            "vs": {"levels": {"0": "with a V-shaped engine", "1": "with a straight engine"}},
        },
        "penguins": {"body_mass_g": _PENGUINS},
        "penguins_na": {"body_mass_g": _PENGUINS},
        "chickwts": {"weight": _WEIGH},
        "chickweight": {"weight": _WEIGH},
        "sleepstudy": {"Days": {"plural": True}},
        "infert": {"induced": {"plural": True}, "spontaneous": {"plural": True}},
    }
)


@lru_cache(maxsize=32)
def shipped(name: str) -> Vocabulary:
    """The words of a data set that ships."""
    from inference_core.datasets import dataset_info

    info = dataset_info(name)
    grammar = GRAMMAR.get(name, {})
    return Vocabulary(
        columns={column: _words(said, grammar.get(column, {})) for column, said in info["labels"].items()},
        rows=(info["unit_name"], info["units"]),
        group=(info["group"] or "group", info["groups"] or "groups"),
        origin=info["origin"] or "unknown",
    )


def _words(said: Mapping[str, Any], grammar: Mapping[str, Any]) -> Words:
    kept = {key: said[key] for key in ("unit", "step", "plural", "levels", "event", "count") if key in said}
    if "rises_falls" in said:
        kept["rises_falls"] = tuple(said["rises_falls"])
    noun = said.get("name") or said.get("response", "")
    return replace(Words(noun=noun, response=said.get("response", ""), **kept), **grammar)
