"""The tiny world's teacher: a program that solves its questions step by step, with an error rate that is set.

Served as a reasoning model over HTTP (`reasoning_content` holds the steps, `content` the answer), so that a run with it
goes the same way as one with a hosted teacher. A wrong chain is one that misread a digit of the question: each of its
steps is sound, and its answer is not. Where the steps stand in the answer's wording differs from request to request.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.models.mock_answers import Said
from gradatim.models.mock_server import MockServer, MockSettings, serve_forever
from gradatim.tiny.world import solve, told

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "tiny-teacher"
_TOKEN = re.compile(r"\n+| ?\\boxed| ?[A-Za-z]+|\s|.")
"""What the tiny models' tokenizer makes one token of."""
_DIGIT = re.compile(r"\d")
_MISREADINGS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyTeacher:
    """Solves what it is asked. Raises `UsageError` for an error rate that is none."""

    error_rate: float = 0.08
    """How often it misreads the question."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.error_rate <= 1:
            raise UsageError(f"the teacher's error rate is {self.error_rate}: write a share from 0 to 1")

    def say(self, *, model: str, text: str, seed: str, max_tokens: int | None, thinks: bool) -> Said:
        """Return the chain for the question in a user's message: the first paragraph of it that is one."""
        parts = (str(self.seed), model, text, seed)
        rng = Random(hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=8).digest())
        found = next(
            ((part, solved) for part in text.split("\n\n") if (solved := solve(part)) is not None),
            None,
        )
        if found is None:
            return _held("This is no question of the tiny world.", "I do not know.", max_tokens, thinks=thinks)
        steps, answer = found[1]
        if rng.random() < self.error_rate:
            steps, answer = _misread(found[0], answer, rng)
        return _held(*told(steps, answer, rng), max_tokens, thinks=thinks)


def _misread(prompt: str, answer: str, rng: Random) -> tuple[list[str], str]:
    """Solve the question with one digit changed, so that the answer is another."""
    places = [match.start() for match in _DIGIT.finditer(prompt)]
    for _ in range(_MISREADINGS):
        at = rng.choice(places)
        solved = solve(prompt[:at] + str(rng.randrange(10)) + prompt[at + 1 :])
        if solved is not None and solved[1] != answer:
            return solved
    return [f"{answer}+1={int(answer) + 1}"], str(int(answer) + 1)


def _held(thinking: str, content: str, max_tokens: int | None, *, thinks: bool) -> Said:
    """Return what is said within its limit, counted as the tiny models' tokenizer counts."""
    if not thinks:
        thinking, content = "", f"{thinking}\n\n{content}"
    inside, outside = _TOKEN.findall(thinking), _TOKEN.findall(content)
    tokens = len(inside) + len(outside) + 1
    if max_tokens is None or tokens <= max_tokens:
        return Said(thinking, content, "stop", tokens)
    kept = outside[: max(0, max_tokens - len(inside))]
    return Said("".join(inside[:max_tokens]), "".join(kept), "length", max_tokens)


def teacher_server(teacher: TinyTeacher | None = None, *, port: int = 0) -> MockServer:
    """Return a server to be used as a `with` block; its `url` is the base URL."""
    return MockServer(_settings(port), speaker=teacher or TinyTeacher())


def serve_teacher(teacher: TinyTeacher, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until the process is interrupted. Raises `SetupError` where the port is taken."""
    serve_forever(_settings(port), on_ready, speaker=teacher)


def _settings(port: int) -> MockSettings:
    return MockSettings(port=port, models=(MODEL,), reasoning="field")
