"""Code that a panel writes runs by itself; code that it reads is never run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bossaviz.code import Source, read_code, write_code
from bossaviz.state import CI_TYPES, BootstrapState
from inference_core.errors import InferenceError

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(
    formula=names, term=names, seed=st.integers(0, 2**53), n=st.integers(1, 10**6),
    ci_type=st.sampled_from(list(CI_TYPES)), level=st.floats(0.5, 0.999).map(lambda level: round(level, 9)),
    null=st.floats(-1e6, 1e6), alternative=st.sampled_from(["two-sided", "less"]),
    own=st.booleans(),
)  # fmt: skip
def test_what_is_written_is_read(formula, term, seed, n, ci_type, level, null, alternative, own):
    state = BootstrapState(seed=seed, term=term, ci_type=ci_type, conf_level=level, null=null, alternative=alternative)
    source = Source(formula, "cars" if own else "load_dataset('mtcars')", {"family": "poisson", "link": "log"})
    recipe = read_code(write_code(state, source, n))
    assert recipe.formula == formula
    assert (recipe.dataset, recipe.frame) == ((None, "cars") if own else ("mtcars", "df"))
    assert recipe.model_words == {"family": "poisson", "link": "log"}
    again = BootstrapState(**recipe.choices)
    assert again.n_boot == n
    for name in ("seed", "term", "ci_type", "conf_level", "null", "alternative"):
        assert getattr(again, name) == getattr(state, name)


GOOD = "from inference_core import load_dataset, model\ndf = load_dataset('mtcars')\n"


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.system('true')",
        GOOD + "m = model('mpg ~ wt', df).fit()\n__import__('os').system('true')",
        GOOD + "m = model('mpg ~ wt', open('/etc/passwd')).fit()",
        GOOD + "m = model('mpg ~ wt', df, family=[x for x in (1,)]).fit()",
        GOOD + "m = model('mpg ~ wt', df).fit().__class__.mro()",
        GOOD + "m = model('mpg ~ wt', df).infer(how='boot', **{'seed': 1})",
        GOOD + "m = model('mpg ~ wt', df).infer('boot')",
        GOOD + "m = model('mpg ~ wt', df).fit()\nwhile True: pass",
        GOOD + "m = model('mpg ~ wt', df).infer(how='perm')",
        GOOD + "m = model('mpg ~ wt', df, famly='poisson').fit()",
        "def f(: pass",
        "x = " + "(" * 5000,
        "",
    ],
)
def test_anything_else_is_refused_and_nothing_runs(text):
    with pytest.raises(InferenceError, match="from_code"):
        read_code(text)


def test_the_refusal_names_the_line():
    with pytest.raises(InferenceError, match="line 3 "):
        read_code(GOOD + "import os")


def test_a_longer_text_than_any_panel_writes_is_refused():
    with pytest.raises(InferenceError, match="characters"):
        read_code("#" * 200_000)
