"""What each answer is held to, because servers answer 200 whatever they made of the request. Pure.

An answer has been paid for, so none is thrown away here: what is wrong with it becomes a note, once for each kind. Only
what stands behind a stop text is taken off, as a server that knows `stop` would have done.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from gradatim.models.chat import stops_of

if TYPE_CHECKING:
    from gradatim.types import Reply, Request


def audited(reply: Reply, request: Request, model: str) -> tuple[Reply, list[tuple[str, str]]]:
    """Return the answer as it was asked for, and what was wrong with it: (kind, what the server did) for each."""
    found: list[tuple[str, str]] = []
    if not same_model(model, reply.server_model):
        found.append(("model", f"was asked for {model} and says that {reply.server_model} answers"))
    limit, written = request.sampling.max_tokens, reply.usage.completion
    if written is not None and written > limit:
        found.append(("limit", f"wrote {written} tokens where at most {limit} were asked for"))
    if not reply.finish_reason:
        found.append(
            ("finish", "does not say why an answer ended (no finish_reason): one that was cut off may pass for whole")
        )
    held = _stopped(reply, request)
    if held is not reply:
        found.append(("stop", "wrote on behind a stop text of extra_body; answers are cut there"))
    return held, found


def same_model(asked: str, served: str) -> bool:
    """Whether a server that says `served` may be running what was asked for: it may add a version or a path."""
    asked, served = asked.lower(), served.lower()
    return not served or served in asked or asked in served


def _stopped(reply: Reply, request: Request) -> Reply:
    """Return the answer up to the first stop text in it, or the answer itself."""
    places = [(at, stop) for stop in stops_of(request.sampling) if (at := reply.content.find(stop)) >= 0]
    if not places:
        return reply
    at, stop = min(places)
    if json.loads(request.sampling.extra_body).get("include_stop_str_in_output"):
        at += len(stop)
    if at == len(reply.content):
        return reply
    return replace(reply, content=reply.content[:at], finish_reason="stop")
