"""LiveChart: a Vega-Lite chart that is embedded once and then fed, from any thread.

::

    spec = {
        "width": "container", "height": 160, "autosize": {"type": "none"},
        "padding": {"left": 40, "right": 10, "top": 20, "bottom": 40},
        "params": [{"name": "cut", "value": 0}],
        "layer": [
            {"name": "bars", "data": {"name": "bins"},
             "mark": {"type": "bar", "color": "@sim"}, "encoding": ...},
            {"data": {"values": [{}]}, "mark": {"type": "rule", "color": "@tail"},
             "encoding": {"x": {"datum": {"expr": "cut"}, "type": "quantitative"}}},
        ],
    }
    chart = LiveChart(spec, data={"bins": {"x": x, "x2": x2, "count": n}}, selectable=["bars"])
    chart.push(data={"bins": ...}, params={"cut": 1.96}, epoch=3)   # one message; False if run 3 is over
    chart.observe(lambda change: print(change.new["datum"]), "selections")

Rules a spec follows:

* ``data`` that changes is named, ``{"name": "bins"}``; a param is a top-level variable param.
* A colour is a token, ``"@sim"`` (``look.py`` lists them), also in data, in params, and quoted in expressions
  (``"datum.out ? '@sim-soft' : '@sim'"``, with ``"scale": None``). On screen it becomes the CSS variable
  ``--bv-sim``, so the chart follows the theme of the page by itself, without a redraw. Scales that
  interpolate colours need plain ones. ``"url(#bv-hatch)"`` hatches.
* ``"width": "container"`` (of the chart, or of the members of a ``vconcat``) follows the element without a
  new embedding; with ``autosize`` none the plot is the element less ``padding``. Heights are numbers.
* A unit's ``name`` is what ``selections`` and ``selectable`` call its marks.
* Nothing is ever loaded: no addresses in data or images.

Where every call comes from one thread, assigning ``chart.data`` or ``chart.params`` does what ``push`` does.
The browser sets ``selections``, ``hovered`` and ``signals``; they arrive in the thread the kernel gives them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import traitlets
from ipywidgets import widget_serialization

from bossaviz.chartdata import columns_of, dataset_names, encode, param_names, plain
from bossaviz.runtime import Runtime, drawing_code, runtime, stamp, static_text
from inference_core.errors import DataError


class LiveChart(anywidget.AnyWidget):
    """A chart on the page whose data and params change without its being drawn anew.

    Parameters
    ----------
    spec
        Vega-Lite as a dict (or anything with ``to_dict``), following the rules at the top of this module.
    data
        ``{dataset: {column: values}}``; a dataset may also be a data frame. Numbers travel as float64.
    params
        ``{param: value}``, over the spec's own values.
    **traits
        Any other trait below.

    Raises ``DataError`` for a dataset or param that the spec does not have, and as ``chartdata.columns_of``.
    """

    _esm = static_text("loader.js")

    spec = traitlets.Dict().tag(sync=True)
    datasets = traitlets.List(traitlets.Unicode()).tag(sync=True)
    params = traitlets.Dict().tag(sync=True)
    epoch = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0, help="counts pushes; the page repeats it once painted").tag(sync=True)
    width = traitlets.Int(0, help="pixels; 0 follows the element").tag(sync=True)
    description = traitlets.Unicode("", help="what a screen reader says of the chart").tag(sync=True)
    stale = traitlets.Bool(False, help="dimmed: what is shown is out of date").tag(sync=True)
    # the names of the marks that answer click and keyboard; empty: every mark, by click only
    selectable = traitlets.List(traitlets.Unicode()).tag(sync=True)
    landmark = traitlets.Unicode("", help='the mark that the key "o" goes to').tag(sync=True)
    selections = traitlets.Dict(help='the last click: {"name", "datum", "seq"}').tag(sync=True)
    report_hover = traitlets.Bool(False).tag(sync=True)
    hovered = traitlets.Dict(help="as selections, for the mark under the pointer").tag(sync=True)
    # signals of the compiled chart to report, at most 20 times a second
    watch = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # param -> {"mark": name, "scale": "x", "min": .., "max": ..}: the mark can be dragged, and sets the param
    handles = traitlets.Dict().tag(sync=True)
    signals = traitlets.Dict(help="last values of watched signals and dragged handles").tag(sync=True)

    runtime = traitlets.Instance(Runtime).tag(sync=True, **widget_serialization)
    stamp = traitlets.Unicode().tag(sync=True)
    bundle = traitlets.Dict(help="a copy of the drawing code, only where no Runtime is found").tag(sync=True)

    data = traitlets.Dict(help="{dataset: {column: array}} as last pushed")

    def __init__(
        self,
        spec: Any,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        **traits: Any,
    ):
        self._lock = threading.RLock()
        self._pushing = True
        spec = spec.to_dict() if hasattr(spec, "to_dict") else spec
        names = dataset_names(spec)
        columns, values = _checked(spec, names, data or {}, params or {})
        for trait in traits:  # traitlets would take a misspelt one without a word
            if not self.has_trait(trait):
                raise TypeError(f"LiveChart has no trait {trait!r}")
        self._add_dataset_traits(names)
        super().__init__(
            spec=spec,
            datasets=names,
            data=columns,
            params=values,
            runtime=runtime(),
            stamp=stamp(),
            **{f"data_{name}": encode(table) for name, table in columns.items()},
            **traits,
        )
        self._pushing = False
        self.on_msg(self._answer)

    def push(
        self,
        data: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        epoch: int | None = None,
    ) -> bool:
        """Show new data and params as one frame: one message, from any thread, in a millisecond or so.

        ``data`` replaces the datasets it names, ``params`` the params it names; the others stay. ``epoch`` is
        the number of the run that pushes: a run older than the newest one draws nothing and is told
        ``False``. The browser paints the newest frame at its own pace and skips those in between.
        """
        columns, values = _checked(self.spec, self.datasets, data or {}, params or {})
        states = {f"data_{name}": encode(table) for name, table in columns.items()}
        with self._lock:
            if epoch is not None and epoch < self.epoch:
                return False
            self._pushing = True
            try:
                with self.hold_sync():
                    for trait, state in states.items():
                        self.set_trait(trait, state)
                    if columns:
                        self.data = {**self.data, **columns}
                    if values:
                        self.params = {**self.params, **values}
                    if epoch is not None:
                        self.epoch = epoch
                    self.frame += 1
            finally:
                self._pushing = False
        return True

    def _add_dataset_traits(self, names: Sequence[str]) -> None:
        """Give each dataset a trait of its own, so that a push sends only the datasets it changes."""
        new = [f"data_{name}" for name in names if not self.has_trait(f"data_{name}")]
        if new:
            self.add_traits(**{name: traitlets.Dict(encode({})).tag(sync=True) for name in new})

    @traitlets.observe("data", "params")
    def _assigned(self, change) -> None:
        if not self._pushing:
            self.push(**{change.name: change.new})

    @traitlets.observe("spec")
    def _new_spec(self, change) -> None:
        names = dataset_names(change.new)
        self._add_dataset_traits(names)
        self.datasets = names

    @traitlets.observe("signals")
    def _dragged(self, change) -> None:
        """Keep ``params`` at what a handle was dragged to, for other views and for saved state."""
        moved = {name: value for name, value in change.new.items() if name in self.handles}
        if moved:
            self.push(params=moved)

    def _answer(self, _widget, content: dict, _buffers) -> None:
        if content.get("type") == "bundle":
            self.bundle = drawing_code()

    def __repr__(self) -> str:
        # what it shows, not how far it has come: two runs of one notebook print the same
        return f"LiveChart({self.description or ', '.join(self.datasets)})"


def _checked(spec: Mapping, names: Sequence[str], data: Mapping, params: Mapping) -> tuple[dict, dict]:
    """Return checked columns and plain param values."""
    for kind, given, known in (("dataset", data, names), ("param", params, param_names(spec))):
        for name in given:
            if name not in known:
                raise DataError(
                    asked=f"{kind} {name!r} of a chart",
                    found=f"its spec has {', '.join(known) or 'none'}",
                    remedy=f"name one of those, or add the {kind} to the spec",
                )
    columns = {name: columns_of(name, table) for name, table in data.items()}
    return columns, {name: plain(value) for name, value in params.items()}
