"""Read what a vLLM server's `/pooling` answers: one row of two probabilities per step tag, or what went wrong.

A server that is set up wrongly answers 200 all the same. What it then sends has a shape of its own for each mistake,
and each is refused here with the setting to change: no rows (it looks for another tag), a row for every token (it looks
for none), long rows (it serves a language model), rows that are not probabilities (it sends logits).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.family import refusal, scored
from gradatim.types import Boundary, Fault

if TYPE_CHECKING:
    from gradatim.prm.family import Prepared, Served
    from gradatim.types import StepScores

# bfloat16 keeps 8 bits: two probabilities, each rounded, sum to 1 within 0.004.
_TOLERANCE = 0.02

_OVERFLOW = re.compile(
    r"context length|maximum model length|maximum input length|max_model_len|reduce the length|too long|input_tokens",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"""supported tasks?\b|\btask\b[^.\n]{0,40}(?:support|remov|invalid|permitted)|['"]task['"]|permitted task"""
    "|pooling_task",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The server that answered, and what it was to be."""

    name: str
    """For a sentence: `the PRM server http://...`."""
    served: Served
    context: int
    """The most tokens of a solution that is scored."""


def says_too_long(message: str) -> bool:
    """Whether a refusal (400, 413, 422) is about the text's length, in any of the words vLLM has had for it."""
    return _OVERFLOW.search(message) is not None


def says_no_such_task(message: str) -> bool:
    """Whether a refusal (400, 422) is about the name of the task."""
    return _TASK.search(message) is not None


def error_text(body: bytes) -> str:
    """Return a server's error message without its wrapping, at most 500 characters of it."""
    text = body.decode("utf-8", "replace")
    found: Any = _json(body)
    # `{"error": {"message": ..}}`, `{"error": ".."}`, `{"message": ..}` (vLLM until 0.9), `{"detail": ..}` (FastAPI).
    for name in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    return (found if isinstance(found, str) else text).strip()[:500]


def model_names(body: bytes) -> list[str] | None:
    """Return the names in an answer of `/v1/models`; None where it is no such answer."""
    found: Any = _json(body)
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    return [row["id"] for row in rows if isinstance(row.get("id"), str)]


def read_pooling(body: bytes, prepared: Prepared, server: Asked) -> StepScores | Fault:
    """Return the scores in an answer of `/pooling`, or why it gives none: `too_long`, or a fault.

    `too_long` where the server read more tokens than the context has: it was told of a longer one than the model was
    trained on. Raises `SetupError` where the answer shows that the server is set up wrongly, for every solution.
    """
    found: Any = _json(body)
    if not isinstance(found, dict):
        return Fault(boundary=Boundary.PRM, reason="bad_json", message=f"{server.name} sent no JSON object")
    if found.get("error"):
        return Fault(boundary=Boundary.PRM, reason="server_error", message=error_text(body))
    items = found.get("data")
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], dict):
        return Fault(
            boundary=Boundary.PRM, reason="bad_json", message=f"{server.name} sent no list of one item as data"
        )
    usage = found.get("usage")
    tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    rows = _rows(items[0].get("data"), prepared, tokens, server)
    if any(value is None for row in rows for value in row):
        return Fault(
            boundary=Boundary.PRM, reason="not_finite", message=f"{server.name} sent a score that is not a number"
        )
    if isinstance(tokens, int) and tokens > server.context:
        return refusal(prepared.steps, "too_long")
    return scored(prepared.steps, [row[1] for row in rows])


def _rows(data: Any, prepared: Prepared, tokens: Any, server: Asked) -> list[list[Any]]:
    """Return the rows, each of two numbers (or nulls) that could be probabilities. Raises `SetupError`."""
    steps = len(prepared.steps)
    if data == []:
        raise SetupError(
            f"{server.name} sent no score for {steps} steps: it looks for another step tag; {server.served.how}"
        )
    if not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        raise SetupError(
            f"{server.name} sent one vector for a whole text, not a row for each step; {server.served.how}"
        )
    width = max(map(len, data))
    if width != 2 or not all(len(row) == 2 for row in data):
        raise SetupError(
            f"{server.name} sent rows of {width} numbers, and a PRM's have 2: it serves another kind of model, or this "
            f"one as if it were; {server.served.how}"
        )
    numbers = [value for row in data for value in row if value is not None]
    if not all(isinstance(value, int | float) for value in numbers):
        raise SetupError(f"{server.name} sent rows that are not numbers; ask it for encoding_format float, its default")
    if not _probabilities(data):
        raise SetupError(
            f"{server.name} sent rows that are no probabilities ({data[0]}), most likely the model's logits; leave "
            "use_activation (softmax, in older versions) in --pooler-config true"
        )
    if tokens == len(data) != steps:
        raise SetupError(
            f"{server.name} sent a row for each of {tokens} tokens, not for {steps} step tags; {server.served.how}"
        )
    return data


def _probabilities(rows: list[list[Any]]) -> bool:
    for row in rows:
        if None not in row and (abs(row[0] + row[1] - 1) > _TOLERANCE or min(row) < -_TOLERANCE):
            return False
    return True


def _json(body: bytes) -> Any:
    import msgspec  # noqa: PLC0415 - not needed to know what a PRM is

    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
