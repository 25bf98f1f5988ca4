"""Several charts and some words as one still picture."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from html import escape

from bossaviz.look import FONT, THEMES

_ROOT = re.compile(r"<svg[^>]*>")
_SIZE = re.compile(r'\b(width|height)="([\d.]+)"')
_ID = re.compile(r'\bid="([^"]+)"')


def placed(svg: str, x: float, y: float, prefix: str) -> str:
    """Return an SVG as a part of another, at (x, y); its ids get ``prefix`` so that parts do not share them."""
    for name in dict.fromkeys(_ID.findall(svg)):
        svg = svg.replace(f'id="{name}"', f'id="{prefix}{name}"').replace(f"url(#{name})", f"url(#{prefix}{name})")
        svg = svg.replace(f'"#{name}"', f'"#{prefix}{name}"')
    return _ROOT.sub(lambda found: found.group(0).replace("<svg", f'<svg x="{x:g}" y="{y:g}"', 1), svg, count=1)


def size(svg: str) -> tuple[float, float]:
    """Return width and height of an SVG."""
    root = _ROOT.search(svg)
    found = dict(_SIZE.findall(root.group(0))) if root else {}
    return float(found.get("width", 0)), float(found.get("height", 0))


def words_svg(text: str, x: float, y: float, *, px: int = 13, weight: int = 400, colour: str) -> str:
    """Return one line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-family="{escape(FONT)}" font-size="{px}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def sheet(parts: Iterable[str], width: float, height: float, theme: str, title: str) -> str:
    """Return the parts on one ground, with a title for whoever cannot see it."""
    ground = THEMES[theme]["ground"]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{width:g}" '
        f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" role="img"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="{ground}"/>{"".join(parts)}</svg>'
    )


def compose(
    question: str,
    titles: tuple[str, str, str],
    charts: tuple[str, str, str],
    sentence: str,
    theme: str = "light",
) -> str:
    """Return panes A and B side by side, C below, the question above and the sentence under them, as one SVG.

    charts are the SVGs of A, B and C; titles their headings.
    """
    c = THEMES[theme]
    (wide_a, high_a), (wide_b, _), (wide_c, high_c) = (size(svg) for svg in charts)
    margin, gap = 16, 16
    width = 2 * margin + max(wide_a + gap + wide_b, wide_c)
    top = margin + 18
    row_a = top + 32
    row_c = row_a + high_a + 34
    lines = textwrap.wrap(sentence, max(40, int((width - 2 * margin - 14) / 7.9)))
    row_say = row_c + high_c + 30
    height = row_say + 22 * len(lines) + (margin if lines else 0) - 10
    parts = [
        words_svg(question, margin, top, px=18, weight=600, colour=c["text"]),
        words_svg(titles[0], margin, row_a, weight=600, colour=c["text"]),
        words_svg(titles[1], margin + wide_a + gap, row_a, weight=600, colour=c["text"]),
        words_svg(titles[2], margin, row_c, weight=600, colour=c["text"]),
        placed(charts[0], margin, row_a + 8, "a-"),
        placed(charts[1], margin + wide_a + gap, row_a + 8, "b-"),
        placed(charts[2], margin, row_c + 8, "c-"),
        *[words_svg(line, margin + 14, row_say + 22 * i, px=15, colour=c["text"]) for i, line in enumerate(lines)],
    ]
    if lines:
        bar = f'x="{margin}" y="{row_say - 15}" width="3" height="{22 * len(lines) - 2}" fill="{c["real"]}"'
        parts.append(f"<rect {bar}/>")
    return sheet(parts, width, height, theme, f"{question} {sentence}")
