"""What was spent: for a budget that goes on where earlier runs stopped, and for who wants to see the books.

Spent is what was paid and what is still reserved. An answer without a payment (from before there was a ledger, or
bought in a run without price and limit) counts by its own tokens and cost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gradatim.library import attempts
from gradatim.library.text import unpack
from gradatim.models.budget import PICO, prompt_bound
from gradatim.types import Sampling

if TYPE_CHECKING:
    from gradatim.library.store import Library
    from gradatim.models.budget import Price
    from gradatim.types import Role

_OF_DRAW = "SELECT i.question FROM draw_item i JOIN draw d ON d.pk = i.draw WHERE d.name = ?"


def spent(
    library: Library, role: Role | str, model: str, draw: str | None = None, price: Price | None = None
) -> tuple[int, float]:
    """Return tokens and money that a model has cost in one role so far, in all or for one draw's questions.

    What no server counted is the worst case. What has no question (a probe) counts for every draw. `price` is for
    attempts without a payment whose tokens were not counted; recorded answers cost nothing.
    """
    tokens, pico = _before(library, role, model, draw, price)
    inside = "" if draw is None else f" AND (l.question IS NULL OR l.question IN ({_OF_DRAW}))"
    values = [role, model] if draw is None else [role, model, draw]
    for table in ("payment", "reservation"):
        # In two parts: a sum of whole numbers beyond 2**63 is an error, which 9.3 million of a currency would reach.
        sql = (
            "SELECT coalesce(sum(l.prompt + l.completion), 0), coalesce(sum(l.pico / 1000000), 0), "
            f"coalesce(sum(l.pico % 1000000), 0) FROM {table} l JOIN account a ON a.pk = l.account "
            f"WHERE a.role = ? AND a.model = ?{inside}"
        )
        counted, large, small = library.all(sql, values)[0]
        tokens, pico = tokens + counted, pico + large * 1_000_000 + small
    return tokens, pico / PICO


_BOUGHT = (
    "SELECT setting, question, prompt_tokens, completion_tokens, cost, payment, 0 AS read, NULL AS most FROM attempt",
    """SELECT b.setting, b.question, f.prompt_tokens, f.completion_tokens, f.cost, f.payment,
    coalesce(b.completion_tokens, 0) AS read, f.max_tokens AS most
    FROM further f CROSS JOIN attempt b ON b.pk = f.attempt""",
)
"""What was bought: first answers, and further ones for those that were cut off, which may read what was written."""


def _before(library: Library, role: Role | str, model: str, draw: str | None, price: Price | None) -> tuple[int, int]:
    """Return tokens and money, in 1e-12, of the answers that have no payment."""
    tokens, pico = 0, 0
    for bought in _BOUGHT:
        more = _unpaid(library, bought, (role, model, draw), price)
        tokens, pico = tokens + more[0], pico + more[1]
    return tokens, pico


def _unpaid(
    library: Library, bought: str, whose_: tuple[Role | str, str, str | None], price: Price | None
) -> tuple[int, int]:
    """Return tokens and money of those of these answers that have no payment."""
    role, model, draw = whose_
    inside = "" if draw is None else f" AND a.question IN ({_OF_DRAW})"
    values = [role, model, attempts.RECORDED, *([] if draw is None else [draw])]
    uncounted = "(a.prompt_tokens IS NULL OR a.completion_tokens IS NULL)"
    whose = (
        "setting s ON s.pk = a.setting WHERE s.role = ? AND s.model = ? AND s.sampling <> ? "
        f"AND a.payment IS NULL{inside}"
    )
    sql = (
        "SELECT coalesce(sum(a.prompt_tokens + a.completion_tokens), 0), "
        f"coalesce(sum(a.cost) FILTER (WHERE NOT {uncounted}), 0.0), count(*) FILTER (WHERE {uncounted}) "
        f"FROM ({bought}) a JOIN {whose}"
    )
    tokens, money, unknown = library.all(sql, values)[0]
    pico = round(money * PICO)
    if not unknown:
        return int(tokens), pico
    sql = (
        "SELECT a.prompt_tokens, a.completion_tokens, a.read, a.most, s.sampling, t.prompt "
        f"FROM ({bought}) a JOIN question_text t ON t.question = a.question JOIN {whose} AND {uncounted}"
    )
    for prompt_tokens, completion_tokens, read, most, sampling_text, packed in library.rows(sql, values):
        sampling = Sampling(**json.loads(sampling_text))
        bound = prompt_bound(sampling.messages(unpack(packed))) + read
        prompt = bound if prompt_tokens is None else prompt_tokens
        completion = (most or sampling.max_tokens) if completion_tokens is None else completion_tokens
        tokens += prompt + completion
        pico += 0 if price is None else price.worst(prompt, completion)
    return int(tokens), pico


COLUMNS = ("stage", "role", "model", "level", "why", "requests", "prompt", "cached", "written", "assumed", "money")
_SHARES = """
SELECT stage, role, model, level, why, count(*), sum(prompt), sum(cached), sum(completion), sum(assumed), sum(money)
FROM ledger GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT CASE s.role WHEN 'base' THEN 'attempt' WHEN 'teacher' THEN 'teach' ELSE 'evaluate' END, s.role, s.model, NULL,
       'not booked', count(*), coalesce(sum(a.prompt_tokens), 0), coalesce(sum(a.cached_tokens), 0),
       coalesce(sum(a.completion_tokens), 0), 0, sum(a.cost)
FROM (SELECT setting, prompt_tokens, cached_tokens, completion_tokens, cost FROM attempt WHERE payment IS NULL UNION ALL
      SELECT b.setting, f.prompt_tokens, f.cached_tokens, f.completion_tokens, f.cost FROM further f
      CROSS JOIN attempt b ON b.pk = f.attempt WHERE f.payment IS NULL) a
JOIN setting s ON s.pk = a.setting WHERE s.sampling <> ? GROUP BY 1, 2, 3
ORDER BY 1, 2, 3, 4, 5
"""


def shares(library: Library) -> list[tuple[object, ...]]:
    """Return what was spent, by stage, role, model, level and why, as `COLUMNS` names it.

    `not booked` are attempts without a payment; what is `open` is under way, or was when its process died.
    """
    return library.all(_SHARES, (attempts.RECORDED,))
