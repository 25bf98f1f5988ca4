"""A formula without data: which columns it needs, and a design of n rows made for it.

The response of such a design is a stand-in; ``Plan.with_response`` puts a simulated one in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from inference_core.design import build_bundle, read_frame
from inference_core.design.build import used_columns
from inference_core.design.columns import require_columns
from inference_core.design.response import BINOMIAL
from inference_core.design.rowwise import RowValue
from inference_core.design.terms import expand_terms
from inference_core.errors import FormulaError, InferenceError
from inference_core.families import Family, get_family
from inference_core.formula import parse_formula
from inference_core.formula.guard import admit
from inference_core.infer.spelling import nearest
from inference_core.rng import RNG, Purpose
from inference_core.states import Array, DataBundle, ModelSpec, RankInfo

from .predictors import Predictor, given_values, make_columns, normal

LARGE = 2_000  # rows in which every level of a predictor will occur
_INVERSE = {None: np.asarray, "log": np.exp}  # from the formula's left side to its column


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What simulated data of one formula consist of."""

    formula: str
    family: Family
    response: str  # the column that is made up (successes, of two)
    transform: str | None  # "log", where the formula has it on the left
    failures: str | None  # the column of failures, where there is one
    trials: str | None  # the column that holds the trials, where the formula or the weights name one
    predictors: tuple[str, ...]
    grouping: frozenset[str]
    options: Mapping[str, Any] = field(default_factory=dict)  # contrasts, weights, offset of the model

    @classmethod
    def of(cls, formula: str, family: Any, link: str | None, options: Mapping[str, Any]) -> Plan:
        """Read the formula.

        Raises
        ------
        FormulaError
            A response that cannot be made up: an expression other than a column, ``log(y)`` or ``cbind()``; a dot.
        """
        chosen = get_family(family, link)
        parsed = parse_formula(formula)
        asked = f"simulated data for {formula!r}"
        left = parsed.response
        if left is None:
            raise FormulaError(asked, "no response to the left of ~", 'write "y ~ x"')
        terms = expand_terms(parsed.fixed, [], set(), asked)
        requests: list[RowValue | None] = [RowValue("offset", e, None) for e in parsed.offsets]
        for what in ("weights", "offset"):
            value = options.get(what)
            if isinstance(value, str):
                requests.append(RowValue(what, admit(value), None))
        used = [c for c in used_columns(parsed, terms, requests, asked) if c not in left.columns]
        failures = trials = None
        transform: str | None = None
        if parsed.cbind is not None:
            won, lost = parsed.cbind
            response = won.column
            if response is not None and lost.column is not None:
                failures = lost.column
            elif response is not None and len(lost.columns) == 2 and response in lost.columns:
                trials = next(c for c in lost.columns if c != response)
                if lost.text.replace(" ", "") != f"{trials}-{response}":
                    response = None
        else:
            transform = None if left.column is not None else left.function
            response = left.columns[0] if len(left.columns) == 1 and transform in _INVERSE else None
            if response is not None and transform is not None and left.text.replace(" ", "") != f"log({response})":
                response = None
            weights = options.get("weights")
            if chosen.name in BINOMIAL and isinstance(weights, str):
                trials = weights
        if response is None:
            raise FormulaError(
                asked,
                f"{left.text} cannot be turned back into columns",
                'write one column, "log(y)", "cbind(won, lost)" or "cbind(won, n - won)"',
            )
        wanted = dict.fromkeys(used)
        if trials is not None:
            wanted[trials] = None
        groups = frozenset(c for term in parsed.random for c in term.columns)
        return cls(formula, chosen, response, transform, failures, trials, tuple(wanted), groups, dict(options))

    # ---- columns ------------------------------------------------------------------------------------------

    def wanted(self, predictors: Any, trials: Any) -> dict[str, Any]:
        """What each column will be, in the order of the formula; a number that is not given is ``normal()``.

        Raises
        ------
        InferenceError
            Columns that the formula does not use, groups that are not described, trials without a place.
        """
        asked = f"simulated data for {self.formula!r}"
        given: dict[str, Any]
        if predictors is None or isinstance(predictors, Mapping):
            given = dict(predictors or {})
            for name in given:
                if name not in self.predictors and not (name == self.response or name == self.failures):
                    self._refuse_unused(asked, name)
                elif name not in self.predictors:
                    raise InferenceError(asked, f"{name!r} is the response, which is made up", f"leave {name} out")
        else:
            frame = read_frame(predictors)
            given = {name: frame.get_column(name) for name in frame.columns if name in self.predictors}
            require_columns([c for c in self.predictors if c != self.trials], frame.columns, asked)
        if trials is not None:
            if self.trials is None and self.failures is None:
                raise InferenceError(
                    f"simulate(trials={trials!r})",
                    f"{self.formula!r} has no place for trials",
                    'family="binomial" with "cbind(won, lost) ~ ...", or a proportion with weights="n"',
                )
            if self.trials is not None:
                given[self.trials] = trials
        for name in self.predictors:
            if name in given:
                continue
            if name in self.grouping:
                example = f"predictors={{{name!r}: groups(10)}}"
                raise InferenceError(asked, f"nothing is said of the groups {name!r}", example)
            if name == self.trials:
                raise InferenceError(asked, "nothing is said of the number of trials", "trials=20")
            if name == self.options.get("weights"):
                example = f"predictors={{{name!r}: balanced(1, 2)}}"
                raise InferenceError(asked, f"nothing is said of the weights {name!r}", example)
            given[name] = normal()
        if self.failures is not None and trials is None:
            raise InferenceError(asked, "nothing is said of the number of trials", "trials=20")
        return {name: given[name] for name in self.predictors}

    def _refuse_unused(self, asked: str, name: str) -> None:
        near = nearest(name, self.predictors)
        raise InferenceError(
            asked,
            f"{name!r} is no predictor of this formula; predictors are {', '.join(self.predictors) or 'none'}",
            f"did you mean {near!r}?" if near else f"leave {name} out",
        )

    def rows(self, wanted: Mapping[str, Any], n: int | None) -> int:
        """How many rows: ``n``, or as many as given values have."""
        sizes = {name: len(v) for name, v in wanted.items() if not isinstance(v, (Predictor, int, float, str))}
        if n is not None:
            return n
        if not sizes:
            raise InferenceError(f"simulated data for {self.formula!r}", "no number of rows", "n=100")
        return next(iter(sizes.values()))

    def frame(self, wanted: Mapping[str, Any], n: int, trials: Any, rng: RNG) -> pl.DataFrame:
        """Predictors of n rows and a stand-in of the response; column j is a function of (rng, j)."""
        columns = make_columns(wanted, n, lambda j: rng.split(j + 1)[j].stream(0, Purpose.STREAM))
        stand_in = 0.5 if self.family.name in BINOMIAL else 1.0
        if self.failures is not None or (self.trials is not None and "cbind" in self.formula):
            stand_in = 0.0
        columns[self.response] = pl.Series(self.response, np.full(n, stand_in))
        if self.failures is not None:
            size = trials.draw(rng.stream(0, Purpose.INDEX), n) if isinstance(trials, Predictor) else trials
            columns[self.failures] = given_values(self.failures, size, n).cast(pl.Float64)
        return pl.DataFrame(columns)

    def build(self, frame: pl.DataFrame) -> tuple[ModelSpec, DataBundle]:
        """Specification and bundle of a frame, the response standing in."""
        method = "reml" if self.family.name == "gaussian" and self.family.link.name == "identity" else "ml"
        options: dict[str, Any] = {"method": self.options.get("method") or method}
        options |= {k: self.options.get(k) for k in ("contrasts", "weights", "offset")}
        return build_bundle(self.formula, frame, family=self.family.name, link=self.family.link.name, **options)

    def reference(self, wanted: Mapping[str, Any], n: int, rng: RNG) -> DataBundle:
        """A design with every column, those of rare levels too: a large sample, where no given values fix n."""
        free = all(isinstance(what, (Predictor, int, float, str)) for what in wanted.values())
        frame = self.frame(wanted, max(n, LARGE) if free else n, 1, rng)
        return self.build(frame)[1]

    def with_response(self, frame: pl.DataFrame, y: Array, trials: Array | None) -> pl.DataFrame:
        """The frame with a response y (n,) as the solver sees it, turned back into columns."""
        if self.failures is not None or "cbind" in self.formula:
            assert trials is not None
            won = np.rint(y * trials)
            made = {self.response: won} | ({} if self.failures is None else {self.failures: trials - won})
        else:
            made = {self.response: _INVERSE[self.transform](y)}
        whole = self.family.name in ("poisson", "negative_binomial") or (
            self.family.name == "binomial" and (self.failures is not None or trials is None or "cbind" in self.formula)
        )
        kind = pl.Int64 if whole else pl.Float64
        return frame.with_columns(pl.Series(name, values).cast(kind) for name, values in made.items())


def is_random(wanted: Mapping[str, Any]) -> bool:
    """Whether another sample would have other predictors."""
    return any(isinstance(what, Predictor) and what.random for what in wanted.values())


def blank(formula: str, family: str, link: str, method: str) -> tuple[ModelSpec, DataBundle]:
    """Specification and empty bundle of a model without data: what is known before anything is simulated.

    Raises
    ------
    FormulaError
        The formula cannot be read.
    """
    parsed = parse_formula(formula)
    if parsed.response is None:
        raise FormulaError(f"a model {formula!r}", "no response to the left of ~", 'write "y ~ x"')
    spec = ModelSpec(
        formula=parsed.text, response_var=parsed.response.text, random_terms=parsed.random_terms, family=family,
        link=link, method=method, has_random_effects=bool(parsed.random),
    )  # fmt: skip
    none = np.empty(0, dtype=np.intp)
    return spec, DataBundle(
        y=np.empty(0), X=np.empty((0, 0)), X_names=(), term_of_column=none, source_terms=(),
        y_name=parsed.response.text, valid_mask=np.empty(0, dtype=bool), n_total=0,
        rank_info=RankInfo(0, none, none),
    )  # fmt: skip
