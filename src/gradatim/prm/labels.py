"""Read how likely each of two labels is, from the log probabilities that a chat server gives with an answer.

A label has several tokens: " yes", "Yes" and "YES" are one word to whoever asks, and their probabilities are added up.
Servers answer 200 and leave the log probabilities out; that is told here, at every answer. A label that is not among
the tokens a server lists is less likely than each of those; a token such as `in` may be the beginning of `incorrect`.
How much either could matter is bounded, and where it could, there is no score. Nor is there one where the model would
rather have said something else than a label: it would be the ratio of two accidents.
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
    from collections.abc import Callable, Mapping, Sequence

UNSEEN = 0.02
"""How far a score may be off because a label is not among the tokens that the server lists, or in several tokens."""
LEAST = 0.1
"""What the labels together must have of the probability: models that begin by thinking give them a millionth."""
_SHOWN = 5
_AROUND = string.punctuation + string.whitespace + "▁Ġ"
_BLANKS = str.maketrans("▁ĠĊ", "   ")
"""Blanks and line ends as some servers write them."""
_LEAD = 8
"""Tokens before a label that are looked at for what announces it."""
_QUIET = string.whitespace + "*_`\"'($"
"""What may stand between a label and the colon that announces it."""
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

    def begun_by(self, token: str) -> bool:
        """Tell whether a token is no label, but may be the beginning of one that the tokenizer writes in several."""
        word = "" if self.exact else _word(token)
        return (
            bool(word) and not self.which(token) and any(_word(one).startswith(word) for one in (self.good, self.bad))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What an answer says."""

    score: float | Fault | None
    """P(good) / (P(good) + P(bad)); the fault `no_label`; None where the answer was cut off before it could decide."""
    prompt_tokens: int | None
    completion_tokens: int | None


def read_label(body: bytes, labels: Labels, server: str, *, last: bool = False) -> Read | Fault:
    """Return the score in a chat answer: at its first token, or with `last` at the label that decides.

    With `last` an answer that was cut off at its limit has no score, whatever it said: what decides comes last, and
    "there is no" is a label too. A fault: `bad_json`, `server_error`. Raises `SetupError` where there are no log
    probabilities.
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
    cut = last and choice.get("finish_reason") == "length"
    score = None if cut else _score(_last_label(rows, labels) if last else rows[0], labels)
    return Read(score=score, prompt_tokens=prompt, completion_tokens=completion)


def _last_label(rows: Sequence[Mapping[str, Any]], labels: Labels) -> Mapping[str, Any]:
    """Return the token that decides: the last label that stands behind a colon or brace; without one, the last label.

    So `Judgement: yes. There is no error` says yes. A label is a word: not the end of `in|correct` nor the beginning
    of `no|thing`.
    """
    texts = ["", *(row["token"].translate(_BLANKS) for row in rows), ""]
    found = [
        place
        for place in range(1, len(rows) + 1)
        if labels.which(texts[place])
        and not _one_word(texts[place - 1], texts[place])
        and not _one_word(texts[place], texts[place + 1])
    ]
    for place in reversed(found):
        lead = ("".join(texts[max(0, place - _LEAD) : place]) + texts[place]).rstrip(_AROUND)
        before = lead[: len(lead) - len(_word(texts[place]))].rstrip(_QUIET)
        if before.endswith((":", "{")):
            return rows[place - 1]
    return rows[found[-1] - 1] if found else rows[-1]


def _one_word(left: str, right: str) -> bool:
    return left[-1:].isalnum() and right[:1].isalnum()


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
    good = _sum(likely, lambda token: labels.which(token) == labels.good)
    bad = _sum(likely, lambda token: labels.which(token) == labels.bad)
    if not good and not bad:
        return _no_label(f"neither {labels.good!r} nor {labels.bad!r} was among the likeliest tokens", likely)
    if good + bad < LEAST:
        words = f"{labels.good!r} and {labels.bad!r} have {good + bad:.1g} of the probability together"
        return _no_label(f"{words}, and {LEAST:g} was expected; the likeliest tokens", likely)
    # A label that is missing is no likelier than the last that is listed.
    unseen = math.exp(min(logprob for _, logprob in likely)) if not good or not bad else 0.0
    if unseen / (good + bad + unseen) > UNSEEN:
        words = f"only one of {labels.good!r} and {labels.bad!r}"
        return _no_label(f"{words} was among the likeliest tokens, and faintly", likely)
    begun = _sum(likely, labels.begun_by)
    if begun / (good + bad + begun) > UNSEEN:
        words = f"a label may be in several tokens, and each of {labels.good!r} and {labels.bad!r} is to be one"
        return _no_label(f"{words}; the likeliest", likely)
    return good / (good + bad)


def _sum(likely: Sequence[tuple[str, float]], chosen: Callable[[str], bool]) -> float:
    return math.fsum(math.exp(logprob) for token, logprob in likely if chosen(token))


def _no_label(words: str, likely: Sequence[tuple[str, float]]) -> Fault:
    return _fault("no_label", f"{words}: {_shown(likely)}")


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
