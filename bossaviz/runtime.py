"""One Runtime widget a page carries the drawing code; every chart finds it through the widget manager.

The vega bundle is 0.84 MB (0.3 MB compressed). Put into each chart it would be sent, and saved in the
notebook, once a chart; held by one widget it is sent and saved once. A chart holds a reference to the
Runtime, so the widget manager restores it with the chart from saved state. Where the manager cannot find it,
the kernel sends the chart a copy (``LiveChart.bundle``).

Seen to work in JupyterLab 4.6, Notebook 7.6 and Voila 0.5, and from saved widget state in JupyterLab.
Notebook 7 restores no saved widget, not even a slider of ipywidgets, and shows the other forms of an output
instead: hence a panel's picture.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from functools import cache
from importlib.resources import files

import anywidget
import traitlets

from bossaviz.look import LIGHT, css_tokens

_LOCK = threading.Lock()
_current: Runtime | None = None


def static_text(name: str) -> str:
    """Return a text file of ``bossaviz/static``."""
    return files("bossaviz").joinpath("static", name).read_text(encoding="utf-8")


def live_script() -> str:
    """Return the hand-written module that draws a chart; it exports ``mount``."""
    return f"const TOKENS = new Set({list(LIGHT)});\n" + static_text("frames.js") + static_text("live.js")


def live_css() -> str:
    """Return the style of a chart by itself: the colour tokens of both themes, then ``live.css``."""
    return css_tokens().replace(".bv-panel", ":is(.bv-livechart,.bv-defs)") + static_text("live.css")


@cache
def drawing_code() -> dict[str, bytes | str]:
    """Return ``{"vega": gzip bytes, "live": text, "css": text}``: all that a page needs to draw."""
    # mtime=0: the same bytes in every kernel, so saved notebooks do not differ for nothing
    packed = gzip.compress(static_text("vega.js").encode(), compresslevel=9, mtime=0)
    return {"vega": packed, "live": live_script(), "css": live_css()}


@cache
def stamp() -> str:
    """Return a short fingerprint of the drawing code: a page loads each version once."""
    code = drawing_code()
    parts = (code["vega"], code["live"].encode(), code["css"].encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


class Runtime(anywidget.AnyWidget):
    """The drawing code of a page. Made by ``runtime()``; has nothing to show."""

    _esm = "export default { render() {} };"
    vega = traitlets.Bytes().tag(sync=True)
    live = traitlets.Unicode().tag(sync=True)
    css = traitlets.Unicode().tag(sync=True)

    def __init__(self):
        super().__init__(**drawing_code())

    def __repr__(self) -> str:
        return f"Runtime({stamp()})"


def runtime() -> Runtime:
    """Return this kernel's Runtime, made at the first call and again after ``Widget.close_all()``."""
    global _current
    with _LOCK:
        if _current is None or _current.comm is None:
            _current = Runtime()
        return _current
