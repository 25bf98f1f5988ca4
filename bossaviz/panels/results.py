"""What a bootstrap panel gives away: tables, code, pictures, a page, files."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from bossaviz import markup, screen
from bossaviz.code import place_of, source_of, write_code
from bossaviz.state import CI_TYPES
from inference_core.errors import InferenceError
from inference_core.states import InferenceState

from .controls import put


class Results:
    """The results of a bootstrap panel; a part of :class:`bossaviz.panels.bootstrap.BootstrapPanel`."""

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
    def spread(self) -> Any:
        """SDs and correlations of a mixed model with their limits, as a polars frame: one row each, residual SD last.

        Raises
        ------
        InferenceError
            For a model without random effects.
        """
        import polars as pl

        names = self._machine.statistics[self._machine.model.bundle.p :]
        if not names:
            raise InferenceError("p.spread", "a model without random effects", "p.result has the coefficients")
        reading = self._reading
        assert reading is not None  # _show() has run
        p = len(reading.wald.se)
        columns: dict[str, Any] = {"term": list(names), "estimate": reading.estimate[p:]}
        if reading.table is not None:
            columns |= {name: np.asarray(getattr(reading.table, name))[p:] for name in ("se", "ci_lower", "ci_upper")}
        return pl.DataFrame(columns).with_columns(pl.exclude("term").fill_nan(None))

    @property
    def resamples(self) -> Any:
        """The draws shown as a polars frame: draw, then one column per term; failed draws are null."""
        import polars as pl

        reading = self._reading
        draws = self._store.first(reading.count if reading is not None else 0)
        columns = {"draw": np.arange(1, draws.count + 1)}
        columns |= {name: draws.samples[:, j] for j, name in enumerate(self._machine.statistics)}
        return pl.DataFrame(columns).with_columns(pl.exclude("draw").fill_nan(None))

    @property
    def sentence(self) -> str:
        """What the panel says, in plain words, as on the screen."""
        assert self._said is not None  # _show() has run
        return self._said.main

    @property
    def chart(self) -> Any:
        """Pane C as a static Altair chart; drawn without a network by bossaviz's own renderer."""
        import altair

        from bossaviz.offline import enable_renderer, self_contained

        if altair.renderers.active == "default":  # it would fetch JavaScript from a CDN
            enable_renderer()
        return altair.Chart.from_dict(self_contained(self._chart_c, width=874))

    def code(self) -> str:
        """Return code that gives the table with ``inference_core`` alone."""
        reading = self._reading
        model = self._machine.model
        count = reading.count if reading is not None else 0
        return write_code(self.state, source_of(model), count, place_of(model, self.state.term))

    def picture_svg(self, theme: str = "light") -> str:
        """Return the three panes, the question and the sentence as one SVG."""
        from bossaviz.charts.picture import compose
        from bossaviz.offline import render_svg

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
        from bossaviz.page import page

        reading, said = self._reading, self._said
        assert reading is not None and said is not None  # _show() has run
        head, rows, chosen = screen.estimates(reading, self._rows)
        return page(
            title=self._focal()[0].question,
            body=[
                self.picture_svg(),
                markup.sentence([(run.text, run.role) for run in said.runs], said.more, said.tone),
                markup.table(head, rows, chosen=chosen, caption="Estimates", above=self._between()),
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
        scheme = reading.scheme if reading is not None else s.scheme
        head = f"bootstrap of {model.formula!r}: {s.term}, {count:,} draws ({scheme}, seed {s.seed})"
        if reading is None or reading.inference is None:
            return f"{head}, no limits yet"
        chosen, (_, digits) = reading.chosen, screen.scale_of_focus(reading)
        if np.isnan(chosen.low) or np.isnan(chosen.high):
            return f"{head}, too few for a {CI_TYPES[chosen.ci_type]} interval"
        low, high = (f"{v:.{digits}f}" for v in (chosen.low, chosen.high))
        return f"{head}, {100 * s.conf_level:g}% {CI_TYPES[chosen.ci_type]} interval {low} to {high}"

    # ---- drawer -------------------------------------------------------------------------------------------------

    def _open_drawer(self, name: str) -> None:
        self._drawer = "" if self._drawer == name else name
        self._show_drawer(opened=True)

    def _show_drawer(self, opened: bool = False) -> None:
        """Show the open drawer; files are made once, when it is opened."""
        if self._drawer == "save" and not opened:
            return
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
        put(self._controls.drawer, text)

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
