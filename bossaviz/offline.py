"""Pictures and pages that need no kernel and no network.

``render_svg``, ``render_png`` and ``embed_html`` take what a ``LiveChart`` takes (a spec with named data, its
data and params), or a ``LiveChart`` itself, or an Altair chart. ``enable_renderer`` makes static Altair charts
show as such pictures in any notebook: Altair's own renderers fetch JavaScript from a CDN.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bossaviz.chartdata import columns_of, encode, param_names, plain, records
from bossaviz.look import THEMES
from bossaviz.runtime import live_css, live_script, static_text

VL_VERSION = "6.4"  # of the vega-lite versions that vl-convert carries, the one in static/vega.js
WIDTH = 720  # pixels a chart of width "container" gets in a picture

_TOKEN = re.compile(r"@([a-z][a-z0-9-]*)")
_QUOTED_TOKEN = re.compile(r"(['\"])@([a-z][a-z0-9-]*)\1")
_VARIABLE = re.compile(r"var\(--bv-([a-z][a-z0-9-]*)(?:,[^()]*)?\)")
_HATCH = (
    '<pattern id="bv-hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="{tail-soft}"/><rect width="2" height="5" fill="{tail}"/></pattern>'
)


def with_colours(value: Any, theme: str = "light") -> Any:
    """Return ``value`` (a spec, rows, params) with tokens and ``--bv-`` variables as colours of ``theme``."""
    colours = THEMES[theme]
    if isinstance(value, str):
        whole = _TOKEN.fullmatch(value)
        if whole and whole[1] in colours:
            return colours[whole[1]]
        value = _QUOTED_TOKEN.sub(lambda m: f"{m[1]}{colours[m[2]]}{m[1]}" if m[2] in colours else m[0], value)
        return _VARIABLE.sub(lambda m: colours.get(m[1], m[0]), value)
    if isinstance(value, Mapping):
        return {key: with_colours(inner, theme) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_colours(inner, theme) for inner in value]
    return value


def self_contained(
    chart: Any,
    data: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    theme: str = "light",
    width: int = WIDTH,
) -> dict:
    """Return a Vega-Lite spec that any Vega-Lite can draw: data within, params set, plain colours, a width.

    A plot of width ``"container"`` gets ``width`` less the padding, as on screen. A background that is absent
    or transparent becomes the theme's ground, for a picture may be shown on any page.
    """
    spec, data, params = _parts(chart, data, params)
    spec = json.loads(json.dumps(spec))
    _give_width(spec, width)
    for param in spec.get("params", ()):
        if param["name"] in params:
            param.pop("expr", None)
            param["value"] = plain(params[param["name"]])
    rows = {name: records(columns_of(name, table)) for name, table in data.items()}
    if rows:
        spec["datasets"] = {**spec.get("datasets", {}), **rows}
    config = spec.setdefault("config", {})
    if spec.get("background", config.get("background", "transparent")) == "transparent":
        spec["background"] = THEMES[theme]["ground"]
    return with_colours(spec, theme)


def render_svg(
    chart: Any,
    data: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    theme: str = "light",
    width: int = WIDTH,
) -> str:
    """Return the chart as SVG text (about 20 ms after the first)."""
    import vl_convert

    spec = self_contained(chart, data, params, theme=theme, width=width)
    # no base address is allowed: what a spec would load is refused
    svg = vl_convert.vegalite_to_svg(spec, vl_version=VL_VERSION, allowed_base_urls=[])
    hatch = _HATCH
    for token in ("tail-soft", "tail"):
        hatch = hatch.replace(f"{{{token}}}", THEMES[theme][token])
    return re.sub(r"(<svg[^>]*>)", lambda m: f"{m[1]}<defs>{hatch}</defs>", svg, count=1)


def render_png(
    chart: Any,
    data: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    theme: str = "light",
    width: int = WIDTH,
    scale: float = 2.0,
) -> bytes:
    """Return the chart as a PNG (about 50 ms after the first); ``scale`` pixels for each CSS pixel."""
    import vl_convert

    svg = render_svg(chart, data, params, theme=theme, width=width)
    return vl_convert.svg_to_png(svg, scale=scale)


def embed_html(
    chart: Any,
    data: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    description: str = "",
) -> str:
    """Return a whole HTML page (0.9 MB) with the chart as on screen, both themes, and all of its code within."""
    spec, data, params = _parts(chart, data, params)
    state: dict[str, Any] = {
        "spec": spec, "datasets": list(data), "params": plain(params), "epoch": 0, "frame": 0, "width": 0,
        "description": description or getattr(chart, "description", ""), "stale": False,
        "selectable": list(getattr(chart, "selectable", ())), "watch": [],
        "handles": dict(getattr(chart, "handles", {})), "report_hover": False,
        "selections": {}, "hovered": {}, "signals": {},
    }  # fmt: skip
    for name, table in data.items():
        message = encode(columns_of(name, table))
        message["buffer"] = base64.b64encode(message["buffer"]).decode("ascii")
        state[f"data_{name}"] = message
    # "</" would end the script element
    said = json.dumps(state).replace("</", "<\\/")
    return static_text("page.html").format(
        title=html.escape(title or state["description"] or "bossaviz"),
        css=live_css(),
        vega=static_text("vega.js"),
        live=live_script(),
        state=said,
    )


def save(chart: Any, path: str | Path, **options: Any) -> None:
    """Write the chart to ``path``, as what its ending says: ``.svg``, ``.png`` or ``.html``."""
    path = Path(path)
    if path.suffix == ".png":
        path.write_bytes(render_png(chart, **options))
    else:
        writer = {".svg": render_svg, ".html": embed_html}[path.suffix]
        path.write_text(writer(chart, **options), encoding="utf-8")


def enable_renderer(theme: str = "light") -> None:
    """Show static Altair charts as PNG and SVG, drawn here, in this kernel; imports Altair."""
    import altair

    def mimebundle(spec: dict, **_metadata: Any) -> dict[str, Any]:
        return {
            "image/svg+xml": render_svg(spec, theme=theme),
            "image/png": render_png(spec, theme=theme),
            "text/plain": "chart",
        }

    altair.renderers.register("bossaviz", mimebundle)
    altair.renderers.enable("bossaviz")


def _parts(chart: Any, data: Mapping | None, params: Mapping | None) -> tuple[dict, dict, dict]:
    """Return spec, data and params of a spec, a LiveChart or an Altair chart; those given come on top."""
    held_data, held_params = {}, {}
    if hasattr(chart, "push"):
        held_data, held_params, chart = chart.data, chart.params, chart.spec
    spec = chart.to_dict() if hasattr(chart, "to_dict") else dict(chart)
    known = param_names(spec)
    held_params = {name: value for name, value in held_params.items() if name in known}
    return spec, {**held_data, **(data or {})}, {**held_params, **(params or {})}


def _give_width(spec: dict, width: int) -> None:
    """Replace the width "container" by a number, as live.js does (``makeResponsive`` and ``resize``)."""
    autosize = spec.get("autosize", spec.get("config", {}).get("autosize"))
    for unit in spec.get("vconcat", [spec]):
        if unit.get("width") != "container":
            continue
        padding = spec.get("padding", spec.get("config", {}).get("padding", 5))
        sides = 2 * padding if isinstance(padding, (int, float)) else padding.get("left", 0) + padding.get("right", 0)
        unit["width"] = width - sides
        if autosize is None and "vconcat" not in spec:
            unit["width"] = width
            spec["autosize"] = {"type": "fit-x", "contains": "padding"}
