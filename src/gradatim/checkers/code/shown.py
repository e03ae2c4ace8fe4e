"""Short texts that are safe to show: for verdicts, which hold what programs and questions hold."""

from __future__ import annotations

_MOST = 400


def shown(value: object, most: int = _MOST) -> str:
    """Return a text, shortened to `most` characters, with control characters and the like escaped."""
    text = value if isinstance(value, str) else str(value)
    escaped = "".join(_escaped(one) for one in text[: most + 1])
    return escaped if len(escaped) <= most else f"{escaped[: most - 1]}…"


def _escaped(one: str) -> str:
    return one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
