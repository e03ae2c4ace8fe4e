"""Score steps by a chat server that gives log probabilities: vLLM, SGLang, llama.cpp, and hosted ones.

One request for each step; what it asks and which two labels decide, a `Chat` says: `rlhflow`, `critic`. The steps of a
solution are asked for one after another, so that a server with a cache of prefixes reads what they share once; the last
first, so that a solution that does not fit is refused at its first request.

A fault at one step is the whole solution's: one score per step, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import SetupError, UsageError
from gradatim.prm.family import readable, refusal, scored
from gradatim.prm.labels import Labels, Read, read_label
from gradatim.prm.pooling_reply import error_text, says_too_long
from gradatim.prm.server import Server, Way, fault_of
from gradatim.prm.splitting import splitter_of
from gradatim.types import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gradatim.method.aggregation import Aggregation
    from gradatim.prm import Solution
    from gradatim.prm.server import Answer
    from gradatim.types import StepScores

_PATH = "/v1/chat/completions"
_TOPS = (20, 5)
"""How many of the likeliest tokens are asked for; the most that servers take, and the least that any was seen to."""
_UNDECIDED = 20
"""Answers without a score, and none with one before them, after which no more are asked for and paid."""
_UPGRADE = "give the base_url of a chat server"

Turn = dict[str, str]
_Out = tuple[int, "StepScores | Fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """How a chat model is asked about a step, and what its answer means."""

    kind: str
    """What `[prm] kind` says."""
    format: str
    """Names what is asked and which labels decide; a change of either is a change of name."""
    labels: Labels
    analysis: int = 0
    """Tokens that the model may write before it decides; 0: its first token decides."""
    aggregation: Aggregation = "mean"
    """How an answer's step scores become one number, unless the settings say otherwise."""
    turns: Callable[[str, Sequence[str], int], list[Turn]]
    """From a question, its steps and the number of one, from 0, to the chat that asks about it."""
    forbidden: Callable[[str], bool]
    """Tells whether a text holds what a chat's template would read as a turn of its own."""


@dataclass(slots=True)
class Used:
    """What a PRM has asked and been given since it was made, as the server counted it."""

    requests: int = 0
    """Those that were answered, by a label or not."""
    prompt: int = 0
    completion: int = 0
    uncounted: int = 0
    """Answers that came without a count of their tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    prompt: str
    steps: tuple[str, ...]


class ChatPRM:
    """Scores steps with the chat model that a server runs under the name `model`.

    `chat`: `critic(...)` or `RLHFLOW_CHAT`. `context`: the most tokens of a request, whatever the server takes; None
    leaves it to the server. `steps`: the rule that splits answers, `blank-lines` or `reasoning`. The rest is as for
    `PoolingPRM`.

    Raises `UsageError` for a wrong setting, `SetupError` where the key's variable is not set.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        chat: Chat,
        api_key_env: str | None = None,
        concurrency: int = 16,
        idle_timeout: float = 300.0,
        context: int | None = None,
        steps: str = "blank-lines",
        tries: int = 4,
        backoff: float = 0.5,
    ) -> None:
        if context is not None and context < 1:
            raise UsageError(f"context of the PRM is {context}; 1 or more was expected")
        way = Way(
            base_url=base_url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            idle_timeout=idle_timeout,
            tries=tries,
            backoff=backoff,
        )
        splitter = splitter_of(steps)
        self._server = Server(way, model=model, upgrade=_UPGRADE, listed=False)
        self._chat = chat
        self._context = context
        self._splitter = splitter
        self._top = 0
        self._limit = "max_tokens"
        self._undecided: int | None = 0
        """Answers without a score so far; None once there was one with a score."""
        self.used = Used()
        self.aggregation = chat.aggregation
        self.name = model
        self.version = ";".join(
            (chat.format, splitter.rule, "chat", model, *([] if context is None else [f"context={context}"]))
        )

    def score(self, solutions: Iterable[Solution]) -> Iterator[_Out]:
        """Give each solution's key with its scores, or with a fault: `timeout`, `no_label`, `http_500`, ...

        Streams, as answers come: holds at most `concurrency` solutions. Raises `SetupError` where the server cannot be
        reached, or gives no log probabilities.
        """
        return self._server.stream(solutions, self._prepare, self._score)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: how many tokens this took."""
        used = self.used
        if not used.requests:
            return ()
        more = f"; {used.uncounted:,} answers came without a count" if used.uncounted else ""
        tokens = f"{used.prompt:,} tokens read and {used.completion:,} written"
        return (f"{self.name}: {used.requests:,} requests, {tokens}{more}",)

    def close(self) -> None:
        """End the connections; a later `score` opens new ones."""
        self._server.close()

    def _prepare(self, solution: Solution) -> _Prepared | StepScores:
        steps = readable(solution, self._splitter.split, self._chat.forbidden)
        return _Prepared(prompt=solution.prompt, steps=steps) if isinstance(steps, tuple) else steps

    async def _score(self, prepared: _Prepared) -> StepScores | Fault:
        """Ask about each step, the last first."""
        scores = []
        for number in reversed(range(len(prepared.steps))):
            score = await self._ask(self._chat.turns(prepared.prompt, prepared.steps, number))
            if isinstance(score, Fault):
                return score
            if isinstance(score, str):
                return refusal(prepared.steps, score)
            scores.append(score)
        return scored(prepared.steps, scores[::-1])

    async def _ask(self, turns: list[Turn]) -> float | str | Fault:
        """Return a step's score, or why it cannot have one: `too_long`, `analysis_cut`, or a fault."""
        while True:
            top, limit = self._top, self._limit
            answer = await self._server.request("POST", _PATH, self._body(turns))
            if isinstance(answer, Fault):
                return answer
            if answer.status == 200:
                return self._read(answer)
            self._server.refuse_status(answer, _PATH)
            message = error_text(answer.body)
            if says_too_long(message):
                return "too_long"
            if "logprobs" in message and top + 1 < len(_TOPS):
                self._top = max(self._top, top + 1)
            elif "logprobs" in message:
                raise SetupError(
                    f"the PRM server {self._server.base} refuses to give log probabilities ({message}); take a server "
                    "that gives them, or another backend"
                )
            elif "max_completion_tokens" in message and limit == "max_tokens":
                self._limit = "max_completion_tokens"
            else:
                return fault_of(f"http_{answer.status}", message)

    def _body(self, turns: list[Turn]) -> dict[str, object]:
        return {
            "model": self.name,
            "messages": turns,
            self._limit: self._chat.analysis or 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": _TOPS[self._top],
        }

    def _read(self, answer: Answer) -> float | str | Fault:
        read = read_label(
            answer.body, self._chat.labels, f"the PRM server {self._server.base}", last=self._chat.analysis > 0
        )
        if isinstance(read, Fault):
            return read
        self._count(read)
        if self._context is not None and (read.prompt_tokens or 0) > self._context:
            return "too_long"
        if isinstance(read.score, float):
            self._undecided = None
            return read.score
        self._without_score(read.score)
        return read.score or "analysis_cut"

    def _without_score(self, fault: Fault | None) -> None:
        """Count an answer without a score. Raises `SetupError` where there was never one with a score."""
        if self._undecided is None:
            return
        self._undecided += 1
        if self._undecided >= _UNDECIDED:
            why = fault.message if fault else f"its analysis did not end within {self._chat.analysis} tokens"
            raise SetupError(
                f"{self.name} answered {self._undecided} times, and never by a label ({why}); correct the labels or "
                "the prompt of the PRM, or give it more tokens for an analysis"
            )

    def _count(self, read: Read) -> None:
        self.used.requests += 1
        self.used.uncounted += read.prompt_tokens is None or read.completion_tokens is None
        self.used.prompt += read.prompt_tokens or 0
        self.used.completion += read.completion_tokens or 0
