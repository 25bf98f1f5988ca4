"""What a bootstrap panel puts on its screen: the charts, the words, the table and the status line.

Everything shown is a function of the state and the stored draws; nothing here draws or decides.
"""

from __future__ import annotations

import numpy as np

from bossaviz import markup, screen
from bossaviz.charts.axis import decimals_for
from bossaviz.charts.cases import Cases, cases_data
from bossaviz.charts.distribution import DOTS_UP_TO, distribution_data
from bossaviz.compute.focus import Focus, focus_on
from bossaviz.compute.reading import Reading
from bossaviz.descriptions import describe_data, describe_distribution, describe_resample
from bossaviz.dots import DotWords, distinct_rows
from bossaviz.naming import Naming, naming_of
from bossaviz.notes import draw_notes
from bossaviz.sentences import Sentence, sentence
from bossaviz.situations import situation_from

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
            j = model.bundle.X_names.index(term)
            se = float(np.sqrt(model.fit_state.vcov[j, j]))
            self._focus[term] = naming, focus_on(model, term, naming, decimals_for(se))
        return self._focus[term]

    def _dot_words(self, reading: Reading) -> DotWords:
        """The words of the dots of the focal term, prepared once."""
        term = reading.query.term
        if term not in self._dots:
            self._dots[term] = DotWords(self._machine.model, self._labels, reading.wald, term)
        return self._dots[term]

    def _distinct_rows(self, reading: Reading) -> np.ndarray:
        """How many different rows are in each of the draws that are dots; counted once."""
        stream = self._store.stream
        known = self._distinct.get(stream.seed, np.empty(0, int))
        if reading.usable <= DOTS_UP_TO:
            known = self._distinct[stream.seed] = distinct_rows(stream, known, reading.count)
        return known[: reading.count]

    def _real_cases(self) -> Cases:
        _, focus = self._focal()
        return focus.cases(np.asarray(self._machine.model.fit_state.coef))

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
            coef = np.asarray(self._machine.model.fit_state.coef)
            self._chart_a.description = describe_data(focus, naming, self._labels, coef)
            what = focus.aside or ("bars" if focus.kind == "strip" else "line")
            typical = f" at typical {' and '.join(naming.noun(c) for c in focus.held)}" if focus.held else ""
            places = f"; {what}{typical}" if focus.aside or typical else ""
            sub = f"{n:,} {naming.units if n != 1 else naming.unit_name}{places}"
            put(self._controls.title_a, markup.pane_title("The data", "real", sub))
            put(self._controls.question, markup.question(naming.question))

    def _show_resample(self, reading: Reading, naming: Naming, focus: Focus, shown: int | None) -> None:
        real = np.asarray(self._machine.model.fit_state.coef)
        if shown is None:
            none, rows = np.zeros(focus.x.size), focus.numbers[focus.rows]
            cases = Cases(focus.x, focus.y, rows, none, real_lines=focus.lines(real))
            title, sub = "A resample", "press +1 to draw the first"
            words = "No resample has been drawn yet."
            if reading.count:
                sub = f"none of {reading.count:,} refits worked"
                words = f"No resample to show: {sub}."
        else:
            coef, times = self._machine.resample(self._store, shown)
            cases = focus.cases(coef, times, real)
            distinct = int(np.count_nonzero(times))
            title = f"Resample #{shown}"
            sub = f"{distinct:,} of {focus.n:,} {naming.units}, with repeats"
            words = describe_resample(focus, self._labels, shown, times, focus.value(coef), naming.unit_words)
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
        stale = (f"seed {reading.seed}", f"seed {self.state.seed}") if self._stale else None
        q = reading.query
        situation = situation_from(
            self._machine.model, reading.inference, q.term, how="boot",
            all_intervals=every if reading.inference is not None else None,
            resamples=resamples if reading.count else None, requested=short or reading.count, stale=stale,
            ci_type=q.ci_type, null=None if reading.inference is not None else q.null,
            alternative=q.alternative, level=q.conf_level, test_asked=self._null_asked,
            first_resampling=self._introduces(reading),
        )  # fmt: skip
        self._situation = situation
        return sentence(situation, self._labels)

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
            head, rows = screen.latest_draws(reading, draws.samples, draws.status)
            text = markup.table(head, rows, caption="Latest draws", empty="No draws yet: press +1.")
            if reading.failures:
                head, rows = ("why a refit gave nothing", "refits"), screen.reasons(reading)
                text += markup.table(head, rows, caption="Reasons of failed refits")
        else:
            head, rows, chosen = screen.estimates(reading)
            text = markup.table(head, rows, chosen=chosen, caption="Estimates")
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
            words = f"Out of date|seed was changed from {reading.seed} to {self.state.seed}; press +1000 to draw anew"
            return markup.status("idle", words, notes=notes)
        if self._stopped_short:
            words = f"Stopped|at {done:,} of {self._stopped_short:,}. What was drawn counts."
            return markup.status("idle", words, facts=facts, notes=notes)
        drawn = f"{done:,} draw{'s' * (done != 1)}" if done else "no draws yet"
        return markup.status("idle", f"Ready|{drawn}", facts=facts, notes=notes)
