"""The bootstrap panel: state, draws, charts and words wired together."""

from __future__ import annotations

import base64
import threading
from typing import Any

import numpy as np
import traitlets

from inference_core.errors import InferenceCoreError, InferenceError
from inference_core.states import InferenceState

from .. import markup, screen
from ..charts.axis import decimals_for
from ..charts.cases import Cases, cases_data, cases_spec, left_padding
from ..charts.distribution import DOTS_UP_TO, distribution_data, distribution_spec
from ..code import source_of, write_code
from ..compute.draws import DrawStore
from ..compute.focus import Focus, focus_on
from ..compute.reading import Machine, Reading
from ..compute.worker import Run, default_worker, drain, watch_seconds, watched
from ..labels import labels_for
from ..livechart import LiveChart
from ..naming import Naming, naming_of
from ..sentences import Sentence, sentence, status
from ..situations import situation_from
from ..state import CI_TYPES, BootstrapState
from .base import Panel, warm_up_pictures
from .controls import Controls
from .debounce import Debounce
from .voice import Voice

FRAMES_TO_WATCH = 16
WORDS_EVERY = 4  # while drawing, the sentence and the table change with every fourth frame only
TYPING_SECONDS = 0.3
DISPLAY = ("term", "ci_type", "conf_level", "null", "alternative", "shown", "bins", "overlay", "tab", "more")


class BootstrapPanel(Panel):
    """A live bootstrap of a fitted lm or glm; made by :func:`bossaviz.bootstrap`."""

    def __init__(self, model: Any, state: BootstrapState, worker: Any = None) -> None:
        self._machine = Machine(model)
        self.state = state
        self._worker = worker if worker is not None else default_worker()
        self._lock = threading.RLock()
        self._labels = labels_for(self._machine.model)
        self._focus: dict[str, tuple[Naming, Focus]] = {}
        self._pins: list[screen.Pin] = []
        self._run: Run | None = None
        self._epoch = 0
        self._frames = 0
        self._first = 0  # draws there were when the run began
        self._stopped_short = 0  # draws asked for by a run that was stopped
        self._error: tuple[str, str] | None = None
        self._drawer = ""
        self._made_with = state.to_json()
        self._store: DrawStore = self._machine.cache.store(state.draw_query())
        self._reading: Reading | None = None
        self._said: Sentence | None = None
        self._setting = False
        self._build()
        self._wire()
        self._show()
        if self._worker.watch:
            warm_up_pictures()
        if state.n_boot:
            self._generate(state.n_boot, watch=False)

    # ---- building -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        naming, focus = self._focal()
        left = left_padding(focus.frame.y_labels)
        self._chart_a = LiveChart(cases_spec("real", padding_left=left), *cases_data(self._real_cases(), focus.frame))
        empty = Cases(focus.x, focus.y, focus.rows, np.zeros(focus.x.size))
        self._chart_b = LiveChart(cases_spec("sim", padding_left=left), *cases_data(empty, focus.frame))
        self._chart_c = LiveChart(distribution_spec(len(CI_TYPES) + 1, 1), selectable=["dots", "bars"])
        self._voice = Voice()
        menu = {term: naming_of(self._machine.model, term, self._labels).menu for term in self.state.terms}
        self._controls = Controls(self.state, menu)
        self.widget = self._controls.root(self._chart_a, self._chart_b, self._chart_c, self._voice)
        bundle = self._machine.model.bundle
        self._controls.facts.value = markup.facts(
            self._machine.model.formula, bundle.n, bundle.n_total, naming.units, naming.unit_name
        )

    def _wire(self) -> None:
        c, s = self._controls, self.state
        for trait, widget in (("term", c.term), ("scheme", c.scheme), ("ci_type", c.ci_type), ("seed", c.seed),
                              ("conf_level", c.level), ("bins", c.bins), ("bins", c.bins_box), ("overlay", c.overlay),
                              ("alternative", c.alternative), ("null", c.null), ("tab", c.tab)):  # fmt: skip
            self._bind(trait, widget)
        pause = TYPING_SECONDS if self._worker.watch else 0.0
        typed = Debounce(lambda value: self._choose("conf_level", value, c.level_box), pause)
        c.level_box.observe(lambda change: None if self._setting else typed(change["new"]), "value")
        s.observe(lambda change: self._set(c.level_box, change["new"]), "conf_level")
        for k, step in c.steps.items():
            step.on_click(lambda _, k=k: self.draw(k))
        c.stop.on_click(lambda _: self.stop())
        c.reset.on_click(lambda _: self.reset())
        c.pin.on_click(lambda _: self.pin())
        c.why.on_click(lambda _: setattr(s, "more", not s.more))
        c.fold.on_click(lambda _: self._fold())
        for name, widget in (("code", c.code), ("share", c.share), ("save", c.save)):
            widget.on_click(lambda _, name=name: self._open_drawer(name))
        s.observe(self._on_display, DISPLAY)
        s.observe(self._on_draws, ("seed", "scheme"))
        s.observe(self._on_n_boot, "n_boot")
        self._chart_c.observe(self._on_click, "selections")

    def _bind(self, trait: str, widget: Any) -> None:
        """Tie a widget to a trait both ways; a refused value is a sentence in the status line."""
        widget.observe(lambda change: None if self._setting else self._choose(trait, change["new"], widget), "value")
        self.state.observe(lambda change: self._set(widget, change["new"]), trait)

    def _set(self, widget: Any, value: Any) -> None:
        with self._lock:
            before, self._setting = self._setting, True
            try:
                widget.value = value
                widget.remove_class("bv-wrong")
            finally:
                self._setting = before

    def _choose(self, trait: str, value: Any, widget: Any) -> None:
        try:
            setattr(self.state, trait, value)
        except traitlets.TraitError as problem:
            wrong, _, remedy = str(problem).partition(". ")
            widget.add_class("bv-wrong")
            self._refuse(wrong + ("." if remedy else ""), remedy)
            return
        widget.remove_class("bv-wrong")
        if self._error is not None:
            self._error = None
            self._show_status()

    # ---- what the reader does -----------------------------------------------------------------------------------

    def draw(self, k: int) -> BootstrapPanel:
        """Draw ``k`` more resamples; while a run goes on, it is lengthened. Returns the panel."""
        with self._lock:
            if k == 1:
                self.state.shown = None
            going = self._running
            start = max(self.state.n_boot, self._run.goal) if going and self._run else self._done
            self.state.n_boot = start + k
        return self

    def stop(self) -> BootstrapPanel:
        """Stop drawing; what was drawn counts. Returns the panel."""
        run = self._run
        if run is not None:
            run.cancel.set()
        return self

    def wait(self, timeout: float | None = None) -> BootstrapPanel:
        """Wait until nothing is being drawn (at most ``timeout`` seconds). Returns the panel."""
        run = self._run
        if run is not None:
            self._worker.wait(run, timeout)
        return self

    def reset(self) -> BootstrapPanel:
        """Return to the settings the panel was made with; the draws of that seed are still there. Returns the panel."""
        self.stop().wait(2.0)
        made = BootstrapState.from_json(self._made_with, self.state.terms)
        with self._lock:
            self._error = None
            self._stopped_short = 0
            for name in BootstrapState.SAVED:
                setattr(self.state, name, getattr(made, name))
        return self

    def pin(self) -> BootstrapPanel:
        """Keep the chosen interval in the table of pinned runs. Returns the panel."""
        reading = self._reading
        if reading is None or reading.inference is None:
            self._refuse("There are no limits to pin yet.", "Press +1000 first.")
            return self
        chosen, (_, digits) = reading.chosen, screen.scale_of_focus(reading)
        self._pins.append(
            screen.Pin(
                reading.query.term, reading.query.ci_type, reading.query.conf_level, reading.usable, reading.seed,
                float(reading.estimate[reading.focal]), chosen.low, chosen.high, digits,
            )
        )  # fmt: skip
        self.state.tab = "pinned"
        self._show_table()
        return self

    # ---- reactions ----------------------------------------------------------------------------------------------

    def _on_display(self, change: Any) -> None:
        if change["name"] in ("term",):
            self._show_data()
        if change["name"] in ("tab",):
            self._show_table()
        elif change["name"] == "more":
            self._show_sentence()
        else:
            self._show()

    def _on_draws(self, change: Any) -> None:
        """Other draws were asked for: those already made come back at once, else the old ones stay, dimmed."""
        self.stop()
        with self._lock:
            self._epoch += 1
            self._run = None
            self._stopped_short = 0
            self._error = None
            self.state.shown = None
            count = self._machine.cache.count(self.state.draw_query())
            self._setting = True
            try:
                self.state.n_boot = count
            finally:
                self._setting = False
        self._show()

    def _on_n_boot(self, change: Any) -> None:
        if self._setting:
            return
        if change["new"] > self._machine.cache.count(self.state.draw_query()):
            self._generate(change["new"])
        else:
            self._stopped_short = 0
            self._show()

    def _on_click(self, change: Any) -> None:
        clicked = change["new"] or {}
        datum, reading = clicked.get("datum", {}), self._reading
        if reading is None or not reading.usable:
            return
        if clicked.get("name") == "dots":
            self.state.shown = int(datum["draw"])
        elif clicked.get("name") == "bars":
            inside = (reading.values >= datum["x"]) & (reading.values <= datum["x2"])
            there = reading.numbers[inside]
            if there.size:  # another click on the same bar goes to its next resample
                later = there[there > (self.state.shown or 0)]
                self.state.shown = int(later[0] if later.size else there[0])

    def _fold(self) -> None:
        body = self._controls.more_body
        body.layout.display = "" if body.layout.display == "none" else "none"

    # ---- drawing ------------------------------------------------------------------------------------------------

    @property
    def _running(self) -> bool:
        return self._run is not None and not self._run.finished.is_set() and not self._run.cancel.is_set()

    @property
    def _done(self) -> int:
        return self._machine.cache.count(self.state.draw_query())

    @property
    def _stale(self) -> bool:
        """Whether what is shown belongs to other settings than those chosen."""
        shown = self._reading
        return shown is not None and shown.count > 0 and self._done == 0 and shown.seed != self.state.seed

    def _generate(self, goal: int, *, watch: bool = True) -> None:
        with self._lock:
            self._error = None
            self._stopped_short = 0
            if self._running and self._run is not None:
                self._run.goal = goal
                return
            self._epoch += 1
            self._first = self._done
            run = self._run = Run(self._epoch, goal)
            run.query = self.state.draw_query()
            run.watch = watch_seconds(goal - self._first, self._worker.watch) if watch else 0.0
            self._voice.text = "Drawing."
            self._show_status()
        self._worker.start(run, self._work)

    def _work(self, run: Run) -> None:
        """The body of a run, in whatever thread the worker has."""
        try:
            store = self._machine.cache.store(run.query)
            start = store.count
            most = None
            if run.watch:
                most = lambda: max(1, -(-(run.goal - start) // FRAMES_TO_WATCH))  # noqa: E731 - asked again as it grows
            draws = store.batches(lambda: run.goal, run.cancel, most)
            if run.watch:
                draws = watched(run, draws, start, run.watch)
            drain(run, draws, self._frame)
        except InferenceCoreError as problem:
            self._fail(run, problem.found, problem.remedy)
        except Exception as problem:  # a thread must not die in silence: whatever it was becomes a sentence
            self._fail(run, f"The draws could not be made: {problem}.", "Change the settings, or report this.")

    def _frame(self, run: Run, last: bool) -> None:
        with self._lock:
            if run.epoch != self._epoch:
                return
            if last:
                done = self._done
                self._stopped_short = run.goal if run.cancel.is_set() and done < run.goal else 0
                run.finished.set()
                if self.state.n_boot != done:
                    self._setting = True
                    try:
                        self.state.n_boot = done
                    finally:
                        self._setting = False
            self._frames += 1
            self._show(words=last or self._frames % WORDS_EVERY == 0)

    def _fail(self, run: Run, wrong: str, remedy: str) -> None:
        with self._lock:
            if run.epoch == self._epoch:
                run.finished.set()
                self._refuse(wrong[:1].upper() + wrong[1:].rstrip(".") + ".", remedy[:1].upper() + remedy[1:])

    def _refuse(self, wrong: str, remedy: str) -> None:
        self._error = (wrong, remedy)
        self._voice.text = f"{wrong} {remedy}"
        self._show_status()

    # ---- showing ------------------------------------------------------------------------------------------------

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
                reading, naming, shown=shown, bins=self.state.bins, overlay=self.state.overlay
            )
            self._chart_c.push(*distribution_data(view), epoch=self._epoch)
            self._show_resample(reading, naming, focus, shown)
            for chart in (self._chart_b, self._chart_c):
                if chart.stale != self._stale:
                    chart.stale = self._stale
            title, sub = screen.title_of_distribution(reading, naming)
            _put(self._controls.title_c, markup.pane_title(title, "sim", sub))
            if words:
                self._show_sentence()
                self._show_table()
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
            self._chart_a.push(*cases_data(self._real_cases(), focus.frame))
            n = focus.n
            self._chart_a.description = (
                f"The real data: {n:,} {naming.units}, {focus.frame.x_title} across, {focus.frame.y_title} up, "
                f"with the fitted line; {focus.word} {focus.cases(np.asarray(self._machine.model.fit_state.coef)).end_words[1]}."
            )
            held = f"; line at typical {' and '.join(focus.held)}" if focus.held else ""
            sub = f"{n:,} {naming.units if n != 1 else naming.unit_name}{held}"
            _put(self._controls.title_a, markup.pane_title("The data", "real", sub))
            _put(self._controls.question, markup.question(naming.question))

    def _show_resample(self, reading: Reading, naming: Naming, focus: Focus, shown: int | None) -> None:
        real = np.asarray(self._machine.model.fit_state.coef)
        if shown is None:
            cases = Cases(focus.x, focus.y, focus.rows + 1, np.zeros(focus.x.size), real_lines=focus.lines(real))
            title, sub = "A resample", "press +1 to draw the first"
            words = "No resample has been drawn yet."
        else:
            coef, times = self._machine.resample(self._store, shown)
            cases = focus.cases(coef, times, real)
            distinct, most = int(np.count_nonzero(times)), int(times.max(initial=0))
            title = f"Resample #{shown}"
            sub = f"{distinct:,} different of {focus.n:,} {naming.units}, with repeats"
            words = (
                f"Simulated: resample {shown}, same axes; {distinct:,} different {naming.units}, the most repeated "
                f"appears {most} times; {focus.word} {cases.end_words[1]}."
            )
        self._chart_b.push(*cases_data(cases, focus.frame), epoch=self._epoch)
        if self._chart_b.description != words and not self._running:
            self._chart_b.description = words
        _put(self._controls.title_b, markup.pane_title(title, "sim", sub))

    def _show_sentence(self) -> None:
        said = self._said = self._sentence()
        more = said.more if self.state.more else ()
        runs = [(run.text, run.role) for run in said.runs]
        _put(self._controls.sentence, markup.sentence(runs, more, said.tone))
        self._controls.why.description = "less" if self.state.more else "why?"
        if self._running:
            return
        reading = self._reading
        done = f"Done: {reading.count:,} draws. " if reading is not None and reading.count else ""
        self._voice.text = (f"{done}{said.main}" if self._run is not None else said.main) + " ".join(("", *more))
        chart = f"{said.main}"
        title = screen.title_of_distribution(reading, self._focal()[0])[0] if reading is not None else ""
        if self._chart_c.description != f"{title}. {chart}":
            self._chart_c.description = f"{title}. {chart}"

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
            alternative=q.alternative, level=q.conf_level,
        )  # fmt: skip
        return sentence(situation, self._labels)

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
        else:
            head, rows, chosen = screen.estimates(reading)
            text = markup.table(head, rows, chosen=chosen, caption="Estimates")
        _put(self._controls.table, text)

    def _show_status(self) -> None:
        c, running = self._controls, self._running
        reading = self._reading
        done = self._done
        goal = self._run.goal if running and self._run is not None else done
        facts, mcse = ([], "") if reading is None else screen.two_errors(reading)
        _put(c.counted, markup.counted(done, goal, mcse))
        _put(c.progress, markup.progress(done, goal, self._first))
        if c.stop.disabled == running:
            c.stop.disabled = not running
        size = goal - self._first
        for k, step in c.steps.items():
            (step.add_class if running and size == k else step.remove_class)("bv-run")
        _put(c.status, self._status_line(done, goal, facts, running))

    def _status_line(self, done: int, goal: int, facts: list, running: bool) -> str:
        if self._error is not None:
            return markup.status("idle", "", error=self._error)
        reading = self._reading
        notes = self._notes(reading)
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

    def _notes(self, reading: Reading | None) -> list[str]:
        """Sentences under the table that a reader must see: rows left out, draws that failed, few draws, fall-backs."""
        bundle = self._machine.model.bundle
        notes = []
        if bundle.n_total > bundle.n:
            cols = ", ".join(bundle.missing_in) or "a used column"
            notes.append(status("S1", k=bundle.n_total - bundle.n, n=bundle.n_total, cols=cols).text)
        if reading is None or reading.inference is None:
            return notes
        failed = reading.count - reading.usable
        if failed:
            reason = max(reading.failures, key=lambda name: reading.failures[name]) if reading.failures else "no estimate"
            notes.append(status("S13", fail=failed, B=reading.count, reason=reason).text)
        if reading.usable < 100:
            notes.append(status("S12", B=reading.usable, level=f"{100 * reading.query.conf_level:g}%").text)
        elif reading.chosen.note:
            notes.append(reading.chosen.note.capitalize())
        elif not (np.isfinite(reading.chosen.low) or np.isfinite(reading.chosen.high)):
            notes.append(status("S12", B=reading.usable, level=f"{100 * reading.query.conf_level:g}%").text)
        return notes

    # ---- drawer -------------------------------------------------------------------------------------------------

    def _open_drawer(self, name: str) -> None:
        self._drawer = "" if self._drawer == name else name
        if self._drawer == "code":
            text = markup.code_block(self.code(), "The same table without the panel:")
        elif self._drawer == "share":
            text = markup.code_block(
                f'import bossaviz as bv\n\npanel = bv.from_code("""\n{self.code()}""")\npanel',
                "Whoever runs this sees this panel, draw by draw:",
            )
        elif self._drawer == "save":
            text = markup.downloads(self._files())
        else:
            text = ""
        self._controls.drawer.value = text

    def _files(self) -> list[tuple[str, str, str]]:
        def address(kind: str, content: str | bytes) -> str:
            raw = content if isinstance(content, bytes) else content.encode()
            return f"data:{kind};base64,{base64.b64encode(raw).decode('ascii')}"

        svg = self.picture_svg()
        return [
            ("bootstrap.svg", "Picture (SVG)", address("image/svg+xml", svg)),
            ("bootstrap.png", "Picture (PNG)", address("image/png", self.picture_png())),
            ("bootstrap.html", "Page (HTML)", address("text/html", self.page())),
            ("draws.csv", "Draws (CSV)", address("text/csv", self.draws_csv())),
        ]

    # ---- results ------------------------------------------------------------------------------------------------

    @property
    def inference(self) -> InferenceState | None:
        """The full result behind the table, with its Monte-Carlo errors; None before the second draw."""
        return self._reading.inference if self._reading is not None else None

    @property
    def result(self) -> Any:
        """The table of estimates as a polars frame, in full precision, with the columns of ``m.params``."""
        from inference_core import tables

        model = self._machine.model
        return tables.params_table(model.bundle, model.fit_state, self.inference)

    @property
    def resamples(self) -> Any:
        """The draws shown as a polars frame: draw, then one column per term; failed draws are null."""
        import polars as pl

        reading = self._reading
        draws = self._store.first(reading.count if reading is not None else 0)
        columns = {"draw": np.arange(1, draws.count + 1)}
        columns |= {name: draws.samples[:, j] for j, name in enumerate(self._machine.model.bundle.X_names)}
        return pl.DataFrame(columns).with_columns(pl.exclude("draw").fill_nan(None))

    @property
    def chart(self) -> Any:
        """Pane C as a static Altair chart; drawn without a network by bossaviz's own renderer."""
        import altair

        from ..offline import enable_renderer, self_contained

        if altair.renderers.active == "default":  # it would fetch JavaScript from a CDN
            enable_renderer()
        return altair.Chart.from_dict(self_contained(self._chart_c, width=874))

    def code(self) -> str:
        """Return code that gives the table with ``inference_core`` alone."""
        reading = self._reading
        return write_code(self.state, source_of(self._machine.model), reading.count if reading is not None else 0)

    def picture_svg(self, theme: str = "light") -> str:
        """Return the three panes, the question and the sentence as one SVG."""
        from ..charts.picture import compose
        from ..offline import render_svg

        with self._lock:
            naming, _ = self._focal()
            reading, said = self._reading, self._said
            assert reading is not None and said is not None  # _show() has run
            shown = self._shown(reading)
            charts = tuple(
                render_svg(chart, theme=theme, width=width)
                for chart, width in ((self._chart_a, 429), (self._chart_b, 429), (self._chart_c, 874))
            )
            titles = ("The data (real)", f"Resample #{shown} (simulated)" if shown else "A resample (simulated)",
                      screen.title_of_distribution(reading, naming)[0] + " (simulated)")  # fmt: skip
        return compose(naming.question, titles, charts, said.main, theme)

    def page(self) -> str:
        """Return a whole page that needs no kernel and no network: picture, sentence, table and code."""
        from ..page import page

        reading, said = self._reading, self._said
        assert reading is not None and said is not None  # _show() has run
        head, rows, chosen = screen.estimates(reading)
        return page(
            title=self._focal()[0].question,
            body=[
                self.picture_svg(),
                markup.sentence([(run.text, run.role) for run in said.runs], said.more, said.tone),
                markup.table(head, rows, chosen=chosen, caption="Estimates"),
                markup.code_block(self.code(), "The same table without the panel:"),
            ],
        )

    def draws_csv(self) -> str:
        """Return the draws as csv: draw, then one column per term."""
        return self.resamples.write_csv()

    def __repr__(self) -> str:
        reading = self._reading
        s, model = self.state, self._machine.model
        count = reading.count if reading is not None else 0
        head = f"bootstrap of {model.formula!r}: {s.term}, {count:,} draws (case, seed {s.seed})"
        if reading is None or reading.inference is None:
            return f"{head}, no limits yet"
        chosen, (_, digits) = reading.chosen, screen.scale_of_focus(reading)
        low, high = (f"{v:.{digits}f}" for v in (chosen.low, chosen.high))
        return f"{head}, {100 * s.conf_level:g}% {CI_TYPES[s.ci_type]} interval {low} to {high}"


def _put(widget: Any, value: str) -> None:
    """Send markup only where it differs: a message costs more than a comparison."""
    if widget.value != value:
        widget.value = value


def make(model: Any, *, worker: Any = None, **choices: Any) -> BootstrapPanel:
    """Return a panel for a fitted model; ``choices`` are traits of :class:`BootstrapState`."""
    from inference_core.rng import RNG

    if not hasattr(model, "fit_state"):
        raise InferenceError(
            asked=f"bootstrap({type(model).__name__})",
            found="an object that is not a model",
            remedy="bv.bootstrap(model('y ~ x', df).fit())",
        )
    machine = Machine(model)
    terms = machine.names
    if choices.get("seed") is None:
        choices["seed"] = RNG.from_seed(None).seed % 10_000  # short enough to read out and type again
    if choices.get("ci_type") is None:
        choices.pop("ci_type", None)
    if choices.get("term") is None:
        choices["term"] = next((t for t in terms if t != "(Intercept)"), terms[0])
    unknown = sorted(set(choices) - set(BootstrapState.SAVED))
    if unknown:
        raise InferenceError(
            asked=f"bootstrap({unknown[0]}=...)",
            found=f"no such choice; there are {', '.join(BootstrapState.SAVED)}",
            remedy="leave it out",
        )
    try:
        state = BootstrapState(terms=terms, **choices)
    except traitlets.TraitError as problem:
        wrong, _, remedy = str(problem).partition(". ")
        raise InferenceError("bootstrap(m, ...)", wrong, remedy or "see the choices of BootstrapState") from None
    return BootstrapPanel(model, state, worker)


__all__ = ["DOTS_UP_TO", "BootstrapPanel", "make"]
