"""A figure as one SVG without any other file: its frame, and colours that are the reader's own, dark or light."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_STYLE = """
svg { color-scheme: light dark; background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #1f2328; } .faint { fill: #59636e; font-size: 11.5px; } .grid { stroke: #d1d9e0; }
.zero { stroke: #59636e; } .bar { stroke-width: 2.5; } .r0 { stroke: #0969da; fill: #0969da; }
.r1 { stroke: #bc4c00; fill: #bc4c00; } .r2 { stroke: #8250df; fill: #8250df; } .seed { stroke: none; opacity: .35; }
.cut { stroke: #59636e; stroke-dasharray: 3 4; } .curve { fill: none; stroke-width: 1.5; opacity: .6; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #f0f6fc; } .faint { fill: #9198a1; } .grid { stroke: #3d444d; }
  .zero, .cut { stroke: #9198a1; } .r0 { stroke: #4493f8; fill: #4493f8; } .r1 { stroke: #f0883e; fill: #f0883e; }
  .r2 { stroke: #ab7df8; fill: #ab7df8; } .curve { fill: none; }
}"""


def figure(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    """Return the SVG of these elements. Classes: text, faint, grid, zero, cut, r0 to r2 with bar, curve or seed."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )
