"""A limit on tokens, money and time that is reserved before a request is sent, and so is never exceeded.

Before: the worst case of the request, an upper bound of its prompt and all of `max_tokens`, must fit beside what was
spent and what other requests under way have reserved. After: the reservation is replaced by what the server counted.

What counts as the worst case, because nobody can say what it cost: an answer without usage, and a failed try that the
server may have billed (silence, a connection lost after the request was sent, an answer that is torn or no JSON, a
gateway that gave up, a cancelled request). What counts as nothing: no connection, 429, 400, 500, 503, and an error in
place of an answer. So a budget errs by stopping early, never by spending more.

Two things only the server decides: a chat template that adds more than `OVERHEAD` tokens (seen once, it is reserved
from then on), and a server that ignores `max_tokens` (the endpoint notes it).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.types import Spent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradatim.types import Message, Usage

OVERHEAD = 256
"""Tokens that a chat template may add to a request: role markers, a default system prompt, a date."""
OVERHEAD_PER_MESSAGE = 16
_PER_MILLION = 1_000_000
PICO = 10**12
"""Money is counted in whole 1e-12 of the currency, so that a sum of a million costs has no rounding in it."""


def prompt_bound(messages: Iterable[Message]) -> int:
    """Return a number of tokens that a chat does not exceed: a token stands for at least one byte of UTF-8.

    Holds for byte-level and byte-fallback tokenisers, which is every current chat model's.
    """
    return OVERHEAD + sum(
        len(message.content.encode("utf-8", "replace")) + OVERHEAD_PER_MESSAGE for message in messages
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model costs, in any currency, per million tokens."""

    input: float
    output: float
    """Reasoning tokens included; servers count them as written tokens."""
    cached_input: float | None = None
    """For the prompt's tokens that came from the server's cache; None: as `input`."""

    def __post_init__(self) -> None:
        """Refuse a price that is none."""
        for value in (self.input, self.output, self.cached_input or 0.0):
            if not 0 <= value < float("inf"):
                raise UsageError(f"a price of {value} per million tokens: write a number of 0 or more")

    def cost(self, usage: Usage) -> float:
        """Return what this usage costs; counts that are not known cost nothing."""
        prompt, completion, cached = usage.prompt or 0, usage.completion or 0, usage.cached or 0
        return self.pico(prompt, completion, min(cached, prompt)) / PICO

    def pico(self, prompt: int, completion: int, cached: int = 0) -> int:
        """Return a cost in 1e-12 of the currency, `cached` being a part of `prompt`."""
        full = round(self.input * _PER_MILLION)
        reduced = full if self.cached_input is None else round(self.cached_input * _PER_MILLION)
        return (prompt - cached) * full + cached * reduced + completion * round(self.output * _PER_MILLION)

    def worst(self, prompt: int, completion: int) -> int:
        """Return the highest cost of a request in 1e-12 of the currency: some servers ask more to fill their cache."""
        return max(self.pico(prompt, completion), self.pico(prompt, completion, cached=prompt))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What one request may cost at most."""

    prompt: int
    completion: int
    pico: int
    """Money, in 1e-12 of the currency."""
    margin: int = 0
    """The part of `prompt` that is there because an earlier request's prompt was longer than its bound."""

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt + self.completion


class Budget:
    """What may be spent, has been, and is reserved. For one thread; the counts may be read from any."""

    def __init__(
        self,
        *,
        tokens: int | None = None,
        money: float | None = None,
        seconds: float | None = None,
        price: Price | None = None,
        spent_tokens: int = 0,
        spent_money: float = 0.0,
        open_counted: bool = False,
    ) -> None:
        """Set the limits; None is no limit.

        Args:
            tokens: prompt and written tokens together.
            money: in the currency of `price`.
            seconds: from the first request on.
            price: what the model costs; needed for `money`.
            spent_tokens: what counted towards `tokens` before, in earlier runs.
            spent_money: the same for `money`.
            open_counted: whether both hold what earlier runs have reserved and not settled: batches under way.

        Raises `UsageError` for a limit below 0, or money without a price.
        """
        for word, value in (("tokens", tokens), ("money", money), ("seconds", seconds)):
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"a budget of {value} {word}: write a number of 0 or more, or leave it out")
        if money is not None and price is None:
            raise UsageError("a budget in money needs to know what the model costs: set its price per million tokens")
        self._tokens = tokens
        self._money = None if money is None else round(money * PICO)
        self._seconds = seconds
        self._price = price
        self._spent_tokens = spent_tokens
        self._spent_pico = round(spent_money * PICO)
        self._reserved_tokens = 0
        self._reserved_pico = 0
        self._margin = 0
        self._started: float | None = None
        self.open_counted = open_counted
        self.open = 0
        """Reservations that are not settled."""
        self.assumed_tokens = 0
        """The part of `spent_tokens` that no server counted: worst cases."""

    @property
    def limited(self) -> bool:
        """Whether there is a limit on tokens or money."""
        return self._tokens is not None or self._money is not None

    @property
    def counts(self) -> bool:
        """Whether tokens or money matter: there is a limit on them, or a price."""
        return self.limited or self._price is not None

    @property
    def price(self) -> Price | None:
        """What the model costs, where it is known."""
        return self._price

    def know(self, price: Price | None) -> None:
        """Take the price of the model that is asked, where none was given: then what is spent has a cost."""
        self._price = self._price or price

    @property
    def spent_tokens(self) -> int:
        """Tokens spent, earlier runs included."""
        return self._spent_tokens

    @property
    def spent_money(self) -> float:
        """Money spent, earlier runs included; 0 without a price."""
        return self._spent_pico / PICO

    def start(self) -> None:
        """Start the clock, if it does not run yet."""
        if self._started is None:
            self._started = time.monotonic()

    @property
    def seconds(self) -> float | None:
        """The limit on time, or None."""
        return self._seconds

    @property
    def seconds_left(self) -> float:
        """Seconds until the time is over; infinite without a limit."""
        if self._seconds is None:
            return float("inf")
        return self._seconds - (time.monotonic() - self._started if self._started is not None else 0.0)

    def reserve(self, prompt: int, completion: int) -> Reservation | None:
        """Reserve the worst case of a request, or return None where it does not fit.

        With reservations open, None means not now: most answers are shorter than their worst case. With none open it
        means never. `prompt` is an upper bound (`prompt_bound`), `completion` is `max_tokens`.
        """
        self.start()
        prompt += self._margin
        pico = self._price.worst(prompt, completion) if self._price else 0
        tokens_after = self._spent_tokens + self._reserved_tokens + prompt + completion
        money_after = self._spent_pico + self._reserved_pico + pico
        if self._tokens is not None and tokens_after > self._tokens:
            return None
        if (self._money is not None and money_after > self._money) or self.seconds_left <= 0:
            return None
        self.open += 1
        self._reserved_tokens += prompt + completion
        self._reserved_pico += pico
        return Reservation(prompt=prompt, completion=completion, pico=pico, margin=self._margin)

    def take_over(self, prompt: int, completion: int, pico: int, *, counted: bool) -> Reservation:
        """Reserve, whatever the limits say, for a request that an earlier run has under way.

        `counted`: what was spent holds it already, and it moves from there.
        """
        self.open += 1
        self._reserved_tokens += prompt + completion
        self._reserved_pico += pico
        if counted:
            self._spent_tokens -= prompt + completion
            self._spent_pico -= pico
        return Reservation(prompt=prompt, completion=completion, pico=pico)

    def settle(self, reservation: Reservation, usage: Usage) -> Spent:
        """Replace a reservation by what the server counted; a count that it did not give is the worst case."""
        self._close(reservation)
        prompt = reservation.prompt if usage.prompt is None else usage.prompt
        completion = reservation.completion if usage.completion is None else usage.completion
        cached = 0 if usage.prompt is None else min(usage.cached or 0, prompt)
        assumed = 0
        if usage.prompt is None:
            assumed += prompt
        else:
            self._margin = max(self._margin, usage.prompt - (reservation.prompt - reservation.margin))
        if usage.completion is None:
            assumed += completion
        pico = None
        if self._price is not None:
            worst = usage.prompt is None
            pico = self._price.worst(prompt, completion) if worst else self._price.pico(prompt, completion, cached)
        return self._spend(Spent(prompt=prompt, cached=cached, completion=completion, assumed=assumed, pico=pico))

    def assume_worst(self, reservation: Reservation) -> Spent:
        """Replace a reservation by itself: the server may have billed the request, and did not say what."""
        self._close(reservation)
        return self._spend(
            Spent(
                prompt=reservation.prompt,
                cached=0,
                completion=reservation.completion,
                assumed=reservation.tokens,
                pico=None if self._price is None else reservation.pico,
            )
        )

    def _spend(self, spent: Spent) -> Spent:
        self._spent_tokens += spent.prompt + spent.completion
        self._spent_pico += spent.pico or 0
        self.assumed_tokens += spent.assumed
        return spent

    def release(self, reservation: Reservation) -> None:
        """Give a reservation back: the request was not sent, or the server did not bill it."""
        self._close(reservation)

    def _close(self, reservation: Reservation) -> None:
        self.open -= 1
        self._reserved_tokens -= reservation.tokens
        self._reserved_pico -= reservation.pico

    def describe(self) -> str:
        """Return the limits and what was spent, as a sentence has it: `120 of 1000 tokens`."""
        parts = []
        if self._tokens is not None:
            parts.append(f"{self._spent_tokens} of {self._tokens} tokens")
        if self._money is not None:
            parts.append(f"{self.spent_money:.4f} of {self._money / PICO:g} in money")
        if self._seconds is not None:
            parts.append(f"{self._seconds - max(0.0, self.seconds_left):.1f} of {self._seconds:g} seconds")
        return ", ".join(parts) or "no limit"
