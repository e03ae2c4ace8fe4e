"""How good the tiny PRM is: measured on pool questions through Gradatim's own adapter, against fresh roll-outs."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from generate import continued, is_right
from tokenizer import chat

from gradatim.prm import Solution
from gradatim.prm.local import LocalPRM
from gradatim.tiny.world import questions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_QUESTIONS = 1000
_SAMPLES = 8


def prm_figures(base: Any, tokenizer: Any, folder: Path) -> dict[str, float]:
    """Return how the mean step score of one greedy answer goes with its outcome, and with fresh samples' pass rate."""
    asked = list(islice(questions("pool", seed=2), _QUESTIONS))
    starts = [chat(one.prompt) for one in asked]
    texts, _ = continued(base, tokenizer, starts)
    outcomes = [is_right(text, one.reference) for text, one in zip(texts, asked, strict=True)]
    rates = [0.0] * len(asked)
    for sample in range(_SAMPLES):
        again, _ = continued(base, tokenizer, starts, temperature=1.0, seed=100 + sample)
        rates = [
            rate + is_right(text, one.reference) / _SAMPLES for rate, text, one in zip(rates, again, asked, strict=True)
        ]
    means = _means(folder, [(one.prompt, text) for one, text in zip(asked, texts, strict=True)])
    wrong = [at for at, right in enumerate(outcomes) if not right]
    return {
        "outcome_auc": round(auc(means, outcomes), 4),
        "rank_correlation_all": round(spearman(means, rates), 4),
        "rank_correlation_wrong": round(spearman([means[at] for at in wrong], [rates[at] for at in wrong]), 4),
    }


def _means(folder: Path, answers: list[tuple[str, str]]) -> list[float]:
    solutions = []
    for key, (prompt, text) in enumerate(answers):
        thinking = text.partition("</think>")[0].replace("<think>", "").strip()
        solutions.append(Solution(key=key, prompt=prompt, answer=thinking or text))
    scores = dict(LocalPRM(path=folder).score(solutions))
    return [sum(scores[key].scores) / max(1, len(scores[key].scores)) for key in range(len(answers))]


def auc(values: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Return the probability that a right one's value is above a wrong one's, ties counted half."""
    placed = ranks(values)
    right = [place for place, outcome in zip(placed, outcomes, strict=True) if outcome]
    wrong = len(outcomes) - len(right)
    return (sum(right) - len(right) * (len(right) + 1) / 2) / (len(right) * wrong)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation."""
    x, y = ranks(a), ranks(b)
    middle = (len(a) + 1) / 2
    top = sum((i - middle) * (j - middle) for i, j in zip(x, y, strict=True))
    return top / (sum((i - middle) ** 2 for i in x) * sum((j - middle) ** 2 for j in y)) ** 0.5


def ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1, ties sharing their mean."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    found, at = [0.0] * len(values), 0
    while at < len(order):
        end = at
        while end + 1 < len(order) and values[order[end + 1]] == values[order[at]]:
            end += 1
        for place in range(at, end + 1):
            found[order[place]] = (at + end) / 2 + 1
        at = end + 1
    return found
