"""Formulas that try to run code, read attributes or grow without end: each is refused at once and nothing runs."""

from __future__ import annotations

import contextlib
import sys
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_core.design import build_bundle
from inference_core.errors import DataError, FormulaError
from inference_core.formula import admit, parse_formula

TOUCH = "__import__('pathlib').Path('{canary}').touch()"
PIECES = [
    # attribute walks
    "x.__class__",
    "x.__class__.__base__.__subclasses__()",
    "().__class__.__mro__[1].__subclasses__()",
    "(1).__class__",
    "''.__class__.__mro__",
    "log.__globals__",
    "exp(x).__class__",
    "I(x).__array_interface__",
    "np.linalg.norm(x)",
    "os.system('touch {canary}')",
    "x.to_numpy().tofile('{canary}')",
    "`x`.__class__",
    # builtins and other functions
    TOUCH,
    "eval('1')",
    "exec('1')",
    "open('{canary}', 'w')",
    "compile('1', '', 'eval')",
    "getattr(x, '__class__')",
    "setattr(x, 'a', 1)",
    "globals()",
    "locals()",
    "vars()",
    "breakpoint()",
    "input()",
    "type(x)",
    "print(x)",
    "__builtins__['eval']('1')",
    "lag(x)",
    "stateful_transform(x)",
    "hashed(x)",
    # subscripts, slices, braces, displays
    "x[0]",
    "x[[0]]",
    "x[0:1]",
    "[x][0]",
    "{{'a': x}}['a']",
    "{{x}}",
    "[1, 2, 3]",
    "Q('x')",
    "{{" + TOUCH + "}}",
    # lambdas, comprehensions, walrus, f-strings, conditionals, await and the like
    "(lambda: 1)()",
    "I((lambda v: v)(x))",
    "I([v for v in x])",
    "I(sum(v for v in x))",
    "I({{v: 1 for v in x}})",
    "I((y := x))",
    "x := 3",
    'I(f"{{x}}")',
    "f'{{x}}'",
    "I(x if x else x)",
    "I(await x)",
    "I(yield x)",
    "I(x @ x)",
    "I(x ; x)",
    "I(x \\ x)",
    "I(x and x)",
    "I(x is x)",
    "I(not x)",
    "I(x < x < x)",
    "I(~x)",
    "I(b'x')",
    "I(...)",
    # star arguments, keywords, options
    "poly(*x)",
    "poly(x, *x)",
    "poly(x, **x)",
    "poly(x, 2, **{{'raw': 1}})",
    "poly(x, degree=x)",
    "poly(x, degree=exp(1))",
    "poly(x, 2, raw=__import__('os'))",
    "poly(x, 2, 3, 4, 5)",
    "poly(x, 2, degree=3)",
    "poly(x, nonsense=1)",
    "poly(x, 2, __class__=1)",
    "log(x, base=log)",
    "log()",
    "factor(x, levels=c(c(1, 2), 3))",
    "C(x, os.system)(x)",
    "C(x, lambda: 1)",
    "bs(x, knots=[1, 2])",
    "c(x, x)",
    "c(1, 2)",
    # size
    "I(9**9**9)",
    "I(10^10^10)",
    "I(x^999999999)",
    "I(2**x**(9**9))",
    "I(x^-1000)",
    "(x + z)^1000000",
    "(x + z)^99999999999999999999999999",
    "I(" * 60 + "x" + ")" * 60,
    "(" * 500 + "x" + ")" * 500,
    "exp(" * 4_000 + "x" + ")" * 4_000,
    "-" * 5_000 + "x",
    "I(" + "!" * 5_000 + "x)",
    "I(" + "x^" * 2_000 + "x)",
    "I(" + "x+" * 2_000 + "x)",
    "x" * 20_000,
    "+".join(["x"] * 10_000),
    "I(" + "9" * 5_000 + ")",
    "I(1e999)",
    # characters that are no grammar
    "x$y",
    "x@y",
    "x # comment",
    "x\n; import os",
    "x\x00",
    "'x'",
    '"unclosed',
    "`unclosed",
    "``",
    "x ? z",
    "x %o% z",
    "x -> z",
    "x ::: z",
]
GRAMMAR = [  # fine as arithmetic, without end or sense as terms
    "x^x",
    "2 * x",
    "7",
    "x < z",
    "*".join(f"x{i}" for i in range(60)),
    "(" + "*".join(f"x{i}" for i in range(60)) + ")",
    "(" + "+".join(f"x{i}" for i in range(90)) + ")^20",
    "(((" + "+".join(f"x{i}" for i in range(40)) + ")^9)^9)^9",
    "/".join(["(a+b+c+d+e+f+g+h)"] * 9) + "*(i*j*k*l*m*n*o*p*q*r*s)",
]


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    names = ["y", "x", "z", *"abcdefghijklmnopqrs", *(f"x{i}" for i in range(200))]
    return pl.DataFrame({name: rng.uniform(1, 2, 20) for name in names if name not in ("y", "x", "z")}).with_columns(
        y=pl.Series(rng.uniform(1, 2, 20)), x=pl.Series(rng.uniform(1, 2, 20)), z=pl.Series(rng.uniform(1, 2, 20))
    )


EVENTS = (
    "exec",
    "import",
    "open",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess",
    "socket",
    "ctypes",
)


class Watch:
    """Audit events that only running code raises. Python offers no way to remove the hook, so it can be asleep."""

    def __init__(self) -> None:
        self.awake = False
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.awake and event.startswith(EVENTS):
            self.seen.append(f"{event} {arguments}")


WATCH = Watch()


@pytest.fixture
def nothing_runs(tmp_path, frame):
    """Fails the test if code ran: by the audit events, and by a file that most of the formulas try to make."""
    build_bundle("y ~ (x + z)^2 + ns(x, df = 3)", frame, contrasts={"x": None})  # imports happen before the watch
    with contextlib.suppress(FormulaError):
        admit("nosuchfunction(x)")
    canary = tmp_path / "canary"
    WATCH.seen.clear()
    yield canary
    assert not canary.exists()
    assert WATCH.seen == []


def watched(call):
    """The call's result, with every sign of running code noted."""
    WATCH.awake = True
    try:
        return call()
    finally:
        WATCH.awake = False


def refused(call) -> None:
    start = time.thread_time()
    with pytest.raises((FormulaError, DataError)) as caught:
        watched(call)
    took = time.thread_time() - start
    error = caught.value
    assert error.asked and error.found and error.remedy  # three parts
    assert len(str(error)) < 2_000  # a long formula is not repeated in full
    assert took < 0.5  # "well under a second", of this thread: the machine may be busy


def spell(piece: str, canary) -> str:
    return piece.replace("{canary}", str(canary)).replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
@pytest.mark.parametrize("place", ["y ~ z + {}", "{} ~ x", "y ~ offset({})", "y ~ x + (1 | {})", "y ~ ({} | g)"])
def test_hostile_formulas_are_refused(piece, place, nothing_runs, frame):
    """In every place of a formula."""
    text = place.replace("{}", spell(piece, nothing_runs))
    refused(lambda: build_bundle(text, frame))


@pytest.mark.parametrize("piece", GRAMMAR, ids=range(len(GRAMMAR)))
@pytest.mark.parametrize("place", ["y ~ {}", "y ~ z + {}", "y ~ z + ({} | g)"])
def test_terms_without_end_or_sense_are_refused(piece, place, nothing_runs, frame):
    refused(lambda: build_bundle(place.replace("{}", piece), frame))


@pytest.mark.parametrize("piece", PIECES, ids=range(len(PIECES)))
@pytest.mark.parametrize("keyword", ["weights", "offset"])
def test_hostile_weights_and_offsets_are_refused(piece, keyword, nothing_runs, frame):
    text = spell(piece, nothing_runs)
    refused(lambda: build_bundle("y ~ x", frame, **{keyword: text}))


@pytest.mark.parametrize(
    "contrasts",
    [
        {"x": "__import__('os').system('true')"},
        {"x": ("treatment", "__import__")},
        {"x": lambda levels: None},
        {"x": object()},
        {"x": "contr.evil"},
        {"x": ("treatment",)},
        {"x": ("treatment", 1, 2)},
        {"x": [["a"]]},
        {"__import__('os').system('true')": "sum"},
        {"x.__class__": "sum"},
        {"lambda: 1": "sum"},
        {1: "sum"},
        "sum",
        ["sum"],
        {"x": "sum" * 10_000},
    ],
    ids=str,
)
def test_hostile_contrasts_are_refused(contrasts, nothing_runs):
    frame = pl.DataFrame({"y": [1.0, 2, 3, 4], "x": ["a", "b", "a", "b"]})
    try:
        refused(lambda: build_bundle("y ~ x", frame, contrasts=contrasts))
    except ValueError as error:
        pytest.fail(f"not one of our refusals: {error!r}")


NAMES = [
    "__class__", "__import__", "__builtins__", "lambda", "import", "exec", "eval", "None", "True", "TRUE", "my column",
    "a.b", "a+b", "x~y", "f'{1}'", "'; import os", '"', "'", "\\", "1", "column_0_", "I(x)", "log", "(", "x:y", "%in%",
    "é", "列", "a\nb", "__import__('os').system('true')",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_columns_are_names_and_nothing_else(name, nothing_runs):
    """Any name works in backticks, and in a dot, and its values arrive."""
    values = np.array([1.0, 3.0, 2.0, 5.0])
    frame = pl.DataFrame({"y": [1.0, 2, 3, 5], name: values})
    for text in (f"y ~ `{name}`", "y ~ .", f"y ~ I(`{name}` * 1)", f"y ~ `{name}` + 0"):
        bundle = watched(lambda text=text: build_bundle(text, frame)[1])
        np.testing.assert_array_equal(bundle.X[:, -1], values)
    np.testing.assert_array_equal(build_bundle("y ~ 1", frame, weights=name)[1].weights, values)


@pytest.mark.parametrize("level", [*NAMES, "`", "``", "[B]", "", " "])
def test_names_of_levels_are_never_read_as_code(level, nothing_runs):
    frame = pl.DataFrame({"y": [1.0, 2, 3, 5], "g": ["a", level, "a", level]})
    for contrasts in (None, {"g": ("treatment", level)}, {"g": "sum"}):
        bundle = watched(lambda c=contrasts: build_bundle("y ~ g", frame, contrasts=c)[1])
        assert level in bundle.factor_levels["g"]
    quoted = level.replace("\\", "\\\\").replace('"', '\\"')
    bundle = build_bundle(f'y ~ I(g == "{quoted}")', frame)[1]
    np.testing.assert_array_equal(bundle.X[:, 1], [0, 1, 0, 1])


ALPHABET = st.sampled_from(
    [*"xyzg0123456789 ~+-*/^:|()[]{}.,'\"`=<>!&%$@#;\\\n_", "log(", "poly(x, ", "I(", "**", "||", "%in%", "__class__",
     "lambda ", "c(", "TRUE", "(1 | g)", "y ~ ", "offset(", "cbind("]
)  # fmt: skip


@settings(max_examples=600)
@given(pieces=st.lists(ALPHABET, max_size=40))
def test_any_text_parses_or_is_refused_quickly(pieces):
    """No other exception, no hang; and what parses builds a design or is refused."""
    frame = pl.DataFrame(
        {"y": [1.0, 2, 3, 5, 4, 6], "x": [1.0, 2, 3, 4, 6, 5], "z": [0.5, 1, 2, 1, 3, 2], "g": list("ababab")}
    )
    text = "".join(pieces)
    start = time.thread_time()
    try:
        parse_formula(text)
        build_bundle(text, frame)
    except (FormulaError, DataError):
        pass
    assert time.thread_time() - start < 2.0  # the first composite formula imports formulaic


@settings(max_examples=300)
@given(text=st.text(max_size=200))
def test_any_unicode_parses_or_is_refused(text):
    for whole in (text, f"y ~ {text}", f"{text} ~ x", f"y ~ I({text})"):
        with contextlib.suppress(FormulaError):
            parse_formula(whole)


def test_the_refusal_says_what_formulas_may_hold():
    with pytest.raises(FormulaError) as caught:
        parse_formula("y ~ __import__('os')")
    assert caught.value.found.startswith("formulas may use columns, numbers, arithmetic and factor, ")
    assert '"__import__()" is something else' in caught.value.found
    assert caught.value.remedy == "make a new column first, and name it in the formula"


@pytest.mark.parametrize(
    ("text", "remedy"), [("y ~ sqr(x)", "did you mean sqrt()?"), ("y ~ Log(x)", "did you mean log()?")]
)
def test_a_misspelt_function_is_recognised(text, remedy):
    with pytest.raises(FormulaError) as caught:
        parse_formula(text)
    assert caught.value.remedy.startswith(remedy)


def test_an_unknown_column_is_recognised():
    frame = pl.DataFrame({"mpg": [1.0, 2], "weight": [1.0, 3], "hp": [2.0, 1]})
    with pytest.raises(FormulaError) as caught:
        build_bundle("mpg ~ wieght", frame)
    assert caught.value.found == '"wieght" is not a column; columns: mpg, weight, hp'
    assert caught.value.remedy == 'did you mean "weight"?'
