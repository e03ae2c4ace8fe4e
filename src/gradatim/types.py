"""The records that pass between the parts of Gradatim, one per idea.

Words are those of `docs/concepts.md`. Records are frozen and keyword-only; ids are hashes of content, never positions.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from dataclasses import dataclass, field, replace
from enum import StrEnum

_SPACE = re.compile(r"\s+")


class Domain(StrEnum):
    """What kind of answer decides a question, and so which checker is asked."""

    MATH = "math"
    CHOICE = "choice"
    CODE = "code"


class Role(StrEnum):
    """What an attempt was made for."""

    BASE = "base"
    TEACHER = "teacher"
    EVAL = "eval"


class Outcome(StrEnum):
    """What a checker decided. A fault or limit of ours is never `wrong`."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNDECIDED = "undecided"


class Boundary(StrEnum):
    """Where a fault happened."""

    MODEL = "model"
    CHECKER = "checker"
    SANDBOX = "sandbox"
    PRM = "prm"


def content_id(*parts: str) -> str:
    """Return 16 letters and digits (80 bits of BLAKE2b) that name these parts, in this order."""
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=10).digest()
    return base64.b32encode(digest).decode("ascii").lower()


def normalised_prompt(prompt: str) -> str:
    """Return the prompt as its id sees it: NFC, runs of white space as one blank, no blanks at the ends."""
    return _SPACE.sub(" ", unicodedata.normalize("NFC", prompt)).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A prompt and what decides an answer to it."""

    id: str
    domain: Domain
    prompt: str
    reference: str
    """The reference answer: mathematical text; for `choice` the letter of the right option; for `code` a word that
    names its tests."""
    solution: str = ""
    """A worked solution, where the source has one; never shown to a model."""
    source: str = ""
    """Where it was read: `pool.jsonl:12`."""
    extra: str = "{}"
    """The source's other columns, as a JSON object."""
    tests: str = ""
    """For `code`: the tests, as `suite.Suite.encoded` writes them."""

    @staticmethod
    def make_id(domain: Domain, prompt: str) -> str:
        """Return the id of a question: a hash of its domain and normalised prompt."""
        return content_id(domain, normalised_prompt(prompt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
"""What the default system message and template ask for. A code question's prompt says itself how to answer."""
_STEPWISE = "Please reason step by step."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model is asked. Two attempts with different settings are different attempts."""

    temperature: float | None = None
    """None sends no temperature: the server's default holds."""
    top_p: float | None = None
    max_tokens: int = 4096
    seed: int = 0
    """The run's seed; each request gets its own, made from this, the question and the sample index."""
    system: str = ""
    template: str = "{prompt}"
    """The user's message; `{prompt}` is replaced by the question, nothing else is."""
    extra_body: str = "{}"
    """Further fields of the request as a JSON object, sent as they are: `{"top_k": 20}`."""

    def suited(self, domain: Domain) -> Sampling:
        """Return how a question of this domain is asked: of code without the sentence about the box."""
        if domain is not Domain.CODE:
            return self
        system, template = (text.replace(BOXED, _STEPWISE) for text in (self.system, self.template))
        return replace(self, system=system, template=template)

    def messages(self, prompt: str) -> tuple[Message, ...]:
        """Return the chat that asks `prompt`."""
        user = Message(role="user", content=self.template.replace("{prompt}", prompt))
        return (Message(role="system", content=self.system), user) if self.system else (user,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One answer that is to be had from a model."""

    key: int
    """The caller's handle, given back with the result."""
    messages: tuple[Message, ...]
    sampling: Sampling
    seed: int
    """The seed to send, 0 <= seed < 2**31."""
    further: bool = False
    """Whether this is the second request for a sample, whose first answer was cut off."""
    begun: Reply | None = None
    """The first answer, where it is to be continued; None asks anew."""

    @property
    def sent(self) -> tuple[Message, ...]:
        """All that the model is to read: the chat, and what it has written of its answer so far."""
        if self.begun is None:
            return self.messages
        return (*self.messages, Message(role="assistant", content=self.begun.reasoning + self.begun.content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request as the server counted them; None where it did not say."""

    prompt: int | None = None
    completion: int | None = None
    """All tokens written, reasoning included."""
    reasoning: int | None = None
    cached: int | None = None
    """How many of the prompt's tokens came from the server's cache."""


CUT_OFF = ("length", "max_tokens")
"""Finish reasons of answers that a limit ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one request counts as in the books: what the server counted, and the worst case of what it did not."""

    prompt: int
    cached: int
    """The part of `prompt` that came from the server's cache."""
    completion: int
    assumed: int
    """The part of `prompt` and `completion` that no server counted."""
    pico: int | None
    """Money in 1e-12 of the price's currency; None where no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's raw answer, before anything has interpreted it."""

    content: str
    """The answer as served; a `<think>` part, if the server leaves it there, included."""
    reasoning: str = ""
    """`reasoning_content` or `reasoning`, as served."""
    finish_reason: str = ""
    """`stop`, `length`, or whatever else the server said; empty where it said nothing."""
    usage: Usage = field(default_factory=Usage)
    latency: float = 0.0
    """Seconds from sending to the last byte, of the try that succeeded."""
    server_model: str = ""
    """The model name in the answer, which need not be the one asked for."""
    ids: tuple[int, ...] = ()
    """The tokens of an answer that was cut off, where the model runs in this process and can go on from them."""

    @property
    def cut_off(self) -> bool:
        """Whether a limit ended the answer, not the model."""
        return self.finish_reason in CUT_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why an item has no result yet. Never an answer, a verdict or a score."""

    boundary: Boundary
    reason: str
    """A word that a histogram can count: `timeout`, `http_500`, `bad_json`."""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a checker decided about one attempt."""

    outcome: Outcome
    reason: str
    """Why, in a word that a histogram can count: `equal_number`, `no_answer`, `truncated`."""
    answer: str = ""
    """The text that was compared with the reference."""
    found_by: str = ""
    """How the answer was found: `box`, `hash`, `phrase`, `fence`, `whole`; empty when none was."""
    passed: int | None = None
    """For `code`: how many tests the program passed; None where none could be run."""
    total: int | None = None
    """For `code`: of how many."""
    detail: str = ""
    """For `code`: a JSON object with the first failing test, time, memory and the sandbox; see docs/formats.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepScores:
    """A PRM's scores of one attempt: one number in [0, 1] per step, or none and the reason."""

    steps: tuple[str, ...]
    """The steps that were scored, in order; they join to the text that was split."""
    scores: tuple[float, ...]
    """As many as there are steps, or none at all."""
    reason: str = ""
    """Why there are none: `too_long`, `contains_step_tag`, `no_steps`; empty when there are."""

    def __post_init__(self) -> None:
        """Hold the promise of one score per step or none."""
        if self.reason == "" and len(self.scores) != len(self.steps):
            raise ValueError(f"{len(self.scores)} scores for {len(self.steps)} steps")
        if self.reason and self.scores:
            raise ValueError("scores beside a reason for having none")
