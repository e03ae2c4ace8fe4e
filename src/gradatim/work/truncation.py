"""Answers that were cut off: what is asked further for one, and whether what came back goes on where it stopped.

A first answer that `max_tokens` ended is kept as it is. By choice one further request is made for it, and never a
third: it is continued, or asked again with a larger limit. A server that is asked to go on and begins anew is found
out: what it wrote is kept, counted and read by nobody, and it is asked no more in that run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gradatim.errors import UsageError
from gradatim.library.furthers import ANEW, CONTINUED, RETRIED
from gradatim.models.batch_api import BatchEndpoint
from gradatim.reasoning import split_reasoning, unfinished

if TYPE_CHECKING:
    from gradatim.config.settings import Asking
    from gradatim.models import Model
    from gradatim.types import Reply, Request

LOCAL = "local"
"""The way to go on of a model in this process, which reads the very tokens that it wrote."""
_READ = 0.8
"""The share of the first answer's tokens that the further request's prompt must hold: some templates leave out what was
thought, and the same text can be read as somewhat fewer tokens than it was written in."""
_ALIKE = (12, 80)
"""How many characters of two beginnings must be alike, and how many are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What becomes of answers that are cut off."""

    what: Literal["continue", "retry"]
    max_tokens: int
    """Of the whole answer where it is continued, of the new one where it is retried."""
    way: str | None
    """How the model goes on with an answer."""

    def further(self, asked: Request, first: Reply) -> Request:
        """Return the one further request for what was asked and cut off."""
        if self.what == "continue" and self._can_go_on(first):
            written = first.usage.completion
            left = self.max_tokens - (asked.sampling.max_tokens if written is None else written)
            sampling = replace(asked.sampling, max_tokens=max(1, left))
            return replace(asked, sampling=sampling, further=True, begun=first)
        return replace(asked, sampling=replace(asked.sampling, max_tokens=self.max_tokens), further=True)

    def _can_go_on(self, first: Reply) -> bool:
        """Whether the model can be shown what it wrote as it wrote it.

        Through a chat no server can be shown thinking that is not over: templates leave it out, or close it.
        """
        return self.way == LOCAL or split_reasoning(first.content, first.reasoning)[1].strip() != ""


def policy_of(settings: Asking, model: Model) -> Policy | None:
    """Return what the settings say of answers that are cut off; None: they are kept.

    Raises `UsageError` where the model cannot be asked to go on, or the larger limit is not larger.
    """
    if settings.truncated == "keep":
        return None
    if isinstance(model, BatchEndpoint):
        raise UsageError(
            f'{model.name} is asked in batches, which make no further requests: truncated = "{settings.truncated}" is '
            "for a run without batch, which takes up the answers that were cut off"
        )
    limit, way = settings.truncated_max_tokens, getattr(model, "continues", None)
    if limit is None or limit <= settings.max_tokens:
        raise UsageError(
            f'truncated = "{settings.truncated}" needs truncated_max_tokens above max_tokens, {settings.max_tokens}'
        )
    if settings.truncated == "continue" and way is None:
        raise UsageError(
            f"nothing says how the server of {model.name} goes on with an answer: set continues for the model, or take "
            'truncated = "retry"'
        )
    return Policy(what=settings.truncated, max_tokens=limit, way=way)


def furthers_of(settings: Asking, model: Model) -> Furthers | None:
    """Return the further requests that a run may make, as `policy_of` has it; None: none."""
    policy = policy_of(settings, model)
    return None if policy is None else Furthers(policy)


def read_further(request: Request, reply: Reply, way: str | None) -> tuple[str, Reply]:
    """Return what an answer to a further request is (`library.furthers`), and its text without what it repeats."""
    first = request.begun
    if first is None:
        return RETRIED, reply
    if way == LOCAL:
        return CONTINUED, reply
    written = unfinished(first.content)
    if way == "mistral" and reply.content.startswith(written):
        rest = replace(reply, content=reply.content.removeprefix(written))
        return (ANEW, reply) if _wrote_all(first, reply) else (CONTINUED, rest)
    return (CONTINUED, reply) if _goes_on(first, reply) else (ANEW, reply)


def _wrote_all(first: Reply, reply: Reply) -> bool:
    """Whether a server that repeats what it was sent counts that among what it wrote: then it wrote it again."""
    before, after = first.usage.completion, reply.usage.completion
    if not before or after is None or not first.content:
        return False
    rest = before * (len(reply.content) / len(first.content) - 1)
    return after > rest + before / 2


def _goes_on(first: Reply, reply: Reply) -> bool:
    """Whether a server went on with an answer, and did not begin anew.

    It began anew where its prompt did not hold what was written, where it thought again before it answered, or where
    it begins as the first answer does. What cannot be told: a server that ignores what it was asked, and writes
    something else that does none of these.
    """
    before, after = first.usage, reply.usage
    if before.prompt is not None and after.prompt is not None:
        read = before.prompt + _READ * (before.completion or 0)
        if after.prompt < read:
            return False
    thinking, answer = split_reasoning(reply.content, reply.reasoning)
    if thinking.strip() and answer.strip():
        return False
    return not (_alike(first.content, reply.reasoning + reply.content) or _alike(first.reasoning, reply.reasoning))


def _alike(one: str, other: str) -> bool:
    """Whether two texts begin alike."""
    least, most = _ALIKE
    one, other = one.lstrip()[:most], other.lstrip()[:most]
    length = min(len(one), len(other))
    return length >= least and one[:length] == other[:length]


class Furthers:
    """The further requests of one run. Asked for on the engine's thread."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._proven = policy.way == LOCAL or policy.what == "retry"
        self._trying = False
        self.refused = False
        """Whether the server was found to begin anew: nothing more is to be continued."""

    @property
    def ready(self) -> bool:
        """Whether a further request may be sent now: the first to be continued goes alone, until it is seen to be."""
        return not self.refused and (self._proven or not self._trying)

    def request(self, asked: Request, first: Reply) -> Request:
        """Return the further request; the caller sends it."""
        request = self.policy.further(asked, first)
        if request.begun is not None and not self._proven:
            self._trying = True
        return request

    def read(self, request: Request, reply: Reply) -> tuple[str, Reply]:
        """Return what came back, as `read_further` does, and take note of it."""
        kind, reply = read_further(request, reply, self.policy.way)
        if request.begun is not None:
            self._trying = False
            self._proven |= kind == CONTINUED
            self.refused |= kind == ANEW
        return kind, reply

    def failed(self, request: Request) -> None:
        """Take note of a request that was given up."""
        if request.begun is not None:
            self._trying = False

    def notes(self, name: str) -> tuple[str, ...]:
        """Say what the user has to know."""
        if not self.refused:
            return ()
        said = (
            f"{name}: its server was asked to go on with an answer that was cut off and began anew, so no more were "
            'continued in this run; what it wrote is kept apart. Take truncated = "retry", or another continues'
        )
        return (said,)
