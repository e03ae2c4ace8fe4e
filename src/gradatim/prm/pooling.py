"""Score steps on a vLLM server that runs a PRM, by its `/pooling`.

The text is sent as the family writes it, control tokens and all, since the base install has no tokenizer; whether the
server is to add tokens of its own, the family says. A fault of the server or the way to it is never a score.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gradatim.errors import SetupError, UsageError
from gradatim.prm.families import family_of
from gradatim.prm.family import Prepared, prepare, refusal, version_of
from gradatim.prm.pooling_reply import Asked, error_text, read_pooling, says_no_such_task, says_too_long
from gradatim.prm.server import Server, Way, fault_of
from gradatim.prm.splitting import splitter_of
from gradatim.types import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gradatim.prm import Solution
    from gradatim.types import StepScores

_TASKS = ("token_classify", None, "encode", "reward")
"""What the task has been called: since vLLM 0.11; left to the server; 0.10; before. The first that is taken is kept."""
_Out = tuple[int, "StepScores | Fault"]


class PoolingPRM:
    """Scores steps with the PRM that a server runs under the name `model`.

    `kind`: its family, as `[prm] kind` names them. `base_url`: `http://host:8000`, with or without `/v1`.
    `api_key_env`: the environment variable that holds the key. `concurrency`: the most requests at once.
    `idle_timeout`: seconds without a byte from the server. `context`: the most tokens of a solution that is scored,
    whatever the server takes; None is what the family reads. `steps`: the rule that splits answers, `blank-lines` or
    `reasoning`. `tries`: requests for one solution; between two there is a random pause of up to `backoff` seconds,
    twice as much each time, or what the server's Retry-After says.

    Raises `UsageError` for a wrong setting, `SetupError` where the key's variable is not set.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        kind: str = "qwen",
        api_key_env: str | None = None,
        concurrency: int = 16,
        idle_timeout: float = 300.0,
        context: int | None = None,
        steps: str = "blank-lines",
        tries: int = 4,
        backoff: float = 0.5,
    ) -> None:
        family = replace(family_of(kind), splitter=splitter_of(steps))
        if family.served is None:
            raise UsageError(f'no vLLM server gives the scores of kind = "{kind}" by /pooling; set backend = "local"')
        context = family.context if context is None else context
        if context < 1:
            raise UsageError(f"context of the PRM is {context}; 1 or more was expected")
        way = Way(
            base_url=base_url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            idle_timeout=idle_timeout,
            tries=tries,
            backoff=backoff,
        )
        self._server = Server(way, model=model, upgrade=_UPGRADE)
        self._family = family
        self._served = family.served
        self._context = context
        self._task = 0
        self.aggregation = family.aggregation
        self.name = model
        self.version = version_of(family, "vllm-pooling", model, f"context={context}")

    def score(self, solutions: Iterable[Solution]) -> Iterator[_Out]:
        """Give each solution's key with its scores, or with a fault: `timeout`, `connection`, `http_500`, ...

        Streams, as answers come: holds at most `concurrency` solutions. Raises `SetupError` where the server cannot be
        reached, does not have the model, or is set up so that no answer of its can be right.
        """
        return self._server.stream(solutions, partial(prepare, self._family), self._score_one)

    def close(self) -> None:
        """End the connections; a later `score` opens new ones."""
        self._server.close()

    async def _score_one(self, prepared: Prepared) -> StepScores | Fault:
        while True:
            task = self._task
            if task == len(_TASKS):
                said = f"{self._server.base}/pooling takes none of the tasks it could be asked for"
                raise SetupError(f"{said}; {self._served.how}")
            body: dict[str, object] = {"model": self.name, **self._served.body(prepared.prompt, prepared.steps)}
            if (name := _TASKS[task]) is not None:
                body["task"] = name
            answer = await self._server.request("POST", "/pooling", body)
            if isinstance(answer, Fault):
                return answer
            if answer.status == 200:
                server = Asked(name=f"the PRM server {self._server.base}", served=self._served, context=self._context)
                return read_pooling(answer.body, prepared, server)
            self._server.refuse_status(answer, "/pooling")
            message = error_text(answer.body)
            if says_too_long(message):
                return refusal(prepared.steps, "too_long")
            if not says_no_such_task(message):
                return fault_of(f"http_{answer.status}", message)
            # Requests beside this one may have learned the same by now.
            self._task = max(self._task, task + 1)


_UPGRADE = "serve the PRM with vLLM 0.8.3 or later, as `vllm serve MODEL --runner pooling`"
