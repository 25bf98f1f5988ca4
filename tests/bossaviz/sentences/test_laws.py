"""Laws of section 9: what holds for every situation, not only for the worked examples."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bossaviz.sentences import Labels, Situation, TermWords, ink, numbers, rows, sentence, thresholds
from bossaviz.sentences.lint import forbidden_in_sentence
from bossaviz.sentences.situation import KINDS, RATIOS, SCALES

from . import examples

VARIANCE_KINDS = ("spread", "correlation", "scatter")
TERM = TermWords(
    noun="weight", unit="kg", step="kg of weight", step_unit="kg", factor="diet", level="on diet B",
    reference="on diet A", level_name="diet B", reference_name="diet A", first="at low tension",
    second="at high tension", others=("age",), zeros="weight is 0",
)  # fmt: skip
SPOKEN = Labels(
    response="reaction time", unit="ms", unit_name="animal", units="animals", groups="litters", group="litter",
    count="breaks", event="disease", terms={"x": TERM},
)  # fmt: skip
UNSPOKEN = Labels(
    response=ink.column("y"), terms={"x": replace(TERM, noun=ink.column("x"), step=f"unit of {ink.column('x')}")}
)

magnitudes = st.one_of(st.floats(-1e3, 1e3), st.floats(-1e12, 1e12), st.floats(-1e-7, 1e-7), st.just(0.0))
widths = st.one_of(st.floats(1e-3, 1e3), st.floats(1e-9, 1e9))
BAD = re.compile(r"nan|\binf\b|None(?! of)|\de[-+]?\d|--|  |[{}]|[\ue000-\ue0ff]| [,.;:)]|\( ")


@st.composite
def of_spreads(draw, kind) -> Situation:
    """Any situation of an SD or a correlation: percentile limits from draws, always two-sided."""
    most = 1.0 if kind == "correlation" else 1e6
    estimate, low, high = sorted(draw(st.lists(st.floats(0, most), min_size=3, max_size=3)))
    if draw(st.booleans()):
        estimate = draw(st.sampled_from([0.0, most]))
    draws = draw(st.one_of(st.integers(0, 3), st.integers(100, 100_000)))
    some = st.one_of(st.none(), st.floats(1e-6, 10.0))
    return Situation(
        operation="variance", how="boot", term="x", kind=kind, scale=draw(st.sampled_from(["identity", "link"])),
        level=draw(st.sampled_from([0.5, 0.9, 0.95, 0.999])), estimate=estimate,
        lower=low - (kind == "correlation") * 0.5, upper=high, se=draw(some), mcse_lower=draw(some),
        mcse_upper=draw(some), n=draw(st.integers(2, 10**7)), draws=draws, failures=draw(st.sampled_from([0, 0, 40])),
        scheme=draw(st.sampled_from(["parametric", "cluster", "residual", "wild"])),
        groups=draw(st.integers(2, 500)), at_zero=draw(st.integers(0, draws)), boot_mean=draw(some),
        dot=draw(st.one_of(st.none(), st.none(), st.integers(1, 1000))), value=draw(st.one_of(st.none(), some)),
        first_resampling=draw(st.booleans()), cancelled=draw(st.booleans()), requested=draw(st.integers(0, 10**6)),
    )  # fmt: skip


@st.composite
def situations(draw) -> Situation:
    """Any situation of parameters that a fit could lead to, and some that none should."""
    how = draw(st.sampled_from(["asymp", "boot"]))
    scale = draw(st.sampled_from(sorted(SCALES)))
    kind = draw(st.sampled_from(sorted(KINDS)))
    if kind in VARIANCE_KINDS:
        return draw(of_spreads(kind))
    estimate = draw(magnitudes)
    if scale in RATIOS:
        estimate = max(-60.0, min(60.0, estimate))
    if scale == "probability":
        estimate, kind = draw(st.floats(0, 1)), draw(st.sampled_from(["mean", "intercept"]))
    below, above = draw(widths), draw(widths)
    lower, upper = estimate - below, estimate + above
    if scale == "probability":
        lower, upper = max(0.0, lower), min(1.0, upper)
    alternative = draw(st.sampled_from(["two-sided", "two-sided", "less", "greater"]))
    if alternative != "two-sided":
        open_end = draw(st.sampled_from([None, math.inf]))
        if alternative == "less":
            lower = None if open_end is None else -math.inf
        else:
            upper = open_end
    if draw(st.integers(0, 9)) == 0:
        lower = upper = draw(st.sampled_from([None, math.nan]))
    null = draw(st.one_of(st.just(0.0), st.just(0.0), st.floats(-50, 50)))
    draws = draw(st.one_of(st.integers(0, 3), st.integers(2, 200), st.integers(100, 100_000)))
    failures = draw(st.one_of(st.just(0), st.just(0), st.integers(0, 200)))
    some = st.one_of(st.none(), st.floats(1e-6, 10.0))
    types = ("percentile", "basic", "normal", "bca", "studentized", "expanded")
    cut = draw(st.integers(0, 6))
    return Situation(
        how=how, term="x", kind=kind, degree=draw(st.integers(1, 3)), scale=scale, alternative=alternative, null=null,
        level=draw(st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 0.999])), test_asked=draw(st.booleans()),
        estimate=draw(st.sampled_from([estimate, estimate, estimate, math.nan])), lower=lower, upper=upper,
        se=draw(st.one_of(st.none(), widths)), p=draw(st.one_of(st.none(), st.floats(0, 1), st.floats(0, 0.01))),
        errors=draw(st.sampled_from(["iid", "iid", "HC3"])), se_ratio=draw(some), sd_x=draw(some),
        at=draw(st.one_of(st.none(), st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)))),
        zero_inside=draw(st.booleans()), base=draw(st.one_of(st.none(), st.floats(0, 1))),
        n=draw(st.integers(2, 10**7)), n_total=draw(st.one_of(st.just(0), st.integers(1, 10**7))),
        separated=draw(st.integers(0, 9)) == 0, separated_rows=draw(st.integers(0, 9)),
        draws=draws, requested=draw(st.integers(0, 10**6)),
        scheme=draw(st.sampled_from(["case", "case", "parametric", "cluster", "residual", "wild"])),
        ci_type=draw(st.sampled_from(types)), mcse_lower=draw(some), mcse_upper=draw(some),
        crossings=draw(st.one_of(st.none(), st.integers(0, 50))), boot_mean=draw(st.one_of(st.none(), magnitudes)),
        stops=types[:cut] if draw(st.booleans()) else (), crosses=types[cut:] if draw(st.booleans()) else (),
        groups=draw(st.one_of(st.none(), st.integers(2, 500))), first_resampling=draw(st.booleans()),
        dot=draw(st.one_of(st.none(), st.none(), st.integers(1, 1000))), value=draw(st.one_of(st.none(), magnitudes)),
        distinct=draw(st.one_of(st.none(), st.integers(1, 1000))), failures=failures,
        reason=draw(st.sampled_from(["", "separation", "no convergence", "a column lost its variation"])),
        cancelled=draw(st.booleans()),
        stale=draw(st.one_of(st.none(), st.none(), st.just(("case resampling", "cluster resampling")))),
    )  # fmt: skip


@pytest.mark.parametrize("labels", [SPOKEN, UNSPOKEN], ids=["spoken", "unspoken"])
@given(s=situations())
@settings(max_examples=400, deadline=None)
def test_every_situation_has_one_clean_sentence(labels, s):
    said = sentence(s, labels)
    assert len(said.main.split()) <= thresholds.MAX_WORDS
    assert 1 <= len(ink.split_sentences(said.main)) <= thresholds.MAX_SENTENCES
    assert said.main == "".join(run.text for run in said.runs)
    assert said.tone in ("info", "caution", "refusal")
    for text in (said.main, *said.more):
        assert not BAD.search(text), text
        assert not forbidden_in_sentence(text), text
        assert text[-1] == "." and (text[0].isupper() or text[0] in '"n' or text[0].isdigit()), text
        assert len(text.split()) <= thresholds.MAX_WORDS, text
        assert text.count('"') % 2 == 0


@given(s=situations())
@settings(max_examples=200, deadline=None)
def test_exactly_one_row_is_chosen_and_choosing_is_pure(s):
    assert rows.choose(s).id == rows.choose(s).id
    assert sentence(s, SPOKEN) == sentence(s, SPOKEN)


NUMBER = re.compile(r"(?<![\w.])[−+±]?\d[\d,.]*\d|(?<![\w.])[−+±]?\d")
COMPANY = re.compile(
    r"ms|mg|g\b|s\b|%|of\b|p\b|in\b|to\b|million|billion|trillion|thousandth|trillionth|billionth|×|unit|times|kg"
    r"|were\b|is\b|by\b|at\b|higher|lower|from\b|than\b|with\b|only\b|after\b|dot\b|centre\b|above\b|below\b|draws"
    r"|resamples?|rows?|on\b|holds?|reach\b|those\b|their\b|the\b|=|<|>|interval|and\b|[−]\d|gives?|null|HC|contrast|cross|animals"
    r"|press|\+|coefficient|apart|intercept|least|most|about|new|exactly|away",
    re.IGNORECASE,
)


@given(s=situations())
@settings(max_examples=200, deadline=None)
def test_a_number_never_stands_alone(s):
    """Beside each number stands a unit, %, of, p, in, or a word that says what it is."""
    text = sentence(s, SPOKEN).main
    for found in NUMBER.finditer(text):
        before = text[: found.start()].rstrip("( ").split()[-1:]
        after = text[found.end() :].split()[:1]
        assert COMPANY.search(" ".join([*before, *after]).strip("()")), (found[0], text)


plain = st.builds(
    lambda estimate, se, kind, p: Situation(
        term="x", kind=kind, estimate=estimate, se=se, lower=estimate - 2 * se, upper=estimate + 2 * se, p=p
    ),
    st.floats(-1e3, 1e3),
    st.floats(1e-3, 1e3),
    st.sampled_from(["slope", "level"]),
    st.floats(0, 1),
)


@given(s=plain)
@settings(deadline=None)
def test_direction_agrees_with_the_sign_after_rounding(s):
    head = sentence(s, SPOKEN).main.split(" (")[0]
    shown = numbers.rounded(s.estimate, numbers.decimals_of_estimate(s.se))
    words = ("rises", "higher") if shown > 0 else ("falls", "lower") if shown < 0 else ("changes by less than",)
    assert any(word in head for word in words), head


@given(s=plain)
@settings(deadline=None)
def test_mirror_law(s):
    """Swapping the reference level turns higher into lower and changes no number except its sign."""
    s = replace(s, kind="level")
    mirrored = replace(s, estimate=-s.estimate, lower=-s.upper, upper=-s.lower)
    swapped = Labels(
        response=SPOKEN.response, unit="ms",
        terms={"x": replace(TERM, level=TERM.reference, reference=TERM.level)},
    )  # fmt: skip
    one, other = sentence(s, SPOKEN), sentence(mirrored, swapped)
    assert one.row == other.row
    assert sorted(NUMBER.findall(one.main)) == sorted(NUMBER.findall(other.main))
    turned = one.main.replace("higher", "#").replace("lower", "higher").replace("#", "lower")
    assert sorted(re.findall("higher|lower", turned)) == sorted(re.findall("higher|lower", other.main))


@given(s=plain, power=st.integers(-2, 2))
@settings(deadline=None)
def test_unit_law(s, power):
    """Grams to kilograms: the row stays, and the digits shown are the same ones."""
    factor = 10.0**power
    scaled = replace(s, estimate=s.estimate * factor, se=s.se * factor, lower=s.lower * factor, upper=s.upper * factor)
    one, other = sentence(s, SPOKEN), sentence(scaled, SPOKEN)
    limits = (s.lower, s.upper)
    # Digits may be added where a limit lies almost on the null; the row is chosen from ratios and must not move.
    assume(all(abs(abs(x) / (s.upper - s.lower) - thresholds.ON_THE_NULL) > 1e-9 for x in limits))
    assert one.row == other.row


@given(s=situations(), more=st.integers(1, 10**6))
@settings(deadline=None)
def test_growing_b_never_becomes_too_small(s, more):
    s = replace(s, how="boot")
    assume(not thresholds.too_few_draws(s))
    assert not thresholds.too_few_draws(replace(s, draws=s.draws + more))


@given(s=plain, wider=st.floats(0, 1e3), null=st.floats(-10, 10))
@settings(deadline=None)
def test_a_higher_level_never_lets_go_of_the_null(s, wider, null):
    s = replace(s, null=null)
    assume(thresholds.holds_null(s))
    assert thresholds.holds_null(replace(s, level=0.99, lower=s.lower - wider, upper=s.upper + wider))


@given(draws=st.integers(199, 100_000), count=st.integers(0, 500), asked=st.booleans())
@settings(deadline=None)
def test_p_law(draws, count, asked):
    """The p that is said is 2 (count + 1)/(B + 1), to the digits shown, wherever it is said."""
    p = min(1.0, 2 * (count + 1) / (draws + 1))
    s = replace(examples.DRAWN, draws=draws, p=p, crossings=count, test_asked=asked, mcse_lower=0.05, mcse_upper=0.05)
    said = sentence(s, examples.CARS)
    floor = 2 / (draws + 1)
    if asked and count == 0:
        assert said.row == "PB5" and numbers.p_equals(p, floor=floor) in said.main
        return
    text = next(m for m in said.more if m.startswith("Read from the same draws"))
    shown = re.search(r"is ([\d.]+\d)\.$", text)
    if shown is None:
        assert ("less than 0.001" in text and p < 0.001) or ("more than 0.99" in text and p > 0.995)
    else:
        assert math.isclose(float(shown[1]), p, abs_tol=0.5 * 10.0 ** -len(shown[1].split(".")[1]) + 1e-12)


@given(s=situations(), names=st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=2))
@settings(max_examples=100, deadline=None)
def test_any_column_name_can_be_said(s, names):
    """Braces, quotes, marks and line ends in a column's name do no harm."""
    labels = Labels(response=ink.column(names[0]), terms={"x": replace(TERM, noun=ink.column(names[1]))})
    said = sentence(s, labels)
    assert "\n" not in said.main and not re.search("[\ue000-\ue011]", said.main)
    assert said.main == "".join(run.text for run in said.runs)
