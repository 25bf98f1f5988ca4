"""What a screen reader hears and the keyboard finds: a live region that waits until the words are still."""

from __future__ import annotations

import anywidget
import traitlets

from bossaviz.runtime import static_text


class Voice(anywidget.AnyWidget):
    """A hidden live region; ``text`` is spoken once it has not changed for ``still_ms``.

    Its browser half also gives the panel around it names, radio buttons that arrow keys walk, the flight of one draw
    (``flight``), and a last word when its kernel is gone.
    """

    _esm = static_text("flight.js") + static_text("voice.js")
    text = traitlets.Unicode().tag(sync=True)
    flight = traitlets.Dict(help='{"draw", "frame"}: the draw that flies once pane C has painted that frame')
    flight.tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    still_ms = traitlets.Int(600).tag(sync=True)

    def __repr__(self) -> str:
        return "Voice()"
