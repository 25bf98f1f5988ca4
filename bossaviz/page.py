"""A whole page around parts of a panel: no script, no network, both themes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .look import css


def page(title: str, body: Sequence[str]) -> str:
    """Return an HTML page of ``body``, in the look of the panels."""
    parts = "".join(f'<section class="bv-pane">{part}</section>' for part in body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css()}"
        "body{margin:0;padding:16px}.bv-panel{max-width:940px;margin:auto}.bv-panel svg{max-width:100%;height:auto}"
        f'</style></head><body><main class="bv-panel"><div class="bv-right">{parts}</div></main></body></html>\n'
    )
