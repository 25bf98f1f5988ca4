"""From a panel to the code that gives its table without it, and back by reading, never by running."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_core.errors import InferenceError

from .spreads import find_spread
from .state import BootstrapState

TABLES = ("params", "varying_spread", "varying_corr")
LONGEST = 100_000  # characters of a text to read
MODEL_WORDS = ("family", "link", "method", "missing", "contrasts", "weights", "offset", "backend")
INFER_WORDS = {"n_boot": "n_boot", "ci_type": "ci_type", "conf_level": "conf_level", "seed": "seed", "null": "null",
               "alternative": "alternative", "scheme": "scheme"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """What the code starts from: the data and the model in words."""

    formula: str
    data: str = "df"  # an expression: load_dataset("mtcars"), or the name of the reader's own frame
    model_words: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a text of code asks for."""

    formula: str
    dataset: str | None  # a shipped data set
    frame: str | None  # or the name of a frame that the reader has
    model_words: Mapping[str, Any]
    fit_words: Mapping[str, Any]
    choices: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a number stands: in which table of a model, and the values that pick its row."""

    table: str  # "params", "varying_spread", "varying_corr"
    row: Mapping[str, str]


def place_of(model: Any, term: str) -> Place:
    """Return the table of ``model`` that holds ``term``, and what picks its row."""
    spread = find_spread(model.bundle, term)
    if spread is None:
        return Place("params", {"term": term})
    if spread.kind == "scatter":
        return Place("varying_spread", {"group": "Residual"})
    block = model.bundle.re_metadata.blocks[spread.block]
    names = block.column_names
    if spread.kind == "spread":
        return Place("varying_spread", {"group": block.group_name, "term": names[spread.first]})
    row = {"group": block.group_name, "term": names[spread.second], "term2": names[spread.first]}
    return Place("varying_corr", row)


def term_of(place: Place) -> str:
    """Return the name of the number in the draws: the way back from ``place_of``."""
    row = place.row
    if place.table == "params":
        return row["term"]
    if row["group"] == "Residual":
        return "sigma"
    if place.table == "varying_corr":
        return f"cor_{row['term2']}.{row['term']}|{row['group']}"
    return f"sd_{row['term']}|{row['group']}"


def write_code(state: BootstrapState, source: Source, n_boot: int, place: Place | None = None) -> str:
    """Return code that runs with ``inference_core`` alone and gives the panel's table.

    ``n_boot`` is the number of draws shown. The last line picks the focal row, and tells ``read_code`` which it was.
    """
    place = Place("params", {"term": state.term}) if place is None else place
    own = source.data.isidentifier()
    words = "".join(f", {name}={value!r}" for name, value in source.model_words.items())
    asked: dict[str, Any] = {}
    if n_boot:
        asked = {"how": "boot", "scheme": state.scheme, "n_boot": n_boot, "ci_type": state.ci_type}
    asked["conf_level"] = state.conf_level
    if state.null != 0:
        asked["null"] = state.null
    if state.alternative != "two-sided":
        asked["alternative"] = state.alternative
    if n_boot:
        asked["seed"] = state.seed
    tests = [f'table["{column}"] == {value!r}' for column, value in place.row.items()]
    picked = tests[0] if len(tests) == 1 else " & ".join(f"({test})" for test in tests)
    call = ", ".join(f"{name}={value!r}" for name, value in asked.items())
    lines = [
        "from inference_core import model" if own else "from inference_core import load_dataset, model",
        "",
        *([] if own else [f"df = {source.data}"]),
        f"m = model({source.formula!r}, {source.data if own else 'df'}{words}).fit()",
        f"m.infer({call})",
        f"table = m.{place.table}",
        f"focus = table.filter({picked})",
    ]
    return "\n".join(lines) + "\n"


def source_of(model: Any, name: str = "df") -> Source:
    """Return what the code of ``model`` starts from; its data are a shipped data set, or a frame called ``name``."""
    arguments = getattr(model, "_arguments", {})
    words: dict[str, Any] = {}
    if (model.spec.family, model.spec.link) != ("gaussian", "identity"):
        words["family"] = model.spec.family
        words["link"] = model.spec.link
    if model.spec.has_random_effects and model.spec.method == "ml" and model.spec.family == "gaussian":
        words["method"] = "ml"
    for word, default in (("missing", "drop"), ("contrasts", None), ("weights", None), ("offset", None)):
        value = arguments.get(word, default)
        if value is None or value is default or value == default:
            continue
        words[word] = value if isinstance(value, (str, dict)) else [float(v) for v in value]
    return Source(model.formula, _shipped(model.data) or name, words)


def _shipped(data: Any) -> str | None:
    """Return the call that loads ``data`` if it equals a shipped data set."""
    from inference_core.datasets import list_datasets, load_dataset

    for name in list_datasets():
        known = load_dataset(name)
        if known.columns == data.columns and known.shape == data.shape and known.equals(data):
            return f"load_dataset({name!r})"
    return None


# ---- reading ----------------------------------------------------------------------------------------------------


def read_code(text: str) -> Recipe:
    """Read code such as ``write_code`` writes; nothing of it is run.

    Parameters
    ----------
    text : str
        Assignments of ``load_dataset("name")``, one ``model(...).fit(...)``, one ``.infer(...)`` and, at will, a row of
        the table. Arguments are literals.

    Returns
    -------
    Recipe
        What it asks for.

    Raises
    ------
    InferenceError
        For anything else, named with its line.
    """
    if len(text) > LONGEST:
        raise InferenceError("from_code(text)", f"a text of {len(text):,} characters", "give the code of one panel")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as problem:
        line = getattr(problem, "lineno", None) or 1
        raise InferenceError(
            "from_code(text)", f"line {line} is not Python", "paste the whole text that p.code() gave"
        ) from None
    return _Reader().read(tree)


class _Reader:
    """Walks the statements of a text and keeps what it knows; refuses the rest by line."""

    def __init__(self) -> None:
        self.datasets: dict[str, str] = {}
        self.model: tuple[str, str | None, str | None, dict[str, Any]] | None = None
        self.fit: dict[str, Any] = {}
        self.infer: dict[str, Any] = {}
        self.table = "params"
        self.term: str | None = None

    def read(self, tree: ast.Module) -> Recipe:
        for statement in tree.body:
            self.statement(statement)
        if self.model is None:
            raise InferenceError("from_code(text)", "no model(...) in it", "paste the whole text that p.code() gave")
        formula, dataset, frame, words = self.model
        choices = {INFER_WORDS[name]: value for name, value in self.infer.items() if name in INFER_WORDS}
        if self.term is not None:
            choices["term"] = self.term
        return Recipe(formula, dataset, frame, words, self.fit, choices)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom) and node.module == "inference_core":
            return
        target = None
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            target, value = node.targets[0].id, node.value
        elif isinstance(node, ast.Expr):
            value = node.value
        else:
            raise self.refused(node)
        self.expression(value, target)

    def expression(self, node: ast.expr, target: str | None) -> None:
        """Unwind a chain of calls such as ``model(...).fit().infer(...)`` from the right."""
        if isinstance(node, ast.Attribute) and node.attr in TABLES:
            self.table = node.attr
            return
        if isinstance(node, ast.Name):
            return
        if not isinstance(node, ast.Call):
            raise self.refused(node)
        if isinstance(node.func, ast.Name):
            self.plain_call(node, node.func.id, target)
            return
        if not isinstance(node.func, ast.Attribute):
            raise self.refused(node)
        self.expression(node.func.value, target)
        method = node.func.attr
        if method == "filter":
            self.term = self.filtered(node)
        elif method in ("fit", "infer") and not node.args:
            words = self.keywords(node)
            if method == "infer" and words.pop("how", "asymp") not in ("boot", "asymp"):
                raise self.refused(node, "how='boot' or 'asymp'")
            (self.fit if method == "fit" else self.infer).update(words)
        else:
            raise self.refused(node)

    def plain_call(self, node: ast.Call, name: str, target: str | None) -> None:
        if name == "load_dataset" and target is not None and len(node.args) == 1 and not node.keywords:
            self.datasets[target] = str(self.literal(node.args[0]))
        elif name == "model" and 1 <= len(node.args) <= 2:
            words = self.keywords(node)
            data = node.args[1] if len(node.args) == 2 else None
            frame = data.id if isinstance(data, ast.Name) else None
            if data is not None and frame is None:
                raise self.refused(node, "the name of a frame as the second argument")
            unknown = sorted(set(words) - set(MODEL_WORDS))
            if unknown:
                raise self.refused(node, f"no {unknown[0]}=")
            self.model = (str(self.literal(node.args[0])), self.datasets.get(frame or ""), frame, words)
        else:
            raise self.refused(node)

    def filtered(self, node: ast.Call) -> str:
        row = self.picked(node, node.args[0] if len(node.args) == 1 else None)
        if self.table == "params" and len(row) == 1:
            return next(iter(row.values()))
        wanted = {"params": {"term"}, "varying_corr": {"group", "term", "term2"}}.get(self.table, {"group", "term"})
        if row != {"group": "Residual"} and set(row) != wanted:
            raise self.refused(node)
        return term_of(Place(self.table, row))

    def picked(self, node: ast.Call, test: ast.expr | None) -> dict[str, str]:
        """Values by column of tests such as ``(table["group"] == "Subject") & (table["term"] == "Days")``."""
        if isinstance(test, ast.BinOp) and isinstance(test.op, ast.BitAnd):
            return self.picked(node, test.left) | self.picked(node, test.right)
        if isinstance(test, ast.Compare) and len(test.comparators) == 1 and isinstance(test.ops[0], ast.Eq):
            column = self.literal(test.left.slice) if isinstance(test.left, ast.Subscript) else "term"
            return {str(column): str(self.literal(test.comparators[0]))}
        raise self.refused(node)

    def keywords(self, node: ast.Call) -> dict[str, Any]:
        if any(keyword.arg is None for keyword in node.keywords):
            raise self.refused(node)
        return {str(keyword.arg): self.literal(keyword.value) for keyword in node.keywords}

    def literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise self.refused(node, "a number or a text in quotes") from None

    @staticmethod
    def refused(node: ast.AST, wanted: str = "the calls of p.code()") -> InferenceError:
        line = getattr(node, "lineno", 1)
        return InferenceError(
            asked="from_code(text)",
            found=f"line {line} holds something else than {wanted}",
            remedy="paste the text that p.code() gave; it is read, never run",
        )
