"""Public evaluation sets by name: where the Hugging Face hub has them, and how many questions they are.

Their columns are recognised when they are read (`formats.presets`), so a copy on disk is read the same way. The options
of GPQA stand in columns, the right one first: they are asked in an order that hashes of question and options decide,
the same in every run (`formats.choices`). Of MBPP it is the sanitized part, as the field reports it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradatim.config.settings import IngestSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One public set."""

    name: str
    hub: str
    split: str
    questions: int
    config_name: str | None = None


BENCHMARKS = {
    one.name: one
    for one in (
        Benchmark(name="aime24", hub="HuggingFaceH4/aime_2024", split="train", questions=30),
        Benchmark(name="aime25", hub="math-ai/aime25", split="test", questions=30),
        Benchmark(name="math500", hub="HuggingFaceH4/MATH-500", split="test", questions=500),
        Benchmark(name="gpqa-diamond", hub="Idavidrein/gpqa", config_name="gpqa_diamond", split="train", questions=198),
        Benchmark(name="humaneval", hub="openai/openai_humaneval", split="test", questions=164),
        Benchmark(
            name="mbpp", hub="google-research-datasets/mbpp", config_name="sanitized", split="test", questions=257
        ),
    )
}
"""By name, which is also the name of the set in the library."""


def ingest_settings(name: str, file: str | None = None) -> IngestSettings:
    """Return how the set is read: from the hub, or from a copy of it on disk."""
    one = BENCHMARKS[name]
    if file is not None:
        return IngestSettings(path=file, set=name, purpose="eval")
    return IngestSettings(path=f"hf:{one.hub}", set=name, purpose="eval", split=one.split, config_name=one.config_name)
