"""The records of `gradatim.toml`, one per table.

The same records are what Python users pass to the stages, so a setting has one name and one default everywhere.
Nothing here is the paper's unless it says so: the paper leaves cuts, samples, prompts and budgets open.
"""

from __future__ import annotations

import json
from typing import Literal

from gradatim.config.models import BudgetSettings, ModelSettings, PrmSettings
from gradatim.config.tables import Settings
from gradatim.errors import UsageError
from gradatim.types import Sampling


class IngestSettings(Settings, frozen=True):
    """`[[ingest]]`: one file or dataset of questions, and how its columns are read."""

    path: str
    """A file, a folder, or `hf:owner/name`."""
    set: str = "pool"
    """The set that the questions go into."""
    purpose: Literal["pool", "eval"] = "pool"
    """`pool`: to be drawn from. `eval`: never drawn; pools are checked against it."""
    domain: Literal["math", "choice", "code"] = "math"
    """What decides an answer. A recognised set of choice or code questions is that, whatever stands here."""
    format: str | None = None
    """`jsonl`, `json`, `csv`, `tsv`, `parquet` or `hf`; None: the name tells, or the first bytes."""
    split: str | None = None
    """Of a folder or a Hugging Face dataset; None: `train`, or all of a folder without splits."""
    config_name: str | None = None
    """A Hugging Face dataset's configuration."""
    fields: dict[str, str] = {}
    """What the rows' shape does not tell: our field (`prompt`, `reference`, `solution`, `choices`) = their column."""
    near: float | None = 0.85
    """Jaccard similarity from which two prompts with the same numbers count as near duplicates; 0 turns it off."""
    ngram: int = 13
    """Words in a row shared with an evaluation question that count as contamination; 0 turns it off."""


class Asking(Settings, frozen=True):
    """How a model is asked; common to `[attempt]`, `[teach]` and `[evaluate]`."""

    model: str
    """Which of `[models]`."""
    temperature: float | None = None
    """None sends none: the server's default holds."""
    top_p: float | None = None
    """None sends none."""
    max_tokens: int = 4096
    """The most tokens of one answer, reasoning included. An answer that is cut off here is `undecided`."""
    seed: int = 0
    """Each request gets a seed of its own, made from this, the question's id and the sample's index."""
    system: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """The system message; empty sends none."""
    template: str = "{prompt}"
    """The user's message; `{prompt}` is replaced by the question, nothing else is."""
    extra_body: dict[str, object] = {}
    """Further fields of the request, sent as they are: `{top_k = 20}`."""
    truncated: Literal["keep", "continue", "retry"] = "keep"
    """What becomes of an answer that `max_tokens` cut off. `continue`: one more request goes on where it stopped.
    `retry`: one more request, with a larger limit, stands in its place. Never a third."""
    truncated_max_tokens: int | None = None
    """The larger limit: of the whole answer where it is continued, of the new one where it is retried."""
    budget: BudgetSettings = BudgetSettings()
    """What may be spent: `{tokens = ..., money = ..., hours = ...}`."""

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


class CodeSettings(Settings, frozen=True):
    """`[verify.code]`: how programs are taken from answers, run and judged."""

    sandbox: Literal["default", "strict", "limits"] = "default"
    """`strict`: fresh namespaces per program besides. `limits`: resource limits alone, for programs that you trust."""
    program: Literal["last_fence", "first_fence", "longest_fence", "whole"] = "last_fence"
    """Which text of an answer is the program: a complete fenced block, or all of it."""
    stop: Literal["never", "first_failure"] = "never"
    """`first_failure` is quicker, and then the share of tests passed is not known of a wrong program."""
    seconds: float = 6.0
    """Per test; a question's own limit comes before it."""
    total_seconds: float = 60.0
    """Of all tests of one program together; tests that there is no time for count as failed."""
    memory_mb: int = 1024
    """Per test; a question's own limit comes before it."""
    output_kb: int = 16384
    """What a program may write to stdout, in KiB."""
    workers: int | None = None
    """Programs at a time. None: one per core."""


class VerifySettings(Settings, frozen=True):
    """`[verify]`: limits of the checkers' worker processes."""

    deadline: float = 5.0
    """Seconds per pair of answers."""
    memory_mb: int = 1024
    """Address space of one worker process, in MiB."""
    workers: int = 1
    """Processes for symbolic work; what is decided exactly needs none."""
    code: CodeSettings = CodeSettings()
    """How programs are judged: `[verify.code]`."""


QUINTILES, CALIBRATION = "quintiles", "calibration:"
"""What `cuts` may say in place of numbers: five equal parts, or the name of a calibration after this."""


class GradeSettings(Settings, frozen=True):
    """`[grade]`: how evidence becomes a level."""

    rule: Literal["paper", "rate"] = "paper"
    """`paper`: the first decided attempt and its PRM mean. `rate`: the pass rate of all of them."""
    cuts: list[float] | str | None = None
    """None: the rule's default. Of the paper rule also `quintiles`: five levels of equal size among the wrong answers;
    or `calibration:NAME`: what `gradatim calibrate` found."""
    code_scores: Literal["tests", "prm"] = "tests"
    """What takes the part of the PRM's mean for a wrong program: the share of tests it passed, or the PRM's."""


class CalibrateSettings(Settings, frozen=True):
    """`[calibrate]`: what the PRM's scores are worth for a model, and where to cut them."""

    name: str = "calibration"
    """What `cuts = "calibration:NAME"` calls it."""
    model: str | None = None
    """By its name in the library; None: the only one with attempts."""
    setting: str | None = None
    """Whose first attempts are scored, by the setting's id; None: the model's only one that fits."""
    rates: str | None = None
    """Whose attempts give the pass rates. None: the same setting's other attempts."""
    cuts: Literal["isotonic", "quintiles"] = "isotonic"
    """`isotonic`: the five most different levels by pass rate. `quintiles`: five levels of equal size."""
    limit: int | None = None
    """Use at most so many questions: the PRM has to score one right or wrong attempt of each."""


class SampleSettings(Settings, frozen=True):
    """`[sample]`: a named draw."""

    name: str = "draw"
    """A draw never changes: other settings need another name."""
    size: int = 2000
    """The paper's about 2,000."""
    mix: str = "curriculum:5,4,3,2,1"
    """`curriculum:w1,...,w5` (P_C), `observed:SET` (P_eval), `explicit:w1,...,w5` or `explicit:LEVEL=w,...`."""
    easy: float | None = None
    """Weight of level 0; None: none in a curriculum, as observed in `observed`."""
    seed: int = 0
    """Decides the order within each level."""
    when_dry: Literal["fail", "nearest", "short"] = "fail"
    """What to do where a level has too few questions."""
    reserve: float = 3.0
    """Further questions per level, as a multiple of its quota, for when chains do not verify."""
    sets: list[str] | None = None
    """Draw from these sets only; None: all pools. Evaluation sets are never drawn from."""


class TeachSettings(Asking, frozen=True):
    """`[teach]`: the teacher writes chains until each level's quota of verified ones is met."""

    model: str = "teacher"
    """Which of `[models]`."""
    max_tokens: int = 16384
    """The most tokens of one answer. One that is cut off is not bought again with the same limit: see `truncated`."""
    system: str = ""
    template: str = "{prompt}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    tries: int = 4
    """Attempts per question at most."""
    keep: Literal["correct", "any"] = "correct"
    """What counts towards the quota; `any` takes a wrong chain too, if it is not cut off."""


class CurateSettings(Settings, frozen=True):
    """`[curate]`: which chains are kept."""

    keep: Literal["correct", "any"] = "correct"
    """`any` keeps wrong chains too, never undecided ones."""
    min_chars: int = 1
    """The fewest characters of a chain, thinking and answer together."""
    max_tokens: int | None = None
    """Tokens as the server counted them; where it did not, four characters count as one."""
    max_repetition: float = 0.5
    """The largest share of a chain that may repeat what it said before."""
    scripts: list[str] = []
    """Scripts that a chain may be written in, as `["latin"]`; none checks nothing."""


class ExportSettings(Settings, frozen=True):
    """`[export]`: the training file."""

    out: str = "chains.jsonl"
    """`.jsonl`, `.jsonl.gz`, `.jsonl.zst` or `.parquet`; card and manifest stand beside it."""
    format: Literal["messages", "prompt_completion", "sharegpt", "alpaca"] = "messages"
    """The shape of an example: see docs/formats.md."""
    thinking: Literal["tags", "field", "none"] = "tags"
    """The teacher's reasoning: in `<think>` tags, in a field of its own, or left out."""
    system: str = ""
    """A system message for every example; empty writes none."""
    columns: list[Literal["id", "level", "source", "model", "reference"]] = []
    """Further columns; `model` is the teacher."""


class EvaluateSettings(Asking, frozen=True):
    """`[evaluate]`: how good a model is on evaluation sets, and how sure that is."""

    model: str = "base"
    """Which of `[models]`."""
    sets: list[str] | None = None
    """None: the sets of `presets`; where there are none either, all evaluation sets."""
    presets: list[Literal["aime24", "aime25", "math500", "gpqa-diamond", "humaneval", "mbpp"]] = []
    """Public sets, read from the Hugging Face hub where the library does not have them yet."""
    samples: int | None = None
    """Answers per question. None: 16 in a set of at most 100 questions, 4 in one of at most 1,000, else 1."""
    temperature: float | None = 0.6
    """Reasoning models repeat themselves when they are asked greedily; 0.6 is what their makers evaluate with."""
    top_p: float | None = 0.95
    """None sends none."""
    max_tokens: int = 16384
    """The most tokens of one answer, reasoning included. An answer that is cut off here is `undecided`."""
    by: str = ""
    """A column of the questions' source to break the figures down by: `subject`."""
    levels_of: str | None = None
    """Break down by the levels of this model. None: the evaluated model's own, or those of the one that is graded."""
    allow_overlap: bool = False
    """Evaluate on a pool, or on questions that were drawn, all the same; the result says so."""


class TrainSettings(Settings, frozen=True):
    """`[train]`: fine-tune the base model on a draw's chains.

    The defaults are those of s1 (arXiv 2501.19393): 5 epochs, batch 16, 1e-5, cosine after 5 % warm-up, weight decay
    1e-4, for 1,000 chains. LIMO (arXiv 2502.03387) took 15 epochs at 5e-6 for 817. Our paper says nothing of these.
    """

    model: str = "base"
    """Which of `[models]` is trained: one with `kind = "local"`."""
    base: str | None = None
    """The folder (or hub id) of the model to train, in place of `model`'s."""
    name: str = "trained"
    """What the trained model is called; its attempts are kept under it."""
    out: str = "trained"
    """The folder to be made. It appears complete or not at all, and is never written over."""
    method: Literal["full", "lora"] = "full"
    """`lora`: adapters, merged into the weights at the end."""
    lora_rank: int = 32
    """Of each adapter."""
    lora_alpha: float = 64.0
    """Adapters are scaled by alpha / rank."""
    lora_targets: list[str] = []
    """Names of the layers that get adapters; none means every linear layer but the head."""
    epochs: int = 5
    """How often each example is seen."""
    steps: int | None = None
    """Exactly so many steps in place of `epochs`: examples are gone through again and again until then."""
    learning_rate: float | None = None
    """The highest. None: 1e-5 for `full`; 1e-4 for `lora`, which wants about ten times as much."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up: to zero by a cosine or a line, or not at all."""
    warmup: float = 0.05
    """The share of the steps in which the rate rises."""
    batch_size: int = 16
    """Examples per step."""
    micro_batch: int | None = None
    """Examples that go through the model at once; must divide `batch_size`. None: all of them."""
    max_length: int = 32768
    """Tokens of prompt and answer. Longer examples are left out and counted, never cut."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """`muon`: for small models; matrices by Muon; embeddings, head and norms by AdamW at the same rate."""
    weight_decay: float = 1e-4
    """Of matrices; norms and biases have none."""
    seed: int = 0
    """Decides the order of the examples, how adapters begin, and which answers are replayed."""
    thinking: Literal["tags", "none"] = "tags"
    """The reasoning of chains and replayed answers: in `<think>` tags, or left out."""
    system: str | None = None
    """The system message of every example. None: as the base model was asked when it was graded; empty: none."""
    template: str | None = None
    """The user's message, with `{prompt}` for the question. None: as the base model was asked."""
    replay: float = 0.0
    """Verified-correct answers of the base model's own to train on too, per chain: 1 means as many as chains."""
    replay_choice: Literal["random", "shortest"] = "random"
    """Which answers are replayed."""
    replay_from: str | None = None
    """Whose answers are replayed, by the model's name in the library. None: the model that the draw was graded for."""
    checkpoint_every: int | None = None
    """Steps between checkpoints, which a killed run goes on from. None: once an epoch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a CUDA card where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`bfloat16` computes in it, over float32 weights. `auto`: bfloat16 on a CUDA card that has it, else float32."""


class CompareSettings(Settings, frozen=True):
    """`[compare]`: ways to choose questions, at equal budgets of chains and equal training steps, held against random.

    What else an arm needs is said by the other tables: how models are asked, graded, taught, trained and evaluated.
    """

    name: str = "compare"
    """What draws and trained models are named by: `NAME-ARM-SEED`. Other settings in one library need another name."""
    arms: tuple[str, ...] = (
        "random",
        "easiest",
        "hardest",
        "static",
        "answer_length",
        "p_eval",
        "p_c",
        "p_c_reversed",
        "transfer",
        "pass_rate_band",
        "wrong_uniform",
    )
    """See docs/compare.md."""
    baseline: str = "random"
    """The arm that every other one is held against, seed by seed, with the same replay."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """A seed decides an arm's choice, which answers are replayed, and the order of training."""
    replay: tuple[float, ...] = (0.0, 1.0)
    """Each arm is trained once for each of these, as `replay` in `[train]`."""
    chains: int = 1000
    """Verified chains per arm: the budget."""
    steps: int | None = None
    """Training steps of every arm. None: those that the largest replay takes with `epochs` of `[train]`."""
    set: str = "test"
    """The evaluation set on which the trained models are compared."""
    observed: str = "eval"
    """The evaluation set whose levels `p_eval` follows: not the one on which models are compared."""
    static: str = "size"
    """The column of the pool, a number, that `static` goes by."""
    samples: int = 8
    """Answers per question for `pass_rate_band`, besides those that are graded."""
    temperature: float = 1.0
    """Of these answers: greedy ones would all be alike."""
    second: str = "second"
    """Which of `[models]` gives the grades that `transfer` goes by."""
    jobs: int = 1
    """Trainings at a time, each in a process of its own with one thread."""
    out: str = "compare"
    """The folder that the trainings work in."""
    keep_models: bool = False
    """Keep the trained models' folders there; else each is removed when its answers are in the library."""


class ReportSettings(Settings, frozen=True):
    """`[report]`: one HTML file with what the library knows."""

    out: str = "report.html"
    """The file."""
    title: str | None = None
    """None: the models' names."""
    draw: str | None = None
    """None: the newest draws, six at most."""
    model: str | None = None
    """The graded model that it is about; None: the base of the newest training, else the newest draw's."""
    after: str | None = None
    """The model to hold beside it; None: what it was trained to last."""


class Config(Settings, frozen=True):
    """The whole of `gradatim.toml`. Paths in a file are relative to its folder."""

    library: str = "library.db"
    """The library's file."""
    ingest: list[IngestSettings] = []
    models: dict[str, ModelSettings] = {}
    attempt: AttemptSettings = AttemptSettings()
    verify: VerifySettings = VerifySettings()
    prm: PrmSettings | None = None
    calibrate: CalibrateSettings = CalibrateSettings()
    grade: GradeSettings = GradeSettings()
    sample: SampleSettings = SampleSettings()
    teach: TeachSettings = TeachSettings()
    curate: CurateSettings = CurateSettings()
    export: ExportSettings = ExportSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    train: TrainSettings = TrainSettings()
    compare: CompareSettings = CompareSettings()
    report: ReportSettings = ReportSettings()

    def model(self, name: str) -> ModelSettings:
        """Return `[models.NAME]`. Raises `UsageError` saying how to add it."""
        if name in self.models:
            return self.models[name]
        there = f" There are: {', '.join(self.models)}." if self.models else ""
        raise UsageError(
            f'No [models.{name}] is set.{there} Add it to gradatim.toml with model = "NAME" and '
            'base_url = "http://.../v1".'
        )
