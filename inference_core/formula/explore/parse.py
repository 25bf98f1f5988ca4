"""The grammar of ``explore``.

query       effect [~ condition (+ condition)*];  1 as the effect is the mean over everything
effect      part (: part)*                  several calls joined by ":" are interaction contrasts
condition   variable | call
part        call | variable (: variable)* [ "[" row (, row)* "]" ]
call        pairwise(x) revpairwise(x) sequential(x) sum(x) deviation(x) helmert(x) slope(x)
            poly(x [, degree]) treatment(x [, ref = level]); x may be a:b
variable    name [@ value | @ [value, ...] | @ range(n) | @ quantile(n)]
row         [weight *] cell (+|- [weight *] cell)*;  a cell is level (: level)*, (cell + cell): their average, or *
"""

from __future__ import annotations

from inference_core.errors import FormulaError
from inference_core.formula.names import suggest

from .contrasts import METHODS
from .query import At, Cell, Combination, Contrast, ExploreQuery, Group, Part, Variable, Wildcard
from .tokens import Token, refuse, tokenize

MAX_POINTS = 1_000  # of range() and quantile()
MAX_VALUE = 1e100  # squares and products of columns must stay finite
SLOPE = "slope"  # a number's own slope, as distinct from a comparison of its values
FUNCTIONS = (*METHODS, SLOPE)
_SYNONYMS = {"pairs": "pairwise", "consec": "sequential", "trt.vs.ctrl": "treatment", "eff": "sum", "del.eff": "sum"}


def parse_explore(text: str) -> ExploreQuery:
    """Read an explore text.

    Parameters
    ----------
    text : str
        As ``"x"``, ``"x@[1, 2] ~ group"``, ``"pairwise(group)"``, ``"group[(A + B) - C]"``, ``"a:b[A:C - B:D]"``.

    Returns
    -------
    ExploreQuery

    Raises
    ------
    FormulaError
        The text cannot be read; the message points at the character.
    """
    return _Reader(text).query()


class _Reader:
    """Reads one text from left to right; ``at`` is the next token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.position = 0

    @property
    def at(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        token = self.at
        self.position += token.kind != "end"
        return token

    def is_op(self, *values: str) -> bool:
        return self.at.kind == "op" and self.at.value in values

    def accept(self, value: str) -> bool:
        found = self.is_op(value)
        self.position += found
        return found

    def expect(self, value: str, why: str) -> None:
        if not self.accept(value):
            raise self.stop(f"{self.seen()} where {value!r} should stand", why)

    def seen(self) -> str:
        return "the end" if self.at.kind == "end" else repr(self.at.value)

    def stop(self, found: str, remedy: str) -> FormulaError:
        return refuse(self.text, self.at.start, found, remedy)

    # ---- the rules -------------------------------------------------------------------------------------------

    def query(self) -> ExploreQuery:
        if self.at.kind == "end":
            raise self.stop("nothing to explore", 'name a column, as "x", or a comparison, as "pairwise(group)"')
        focal = [] if self.everything() else self.effect()
        conditions: list[Part] = []
        if self.accept("~"):
            conditions.append(self.condition())
            while self.accept("+"):
                conditions.append(self.condition())
        if self.at.kind != "end":
            raise self.stop(f"{self.seen()} after the end of the question", self.continuation())
        self.refuse_repeats(focal, conditions)
        return ExploreQuery(self.text, tuple(focal), tuple(conditions))

    def everything(self) -> bool:
        """Whether the effect is a 1, which is taken."""
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        found = self.at.value == "1" and (after.kind == "end" or after.value == "~")
        self.position += found
        return found

    def continuation(self) -> str:
        if self.is_op("*"):
            return "cells of two factors are a:b"
        if self.is_op("~"):
            return "conditions are joined by +: x ~ a + b"
        return "conditions go after ~: x ~ a + b@[1, 2]"

    def refuse_repeats(self, focal: list[Part], conditions: list[Part]) -> None:
        seen: set[str] = set()
        for variable in (v for part in (*focal, *conditions) for v in part.variables):
            if variable.name in seen:
                raise refuse(self.text, variable.start, f"{variable.name} is named twice", "name each column once")
            seen.add(variable.name)

    def effect(self) -> list[Part]:
        parts = [self.part()]
        while self.accept(":"):
            parts.append(self.part())
        called = [part.contrast is not None for part in parts]
        if len(parts) == 1:
            return parts
        if all(called):
            for part in parts:
                if part.contrast is not None and part.contrast.method == SLOPE:
                    raise refuse(self.text, part.contrast.start, "a slope inside an interaction of comparisons",
                                 "the difference of slopes is x ~ pairwise(group)")  # fmt: skip
            return parts
        if any(called):
            name = next(part for part in parts if part.contrast is None).variables[0]
            raise refuse(
                self.text, name.start, "a comparison beside a column", f"compare at each level of it: ... ~ {name.name}"
            )
        return [Part(tuple(v for part in parts for v in part.variables))]

    def part(self) -> Part:
        if self.is_call():
            return self.call()
        variables = [self.variable()]
        while self.is_op(":") and not self.is_call(self.position + 1):
            self.take()
            variables.append(self.variable())
        if self.is_op("["):
            return Part(tuple(variables), self.rows())
        return Part(tuple(variables))

    def condition(self) -> Part:
        return self.call() if self.is_call() else Part((self.variable(),))

    def is_call(self, position: int | None = None) -> bool:
        place = self.position if position is None else position
        token, after = self.tokens[place], self.tokens[min(place + 1, len(self.tokens) - 1)]
        return token.kind == "name" and after.kind == "op" and after.value == "("

    def call(self) -> Part:
        name = self.take()
        method = name.value if name.value in FUNCTIONS else _SYNONYMS.get(name.value)
        if method is None:
            near = suggest(name.value, FUNCTIONS)
            raise refuse(self.text, name.start, f"no function {name.value!r}; there are {', '.join(FUNCTIONS)}",
                         f"did you mean {near}(...)?" if near else "columns go without parentheses")  # fmt: skip
        self.take()  # the parenthesis that is_call has seen
        variables = [self.variable()]
        while self.accept(":"):
            variables.append(self.variable())
        degree, ref = None, None
        if self.accept(","):
            degree, ref = self.argument(method, name)
        self.expect(")", f"close the parenthesis of {name.value}(")
        return Part(tuple(variables), Contrast(method, degree=degree, ref=ref, start=name.start))

    def argument(self, method: str, name: Token) -> tuple[int | None, str | None]:
        keyword = None
        if self.at.kind == "name" and self.tokens[self.position + 1].value == "=":
            keyword = self.take().value
            self.take()
        if method == "poly" and keyword in (None, "degree"):
            return self.whole_number("the degree of poly(x, degree)"), None
        if method == "treatment" and keyword in (None, "ref"):
            return None, self.level()
        takes = {"poly": "poly(x, degree)", "treatment": "treatment(x, ref = level)"}.get(method, f"{method}(x)")
        raise refuse(self.text, name.start, f"an argument that {method}() does not have", takes)

    def variable(self) -> Variable:
        if self.at.kind not in ("name", "quoted"):
            raise self.stop(f"{self.seen()} where a column's name should stand", 'as "x", or `two words` in backticks')
        token = self.take()
        return Variable(token.value, self.values() if self.accept("@") else None, token.start)

    def values(self) -> At:
        if self.is_call():
            name = self.take()
            if name.value not in ("range", "quantile"):
                raise refuse(
                    self.text, name.start, f"no function {name.value!r} after @", "@range(n), @quantile(n) or @[a, b]"
                )
            self.take()
            count = self.whole_number(f"a number of points, as {name.value}(5)")
            self.expect(")", f"as {name.value}({count})")
            return At(name.value, count=count)
        if not self.accept("["):
            return At("values", (self.value(),))
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        self.expect("]", "close the bracket: @[a, b]")
        return At("values", tuple(values))

    def whole_number(self, what: str) -> int:
        token = self.at
        if token.kind != "number" or not token.value.isdigit() or not 1 <= int(token.value) <= MAX_POINTS:
            raise self.stop(f"{self.seen()} where a whole number from 1 to {MAX_POINTS:,} should stand", what)
        return int(self.take().value)

    def value(self) -> str | float:
        sign = -1.0 if self.accept("-") else 1.0
        if self.at.kind == "number":
            if float(self.at.value) > MAX_VALUE:
                raise self.stop(f"{self.seen()} is more than any data hold", f"a value below {MAX_VALUE:g}")
            return sign * float(self.take().value)
        if sign < 0 or self.at.kind not in ("name", "quoted"):
            raise self.stop(f"{self.seen()} where a value should stand", 'a number, or a level, as A or "two words"')
        return self.take().value

    def level(self) -> str:
        if self.at.kind not in ("name", "quoted", "number"):
            raise self.stop(f"{self.seen()} where a level should stand", 'as A, or "two words" in quotes')
        return self.take().value

    # ---- combinations ----------------------------------------------------------------------------------------

    def rows(self) -> Contrast:
        start = self.take().start
        rows = [self.combination()]
        while self.accept(","):
            rows.append(self.combination())
        self.expect("]", "close the bracket: x[A - B, C - B]")
        return Contrast("custom", rows=tuple(rows), start=start)

    def combination(self) -> Combination:
        start = self.at.start
        sign = -1.0 if self.accept("-") else 1.0
        terms, weighted = [], False
        while True:
            weight, typed = self.weight()
            weighted |= typed
            terms.append((sign * weight, self.term()))
            if self.is_op("+", "-"):
                sign = -1.0 if self.take().value == "-" else 1.0
                continue
            break
        if not self.is_op(",", "]"):
            raise self.stop(f"{self.seen()} inside a comparison", "cells are joined by + and -: x[A - B, (A + B) - C]")
        if sum(isinstance(term, Wildcard) for _, term in terms) > 1:
            raise refuse(self.text, start, "two * in one comparison", "x[* - B] compares every other level with B")
        return Combination(tuple(terms), self.text[start : self.at.start].strip(), weighted, start)

    def weight(self) -> tuple[float, bool]:
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if self.at.kind == "number" and after.kind == "op" and after.value == "*":
            value = float(self.take().value)
            self.take()
            return value, True
        return 1.0, False

    def term(self) -> Cell | Group | Wildcard:
        start = self.at.start
        if self.accept("*"):
            return Wildcard(start)
        if not self.accept("("):
            return self.cell()
        cells = [self.cell()]
        while self.accept("+"):
            cells.append(self.cell())
        self.expect(")", "parentheses hold levels joined by +, and take their average: (A + B) - C")
        return Group(tuple(cells), start)

    def cell(self) -> Cell:
        start = self.at.start
        levels = [self.level()]
        while self.accept(":"):
            levels.append(self.level())
        return Cell(tuple(levels), start)
