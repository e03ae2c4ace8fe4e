"""One self-contained HTML file from a report: records as JSON, which the page's script shows with Observable Plot.

The file asks the network for nothing, and a Content-Security-Policy in it makes the browser refuse any request. What
models wrote enters as JSON that no HTML parser can read as markup, and the script puts it on the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gradatim.reporting.records import Report

VENDORED = ("d3.min.js", "plot.umd.min.js")
"""Other people's scripts, as they were published: `vendor/manifest.json` has versions and hashes."""
SCRIPTS = ("dom.js", "plots.js", "report.js")
"""Ours, in the order they need one another."""

_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""C1 controls, odd line ends, marks that turn the direction of writing, what has no width: shown as escapes."""
_MARKUP = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
_POLICY = "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def render(report: Report) -> str:
    """Return the page. The same report gives the same text."""
    scripts = [_part(f"vendor/{name}") for name in VENDORED]
    scripts.append("".join(_part(name) for name in SCRIPTS))
    parts = {
        "policy": _POLICY.format(scripts=" ".join(_hash(script) for script in scripts)),
        "title": html.escape(_shown(report.title)),
        "style": _part("report.css"),
        "data": embedded(report),
        "licences": html.escape(_part("vendor/LICENSES.txt")),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    return _SLOT.sub(lambda slot: parts[slot[1]], _part("page.html"))


def embedded(report: Report) -> str:
    """Return the report as JSON that can stand inside a `<script>` element, whatever a model wrote.

    Characters that cannot be seen, or that turn the direction of what follows, become visible escapes.
    """
    text = msgspec.json.encode(report).decode()
    return _HIDDEN.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text).translate(_MARKUP)


def _shown(text: str) -> str:
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _part(name: str) -> str:
    return files("gradatim.reporting").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return what the policy calls this script, and no other, by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
