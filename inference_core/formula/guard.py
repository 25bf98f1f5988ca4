"""The safety guard: what an expression in a formula may be. Anything else is refused; nothing is ever
executed.

A formula may be typed into a panel that is served to a class, so it must not be able to run code. Three
walls, each of which suffices alone: the tokenizer knows no brackets, braces, attributes or assignment; every
word that is not one of our functions becomes a placeholder before Python's parser sees the text, so no
column, level or dunder name is ever read as Python; and the tree that results is walked against the list
below. What passes is interpreted by ``evaluate``, which knows the same list and calls neither ``eval`` nor
``compile``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import lru_cache

from inference_core.errors import FormulaError

from .tokens import RESERVED, Token, is_op, not_allowed, quote_name, shorten, spell, tokenize
from .transforms import TRANSFORMS, Transform

MAX_EXPONENT = 20
MAX_TREE_DEPTH = 100
MAX_NODES = 1_000
_PLACEHOLDER = "column_{}_"

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_UNARY = (ast.UAdd, ast.USub, ast.Not)
_COMPARE = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.In)
_SPELLING = {"^": "**", "&": " and ", "&&": " and ", "|": " or ", "||": " or ", "!": " not ", "%in%": " in "}


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """An admitted expression: its canonical text, its tree over placeholders, and the columns behind them."""

    text: str
    tree: ast.expr
    column_of: dict[str, str]  # placeholder -> column
    columns: tuple[str, ...]  # in order of appearance, each once

    @property
    def column(self) -> str | None:
        """The column, if the expression is nothing but a column."""
        return self.column_of[self.tree.id] if isinstance(self.tree, ast.Name) else None

    @property
    def function(self) -> str | None:
        """The outermost function, if the expression is a call."""
        return self.tree.func.id if isinstance(self.tree, ast.Call) else None  # type: ignore[union-attr]

    @property
    def arguments(self) -> tuple[ast.expr, ...]:
        """Positional arguments of the outermost call."""
        return tuple(self.tree.args) if isinstance(self.tree, ast.Call) else ()

    def columns_under(self, function: str) -> tuple[str, ...]:
        """Columns that are the direct argument of a call of ``function`` somewhere in the expression."""
        calls = [n for n in ast.walk(self.tree) if isinstance(n, ast.Call)]
        inside = [c.args[0] for c in calls if c.args and isinstance(c.func, ast.Name) and c.func.id == function]
        return tuple(self.column_of[a.id] for a in inside if isinstance(a, ast.Name) and a.id in self.column_of)

    def part(self, tree: ast.expr) -> Expression:
        """A subtree as an expression of its own (its text is rebuilt from the tree)."""
        words = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        names = tuple(dict.fromkeys(self.column_of[w] for w in words if w in self.column_of))
        return Expression(self.unparse(tree), tree, self.column_of, names)

    def unparse(self, tree: ast.expr) -> str:
        """Canonical text of a subtree."""
        try:
            source = ast.unparse(tree)
        except RecursionError:  # a refused expression may be deep; then the whole of it is named
            return self.text
        for placeholder, column in self.column_of.items():
            source = source.replace(placeholder, quote_name(column))
        try:
            return spell(tokenize(source.replace(" or ", " | ").replace(" and ", " & ").replace("not ", "!")))
        except FormulaError:  # a string literal that Python quotes differently: only the label is at stake
            return source


def _is_column(node: ast.AST, column_of: dict[str, str]) -> bool:
    return isinstance(node, ast.Name) and node.id in column_of


@lru_cache(maxsize=512)
def admit(text: str) -> Expression:
    """Admit one expression, such as ``log(x)`` or ``I(x^2 > 3)``, or refuse it.

    Raises
    ------
    FormulaError
        Whatever is not a column, a literal, arithmetic, a comparison or a call of one of our functions.
    """
    return admit_tokens(tokenize(text), text)


def admit_column(name: str) -> Expression:
    """The expression that is nothing but the column ``name``, whatever the name looks like."""
    return admit_tokens([Token("column", name, 0, len(name))], name)


def admit_tokens(tokens: list[Token], asked: str) -> Expression:
    """As ``admit``, for tokens that were already read."""
    source, column_of = _to_python(tokens, asked)
    text = spell(tokens)
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise not_allowed(text, asked) from None
    expression = Expression(text, tree, column_of, tuple(dict.fromkeys(column_of.values())))
    words = _Walk(expression, asked).run()
    if words:  # names that were words of a coding, as in C(x, sum), are no columns
        used = [c for p, c in column_of.items() if p not in words]
        expression = Expression(text, tree, column_of, tuple(dict.fromkeys(used)))
    return expression


def _to_python(tokens: list[Token], asked: str) -> tuple[str, dict[str, str]]:
    """Python text in which every column is a placeholder, and the column behind each."""
    out: list[str] = []
    column_of: dict[str, str] = {}
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.kind == "string":
            out.append(f" {token.value!r} ")
        elif token.kind == "number":
            value = float(token.value)
            if value in (float("inf"), float("-inf")):
                raise not_allowed(token.value, asked)
            out.append(f" {int(value)} " if value.is_integer() and abs(value) < 2**53 else f" {value!r} ")
        elif token.kind == "op":
            if token.value in ("~", ":"):
                raise not_allowed(spell(tokens), asked)
            out.append(_SPELLING.get(token.value, token.value))
        elif token.kind == "name" and following is not None and is_op(following, "("):
            if token.value not in TRANSFORMS and token.value != "c":
                raise _no_such_function(token.value, asked)
            out.append(f" {token.value}")
        elif token.kind == "name" and following is not None and is_op(following, "="):
            out.append(f" {_option_name(token.value)}")
        elif token.kind == "name" and token.value in ("T", "F") and i and is_op(tokens[i - 1], "="):
            out.append(f" {token.value == 'T'} ")  # R's raw = T; anywhere else T is a column
        elif token.kind == "name" and token.value in RESERVED:
            out.append(f" {RESERVED[token.value]} ")
        else:
            if token.kind == "name" and ".__" in token.value:  # looks like an attribute walk; backticks say otherwise
                raise not_allowed(token.value, asked)
            placeholder = _PLACEHOLDER.format(len(column_of))
            column_of[placeholder] = token.value
            out.append(f" {placeholder} ")
    return "".join(out), column_of


def _option_name(word: str) -> str:
    """R's ``Boundary.knots`` as our ``boundary_knots``; a word that is no identifier stays and fails to
    parse.
    """
    return word.replace(".", "_").lower()


def _no_such_function(word: str, asked: str) -> FormulaError:
    from .names import suggest

    near = suggest(word, TRANSFORMS)
    refusal = not_allowed(f"{word}()", asked)
    if near is None:
        return refusal
    return FormulaError(refusal.asked, refusal.found, f"did you mean {near}()? Otherwise make a new column first")


class _Walk:
    """One walk over a tree: every node is admitted by name or refused."""

    def __init__(self, expression: Expression, asked: str) -> None:
        self.expression, self.asked = expression, asked
        self.nodes = 0
        self.words: set[str] = set()  # placeholders that are words of a coding

    def run(self) -> set[str]:
        """Walk; returns the placeholders that name no column."""
        self.value(self.expression.tree, 0)
        return self.words

    def refuse(self, node: ast.AST) -> FormulaError:
        """The refusal that points at ``node``."""
        part = self.expression.unparse(node) if isinstance(node, ast.expr) else type(node).__name__
        return not_allowed(part, self.asked)

    def value(self, node: ast.expr, depth: int) -> None:
        """Admit an expression that yields a value per row."""
        self.nodes += 1
        if depth > MAX_TREE_DEPTH or self.nodes > MAX_NODES:
            raise FormulaError(
                asked=shorten(self.asked, 80),
                found=f"an expression nested deeper than {MAX_TREE_DEPTH} or longer than {MAX_NODES} pieces",
                remedy="make a new column first, and name it in the formula",
            )
        if isinstance(node, ast.Name) and node.id in self.expression.column_of:
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
            return
        if isinstance(node, ast.BinOp) and isinstance(node.op, _BINARY):
            if isinstance(node.op, ast.Pow):
                self.exponent(node.right)
            self.value(node.left, depth + 1)
            self.value(node.right, depth + 1)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, _UNARY):
            self.value(node.operand, depth + 1)
        elif isinstance(node, ast.BoolOp):
            for part in node.values:
                self.value(part, depth + 1)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _COMPARE):
            self.value(node.left, depth + 1)
            if isinstance(node.ops[0], ast.In):
                self.literal(node.comparators[0])
            else:
                self.value(node.comparators[0], depth + 1)
        elif isinstance(node, ast.Call):
            self.call(node, depth)
        else:
            raise self.refuse(node)

    def exponent(self, node: ast.expr) -> None:
        """An exponent is a column's value, or a number of at most ``MAX_EXPONENT``."""
        if any(_is_column(n, self.expression.column_of) for n in ast.walk(node)):
            return
        number = literal_number(node)
        if number is None or abs(number) > MAX_EXPONENT:
            raise FormulaError(
                asked=shorten(self.asked, 120),
                found=f"the exponent {shorten(self.expression.unparse(node), 40)}; exponents are numbers between "
                f"-{MAX_EXPONENT} and {MAX_EXPONENT}",
                remedy="use a smaller exponent, or make a new column first",
            )

    def call(self, node: ast.Call, depth: int) -> None:
        """A call of one of our functions: data first, then options with literal values."""
        if not isinstance(node.func, ast.Name) or node.func.id not in TRANSFORMS:
            raise self.refuse(node)
        function: Transform = TRANSFORMS[node.func.id]
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            raise self.refuse(node)
        if len(node.args) < function.data_arguments:
            raise FormulaError(
                asked=shorten(self.asked, 120),
                found=f"{function.name}() with {len(node.args)} values; it needs {function.data_arguments}",
                remedy=f"write {function.usage}",
            )
        for argument in node.args[: function.data_arguments]:
            self.value(argument, depth + 1)
        options = node.args[function.data_arguments :]
        names = [k.arg for k in node.keywords]
        wrong = [n for n in names if n not in function.options]
        taken = list(function.options)[: len(options)]
        twice = [n for n in names if n in taken] + [n for i, n in enumerate(names) if n in names[:i]]
        if wrong or twice or len(options) > len(function.options):
            raise FormulaError(
                asked=shorten(self.asked, 120),
                found=f"{function.name}() takes {', '.join(function.options) or 'no options'}; "
                f"got {', '.join(str(n) for n in wrong or twice) or 'more values than that'}",
                remedy=f"write {function.usage}",
            )
        for option in [*options, *(k.value for k in node.keywords)]:
            if function.words and _is_column(option, self.expression.column_of):
                self.words.add(option.id)  # type: ignore[attr-defined]
            else:
                self.literal(option)

    def literal(self, node: ast.expr) -> None:
        """A number, text, TRUE, FALSE, NULL, or c(...) of those."""
        self.nodes += 1
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int, float, str))):
            return
        if literal_number(node) is not None:
            return
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "c"
            and not node.keywords
            and len(node.args) <= MAX_NODES
        ):
            for part in node.args:
                if isinstance(part, ast.Call):
                    raise self.refuse(node)
                self.literal(part)
            return
        raise self.refuse(node)


def literal_number(node: ast.expr) -> float | None:
    """The number a node spells, sign included, or None."""
    sign = 1.0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        sign = -sign if isinstance(node.op, ast.USub) else sign
        node = node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return sign * node.value
    return None
