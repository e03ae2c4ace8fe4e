"""Read how likely each of two labels is, from the log probabilities that a chat server gives with an answer.

A label has several tokens: " yes", "Yes" and "YES" are one word to whoever asks, and their probabilities are added up.
Servers answer 200 and leave the log probabilities out; that is told here, at every answer. A label that is not among
the tokens a server lists is less likely than each of those; how much it could matter is bounded, and where it could,
there is no score.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm.pooling_reply import error_text
from gradatim.types import Boundary, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNSEEN = 0.02
"""How far a score may be off because a label is not among the tokens that the server lists."""
_SHOWN = 5
_AROUND = string.punctuation + string.whitespace + "▁Ġ"
_ROUNDING = 0.01
"""How far above 0 a log probability may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The two words that decide a step."""

    good: str
    bad: str
    exact: bool = False
    """Only the very tokens; else blanks, marks around the word and capitals do not count."""

    def which(self, token: str) -> str:
        """Return the label that a token is, or nothing."""
        word = token if self.exact else _word(token)
        good, bad = (self.good, self.bad) if self.exact else (self.good.casefold(), self.bad.casefold())
        return self.good if word == good else self.bad if word == bad else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What an answer says."""

    score: float | None
    """P(good) / (P(good) + P(bad)); None where the answer ended before it said either."""
    prompt_tokens: int | None
    completion_tokens: int | None


def read_label(body: bytes, labels: Labels, server: str, *, last: bool = False) -> Read | Fault:
    """Return the score in a chat answer: at its first token, or with `last` at the last of its tokens that is a label.

    A fault: `bad_json`, `server_error`, `no_label` (neither label is among the likeliest tokens; or one is, and so
    faintly that the other might matter). Raises `SetupError` where there are no log probabilities.
    """
    found: Any = _json(body)
    if not isinstance(found, dict):
        return _fault("bad_json", f"{server} sent no JSON object")
    if found.get("error"):
        return _fault("server_error", error_text(body))
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    if choice is None:
        return _fault("bad_json", f"{server} sent no choice")
    rows = _rows(choice, server)
    usage: Any = found.get("usage")
    prompt, completion = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    row = rows[0]
    if last:
        row = next((row for row in reversed(rows) if labels.which(row["token"])), rows[-1])
        if not labels.which(row["token"]) and choice.get("finish_reason") == "length":
            return Read(score=None, prompt_tokens=prompt, completion_tokens=completion)
    score = _score(row, labels)
    return score if isinstance(score, Fault) else Read(score=score, prompt_tokens=prompt, completion_tokens=completion)


def _count(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def _rows(choice: Mapping[str, Any], server: str) -> list[dict[str, Any]]:
    """Return the tokens of an answer, each with those that might have stood there. Raises `SetupError`."""
    logprobs = choice.get("logprobs")
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    good = isinstance(rows, list) and rows and all(isinstance(row, dict) and _listed(row) for row in rows)
    if not good:
        raise SetupError(
            f"{server} sent no log probabilities, without which there are no scores: take a server that gives them "
            "(vLLM does, `transformers serve` does not), or another backend"
        )
    found: list[dict[str, Any]] = rows  # type: ignore[assignment]  # held just above
    return found


def _listed(row: Mapping[str, Any]) -> bool:
    top = row.get("top_logprobs")
    return (
        isinstance(row.get("token"), str)
        and isinstance(top, list)
        and len(top) > 0
        and all(
            isinstance(one, dict)
            and isinstance(one.get("token"), str)
            and isinstance(one.get("logprob"), int | float)
            and one["logprob"] <= _ROUNDING
            for one in top
        )
    )


def _score(row: Mapping[str, Any], labels: Labels) -> float | Fault:
    likely = [(one["token"], float(one["logprob"])) for one in row["top_logprobs"]]
    good, bad = (_sum(likely, labels, label) for label in (labels.good, labels.bad))
    if not good and not bad:
        words = f"neither {labels.good!r} nor {labels.bad!r}"
        return _fault("no_label", f"{words} was among the likeliest tokens: {_shown(likely)}")
    if not good or not bad:
        # The one that is missing is no likelier than the last that is listed.
        least = math.exp(min(logprob for _, logprob in likely))
        if least / (good + bad + least) > UNSEEN:
            words = f"only one of {labels.good!r} and {labels.bad!r}"
            return _fault("no_label", f"{words} was among the likeliest tokens, and faintly: {_shown(likely)}")
    return good / (good + bad)


def _sum(likely: Sequence[tuple[str, float]], labels: Labels, label: str) -> float:
    return math.fsum(math.exp(logprob) for token, logprob in likely if labels.which(token) == label)


def _shown(likely: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{token!r} {math.exp(logprob):.3f}" for token, logprob in likely[:_SHOWN])


def _word(token: str) -> str:
    """Return the word in a token, small; `▁` and `Ġ` are blanks as some tokenizers write them."""
    return token.strip(_AROUND).casefold()


def _fault(reason: str, message: str) -> Fault:
    return Fault(boundary=Boundary.PRM, reason=reason, message=message[:500])


def _json(body: bytes) -> Any:
    import msgspec  # noqa: PLC0415 - not needed to know what a PRM is

    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
