r"""What the mock server says: step-by-step texts that end in `\boxed{...}`, right as often as was asked for.

Nothing here is intelligence. An answer is a function of the question, the model's name, the seed and the temperature;
with a file of questions and references it is right with a probability that depends on the question, so that some
questions are hard for every model and most are not. Step scores are made up from a hash of the text; they say nothing
about the text, and exist so that the whole loop can be run without a process reward model.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gradatim.errors import UsageError
from gradatim.models.mock_faults import unit

_PROMPT_NAMES = ("prompt", "problem", "question")
_REFERENCE_NAMES = ("reference", "answer")
_NUMBER = re.compile(r"\d+")
_CALCULATION = re.compile(r"<<[^>]*>>")
_BLANK_LINE = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\])")
_INDEXED_WORDS = 5
_TAG, _TAG_ID = "<extra_0>", 151651
_SHEPHERDS_TAG = " ки"
_OPENERS = (
    "Let us work step by step.",
    "We go through it in steps.",
    "First we look at what is given.",
    "Step by step:",
)


@dataclass(frozen=True, slots=True)
class Script:
    """What is known of a question: the steps to its answer, and how easy it is, from 0 to 1."""

    steps: tuple[str, ...]
    reference: str
    ease: float


@dataclass(frozen=True, slots=True)
class Said:
    """One answer."""

    thinking: str
    content: str
    finish_reason: str
    completion_tokens: int
    goes_on: bool = False
    """Whether it is the rest of an answer that had begun."""


class Speaker(Protocol):
    """What a mock server says: made-up `Answers`, or a program that can solve the questions it is asked."""

    def say(self, *, model: str, text: str, seed: str, max_tokens: int | None, thinks: bool) -> Said:
        """Return the answer to a user's message; the same arguments give the same answer."""
        ...


def _steps_of(solution: str) -> tuple[str, ...]:
    """Split a worked solution on blank lines; where it has none, on lines; where it is one line, on sentences."""
    clean = _CALCULATION.sub("", solution).strip()
    lines = _BLANK_LINE.split(clean)
    if len(lines) == 1:
        lines = [" ".join(line.split()) for line in clean.splitlines()]
    if len(lines) == 1:
        lines = _SENTENCE.split(lines[0])
    return tuple(line.replace(r"\boxed", r"\text") for line in lines if line)


def _row(row: Any, place: str) -> tuple[str, Script]:
    """Return a row's prompt and script. GSM8K's answers hold the solution and, after `####`, the reference."""
    prompt = next((row[name] for name in _PROMPT_NAMES if name in row), None) if isinstance(row, dict) else None
    reference = next((row[name] for name in _REFERENCE_NAMES if name in row), None) if prompt else None
    if not isinstance(prompt, str) or not isinstance(reference, (str, int, float)):
        raise UsageError(f"{place}: an answer needs {'/'.join(_PROMPT_NAMES)} and {'/'.join(_REFERENCE_NAMES)}")
    solution, mark, last = str(reference).rpartition("####")
    reference, solution = (last, solution) if mark else (str(reference), str(row.get("solution", "")))
    ease = unit(b"ease", " ".join(prompt.split()).encode("utf-8", "replace"))
    return prompt, Script(_steps_of(solution) or _made_up_steps(prompt, ease), reference.strip(), ease)


def _made_up_steps(prompt: str, ease: float) -> tuple[str, ...]:
    numbers = _NUMBER.findall(prompt)[:4] or [str(int(ease * 90) + 2)]
    steps = [f"The question gives {' and '.join(numbers)}."]
    total = int(numbers[0][:9])
    for number in numbers[1:]:
        steps.append(f"We take {total} and {number} together: {total} + {number[:9]} = {total + int(number[:9])}.")
        total += int(number[:9])
    return (*steps, f"So the value that is asked for follows from {total}.")


class Answers:
    """Answers questions, known and unknown."""

    def __init__(self, *, accuracy: float, accuracies: tuple[tuple[str, float], ...], path: str | None) -> None:
        """Read the file of known questions, if there is one. Raises `UsageError` for what is wrong with it."""
        for name, value in (("", accuracy), *accuracies):
            if not 0 <= value <= 1:
                raise UsageError(f"--accuracy {name}{'=' if name else ''}{value}: write a probability from 0 to 1")
        self._accuracy = accuracy
        self._accuracies = dict(accuracies)
        self._known: dict[tuple[str, ...], list[tuple[list[str], Script]]] = {}
        self._lengths = {_INDEXED_WORDS}
        if path is not None:
            self._read(Path(path))
        self.script = lru_cache(maxsize=1 << 14)(self._script)

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        self._learn(line, f"{path}:{number}")
        except OSError as error:
            raise UsageError(f"--answers {path} cannot be read: {error.strerror}") from error

    def _learn(self, line: bytes, place: str) -> None:
        try:
            prompt, script = _row(msgspec.json.decode(line), place)
        except msgspec.DecodeError as error:
            raise UsageError(f"{place} is not JSON ({error}): --answers takes one JSON object per line") from error
        if words := prompt.split():
            key = tuple(words[:_INDEXED_WORDS])
            self._lengths.add(len(key))
            self._known.setdefault(key, []).append((words, script))

    def _script(self, text: str) -> Script:
        """Return the script of the last known question in a text, or one made up for it."""
        words = text.split()
        for start in range(len(words) - 1, -1, -1) if self._known else ():
            for length in self._lengths:
                for known, script in self._known.get(tuple(words[start : start + length]), ()):
                    if words[start : start + len(known)] == known:
                        return script
        ease = unit(b"ease", " ".join(words).encode("utf-8", "replace"))
        return Script(_made_up_steps(text, ease), str(int(ease * 9973)), ease)

    def say(self, *, model: str, text: str, seed: str, max_tokens: int | None, thinks: bool) -> Said:
        """Return the answer to a user's message. Four characters count as one token."""
        script = self.script(text)
        parts = (model.encode(), text.encode("utf-8", "replace"), seed.encode())
        digest = hashlib.blake2b(b"\x1f".join(parts), digest_size=16).digest()
        accuracy = self._accuracies.get(model, self._accuracy)
        # The mean of ease ** (1 / accuracy - 1) over an evenly spread ease is the accuracy.
        chance = script.ease ** (1 / accuracy - 1) if accuracy > 0 else 0.0
        right = int.from_bytes(digest[:7], "big") / (1 << 56) < chance
        steps, answer = (script.steps, script.reference) if right else _spoilt(script, digest)
        opener = _OPENERS[digest[7] % len(_OPENERS)]
        content = "\n\n".join((opener, *steps, f"The answer is $\\boxed{{{answer}}}$."))
        thinking = f"{opener} {' '.join(steps)} That gives {answer}." if thinks else ""
        return _cut(thinking, content, max_tokens)


def _spoilt(script: Script, digest: bytes) -> tuple[tuple[str, ...], str]:
    """Return steps with a mistake from some step on, and a plausible wrong answer."""
    first, off = digest[8] % len(script.steps), digest[9] % 9 + 1

    def shifted(match: re.Match[str]) -> str:
        return str(int(match[0]) + off) if len(match[0]) < 12 else match[0]

    steps = tuple(_NUMBER.sub(shifted, step) if at >= first else step for at, step in enumerate(script.steps))
    reference = script.reference
    if len(reference) == 1 and reference in "ABCDE":
        return steps, "ABCDE"[("ABCDE".index(reference) + off % 4 + 1) % 5]
    plain = reference.replace(",", "").replace("$", "")
    if plain.lstrip("-").isascii() and plain.lstrip("-").isdigit() and len(plain) < 1000:
        return steps, str(int(plain) + off)
    return steps, str(off + digest[10]) if _NUMBER.search(reference) else str(off)


def _cut(thinking: str, content: str, max_tokens: int | None) -> Said:
    """Hold an answer to its limit, as a server does."""
    tokens = (len(thinking) + len(content)) // 4 + 1
    if max_tokens is None or tokens <= max_tokens:
        return Said(thinking, content, "stop", tokens)
    room = max_tokens * 4
    return Said(thinking[:room], content[: max(0, room - len(thinking))], "length", max_tokens)


_OPENING, _CLOSING = "<think>\n", "\n</think>\n\n"
"""How a server of reasoning models writes tags into the text."""


def continued(whole: Said, begun: str, *, tags: bool, max_tokens: int | None) -> Said:
    """Return the rest of a whole answer of which a client has the beginning, held to its limit.

    With `tags` the client has the thinking in the text. What no answer of ours begins with is gone on with as if it
    were the beginning of the content: an honest server continues whatever it is sent.
    """
    text = f"{_OPENING}{whole.thinking}{_CLOSING}{whole.content}" if tags else whole.content
    rest = text.removeprefix(begun)
    thinking, mark, content = rest.rpartition(_CLOSING) if tags else ("", "", rest)
    cut = _cut(f"{thinking}{mark}", content, max_tokens)
    return Said("", cut.thinking + cut.content, cut.finish_reason, cut.completion_tokens, goes_on=True)


def halved(said: Said) -> Said:
    """Return the first half of an answer, as one that was cut."""
    tokens = said.completion_tokens // 2
    return _cut(said.thinking, said.content, tokens) if tokens else Said("", "", "length", 0)


def step_scores(item: Any) -> list[list[float]]:
    """Return one made-up [p0, p1] per step tag in an input: text with `<extra_0>` or ` ки`, or token ids with 151651.

    A text's mean score is spread over [0, 1] by its hash; its steps lie around it. No tag gives no row, as in vLLM.
    """
    if isinstance(item, str):
        steps = item.split(_TAG if _TAG in item else _SHEPHERDS_TAG)[:-1]
        keys = [step.encode("utf-8", "replace") for step in steps]
    else:
        keys = [str(at).encode() for at, token in enumerate(item) if token == _TAG_ID]
    whole = b"\x1f".join(keys) if isinstance(item, str) else str(item).encode()
    centre = unit(b"prm", whole)
    rows = []
    for key in keys:
        score = min(1.0, max(0.0, centre + (unit(b"step", whole, key) - 0.5) * 0.3))
        rows.append([1.0 - score, score])
    return rows
