"""Run a Qwen2.5-Math-PRM in this process, on transformers' own Qwen2 backbone and a score head of ours.

No code from the checkpoint is run: the published folder brings some, and it breaks on transformers of 2025 and later
(`DynamicCache.get_usable_length`). Needs the extra `[local]`. The weights are loaded at the first call of `score`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError, UsageError
from gradatim.prm.checkpoint import UNUSED, Checkpoint, check_tensors, read_checkpoint
from gradatim.prm.qwen import STEP_TAG, TURN_TOKENS, Prepared, prepare, refusal, scored, version_of
from gradatim.types import Boundary, Fault, StepScores
from gradatim.weights import device_of, no_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gradatim.prm import Solution

_AHEAD = 256
"""Solutions read ahead and sorted by length, so that a batch holds little padding; the bound on what is in memory."""
_LABELS = 2

_Out = tuple[int, "StepScores | Fault"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    prepared: Prepared
    ids: list[int]


class QwenLocalPRM:
    """Scores steps with the PRM in a folder.

    `device`: `auto` (a CUDA card where there is one, else the processor), `cpu`, `cuda`, `cuda:1`, `mps`. Weights are
    bfloat16 on CUDA, as published, and float32 elsewhere; the last softmax is float32 everywhere. `batch_tokens`: the
    most tokens, padding included, that go through the model at once, save for one solution that is longer alone.
    `context`: the most tokens of a solution that is scored; None takes the model's own, and more than that is refused.

    Raises `SetupError` where the folder is not such a PRM or the extra is not installed, `UsageError` for a wrong
    setting.
    """

    def __init__(
        self, *, path: str | Path, device: str = "auto", batch_tokens: int = 16384, context: int | None = None
    ) -> None:
        checkpoint = read_checkpoint(Path(os.path.expanduser(path)))  # noqa: PTH111 - Path's raises where no such home is
        if batch_tokens < 1:
            raise UsageError(f"batch_tokens is {batch_tokens}; a count of tokens was expected, 16384 say")
        if context is not None and not 0 < context <= checkpoint.context:
            raise UsageError(
                f"context is {context}; give 1 to {checkpoint.context} tokens, as the PRM in {path} was trained: "
                "its scores beyond that mean nothing"
            )
        self._torch = _torch()
        self._device = device_of(device)
        self._dtype = self._torch.bfloat16 if self._device.type == "cuda" else self._torch.float32
        self._checkpoint = checkpoint
        self._batch_tokens = batch_tokens
        self._context = context or checkpoint.context
        self._tokenizer: Any = None
        self._tag_id = -1
        self._control_ids: frozenset[int] = frozenset()
        self._model: Any = None
        self.name = checkpoint.path.resolve().name
        precision = str(self._dtype).removeprefix("torch.")
        self.version = version_of("local", checkpoint.fingerprint, precision, f"context={self._context}")

    def score(self, solutions: Iterable[Solution]) -> Iterator[_Out]:
        """Give each solution's key with its scores, or with a fault: `out_of_memory`, `model_error`, `wrong_count`.

        Streams: reads at most 256 solutions ahead and gives them shortest first. Raises `SetupError`.
        """
        self._load()
        source = iter(solutions)
        while window := list(islice(source, _AHEAD)):
            ready: list[_Encoded] = []
            for solution in window:
                encoded = self._encode(solution)
                if isinstance(encoded, _Encoded):
                    ready.append(encoded)
                else:
                    yield solution.key, encoded
            for batch in _batches(ready, self._batch_tokens):
                yield from self._score_batch(batch)

    def close(self) -> None:
        """Free the model; a later `score` loads it again."""
        self._model = self._tokenizer = None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _load(self) -> None:
        if self._model is None:
            self._tokenizer = _load_tokenizer(self._checkpoint.path)
            self._tag_id = self._tokenizer.token_to_id(STEP_TAG)
            added = self._tokenizer.get_added_tokens_decoder()
            named = {STEP_TAG, *TURN_TOKENS}
            self._control_ids = frozenset(
                number for number, token in added.items() if token.special or token.content in named
            )
            self._model = _load_model(self._checkpoint, self._dtype).to(self._device).eval()

    def _encode(self, solution: Solution) -> _Encoded | StepScores:
        prepared = prepare(solution)
        if isinstance(prepared, StepScores):
            return prepared
        ids = self._tokenizer.encode(prepared.text, add_special_tokens=False).ids
        # Three turns open and close; anything beyond that and the tags came out of the question or the answer.
        if sum(number in self._control_ids for number in ids) != 6 + len(prepared.steps):
            return refusal(prepared.steps, "contains_step_tag")
        if len(ids) > self._context:
            return refusal(prepared.steps, "too_long")
        return _Encoded(prepared=prepared, ids=ids)

    def _score_batch(self, batch: Sequence[_Encoded]) -> Iterator[_Out]:
        """Score a batch, and in halves where memory does not hold it whole."""
        try:
            found = self._forward([item.ids for item in batch])
        except self._torch.OutOfMemoryError as error:
            if len(batch) == 1:
                yield (
                    batch[0].prepared.key,
                    Fault(boundary=Boundary.PRM, reason="out_of_memory", message=str(error)[:500]),
                )
                return
            found = None
        except Exception as error:  # noqa: BLE001 - the PRM boundary: a fault of the library costs this batch, not the run
            fault = Fault(boundary=Boundary.PRM, reason="model_error", message=f"{type(error).__name__}: {error}"[:500])
            yield from ((item.prepared.key, fault) for item in batch)
            return
        if found is None:
            yield from self._score_batch(batch[: len(batch) // 2])
            yield from self._score_batch(batch[len(batch) // 2 :])
            return
        for item, probabilities in zip(batch, found, strict=True):
            yield item.prepared.key, scored(item.prepared.steps, probabilities)

    def _forward(self, rows: Sequence[list[int]]) -> list[list[float]]:
        """Return for each row of token ids P(label 1) at each step tag, by position and never by value."""
        torch = self._torch
        width = max(map(len, rows))
        # Right padding: a causal model's real tokens never see it, and their positions count from 0 as in training.
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        at_tag = (ids == self._tag_id) & mask.bool()
        with torch.inference_mode():
            output = self._model.model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device), use_cache=False
            )
            logits = self._model.score(output.last_hidden_state[at_tag.to(self._device)])
            values = logits.float().softmax(dim=-1)[:, 1].tolist()
        taken = iter(values)
        return [list(islice(taken, count)) for count in at_tag.sum(dim=1).tolist()]


def _batches(items: list[_Encoded], batch_tokens: int) -> Iterator[list[_Encoded]]:
    """Group by length, shortest first, so that rows times the longest row stay within `batch_tokens`."""
    batch: list[_Encoded] = []
    for item in sorted(items, key=lambda item: len(item.ids)):
        if batch and len(item.ids) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _torch() -> Any:
    try:
        import torch  # noqa: PLC0415 - optional, and seconds to import
        import transformers  # noqa: F401, PLC0415 - as above; only whether it is there
    except ImportError as error:
        raise SetupError(
            f"a PRM in this process needs torch and transformers ({error}): pip install 'gradatim[local]'"
        ) from error
    return torch


def _load_tokenizer(path: Path) -> Any:
    """Return the tokenizer just as its file describes it, once it is sure to know the format's control tokens."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - comes with transformers

    file = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise SetupError(f"{file}: not a tokenizer ({error}); fetch it again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for token in (STEP_TAG, *TURN_TOKENS):
        if token not in added:
            raise SetupError(f"{file}: {token} is no token of its own here; give the tokenizer that came with the PRM")
    return tokenizer


def _load_model(checkpoint: Checkpoint, dtype: Any) -> Any:
    """Return the backbone with its score head, every tensor accounted for. Raises `SetupError`."""
    import torch  # noqa: PLC0415 - optional
    from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel  # noqa: PLC0415 - optional

    class Scorer(Qwen2PreTrainedModel):  # type: ignore[misc]  # transformers publishes no types to mypy here
        """The architecture of the published checkpoint, under the names its tensors have."""

        _keys_to_ignore_on_load_unexpected = [name.replace(".", r"\.") for name in UNUSED]  # noqa: RUF012 - their interface

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            width = config.hidden_size
            self.model = Qwen2Model(config)
            self.score = torch.nn.Sequential(
                torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, _LABELS)
            )
            self.post_init()

    config = Qwen2Config.from_pretrained(checkpoint.path, local_files_only=True)
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Scorer(config).state_dict().items()}
    check_tensors(checkpoint, expected)
    with no_bar():
        model, report = Scorer.from_pretrained(
            checkpoint.path,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    # Held above from the files' own headers; this is the loader's word that it did as it was told.
    wrong = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in report[kind])
    if wrong:
        raise SetupError(f"{checkpoint.path}: transformers did not load {', '.join(wrong[:3])}; upgrade transformers")
    return model
