"""Embeds a matplotlib picture in an HTML page: no outside references, ids of its own, colors of the page's theme."""

from __future__ import annotations

import html
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib

from searchhub.redact import redact
from searchhub.reports.markup import Markup, text

# The neutral colors of `searchhub.visualization.style`, which a dark page inverts; colors of data stay.
THEME = {
    "#24292f": "var(--ink)",
    "#5b626b": "var(--muted)",
    "#9aa0a8": "var(--rule)",
    "#d8dbe0": "var(--faint)",
    "#ffffff": "var(--paper)",
}
_PIXELS_A_POINT = 96 / 72


def inline_svg(draw: Callable[[Path], None], *, label: str, prefix: str) -> Markup:
    """Returns what a plot function draws, as an `<svg>` element.

    Text stays text and uses the page's font, so that a phone needs no font of the picture's; names in it are redacted.

    Args:
        draw: Function that writes an SVG file to the path that it is given, e.g. `lambda path:
            plot_distribution(result, path)`.
        label: What the picture shows, for readers who cannot see it.
        prefix: A prefix that no other picture on the page has; the picture's ids begin with it.
    """
    with tempfile.TemporaryDirectory() as folder, matplotlib.rc_context({"svg.hashsalt": "searchhub"}):
        path = Path(folder) / "figure.svg"
        draw(path)
        svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->", r"font-family:[^;\"]*;? ?"):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    svg = re.sub(r"(?<=>)[^<>]+(?=<)", lambda match: html.escape(redact(html.unescape(match[0]))), svg)
    svg = _own_ids(svg.replace("xlink:href=", "href="), prefix)
    # White text stands on a color of data, which no theme changes.
    svg = re.sub(r"<text [^>]*#ffffff[^>]*>|#[0-9a-f]{6}", lambda match: THEME.get(match[0], match[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    head = re.match(r'<svg [^>]*?width="([\d.]+)pt" height="[\d.]+pt" viewBox="([^"]+)"[^>]*>', svg)
    assert head is not None, svg[:200]
    width = f"--width: {float(head[1]) * _PIXELS_A_POINT:.0f}px"
    start = f'<svg viewBox="{head[2]}" role="img" aria-label="{text(label)}" style="{width}">'
    return Markup(start + svg[head.end() :])


def _own_ids(svg: str, prefix: str) -> str:
    """Keeps only ids that something refers to, and begins each with the prefix."""
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{prefix}-{match[1]}"' if match[1] in used else "", svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
