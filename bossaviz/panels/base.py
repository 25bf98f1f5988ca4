"""The public face of every panel: result, code, state, wait, stop, save, a stable repr and a picture that is kept."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from inference_core.errors import InferenceError

PICTURE_WAIT = 3.0  # seconds a display waits for the draws asked for, so that a saved notebook shows them
SAVERS = {".svg": "picture_svg", ".png": "picture_png", ".html": "page", ".csv": "draws_csv"}


class Panel:
    """A panel on a fitted model.

    Attributes
    ----------
    state : HasTraits
        Every choice of the reader; set or observe any of it.
    widget : ipywidgets.VBox
        What is shown; put it into a layout of your own if you like.
    """

    state: Any
    widget: Any

    def wait(self, timeout: float | None = None) -> Panel:
        """Wait until nothing is being drawn; returns the panel."""
        raise NotImplementedError

    def stop(self) -> Panel:
        """Stop drawing; what was drawn counts. Returns the panel."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write the panel to a file; the ending decides: .svg or .png a picture, .html a page, .csv the draws.

        Parameters
        ----------
        path : str or Path
            Where to write.

        Returns
        -------
        Path
            The file written.

        Raises
        ------
        InferenceError
            For an ending that none of these has.
        """
        path = Path(path)
        maker = SAVERS.get(path.suffix.lower())
        if maker is None:
            raise InferenceError(
                asked=f"save({str(path)!r})",
                found=f"the ending {path.suffix!r}; panels save {', '.join(SAVERS)}",
                remedy="fig.svg or fig.png for a picture, page.html for a page, draws.csv for the draws",
            )
        content = getattr(self, maker)()
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
        return path

    def picture_svg(self) -> str:
        """Return the panes as one SVG."""
        raise NotImplementedError

    def picture_png(self, scale: float = 2.0) -> bytes:
        """Return the panes as one PNG with ``scale`` pixels for each CSS pixel."""
        import vl_convert

        return vl_convert.svg_to_png(self.picture_svg(), scale=scale)

    def _repr_mimebundle_(self, include=None, exclude=None) -> Any:
        self.wait(PICTURE_WAIT)
        bundle = self.widget._repr_mimebundle_()
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        data["text/plain"] = repr(self)
        data["image/png"] = self.picture_png(scale=1.0)  # a display waits for it, and the notebook carries it
        return data

    def close(self) -> None:
        """Stop drawing and take the widgets off the page."""
        self.stop()
        self.widget.close()


def warm_up_pictures() -> None:
    """Start the renderer of pictures in a thread: its first picture takes half a second, the others 50 ms."""

    def body() -> None:
        from bossaviz.offline import render_svg

        render_svg({"mark": "point", "data": {"values": []}, "encoding": {}})

    threading.Thread(target=body, name="bossaviz-warm-up", daemon=True).start()
