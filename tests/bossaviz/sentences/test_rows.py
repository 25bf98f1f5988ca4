"""Which row fires: each selected row is reached, and says its worked example character by character."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bossaviz.sentences import Labels, Situation, TermWords, expansions, rows, sentence, templates

from . import examples, specification

EXAMPLES = specification.examples()


@pytest.mark.parametrize("row", examples.ROWS)
def test_row_says_its_worked_example(row):
    situation, labels = examples.ROWS[row]
    said = sentence(situation, labels)
    assert (said.row, said.main) == (row, EXAMPLES[row])


def test_every_selected_row_is_reached():
    assert rows.selected() == examples.ROWS.keys() | examples.FROM_DRAWS.keys() | {"PB8"}


@pytest.mark.parametrize("row", examples.FROM_DRAWS)
def test_row_of_a_profile_serves_draws_with_their_own_interval(row):
    said = sentence(*examples.FROM_DRAWS[row])
    assert (said.row, said.main) == (row, EXAMPLES[row].replace("profile interval", "percentile bootstrap interval"))


def test_plain_rows_of_the_random_part():
    plain = replace(examples.SPREAD, estimate=5.92, lower=3.56, upper=8.39, se=1.24, groups=18, mcse_lower=0.1,
                    mcse_upper=0.1)  # fmt: skip
    said = sentence(plain, examples.SLEEP)
    assert (said.row, said.main) == (
        "PB2",
        "Subjects' slopes differ with a standard deviation of 5.9 ms per day (95% percentile bootstrap interval 3.6 to "
        "8.4). The fitted model simulated 1,000 new data sets, and the standard deviation had a standard error of "
        "1.24 ms across them.",
    )
    scatter = replace(plain, kind="scatter", term="sigma", estimate=25.59, lower=22.5, upper=28.6, se=1.5)
    assert sentence(scatter, examples.SLEEP).main.startswith(
        "Repeated measurements of one subject scatter around its own line with a standard deviation of 25.6 ms (95% "
    )


@pytest.mark.parametrize(
    ("scheme", "one"),
    [
        ("parametric", "One dot is one standard deviation from one data set that the fitted model made up."),
        ("cluster", "One dot is one standard deviation from one resample."),
    ],
)
def test_one_draw_says_what_a_dot_is(scheme, one):
    s = replace(examples.SPREAD, scheme=scheme, draws=1, requested=1, value=1.9, lower=None, upper=None)
    said = sentence(s, examples.PASTES)
    assert said.row == "PB11" and said.main.endswith(one)


def test_a_dot_of_a_parametric_draw_is_a_set_of_new_groups():
    s = replace(examples.SPREAD, dot=37, value=6.4, estimate=5.9, se=1.2, groups=18)
    said = sentence(s, examples.SLEEP)
    assert said.main == "Dot 37: the standard deviation is 6.4 ms per day in this data set of 18 made-up subjects."


def test_bias_of_a_slope():
    said = sentence(examples.BIASED, examples.CARS)
    assert said.row == "PB8"
    assert said.main == (
        "Fuel economy falls by 3.88 mpg for each extra 1,000 lb of weight. Resamples centre on −3.60, 0.28 mpg away, "
        "more than a quarter of a standard error: prefer a BCa interval to the percentile one."
    )


@pytest.mark.parametrize("state", examples.STATES)
def test_state_joins_last_and_its_words_are_all_there(state):
    situation, labels = examples.STATES[state]
    said = sentence(situation, labels)
    plain = sentence(replace(situation, cancelled=False, failures=0, stale=None, n_total=0), labels)
    first, *rest = EXAMPLES[state].split(". ")
    assert said.state == state
    assert said.main.endswith(first.rstrip(".") + ".")
    assert said.main.startswith(plain.main.split(". ")[0][:40])
    for part in rest:
        assert part in said.more


@pytest.mark.parametrize("code", examples.MORE)
def test_expansion_says_its_worked_example(code):
    situation, labels = examples.MORE[code]
    example = EXAMPLES[code]
    expected = templates.MORE[code] if example.startswith("(") else example
    assert expected in sentence(situation, labels).more


def test_every_selected_expansion_is_reached():
    assert expansions.selected() == examples.MORE.keys()


@pytest.mark.parametrize("row", [*examples.ROWS, "PB8"])
def test_expansions_keep_two_sentences_and_45_words(row):
    situation, labels = examples.ROWS.get(row, (examples.BIASED, examples.CARS))
    for text in sentence(situation, replace(labels, origin="observational")).more:
        assert len(text.split()) <= 45
        assert text.count(". ") <= 1


# ---- the order of section 1 -----------------------------------------------------------------------------------------


def drawn(**changes) -> str:
    return sentence(replace(examples.DRAWN, **changes), examples.CARS).row


def test_special_situations_override_in_the_order_of_section_1():
    everything = dict(stops=("percentile",), crosses=("basic",), test_asked=True, crossings=0)
    assert drawn(draws=0, failures=0, **everything) == "PB10"
    assert drawn(draws=1, failures=0, value=-3.0, **everything) == "PB11"
    assert drawn(draws=0, failures=50, **everything) == "ST5"
    assert drawn(draws=50, failures=50, **everything) == "ST4"
    assert drawn(draws=50, **everything) == "PB7"
    assert drawn(**everything) == "PB6"
    assert drawn(test_asked=True, crossings=0) == "PB5"
    assert drawn(crossings=0) == "PB1"  # the p stays in more until somebody asks about the null
    assert drawn(term="gear", separated=True, **everything) == "PA23"
    assert drawn(kind="smooth", separated=True, **everything) == "S19"


def asymp(**changes) -> str:
    return sentence(replace(examples.WT, **changes), examples.CARS).row


def test_two_sided_rows_of_the_formula():
    assert asymp() == "PA1"
    assert asymp(upper=-0.1, p=0.04) == "PA4"
    assert asymp(upper=1.5, p=0.2) == "PA2"
    assert asymp(upper=4.0, p=0.6) == "PA3"
    assert asymp(errors="HC3", se_ratio=1.4) == "PA19"
    assert asymp(errors="HC3", se_ratio=1.4, upper=1.5, p=0.2) == "PA2"
    assert asymp(aliased=True, estimate=float("nan")) == "PA22"


def test_b_too_small_by_count_by_error_and_by_level():
    assert drawn(draws=99) == "PB7"
    assert drawn(draws=100) == "PB1"
    assert drawn(draws=1000, mcse_lower=0.3) == "PB7"
    assert drawn(draws=500, level=0.999) == "PB7"
    assert drawn(draws=999, level=0.999, mcse_lower=0.2) == "PB1"


def test_robust_type_is_named_where_the_row_has_no_place_for_it():
    said = sentence(replace(examples.WT, errors="HC3", se_ratio=1.4, upper=1.5, p=0.2), examples.CARS)
    assert "(95% HC3 interval 5.17 lower to 1.50 higher)" in said.main


def test_states_rank_and_yield_to_rows_of_their_own():
    stopped = replace(examples.DRAWN, draws=900, failures=50, requested=2000, cancelled=True)
    assert sentence(stopped, examples.CARS).state == "ST1"
    assert sentence(replace(stopped, stale=("a", "b")), examples.CARS).state == "ST6"
    assert sentence(replace(stopped, cancelled=False), examples.CARS).state == "ST3"
    assert sentence(replace(stopped, failures=500), examples.CARS).state == ""  # ST4 says it all


def test_information_waits_in_more_where_two_sentences_are_full():
    said = sentence(replace(examples.DRAWN, n=32, n_total=35), examples.CARS)
    assert said.state == ""
    assert "3 of 35 rows lack a value in a used column and are left out of everything shown." in said.more


def test_tones():
    tones = {row: sentence(*pair).tone for row, pair in examples.ROWS.items()}
    assert {row for row, tone in tones.items() if tone == "refusal"} == {"RA11", "CV9", "VA14", "SM2", "ST5"}
    assert {row for row, tone in tones.items() if tone == "caution"} == {
        "PA4", "PA7", "PA22", "PA23", "PB6", "PB7", "PB9", "ST4", "VA6", "VA7", "VA8"
    }  # fmt: skip


# ---- grammar that numbers ask for -----------------------------------------------------------------------------------


def test_one_interval_type_on_a_side_is_singular():
    said = sentence(replace(examples.HP3, stops=("bca",), crosses=("basic",)), examples.CARS).main
    assert "The BCa interval stops short of 0; the basic one crosses it," in said


def test_one_sided_bounds_beyond_and_across():
    at_most = sentence(replace(examples.WT, alternative="greater", lower=-4.9, upper=None, null=-6.0), examples.CARS)
    assert "and by at most 4.90 (one-sided 95% limit). If the true slope were −6 or lower," in at_most.main
    across = sentence(replace(examples.WT, alternative="less", lower=None, upper=0.4, p=0.06), examples.CARS)
    assert "for each extra 1,000 lb of weight, or up to 0.40 higher (one-sided 95% limit)." in across.main
    mean = replace(examples.ROWS["PA9"][0], alternative="greater", upper=None, lower=3655.0, p=1e-9)
    assert "weigh 3,733 g on average, and at least 3,655 (one-sided" in sentence(mean, examples.PENGUINS).main


def test_estimate_that_rounds_to_zero_takes_no_direction():
    tiny = replace(examples.WT, estimate=0.001, lower=-1.2, upper=1.2, p=0.99)
    assert sentence(tiny, examples.CARS).main.startswith(
        "Fuel economy changes by less than 0.01 mpg for each extra 1,000 lb of weight (95% interval 1.20 lower to 1.20 "
        "higher)."
    )
    level = replace(examples.VC, estimate=-0.01, lower=-3.9, upper=3.9, p=0.99)
    assert sentence(level, examples.TOOTH).main.startswith(
        "Tooth length changes by less than 0.1 units with VC rather than with OJ"
    )


def test_held_fixed_goes_first_then_the_frequency_then_the_name():
    wt = replace(examples.CARS.terms["wt"], others=("horsepower",))
    labels = replace(examples.CARS, terms={"wt": wt})
    assert "horsepower held fixed" in sentence(examples.DRAWN, labels).main
    said = sentence(examples.WT, labels)
    assert "held fixed" not in said.main and "fewer than 1 in 1,000" in said.main
    assert "Held fixed: horsepower. Without them the estimate would answer a different question." in said.more
    longer = replace(labels, terms={"wt": replace(wt, step="1,000 lb of weight of the empty car")})
    assert "few samples would give one" in sentence(examples.WT, longer).main
    longest = replace(labels, terms={"wt": replace(wt, step="1,000 lb of the weight of the quite empty car alone")})
    said = sentence(examples.WT, longest)
    assert "(95% interval 2.58 to 5.17)" in said.main
    assert "The interval is a confidence interval." in said.more


def test_columns_are_quoted_once():
    labels = Labels(response=sentence_name("y"), terms={})
    said = sentence(replace(examples.WT, term="body"), labels).main
    assert said.startswith('"y" falls by 3.88 for each extra unit of "body" (95%')
    assert said.count('"') == 4


def sentence_name(text: str) -> str:
    from bossaviz.sentences.ink import column

    return column(text)


def test_runs_are_the_sentence_and_wear_their_roles():
    said = sentence(examples.DRAWN, examples.CARS)
    assert "".join(run.text for run in said.runs) == said.main
    by_role = {role: [r.text for r in said.runs if r.role == role] for role in ("real", "sim", "theory")}
    assert by_role == {"real": ["3.88", "32"], "sim": ["2.4 to 5.3", "999", "0.73"], "theory": []}
    formula = sentence(examples.WT, examples.CARS)
    assert [r.text for r in formula.runs if r.role == "theory"] == ["2.58 to 5.17", "p < 0.001"]


def test_an_interval_that_was_not_computed_is_not_said():
    said = sentence(Situation(term="wt", estimate=-3.9, se=0.6), examples.CARS)
    assert (said.row, said.main) == ("E", "Fuel economy falls by 3.90 mpg for each extra 1,000 lb of weight.")


def test_interactions_of_a_ratio_are_ratios_of_ratios():
    labels = replace(examples.BREAKS, terms={"B:M": examples.BREAKS.terms["B:M"]})
    s = replace(examples.ROWS["PA18"][0], term="B:M", kind="levels_by_levels")
    assert sentence(s, labels).main.startswith(
        "The ratio of wool B to wool A at medium is 0.60 times that at low tension (95%"
    )


def test_curvature_is_never_read_as_a_slope():
    labels = replace(examples.CARS, terms={"q": TermWords(noun="weight")})
    bend = Situation(term="q", kind="curve", degree=2, estimate=8.6, lower=3.2, upper=14.1, se=2.7, p=0.003)
    said = sentence(bend, labels)
    assert said.main.startswith("The line for weight bends up (95% confidence interval 3.2 to 14.1 for the curvature).")


def test_languages_and_operations_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="sentences exist in en"):
        sentence(examples.WT, examples.CARS, lang="tlh")
    with pytest.raises(LookupError, match="how='perm'"):
        sentence(replace(examples.WT, how="perm"), examples.CARS)
    with pytest.raises(ValueError, match="kind='slop'"):
        Situation(kind="slop")


def test_a_spread_that_was_not_computed_is_not_said():
    said = sentence(replace(examples.DRAWN, se=None), examples.CARS).main
    assert said.endswith("(95% BCa bootstrap interval 2.4 to 5.3). The 32 cars were resampled 999 times.")


def test_odds_ratios_near_one_keep_their_limits_apart():
    s = replace(examples.ROWS["PA16"][0], estimate=0.0012, lower=0.0009, upper=0.0015, se=1.5e-4, base=0.5)
    said = sentence(s, examples.INFERT)
    assert "multiplied by 1.0012 (95% confidence interval 1.0009 to 1.0015)" in said.main
    assert not any("Odds are not probabilities" in text for text in said.more)
