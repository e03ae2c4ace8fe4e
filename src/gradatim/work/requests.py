"""A request for one sample of one question, and the key that stands for both."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from gradatim.types import Request

if TYPE_CHECKING:
    from gradatim.types import Question, Sampling

_SAMPLE_BITS = 20
"""A request's key is the question's key and, in the low bits, the sample index: nothing has to be remembered."""


def request(question_pk: int, question: Question, sample: int, sampling: Sampling) -> Request:
    """Return the request for one sample; its seed is made from the run's seed, the question and the sample."""
    digest = hashlib.blake2b(f"{sampling.seed}:{question.id}:{sample}".encode(), digest_size=4).digest()
    seed = int.from_bytes(digest, "big") & 0x7FFFFFFF
    messages = sampling.suited(question.domain).messages(question.prompt)
    return Request(key=key_of(question_pk, sample), messages=messages, sampling=sampling, seed=seed)


def key_of(question_pk: int, sample: int) -> int:
    """Return the key of the request for a sample."""
    return question_pk << _SAMPLE_BITS | sample


def question_and_sample(key: int) -> tuple[int, int]:
    """Return what a request's key stands for."""
    return key >> _SAMPLE_BITS, key & (1 << _SAMPLE_BITS) - 1
