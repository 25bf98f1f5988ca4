"""Models that go wrong, or read otherwise than one slope: what the panel then draws and says."""

from __future__ import annotations

import re
from html import unescape

import numpy as np
import polars as pl
import pytest

import bossaviz as bv
from bossaviz.compute.worker import SyncWorker
from bossaviz.offline import render_svg
from bossaviz.panels.showing import Showing
from inference_core import model
from inference_core.datasets import load_dataset
from inference_core.errors import InferenceCoreWarning, InferenceError


def shown(formula, data, *, n_boot=0, seed=7, family="gaussian", **choices):
    frame = load_dataset(data) if isinstance(data, str) else data
    m = model(formula, frame, family=family).fit()
    return bv.bootstrap(m, n_boot=n_boot, seed=seed, worker=SyncWorker(), **choices)


def words(panel, name):
    return unescape(re.sub(r"<[^>]+>", " ", getattr(panel._controls, name).value))


@pytest.fixture(scope="module")
def cars():
    return load_dataset("mtcars")


# ---- refits that fail ------------------------------------------------------------------------------------------------


def test_where_every_refit_fails_the_panel_says_so_everywhere(cars):
    sorted_by_weight = cars.with_columns(z=(pl.col("wt") > 3).cast(int))
    with pytest.warns(InferenceCoreWarning, match="separation"):
        p = shown("z ~ wt", sorted_by_weight, family="binomial", n_boot=40)
    assert p.sentence.startswith("None of the 40 refits worked (separation)")
    assert "None of the 40 refits worked" in words(p, "status")
    assert "none of 40 refits worked" in words(p, "title_c")
    assert p._chart_c.data["invitation"]["text"].tolist() == ["none of 40 resamples gave a slope"]
    for chart in (p._chart_b, p._chart_c):
        assert "none of 40 refits worked" in chart.description
    p.state.tab = "draws"
    assert re.search(r"separation\s+40", words(p, "table"))


def test_limits_that_the_draws_do_not_give_shade_nothing():
    p = shown("am ~ wt", "mtcars", family="binomial", n_boot=1000)
    rows = {key: values[3] for key, values in p._chart_c.data["rows"].items()}
    assert (rows["name"], rows["has"], rows["chosen"]) == ("BCa", 0, 1)
    assert rows["note"]
    assert p._chart_c.data["bars"]["inside"].all()
    assert len(p._chart_c.data["cuts"]["x"]) == 0
    assert repr(p).endswith("1,000 draws (case, seed 7), too few for a BCa interval")
    failed = p._reading.failures["separation"]
    p.state.tab = "draws"
    assert re.search(rf"separation\s+{failed}\b", words(p, "table"))


def test_a_column_that_repeats_others_is_named_and_not_held_fixed(cars):
    p = shown("mpg ~ wt + w2 + hp", cars.with_columns(w2=pl.col("wt") * 2))
    assert '"w2" repeats other columns and gets no estimate. Remove it, or wt.' in words(p, "status")
    assert "w2" not in p.sentence
    assert "w2" not in p.state.terms


def test_few_draws_in_a_tail_are_counted_in_words():
    p = shown("mpg ~ wt + hp", "mtcars", n_boot=110)
    said = words(p, "status")
    assert re.search(r"A limit in the table rests on (1 draw|\d+ draws) in its tail: press \+1000\.", said)


# ---- the axis, limits and the null -----------------------------------------------------------------------------------


def test_the_axis_is_as_wide_as_resampling_rows_will_scatter():
    p = shown("breaks ~ wool + tension", "warpbreaks", family="poisson", n_boot=2000)
    wald = float(p._reading.wald.se[1])
    assert p._reading.spread[1] > 1.5 * wald  # counts scatter more than a Poisson model believes
    draws = p.resamples["wool[B]"].to_numpy()
    low, high = p._chart_c.params["xlo"], p._chart_c.params["xhi"]
    assert ((draws > low) & (draws < high)).mean() > 0.999  # the axis reaches 4.5 of the larger standard error


def test_a_limit_is_never_rounded_onto_the_null():
    p = shown("len ~ supp", "toothgrowth", n_boot=1000, ci_type="normal")
    high = p.result.filter(pl.col("term") == "supp[VC]")["ci_upper"][0]
    assert -0.05 < high < 0
    text = p._chart_c.data["rows"]["hi"][2]
    assert text.startswith("−") and float(text.replace("−", "-")) < 0
    assert text in words(p, "table")


def test_a_null_that_was_asked_about_leads_the_sentence():
    p = shown("mpg ~ wt", "mtcars", n_boot=999, ci_type="percentile")
    assert "In none of" not in p.sentence
    p.state.null = 1.0
    p.state.null = 0.0
    assert p.sentence.endswith("so the bootstrap p is at its floor for this many: p = 0.002.")


def test_n_and_b_are_explained_by_the_first_panel_that_draws(monkeypatch):
    monkeypatch.setattr(Showing, "first_shown", None)
    first, second = (shown("mpg ~ wt", "mtcars", seed=seed) for seed in (1, 2))
    second.draw(100)
    first.draw(100)
    told = ["Only n is evidence." in " ".join(panel._said.more) for panel in (first, second)]
    assert told == [False, True]


# ---- lines of an interaction -----------------------------------------------------------------------------------------


def slopes_of(panel):
    lines = panel._chart_a.data["lines"]
    out = []
    for i in np.unique(lines["line"]):
        x, y = (lines[name][lines["line"] == i] for name in ("x", "y"))
        out.append((y[-1] - y[0]) / (x[-1] - x[0]))
    return out


def test_the_slope_of_an_interaction_stands_at_the_line_of_the_reference():
    p = shown("len ~ dose * supp", "toothgrowth", term="dose")
    coef = p._machine.model.fit_state.coef
    # two lines, one a supplement; the same sums in another order
    np.testing.assert_allclose(slopes_of(p), [coef[1], coef[1] + coef[3]], rtol=1e-9)
    end, lines = p._chart_a.data["ends"], p._chart_a.data["lines"]
    assert end["y"][0] == pytest.approx(lines["y"][lines["line"] == 0][-1])
    assert "one line for each supplement" in words(p, "title_a")


def test_a_slope_at_a_place_without_data_is_not_written_at_another_line():
    p = shown("mpg ~ wt * hp", "mtcars", term="wt", n_boot=1)
    assert len(p._chart_a.data["ends"]["y"]) == len(p._chart_b.data["ends"]["y"]) == 0
    coef, hp = p._machine.model.fit_state.coef, load_dataset("mtcars")["hp"]
    quartiles = [float(hp.quantile(q)) for q in (0.25, 0.75)]
    # rounding of two sums
    np.testing.assert_allclose(slopes_of(p), [coef[1] + coef[3] * q for q in quartiles], rtol=1e-9)
    assert "lines at horsepower 97 and 180" in words(p, "title_a")
    assert "−8.2" not in p._chart_a.description


def test_a_centred_partner_stands_at_its_mean():
    p = shown("mpg ~ wt * center(hp)", "mtcars", term="wt")
    coef = p._machine.model.fit_state.coef
    np.testing.assert_allclose(slopes_of(p), [coef[1]], rtol=1e-9)  # the same line by another way
    assert len(p._chart_a.data["ends"]["y"]) == 1


# ---- names under the axis -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 429])
@pytest.mark.parametrize(("formula", "data"), [("weight ~ feed", "chickwts"), ("mpg ~ hp", "mtcars")])
def test_every_group_and_every_number_has_its_name_under_the_axis(formula, data, width):
    p = shown(formula, data)
    svg = render_svg(p._chart_a, width=width)
    texts = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    said = {unescape(re.sub(r"<[^>]+>", "", text)) for text in texts}
    assert set(p._chart_a.params["xlabels"]) <= said
    assert not any("…" in text for text in said)


# ---- one draw at a time ----------------------------------------------------------------------------------------------


def test_one_draw_flies_once_the_numbers_are_there():
    p = shown("mpg ~ wt", "mtcars")
    p.draw(10)
    assert not p._voice.flight
    p.draw(1)
    assert p._voice.flight == {"draw": 11, "frame": p._chart_c.frame}


def test_after_a_reset_draws_come_back_one_by_one():
    p = shown("mpg ~ wt", "mtcars")
    p.draw(100).reset()
    assert "no draws yet" in words(p, "status")
    p.draw(1)
    assert p.state.n_boot == 1 and len(p._chart_c.data["dots"]["x"]) == 1
    assert "1 draw" in words(p, "status")
    assert p._voice.flight["draw"] == 1
    p.draw(1000)
    assert p.state.n_boot == p.resamples.height == 1001


def test_a_run_is_announced_once():
    p = shown("mpg ~ wt", "mtcars")
    p.draw(200)
    assert p._voice.text.startswith("Done: 200 draws. ")
    p.state.conf_level = 0.9
    assert p._voice.text.startswith("Fuel economy falls")


@pytest.mark.parametrize(
    ("formula", "data", "family"), [("mpg ~ wt", "mtcars", "gaussian"), ("am ~ hp", "mtcars", "binomial")]
)
def test_a_dot_says_what_the_sentence_of_that_dot_says(formula, data, family):
    from bossaviz.sentences import sentence
    from bossaviz.situations import situation_from

    p = shown(formula, data, family=family, n_boot=30)
    draws, stream, dots = p._store.first(), p._store.stream, p._chart_c.data["dots"]
    resamples = stream.resamples(draws.samples, draws.status, draws.se, n_requested=draws.count)
    pieces = p._chart_c.params["pieces"]
    for k in (0, 7, 20):
        i = int(dots["draw"][k])
        said = f"{pieces[0]}{i}{pieces[1]}{dots['said'][k]}{pieces[2]}{dots['distinct'][k]:.0f}{pieces[3]}"
        m, table = p._machine.model, p._reading.wald
        situation = situation_from(m, table, p.state.term, how="boot", resamples=resamples, dot=i)
        assert said == sentence(situation, p._labels).main


def test_a_scheme_that_the_model_has_not_is_refused_with_those_it_has():
    m = model("mpg ~ wt", load_dataset("mtcars")).fit()
    with pytest.raises(InferenceError, match='"parametric" is not a scheme of this model'):
        bv.bootstrap(m, scheme="parametric")
