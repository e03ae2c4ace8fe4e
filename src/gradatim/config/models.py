"""The records of the tables that say which models there are, where they run and what they cost."""

from __future__ import annotations

from typing import Literal

from gradatim.config.tables import Settings


class PriceSettings(Settings, frozen=True):
    """`price` of a model, in your currency per million tokens."""

    input: float = 0.0
    """For the prompt's tokens."""
    cached_input: float | None = None
    """None: as `input`."""
    output: float = 0.0
    """For the tokens written, reasoning included."""


class BatchSettings(Settings, frozen=True):
    """`batch` of a model: it is asked over the server's batch API, as docs/batch.md says. `true` is all defaults."""

    requests: int = 50_000
    """The most in one batch; OpenAI takes 50,000."""
    megabytes: float = 200.0
    """The most of one file, in millions of bytes; OpenAI takes 200."""
    window: str = "24h"
    """Within which the server is to answer; most know no other."""
    poll: float = 30.0
    """Seconds between two looks at a batch."""
    online: int = 0
    """Where no more requests than this are to be asked, they are asked one by one at once, at the full price."""
    wait: bool = True
    """Wait for the answers. `false`, as `--no-wait`: end when the batches are at the server."""
    keep_files: bool = True
    """Leave the files at the server when their answers are in the library."""


class ModelSettings(Settings, frozen=True):
    """`[models.NAME]`: a model on an OpenAI-compatible chat server, or in a folder and run in this process."""

    model: str
    """The model's name; attempts and grades are kept under it."""
    kind: Literal["endpoint", "local"] = "endpoint"
    """`endpoint`: a server. `local`: transformers in this process, extra `[local]`."""
    base_url: str | None = None
    """The server's, up to and with `/v1`; needed for `endpoint`, unless `serve` is set."""
    path: str | None = None
    """The model's folder, as Hugging Face lays it out; needed for `local`. With `serve` also an id of the hub; None is
    then `model`."""
    serve: Literal["vllm", "transformers"] | None = None
    """The engine to serve it with: Gradatim starts the server when it is needed and ends it with the stage."""
    serve_args: tuple[str, ...] = ()
    """Further arguments of the engine's command line: `["--max-model-len", "8192"]`."""
    serve_command: tuple[str, ...] = ()
    """What starts the engine, where it is not on the PATH: `["/opt/vllm/bin/vllm", "serve"]`."""
    serve_restarts: int = 3
    """How often a server that died is started again in one stage."""
    start_timeout: float = 1800.0
    """Seconds from a server's start until it must be ready: loading, compiling, a download."""
    served_as: str | None = None
    """The name to send, where the server knows the model by another."""
    api_key_env: str | None = None
    """The environment variable that holds the key. Keys stand in no file."""
    concurrency: int | None = None
    """Requests in flight at most; fewer when the server says it has too much to do. None: 64; 256 for `local`, where
    that many are written at once; 1 for `serve = "transformers"`, which writes one after the other."""
    stream: bool = True
    """Ask for the answer in pieces, so that silence can be told from slowness."""
    idle_timeout: float = 300.0
    """Seconds without a byte after which a request counts as dead. There is no limit on the whole."""
    probe: bool = True
    """Ask the server what it can do, in twelve tiny requests at most, before a run does: docs/servers.md."""
    tries: int = 5
    """Tries per request in one run, for faults that may pass."""
    continues: Literal["vllm", "prefix", "mistral"] | None = None
    """How the server goes on with an answer that was cut off (`endpoint`). `vllm`: `continue_final_message`, of vLLM
    and SGLang. `prefix`: `prefix` on the last message, of DeepSeek. `mistral`: the same, and the answer repeats what
    was sent. None: with `serve = "vllm"` as vLLM does; any other server cannot be asked to."""
    batch: bool | BatchSettings = False
    """Ask in batches: `true`, or a table with what differs from the defaults. Servers ask about half the price for
    that, and take up to a day."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps` (`local`)."""
    threads: int | None = None
    """Of torch on the processor (`local`); None: torch's own choice."""
    price: PriceSettings | None = None
    """None: no cost is counted, and no budget in money can be set. Nothing is taken off for batches: set what your
    server asks for those."""

    @property
    def batched(self) -> BatchSettings | None:
        """How it is asked in batches, or None: it is not."""
        return self.batch if isinstance(self.batch, BatchSettings) else BatchSettings() if self.batch else None


class BudgetSettings(Settings, frozen=True):
    """`budget`: limits that are reserved for before a request is sent."""

    tokens: int | None = None
    """Prompt and completion together."""
    money: float | None = None
    """In the currency of the model's price."""
    hours: float | None = None
    """Of one run, counted from its first request."""


class PrmSettings(Settings, frozen=True):
    """`[prm]`: the process reward model that scores wrong attempts."""

    model: str
    """A folder (`local`) or the server's model name (`pooling`, `chat`)."""
    text: Literal["answer", "thinking"] = "answer"
    """What is scored of an attempt. `thinking`: the reasoning, where a model puts its steps there, else the answer."""
    steps: Literal["blank-lines", "reasoning"] | None = None
    """How it is split into steps: on blank lines; or also before words like "Wait", with short pieces merged. None: the
    first for answers, the second with `text = "thinking"`."""
    kind: Literal["qwen", "reasonflux", "skywork", "math-shepherd", "token-classification", "rlhflow", "critic"] = (
        "qwen"
    )
    """The family: what the PRM reads and where its scores are. See docs/prm.md."""
    backend: Literal["local", "pooling", "chat"] = "pooling"
    """`pooling`: a vLLM server. `chat`: a chat server that gives log probabilities (`rlhflow`, `critic`). `local`:
    transformers in this process, extra `[local]`."""
    aggregation: Literal["mean", "min", "last", "product"] | None = None
    """How the scores of an answer's steps become one; None is the family's way. A change of it calls no model."""
    separator: str | None = None
    """What ends a step, of `kind = "token-classification"` alone; None is a line end, as TRL's default."""
    prompt: str | None = None
    """What a critic is asked; holds `{prompt}` and `{step}`, and may hold `{steps}`, those before it. None is ours: see
    docs/prm.md."""
    labels: tuple[str, str] = ("yes", "no")
    """A critic's words for a right step and for a wrong one; each should be one token."""
    analysis: int = 0
    """Tokens that a critic may write before it decides; 0 has its first token decide."""
    base_url: str | None = None
    """The server's, with or without `/v1`; needed for `pooling` and `chat`, unless `serve` is set."""
    path: str | None = None
    """With `serve`: the folder or id of the hub. None: `model`."""
    serve: Literal["vllm"] | None = None
    """The engine to serve it with (`pooling`, `chat`): Gradatim starts the server when it is needed, and ends it."""
    serve_args: tuple[str, ...] = ()
    """Further arguments of the engine's command line: `["--max-model-len", "8192"]`."""
    serve_command: tuple[str, ...] = ()
    """What starts the engine, where it is not on the PATH: `["/opt/vllm/bin/vllm", "serve"]`."""
    serve_restarts: int = 3
    """How often a server that died is started again in one stage."""
    start_timeout: float = 1800.0
    """Seconds from a server's start until it must be ready: loading, compiling, a download."""
    api_key_env: str | None = None
    """The environment variable that holds the key."""
    context: int | None = None
    """Tokens that the model reads: None is what the folder says, on a `pooling` server the family's, on a `chat` server
    the server's. A longer attempt is not scored."""
    concurrency: int = 16
    """Requests in flight at most (`pooling`, `chat`)."""
    idle_timeout: float = 300.0
    """Seconds without a byte after which a request counts as dead (`pooling`, `chat`)."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps` (`local`)."""
