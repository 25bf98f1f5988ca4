"""What a bootstrap panel puts on its screen: the charts, the words, the table and the status line.

Everything shown is a function of the state and the stored draws; nothing here draws or decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bossaviz import markup, screen
from bossaviz.charts.axis import decimals_for
from bossaviz.charts.cases import Cases, cases_data
from bossaviz.charts.distribution import DOTS_UP_TO, distribution_data
from bossaviz.compute.focus import Focus, focus_on
from bossaviz.compute.reading import Reading
from bossaviz.descriptions import describe_data, describe_distribution, describe_new_data, describe_resample
from bossaviz.dots import DotWords, distinct_rows
from bossaviz.naming import Naming, naming_of
from bossaviz.notes import draw_notes
from bossaviz.sentences import Labels, Sentence, ink, sentence
from bossaviz.sentences.words import setting
from bossaviz.situations import situation_from
from bossaviz.spreads import spreads_of

from .controls import put


class Showing:
    """The screen of a bootstrap panel; a part of :class:`bossaviz.panels.bootstrap.BootstrapPanel`."""

    first_shown: int | None = None  # which panel showed the first draws of this notebook

    def _focal(self, term: str | None = None) -> tuple[Naming, Focus]:
        """Names and geometry of a term, prepared once."""
        term = term or self.state.term
        if term not in self._focus:
            model = self._machine.model
            naming = naming_of(model, term, self._labels)
            j = self._machine.statistics.index(term)
            vcov = model.fit_state.vcov
            se = float(np.sqrt(vcov[j, j])) if j < len(vcov) else float(self._machine.spread[j])
            self._focus[term] = naming, focus_on(model, term, naming, decimals_for(se), self._reach)
        return self._focus[term]

    def _dot_words(self, reading: Reading) -> DotWords:
        """The words of the dots of the focal term, prepared once."""
        term, scheme = reading.query.term, reading.scheme
        if (term, scheme) not in self._dots:
            formula = reading.wald if reading.focal < len(reading.wald.se) else None
            se = float(reading.formula_se[reading.focal])
            self._dots[term, scheme] = DotWords(self._machine.model, self._labels, formula, term, scheme, se)
        return self._dots[term, scheme]

    def _distinct_rows(self, reading: Reading) -> np.ndarray:
        """How many different rows are in each of the draws that are dots; counted once."""
        stream = self._store.stream
        if stream.scheme != "case":
            return np.empty(0, int)
        known = self._distinct.get(stream.seed, np.empty(0, int))
        if reading.usable <= DOTS_UP_TO:
            known = self._distinct[stream.seed] = distinct_rows(stream, known, reading.count)
        return known[: reading.count]

    def _real_cases(self) -> Cases:
        _, focus = self._focal()
        return focus.cases(self._machine.observed, modes=self._machine.real_modes())

    def _show_types(self) -> None:
        """Offer the kinds of interval that the focal number has; what was chosen for the others is kept."""
        s = self.state
        types = self._machine.types(s.term)
        chosen = s.ci_type if not types.get(s.ci_type, "-") else next(n for n, reason in types.items() if not reason)
        before, self._setting = self._setting, True
        try:
            self._controls.allow_types(types, chosen)
        finally:
            self._setting = before

    def _read(self) -> Reading:
        """Read the draws that are to be shown: those chosen, or the old ones while there are none."""
        query = self.state.draw_query()
        if self._machine.cache.count(query) or self._store.count == 0:
            self._store = self._machine.cache.store(query)
        ours = self._store is self._machine.cache.store(query)
        n = None if self._running or not ours else max(self.state.n_boot, 0)
        return self._machine.read(self._store, n, self.state.read_query())

    def _show(self, words: bool = True) -> None:
        """Bring everything on the screen up to the state and the draws."""
        with self._lock:
            reading = self._reading = self._read()
            naming, focus = self._focal()
            shown = self._shown(reading)
            view = screen.distribution(
                reading, naming, shown=shown, bins=self.state.bins, overlay=self.state.overlay,
                dots=self._dot_words(reading), distinct=self._distinct_rows(reading),
            )  # fmt: skip
            self._chart_c.push(*distribution_data(view), epoch=self._epoch)
            self._show_resample(reading, naming, focus, shown)
            for chart in (self._chart_b, self._chart_c):
                if chart.stale != self._stale:
                    chart.stale = self._stale
            title, sub = screen.title_of_distribution(reading, naming)
            put(self._controls.title_c, markup.pane_title(title, "sim", sub))
            if words:
                self._show_sentence()
                self._show_table()
                self._show_drawer()
                if not self._chart_a.description:
                    self._show_data()
            self._show_status()

    def _shown(self, reading: Reading) -> int | None:
        """The draw that pane B shows: the one chosen, else the latest that worked."""
        if self.state.shown is not None and self.state.shown in reading.numbers:
            return self.state.shown
        return int(reading.numbers[-1]) if reading.usable else None

    def _show_data(self) -> None:
        naming, focus = self._focal()
        with self._lock:
            cases, n = self._real_cases(), focus.n
            self._chart_a.push(*cases_data(cases, focus.frame))
            model = self._machine.model
            self._chart_a.description = describe_data(focus, naming, self._labels, self._machine.observed)
            what = focus.aside or ("bars" if focus.kind == "strip" else "line")
            typical = f" at typical {' and '.join(naming.noun(c) for c in focus.held)}" if focus.held else ""
            places = f"; {what}{typical}" if focus.aside or typical else ""
            counts = "".join(f", {k:,} {words}" for k, words in group_counts(model, self._labels))
            shown = focus.groups
            if shown is not None and len(shown.shown) < shown.total:
                counts += f" ({len(shown.shown)} drawn)"
            sub = f"{n:,} {naming.units if n != 1 else naming.unit_name}{counts}{places}"
            put(self._controls.title_a, markup.pane_title("The data", "real", sub))
            put(self._controls.question, markup.question(naming.question))

    def _show_resample(self, reading: Reading, naming: Naming, focus: Focus, shown: int | None) -> None:
        real = self._machine.observed
        if shown is None:
            none, rows = np.zeros(focus.x.size), focus.numbers[focus.rows]
            cases = Cases(focus.x, focus.y, rows, none, real_lines=focus.lines(real))
            title, sub = "A resample", "press +1 to draw the first"
            words = "No resample has been drawn yet."
            if reading.count:
                sub = f"none of {reading.count:,} refits worked"
                words = f"No resample to show: {sub}."
        else:
            draw = self._machine.resample(self._store, shown)
            coef, times = draw.statistics, draw.times
            cases = focus.cases(coef, times, real, draw.response, draw.modes)
            title, model = f"Resample #{shown}", self._machine.model
            sub = drawn_words(model, self._labels, self._store.stream.scheme, times, naming)
            value, unit = focus.value(coef), naming.unit_words
            if draw.response is not None or model.bundle.re_metadata is not None:
                words = describe_new_data(focus, naming, shown, sub, value)
            else:
                words = describe_resample(focus, self._labels, shown, times, value, unit)
        self._chart_b.push(*cases_data(cases, focus.frame), epoch=self._epoch)
        if self._chart_b.description != words and not self._running:
            self._chart_b.description = words
        put(self._controls.title_b, markup.pane_title(title, "sim", sub))

    def _show_sentence(self) -> None:
        said = self._said = self._sentence()
        more = said.more if self.state.more else ()
        runs = [(run.text, run.role) for run in said.runs]
        put(self._controls.sentence, markup.sentence(runs, more, said.tone))
        self._controls.why.description = "less" if self.state.more else "why?"
        if self._running:
            return
        reading = self._reading
        done = f"Done: {reading.count:,} draws. " if reading is not None and reading.count else ""
        self._voice.text = (f"{done}{said.main}" if self._ended else said.main) + " ".join(("", *more))
        self._ended = False
        if reading is not None and self._situation is not None:
            naming, link = self._focal()[0], self._machine.model.spec.link
            words = describe_distribution(reading, self._situation, self._labels, naming, link)
            if self._chart_c.description != words:
                self._chart_c.description = words

    def _sentence(self) -> Sentence:
        reading = self._reading
        assert reading is not None  # _show() has read
        draws = self._store.first(reading.count)
        short = self._stopped_short
        resamples = self._store.stream.resamples(
            draws.samples, draws.status, draws.se, n_requested=short or reading.count, cancelled=bool(short)
        )
        every = {row.ci_type: (row.low, row.high) for row in reading.limits if row.ci_type != "wald"}
        stale = tuple(setting(*pair) for pair in self._differs(reading)) if self._stale else None
        q = reading.query
        situation = situation_from(
            self._machine.model, reading.table, q.term, how="boot",
            all_intervals=every if reading.inference is not None else None,
            resamples=resamples if reading.count else None, requested=short or reading.count, stale=stale,
            ci_type=q.ci_type, null=None if reading.inference is not None else q.null,
            alternative=q.alternative, level=q.conf_level, test_asked=self._null_asked,
            first_resampling=self._introduces(reading),
        )  # fmt: skip
        situation = replace(situation, scheme=reading.scheme)  # known before the first draw too
        self._situation = situation
        return sentence(situation, self._labels)

    def _differs(self, reading: Reading) -> tuple[tuple[str, object], tuple[str, object]]:
        """Which setting of what is shown is no longer the one chosen: its name with the old value, and the new one."""
        if reading.scheme != self.state.scheme:
            return ("scheme", reading.scheme), ("scheme", self.state.scheme)
        return ("seed", reading.seed), ("seed", self.state.seed)

    def _between(self) -> tuple[int, str] | None:
        """The line before the random part of the table, and the row it stands before."""
        model = self._machine.model
        counts = group_counts(model, self._labels)
        if not counts:
            return None
        return model.bundle.p, f"between and within the {' and the '.join(f'{k:,} {words}' for k, words in counts)}"

    def _introduces(self, reading: Reading) -> bool:
        """Whether this is the panel that shows the first draws of the notebook, which explains n and B."""
        if reading.count and Showing.first_shown is None:
            Showing.first_shown = id(self)
        return Showing.first_shown == id(self)

    def _show_table(self) -> None:
        reading, tab = self._reading, self.state.tab
        if reading is None:
            return
        if tab == "pinned":
            head, rows = screen.pinned(self._pins)
            text = markup.table(head, rows, caption="Pinned runs", empty="Nothing pinned yet: More, then Pin this run.")
        elif tab == "draws":
            draws = self._store.first(reading.count)
            head, rows = screen.latest_draws(reading, draws.samples, draws.status, words=self._rows)
            text = markup.table(head, rows, caption="Latest draws", empty="No draws yet: press +1.")
            if reading.failures:
                head, rows = ("why a refit gave nothing", "refits"), screen.reasons(reading)
                text += markup.table(head, rows, caption="Reasons of failed refits")
        else:
            head, rows, chosen = screen.estimates(reading, self._rows)
            text = markup.table(head, rows, chosen=chosen, caption="Estimates", above=self._between())
        put(self._controls.table, text)

    def _show_status(self) -> None:
        c, running = self._controls, self._running
        reading = self._reading
        # after a reset there may be more draws in store than are shown
        done = self._done if running else min(self.state.n_boot, self._done)
        goal = self._run.goal if running and self._run is not None else done
        facts, mcse = ([], "") if reading is None else screen.two_errors(reading)
        put(c.counted, markup.counted(done, goal, mcse))
        put(c.progress, markup.progress(done, goal, self._first))
        if c.stop.disabled == running:
            c.stop.disabled = not running
        size = goal - self._first
        for k, step in c.steps.items():
            (step.add_class if running and size == k else step.remove_class)("bv-run")
        put(c.status, self._status_line(done, goal, facts, running))

    def _status_line(self, done: int, goal: int, facts: list, running: bool) -> str:
        if self._error is not None:
            return markup.status("idle", "", error=self._error)
        reading = self._reading
        notes = self._standing + ([] if reading is None else draw_notes(reading))
        if running:
            return markup.status("running", f"Running|{done:,} of {goal:,}", facts=facts, notes=notes)
        if self._stale and reading is not None:
            (what, old), (_, new) = self._differs(reading)
            words = f"Out of date|{what} was changed from {old} to {new}; press +1000 to draw anew"
            return markup.status("idle", words, notes=notes)
        if self._stopped_short:
            words = f"Stopped|at {done:,} of {self._stopped_short:,}. What was drawn counts."
            return markup.status("idle", words, facts=facts, notes=notes)
        drawn = f"{done:,} draw{'s' * (done != 1)}" if done else "no draws yet"
        return markup.status("idle", f"Ready|{drawn}", facts=facts, notes=notes)


def group_counts(model: Any, labels: Labels) -> list[tuple[int, str]]:
    """Return how many groups there are of each grouping factor, and what they are called; empty without any."""
    re = model.bundle.re_metadata
    if re is None:
        return []
    found: dict[str, tuple[int, str]] = {}
    for spread in spreads_of(model.bundle):
        if spread.block >= 0:
            block = re.blocks[spread.block]
            words = ink.finish(ink.bare(labels.term(spread.name).groups))[0]
            found.setdefault(block.group_name, (block.n_levels, words))
    return list(found.values())


def drawn_words(model: Any, labels: Labels, scheme: str, times: np.ndarray, naming: Naming) -> str:
    """Return what one draw is made of, in a few words."""
    counts = group_counts(model, labels)
    groups = " and ".join(f"{k:,} new {words}" for k, words in counts)
    if scheme == "parametric":
        return f"{groups} from the model" if groups else "new values from the fitted model"
    if scheme in ("residual", "wild"):
        return "the leftovers dealt out again" if scheme == "residual" else "signs of the leftovers flipped"
    if scheme == "cluster" and counts:
        block = model.bundle.re_metadata.blocks[-1]
        here = np.unique(block.group_index[times > 0]).size
        return f"{here:,} of {block.n_levels:,} {counts[-1][1]}, some more than once"
    return f"{int(np.count_nonzero(times)):,} of {times.size:,} {naming.units}, with repeats"
