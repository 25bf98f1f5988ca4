"""The widgets of a bootstrap panel and where they stand; no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

import ipywidgets as w

from bossaviz import markup
from bossaviz.look import css
from bossaviz.state import CI_TYPES, LEVELS, BootstrapState

STEPS = (1, 10, 100, 1000)
# What belongs to the grammar of every panel but not to this one: shown dashed, with the way to it.
OPERATIONS = (
    ("fit", ""),
    ("explore", "This panel bootstraps the parameters of the fit; effects come with m.explore(...)."),
    ("predict", "This panel bootstraps the parameters of the fit; predictions come with m.predict(...)."),
)
HOWS = (
    ("asymp", "This panel draws resamples. The limits from a formula stand below as Wald; m.infer() has them all."),
    ("boot", ""),
    ("perm", "Shuffling imagines a world without the effect; this panel resamples the world there is."),
    ("cv", "Cross-validation scores predictions; this panel resamples estimates."),
    ("profile", "A profile refits at each value of one parameter; nothing is drawn by chance."),
    ("joint", "A joint test asks about several numbers at once; this panel shows one."),
)
THEORY_TYPES = (
    ("profile", "Profile limits come from a formula, not from draws: m.infer(how='profile')."),
    ("Wald", "Wald limits come from a formula, not from draws; they stand below for comparison."),
)
SCHEMES = {
    "case": "case (whole rows)",
    "parametric": "parametric (new data)",
    "cluster": "cluster (whole groups)",
    "residual": "residual (leftovers)",
    "wild": "wild (signs flipped)",
}
TABS = (("Estimates", "estimates"), ("Pinned runs", "pinned"), ("Draws", "draws"))


def html(value: str = "", *classes: str) -> w.HTML:
    """Return a piece of markup as a widget."""
    return styled(w.HTML(value), *classes)


def put(widget: w.HTML, value: str) -> None:
    """Send markup only where it differs: a message costs more than a comparison."""
    if widget.value != value:
        widget.value = value


def styled(widget, *classes: str):
    """Give a widget its classes; returns it."""
    for name in classes:
        widget.add_class(name)
    return widget


def button(words: str, *classes: str, tooltip: str = "") -> w.Button:
    """Return a button in words; its look comes from its class."""
    return styled(w.Button(description=words, tooltip=tooltip or words), *classes)


def labelled(words: str, *, first: bool = False) -> w.HTML:
    """Return the small label above a control."""
    return html(markup.label(words), *(["bv-lab-first"] if first else []))


@dataclass
class Controls:
    """Every widget that is read or written after the panel was built."""

    state: BootstrapState
    term_words: dict[str, str]
    never: tuple[tuple[str, str], ...] = ()  # kinds of interval that the model has not, and why
    question: w.HTML = field(init=False)
    facts: w.HTML = field(init=False)

    def __post_init__(self) -> None:
        s = self.state
        self.question = html()
        self.facts = html()
        self.seed = styled(w.IntText(value=s.seed, continuous_update=False), "bv-seed-box")
        self.reset = button("Reset", "bv-reset", tooltip="Back to the settings the panel was made with")
        self.code = button("Code", "bv-code-button", tooltip="The code that gives this table without the panel")
        self.share = button("Share", "bv-share", tooltip="A text that rebuilds this panel elsewhere")
        self.save = button("Save", "bv-save", "bv-framed", tooltip="Picture, page or draws as a file")
        self.drawer = html("", "bv-drawer-box")
        self.term = w.Dropdown(options=[(self.term_words[t], t) for t in s.terms], value=s.term)
        styled(self.term, "bv-term")
        schemes = [(SCHEMES.get(name, name), name) for name in s.schemes]
        self.scheme = styled(w.Dropdown(options=schemes, value=s.scheme), "bv-scheme")
        types = [(CI_TYPES[name], name) for name in s.ci_types]
        self.ci_type = styled(w.RadioButtons(options=types, value=s.ci_type), "bv-ci-type")
        self.not_here = html(markup.chips(self.never + THEORY_TYPES))
        level = w.FloatSlider(value=s.conf_level, min=LEVELS[0], max=LEVELS[1], step=0.005, readout=False)
        self.level = styled(level, "bv-slider", "bv-level")
        box = w.FloatText(value=s.conf_level, step=0.01, continuous_update=True)  # acted on when typing pauses
        self.level_box = styled(box, "bv-level-box")
        self.steps = {k: button(f"+{k}", "bv-gen", f"bv-plus-{k}", tooltip=f"Draw {k:,} more") for k in STEPS}
        self.stop = button("Stop", "bv-stop", tooltip="Stop drawing; what was drawn counts")
        self.stop.disabled = True
        self.progress = html()
        self.counted = html("", "bv-counted")
        self.fold = button("More", "bv-fold", tooltip="Bins, overlay, alternative, pinned runs")
        self.bins = styled(w.IntSlider(value=s.bins, min=2, max=20, readout=False), "bv-slider", "bv-bins")
        self.bins_box = styled(w.BoundedIntText(value=s.bins, min=2, max=20), "bv-bins-box")
        overlay = w.Checkbox(value=s.overlay, description="curve of the formula over the draws", indent=False)
        self.overlay = styled(overlay, "bv-check")
        self.alternative = styled(
            w.RadioButtons(options=["two-sided", "less", "greater"], value=s.alternative), "bv-alternative"
        )
        self.null = styled(w.FloatText(value=s.null, continuous_update=False), "bv-null")
        self.pin = button("Pin this run", "bv-pin", "bv-framed", tooltip="Keep these limits among the pinned runs")
        self.title_a, self.title_b, self.title_c = html(), html(), html()
        self.sentence = html("", "bv-sentence")
        self.why = button("why?", "bv-why", tooltip="More about this sentence")
        self.tab = styled(w.RadioButtons(options=list(TABS), value=s.tab), "bv-tabs")
        self.table = html("", "bv-table-box")
        self.status = html("", "bv-status-box")

    def allow_types(self, types: dict[str, str], chosen: str) -> None:
        """Offer the kinds of interval whose reason against them is empty; the others stay as dashed chips."""
        offered = [(CI_TYPES[name], name) for name, reason in types.items() if not reason]
        if list(self.ci_type.options) != offered:
            self.ci_type.options = offered
        if self.ci_type.value != chosen:
            self.ci_type.value = chosen
        against = tuple((CI_TYPES[name], f"Not for this number: {reason}.") for name, reason in types.items() if reason)
        put(self.not_here, markup.chips(against + self.never + THEORY_TYPES))

    # ---- layout -------------------------------------------------------------------------------------------------

    def rail(self) -> w.VBox:
        """Return the five groups in the order of thinking."""
        more = styled(
            w.VBox([
                labelled("alternative", first=True), chips_of(self.alternative),
                labelled("null: the value the p-value is for"), self.null,
                labelled("bars per standard error (beyond 500 draws)"), row(self.bins, self.bins_box),
                self.overlay, self.pin,
            ]),
            "bv-more-body",
        )  # fmt: skip
        more.layout.display = "none"
        self.more_body = more
        return styled(
            w.VBox([
                group(1, "What and how", labelled("after the last step", first=True), html(markup.chips(OPERATIONS)),
                      labelled("how"), html(markup.chips(HOWS))),
                group(2, "Which number", self.term),
                group(3, "Bootstrap", labelled("scheme: what is drawn anew", first=True), self.scheme,
                      labelled("ci_type"), chips_of(self.ci_type, self.not_here),
                      labelled("conf_level"), row(self.level, self.level_box)),
                group(4, "Make resamples", styled(w.HBox(list(self.steps.values())), "bv-gens"),
                      styled(w.HBox([self.progress, self.stop]), "bv-row", "bv-run-row"), self.counted),
                styled(
                    w.VBox([
                        styled(w.HBox([html('<span class="bv-num">5</span>'), self.fold,
                                       html('<span class="bv-sub">bins, overlay, alternative</span>')]), "bv-fold-row"),
                        more,
                    ]), "bv-grp", "bv-grp-5"),
            ]),
            "bv-rail",
        )  # fmt: skip

    def root(self, chart_a: w.Widget, chart_b: w.Widget, chart_c: w.Widget, voice: w.Widget) -> w.VBox:
        """Return the whole panel."""
        seed = styled(w.HBox([w.Label("seed"), self.seed]), "bv-seed")
        strip = styled(
            w.HBox([
                styled(w.VBox([self.question, styled(w.HBox([self.facts, seed]), "bv-facts")]), "bv-q-text"),
                styled(w.HBox([self.reset, self.code, self.share, self.save]), "bv-acts"),
            ]),
            "bv-q",
        )  # fmt: skip
        right = styled(
            w.VBox([
                styled(w.HBox([pane("a", self.title_a, chart_a), pane("b", self.title_b, chart_b)]), "bv-two"),
                pane("c", self.title_c, chart_c),
                styled(w.VBox([self.sentence, self.why, voice]), "bv-words"),
                styled(w.VBox([self.tab, self.table]), "bv-pane", "bv-pane-e"),
            ]),
            "bv-right",
        )  # fmt: skip
        main = styled(w.HBox([self.rail(), right]), "bv-main")
        sheet = html(f"<style>{css()}</style>", "bv-sheet")
        return styled(w.VBox([sheet, strip, self.drawer, main, self.status]), "bv-panel")


def group(number: int, title: str, *body: w.Widget) -> w.VBox:
    """Return one numbered group of the rail."""
    return styled(w.VBox([html(markup.group_title(number, title)), *body]), "bv-grp", f"bv-grp-{number}")


def pane(letter: str, title: w.Widget, chart: w.Widget) -> w.VBox:
    """Return one pane: its heading and its chart."""
    return styled(w.VBox([title, chart]), "bv-pane", f"bv-pane-{letter}")


def row(*widgets: w.Widget) -> w.HBox:
    """Return a slider and its box side by side."""
    return styled(w.HBox(list(widgets)), "bv-row")


def chips_of(radio: w.RadioButtons, *beside: w.Widget) -> w.HBox:
    """Return radio buttons that look like chips, then chips that cannot be chosen."""
    return styled(w.HBox([radio, *beside]), "bv-chips")
