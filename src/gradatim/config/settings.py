"""The records of `gradatim.toml`, one per table.

The same records are what Python users pass to the stages, so a setting has one name and one default everywhere.
Nothing here is the paper's unless it says so: the paper leaves cuts, samples, prompts and budgets open.
"""

from __future__ import annotations

import json
from typing import Literal

import msgspec

from gradatim.errors import UsageError
from gradatim.types import Sampling


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of settings: frozen, and an unknown key is an error."""


class IngestSettings(Settings, frozen=True):
    """`[[ingest]]`: one file or dataset of questions, and how its columns are read."""

    path: str
    """A file, a folder, or `hf:owner/name`."""
    set: str = "pool"
    purpose: Literal["pool", "eval"] = "pool"
    """`pool`: to be drawn from. `eval`: never drawn; pools are checked against it."""
    domain: Literal["math", "choice"] = "math"
    format: str | None = None
    split: str | None = None
    config_name: str | None = None
    """A Hugging Face dataset's configuration."""
    fields: dict[str, str] = {}
    """What the rows' shape does not tell: our field (`prompt`, `reference`, `solution`, `choices`) = their column."""
    near: float | None = 0.85
    """Jaccard similarity from which two prompts with the same numbers count as near duplicates; 0 turns it off."""
    ngram: int = 13
    """Words in a row shared with an evaluation question that count as contamination; 0 turns it off."""


class PriceSettings(Settings, frozen=True):
    """`price` of a model, in your currency per million tokens."""

    input: float = 0.0
    cached_input: float | None = None
    """None: as `input`."""
    output: float = 0.0


class ModelSettings(Settings, frozen=True):
    """`[models.NAME]`: an OpenAI-compatible chat server and the model on it."""

    model: str
    """The model's name; attempts and grades are kept under it."""
    base_url: str
    """Up to and with `/v1`."""
    kind: Literal["endpoint"] = "endpoint"
    served_as: str | None = None
    """The name to send, where the server knows the model by another."""
    api_key_env: str | None = None
    """The environment variable that holds the key. Keys stand in no file."""
    concurrency: int = 64
    """Requests in flight at most; fewer when the server says it has too much to do."""
    stream: bool = True
    idle_timeout: float = 300.0
    """Seconds without a byte after which a request counts as dead. There is no limit on the whole."""
    tries: int = 5
    """Tries per request in one run, for faults that may pass."""
    price: PriceSettings | None = None


class BudgetSettings(Settings, frozen=True):
    """`budget`: limits that are reserved for before a request is sent."""

    tokens: int | None = None
    """Prompt and completion together."""
    money: float | None = None
    """In the currency of the model's price."""
    hours: float | None = None


class Asking(Settings, frozen=True):
    """How a model is asked; common to `[attempt]` and `[teach]`."""

    model: str
    """Which of `[models]`."""
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 4096
    seed: int = 0
    system: str = "Please reason step by step, and put your final answer within \\boxed{}."
    template: str = "{prompt}"
    extra_body: dict[str, object] = {}
    """Further fields of the request, sent as they are: `{top_k = 20}`."""
    budget: BudgetSettings = BudgetSettings()

    def sampling(self) -> Sampling:
        """Return what tells two attempts' settings apart."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
            system=self.system,
            template=self.template,
            extra_body=json.dumps(self.extra_body, sort_keys=True),
        )


class AttemptSettings(Asking, frozen=True):
    """`[attempt]`: the base model answers every question."""

    model: str = "base"
    samples: int = 1
    """Attempts per question: 1 is the paper's; 4 and more tell luck from skill."""
    sets: list[str] | None = None
    """None: all sets."""
    limit: int | None = None
    """Ask at most so many questions in this run."""


class VerifySettings(Settings, frozen=True):
    """`[verify]`: limits of the checkers' worker processes."""

    deadline: float = 5.0
    """Seconds per pair of answers."""
    memory_mb: int = 1024
    workers: int = 1


class PrmSettings(Settings, frozen=True):
    """`[prm]`: the process reward model that scores wrong attempts."""

    model: str
    """A folder (`local`) or the server's model name (`pooling`)."""
    kind: Literal["qwen"] = "qwen"
    backend: Literal["local", "pooling"] = "pooling"
    base_url: str | None = None
    api_key_env: str | None = None
    context: int | None = None
    """Tokens that the model reads: None is what the folder says, or 4096. A longer attempt is not scored."""
    concurrency: int = 16
    idle_timeout: float = 300.0
    device: str = "auto"


class GradeSettings(Settings, frozen=True):
    """`[grade]`: how evidence becomes a level."""

    rule: Literal["paper", "rate"] = "paper"
    cuts: list[float] | Literal["quintiles"] | None = None
    """None: the rule's default. `quintiles` (paper rule): five levels of equal size among the wrong answers."""


class SampleSettings(Settings, frozen=True):
    """`[sample]`: a named draw."""

    name: str = "draw"
    size: int = 2000
    """The paper's about 2,000."""
    mix: str = "curriculum:5,4,3,2,1"
    """`curriculum:w1,...,w5` (P_C), `observed:SET` (P_eval), `explicit:w1,...,w5` or `explicit:LEVEL=w,...`."""
    easy: float | None = None
    """Weight of level 0; None: none in a curriculum, as observed in `observed`."""
    seed: int = 0
    when_dry: Literal["fail", "nearest", "short"] = "fail"
    """What to do where a level has too few questions."""
    reserve: float = 3.0
    """Further questions per level, as a multiple of its quota, for when chains do not verify."""
    sets: list[str] | None = None


class TeachSettings(Asking, frozen=True):
    """`[teach]`: the teacher writes chains until each level's quota of verified ones is met."""

    model: str = "teacher"
    max_tokens: int = 16384
    system: str = ""
    template: str = "{prompt}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    tries: int = 4
    """Attempts per question at most."""
    keep: Literal["correct", "any"] = "correct"
    """What counts towards the quota; `any` takes a wrong chain too, if it is not cut off."""


class CurateSettings(Settings, frozen=True):
    """`[curate]`: which chains are kept."""

    keep: Literal["correct", "any"] = "correct"
    min_chars: int = 1
    max_tokens: int | None = None
    """Tokens as the server counted them; where it did not, four characters count as one."""
    max_repetition: float = 0.5
    """The largest share of a chain that may repeat what it said before."""
    scripts: list[str] = []
    """Scripts that a chain may be written in, as `["latin"]`; none checks nothing."""


class ExportSettings(Settings, frozen=True):
    """`[export]`: the training file."""

    out: str = "chains.jsonl"
    format: Literal["messages", "prompt_completion", "sharegpt", "alpaca"] = "messages"
    thinking: Literal["tags", "field", "none"] = "tags"
    """The teacher's reasoning: in `<think>` tags, in a field of its own, or left out."""
    system: str = ""
    """A system message for every example; empty writes none."""
    columns: list[Literal["id", "level", "source", "model", "reference"]] = []
    """Further columns; `model` is the teacher."""


class Config(Settings, frozen=True):
    """The whole of `gradatim.toml`. Paths in a file are relative to its folder."""

    library: str = "library.db"
    ingest: list[IngestSettings] = []
    models: dict[str, ModelSettings] = {}
    attempt: AttemptSettings = AttemptSettings()
    verify: VerifySettings = VerifySettings()
    prm: PrmSettings | None = None
    grade: GradeSettings = GradeSettings()
    sample: SampleSettings = SampleSettings()
    teach: TeachSettings = TeachSettings()
    curate: CurateSettings = CurateSettings()
    export: ExportSettings = ExportSettings()

    def model(self, name: str) -> ModelSettings:
        """Return `[models.NAME]`. Raises `UsageError` saying how to add it."""
        if name in self.models:
            return self.models[name]
        there = f" There are: {', '.join(self.models)}." if self.models else ""
        raise UsageError(
            f'No [models.{name}] is set.{there} Add it to gradatim.toml with model = "NAME" and '
            'base_url = "http://.../v1".'
        )
