"""The bootstrap panel: state, draws, charts and words wired together."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import traitlets

from bossaviz import markup, screen
from bossaviz.charts.cases import Cases, cases_data, cases_spec, left_padding, right_padding
from bossaviz.charts.distribution_spec import distribution_spec
from bossaviz.compute.draws import DrawStore
from bossaviz.compute.focus import Focus
from bossaviz.compute.reading import Machine, Reading
from bossaviz.compute.types import types_left_out
from bossaviz.compute.worker import Run, default_worker, drain, watch_seconds, watched
from bossaviz.dots import DotWords
from bossaviz.labels import labels_for
from bossaviz.livechart import LiveChart
from bossaviz.naming import Naming, naming_of
from bossaviz.notes import standing_notes
from bossaviz.sentences import Sentence, Situation
from bossaviz.state import CI_TYPES, BootstrapState
from inference_core.errors import InferenceCoreError

from .base import Panel, warm_up_pictures
from .controls import Controls
from .debounce import Debounce
from .results import Results
from .showing import Showing, group_counts
from .voice import Voice

FRAMES_TO_WATCH = 15  # of a run held to 0.8 s: a little more than 50 ms each
WORDS_EVERY = 4  # while drawing, the sentence and the table change with every fourth frame only
TYPING_SECONDS = 0.3
DISPLAY = ("term", "ci_type", "conf_level", "null", "alternative", "shown", "bins", "overlay", "tab", "more")


class BootstrapPanel(Showing, Results, Panel):
    """A live bootstrap of a fitted model; made by :func:`bossaviz.bootstrap`."""

    def __init__(self, model: Any, state: BootstrapState, worker: Any = None) -> None:
        self._machine = Machine(model)
        self.state = state
        self._worker = worker if worker is not None else default_worker()
        self._lock = threading.RLock()
        self._labels = labels_for(self._machine.model)
        self._standing = standing_notes(self._machine.model, self._labels)
        self._focus: dict[str, tuple[Naming, Focus]] = {}
        self._dots: dict[tuple[str, str], DotWords] = {}  # by term and scheme
        self._distinct: dict[int, np.ndarray] = {}  # by seed
        self._reach: np.ndarray | None = self._machine.reach()
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
        self._situation: Situation | None = None
        self._setting = False
        self._ended = False  # a run has ended and nobody has been told yet
        self._null_asked = state.null != 0.0  # whether the reader asked about a null
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
        model, terms = self._machine.model, self.state.terms
        names = {term: naming_of(model, term, self._labels) for term in terms}
        self._rows = {term: name.row for term, name in names.items()}
        sides = {"left": left_padding(focus.frame.y_labels),
                 "right": right_padding(name.end for name in names.values())}  # fmt: skip
        self._chart_a = LiveChart(cases_spec("real", **sides), *cases_data(self._real_cases(), focus.frame))
        empty = Cases(focus.x, focus.y, focus.numbers[focus.rows], np.zeros(focus.x.size))
        self._chart_b = LiveChart(cases_spec("sim", **sides), *cases_data(empty, focus.frame))
        spec = distribution_spec(len(self.state.ci_types) + 1, 1)
        self._chart_c = LiveChart(spec, selectable=["dots", "bars"], landmark="observed")
        self._voice = Voice(title=f"Bootstrap of {model.formula}")
        never = tuple((CI_TYPES[name], reason) for name, reason in types_left_out(model).items())
        self._controls = Controls(self.state, {term: name.menu for term, name in names.items()}, never)
        self.widget = self._controls.root(self._chart_a, self._chart_b, self._chart_c, self._voice)
        bundle = model.bundle
        self._controls.facts.value = markup.facts(
            model.formula, bundle.n, bundle.n_total, naming.units, naming.unit_name, group_counts(model, self._labels)
        )
        self._show_types()

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
                if widget is self._controls.ci_type:
                    self._show_types()
                else:
                    widget.value = value
                widget.remove_class("bv-wrong")
            finally:
                self._setting = before

    def _choose(self, trait: str, value: Any, widget: Any) -> None:
        before = self._error
        try:
            setattr(self.state, trait, value)
        except traitlets.TraitError as problem:
            wrong, _, remedy = str(problem).partition(". ")
            widget.add_class("bv-wrong")
            self._refuse(wrong + ("." if remedy else ""), remedy)
            return
        widget.remove_class("bv-wrong")
        if self._error is not None and self._error is before:
            self._error = None
            self._show_status()

    # ---- what the reader does -----------------------------------------------------------------------------------

    def draw(self, k: int) -> BootstrapPanel:
        """Draw ``k`` more resamples; while a run goes on, it is lengthened. Returns the panel."""
        with self._lock:
            if k == 1:
                self.state.shown = None
            going = self._running
            shown = min(self.state.n_boot, self._done)  # after a reset there may be more in store than is shown
            start = max(self.state.n_boot, self._run.goal) if going and self._run else shown
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
        s = self.state
        made = BootstrapState.from_json(self._made_with, self._machine.names, schemes=s.schemes, ci_types=s.ci_types)
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
        try:
            self._display(change)
        except InferenceCoreError as problem:  # limits that this model turns out not to have
            with self._lock:
                setattr(self.state, change["name"], change["old"])
                self._refuse(problem.found[:1].upper() + problem.found[1:] + ".", f"Try {problem.remedy}.")

    def _display(self, change: Any) -> None:
        if change["name"] == "term":
            self._show_types()
            self._show_data()
        elif change["name"] == "null":
            self._null_asked = True
        if change["name"] in ("tab",):
            self._show_table()
        elif change["name"] == "more":
            self._show_sentence()
        else:
            self._show()

    def _on_draws(self, change: Any) -> None:
        """Other draws were asked for: those already made come back at once, else the old ones stay, dimmed."""
        if self._setting or not self._can_draw(change):
            return
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

    def _can_draw(self, change: Any) -> bool:
        """Whether the scheme chosen draws from this model; if not, the last one stays, and a sentence says why."""
        if change["name"] != "scheme":
            return True
        try:
            stream = self._machine.cache.store(self.state.draw_query()).stream
        except InferenceCoreError as problem:
            with self._lock:
                before, self._setting = self._setting, True
                try:
                    self.state.scheme = change["old"]
                    self._controls.scheme.value = change["old"]
                finally:
                    self._setting = before
                self._refuse(problem.found[:1].upper() + problem.found[1:] + ".", f"Try {problem.remedy}.")
            return False
        drawn = tuple(name for name in self._machine.names if name in stream.names)
        if drawn != self.state.terms:
            self._offer(drawn)
        return True

    def _offer(self, terms: tuple[str, ...]) -> None:
        """Offer other numbers: some schemes draw no SDs."""
        s, menu = self.state, self._controls.term
        with self._lock:
            s.terms = terms
            term = s.term if s.term in terms else next((t for t in terms if t != "(Intercept)"), terms[0])
            before, self._setting = self._setting, True
            try:
                menu.options = [(self._controls.term_words[t], t) for t in terms]
                menu.value = term
            finally:
                self._setting = before
            s.term = term

    def _on_n_boot(self, change: Any) -> None:
        if self._setting:
            return
        if change["new"] > self._machine.cache.count(self.state.draw_query()):
            self._generate(change["new"])
        else:
            self._stopped_short = 0
            self._show()
            if change["new"] - change["old"] == 1:
                self._fly(change["new"])

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
        return self._run is not None and not self._run.over

    @property
    def _done(self) -> int:
        return self._machine.cache.count(self.state.draw_query())

    @property
    def _stale(self) -> bool:
        """Whether what is shown belongs to other settings than those chosen."""
        shown = self._reading
        here = (self.state.seed, self.state.scheme)
        return shown is not None and shown.count > 0 and self._done == 0 and (shown.seed, shown.scheme) != here

    def _generate(self, goal: int, *, watch: bool = True) -> None:
        with self._lock:
            self._error = None
            self._stopped_short = 0
            if self._running and self._run is not None and not self._run.cancel.is_set():
                self._run.goal = goal
                self._show_status()
                return
            self._epoch += 1
            self._first = self._done
            seconds = watch_seconds(goal - self._first, self._worker.watch) if watch else 0.0
            run = self._run = Run(self._epoch, goal, self.state.draw_query(), seconds)
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
            drain(run, draws, self._frame, start)
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
                run.over = self._ended = True
                if self.state.n_boot != done:
                    self._setting = True
                    try:
                        self.state.n_boot = done
                    finally:
                        self._setting = False
            self._frames += 1
            self._show(words=last or self._frames % WORDS_EVERY == 0)
            if last and run.goal - self._first == 1:
                self._fly(run.goal)

    def _fly(self, draw: int) -> None:
        """Let one draw fly from the data to its dot; one that gave nothing has no dot to fly to."""
        if self._reading is not None and draw in self._reading.numbers:
            self._voice.flight = {"draw": draw, "frame": self._chart_c.frame}

    def _fail(self, run: Run, wrong: str, remedy: str) -> None:
        with self._lock:
            run.over = True
            if run.epoch == self._epoch:
                self._refuse(wrong[:1].upper() + wrong[1:].rstrip(".") + ".", remedy[:1].upper() + remedy[1:])

    def _refuse(self, wrong: str, remedy: str) -> None:
        self._error = (wrong, remedy)  # on the screen it is an alert: the live region need not say it again
        self._show_status()
