"""The look of every panel: colours by meaning, the Vega-Lite configuration and the style sheet.

Colour says where a number came from: ``real`` ink is data, ``sim`` violet was drawn by chance, ``theory`` green-grey
came from a formula, ``tail`` orange was marked by the reader. A specification names a colour by its token,
``"@sim"``: on screen it becomes a CSS variable, so that one drawing follows the theme of the page; in a picture it
becomes the value of one theme.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType

LIGHT = MappingProxyType({
    "real": "#1f2933", "real-soft": "#7b8794", "sim": "#6d4fc2", "sim-soft": "#c9bdec", "sim-wash": "#f3f0fb",
    "tail": "#c2410c", "tail-soft": "#f6c9ae", "tail-wash": "#fdf3ec", "theory": "#3d5f63", "grid": "#e8eaed",
    "axis": "#9aa5b1", "ink2": "#5b6673", "warn-bg": "#fff6e5", "warn-edge": "#e0a100", "err-edge": "#b3261e",
    "ground": "#ffffff", "text": "#212121", "line": "#e0e0e0", "line-soft": "#eeeeee", "line-strong": "#bdbdbd",
    "brand": "#1976d2",
})  # fmt: skip
DARK = MappingProxyType({
    "real": "#e8ecf1", "real-soft": "#98a2ae", "sim": "#ab97f2", "sim-soft": "#55478c", "sim-wash": "#2c2840",
    "tail": "#f59e4b", "tail-soft": "#7a4a1d", "tail-wash": "#352a20", "theory": "#9fbdb4", "grid": "#343434",
    "axis": "#7d7d7d", "ink2": "#b4bcc6", "warn-bg": "#3a3118", "warn-edge": "#e0a100", "err-edge": "#ff8a80",
    "ground": "#212121", "text": "#f2f2f2", "line": "#424242", "line-soft": "#383838", "line-strong": "#616161",
    "brand": "#64b5f6",
})  # fmt: skip
THEMES = MappingProxyType({"light": LIGHT, "dark": DARK})
# What JupyterLab already names; our token follows it there and has its own value elsewhere.
JUPYTER = MappingProxyType({
    "ground": "--jp-layout-color1", "text": "--jp-ui-font-color1", "line": "--jp-border-color2",
    "line-strong": "--jp-border-color1", "brand": "--jp-brand-color1",
})  # fmt: skip

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


def vega_config() -> dict:
    """Return the Vega-Lite configuration shared by every chart. Colours are tokens such as ``"@sim"``."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": "@ink2", "labelFontSize": 11, "labelPadding": 4, "labelOverlap": "greedy",
            "titleColor": "@ink2", "titleFontSize": 11, "titleFontWeight": "normal", "gridColor": "@grid",
            "gridWidth": 1, "domainColor": "@axis", "domainWidth": 1, "tickColor": "@axis", "tickSize": 4,
            "tickWidth": 1, "tickCount": 6,
        },
        "axisX": {"grid": False, "titleAnchor": "end", "titlePadding": 6},
        "axisY": {"domain": False, "ticks": False, "tickCount": 3, "labelPadding": 6},
        "legend": {"disable": True},
        "text": {"fontSize": 11, "color": "@ink2"},
        "rule": {"color": "@real"},
    }  # fmt: skip


def css_tokens() -> str:
    """Return the custom properties of both themes, scoped to the panel."""

    def block(values) -> str:
        return "".join(
            f"--bv-{name}:{f'var({JUPYTER[name]}, {value})' if name in JUPYTER else value};"
            for name, value in values.items()
        )

    light, dark = block(LIGHT) + "color-scheme:light;", block(DARK) + "color-scheme:dark;"
    return (
        f".bv-panel{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{.bv-panel{{{dark}}}}}\n"
        # Inside Jupyter the application's theme decides, whatever the system prefers.
        f"[data-jp-theme-light='true'] .bv-panel,.bv-light .bv-panel{{{light}}}\n"
        f"[data-jp-theme-light='false'] .bv-panel,.bv-dark .bv-panel{{{dark}}}\n"
    )


@cache
def css() -> str:
    """Return the whole style sheet of a panel: tokens, then ``static/panel.css``."""
    sheet = files("bossaviz").joinpath("static/panel.css").read_text(encoding="utf-8")
    return css_tokens() + sheet
