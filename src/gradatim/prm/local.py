"""Run a PRM in this process, on transformers' own backbone of its architecture and its family's head.

No code from the checkpoint is run: the published folders bring some, and that of Qwen2.5-Math-PRM breaks on
transformers of 2025 and later (`DynamicCache.get_usable_length`). Needs the extra `[local]`. The weights are loaded at
the first call of `score`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError, UsageError
from gradatim.prm.checkpoint import Checkpoint, check_tensors, read_checkpoint
from gradatim.prm.families import family_of
from gradatim.prm.family import Encoded, Prepared, prepare, refusal, scored, version_of
from gradatim.prm.splitting import splitter_of
from gradatim.types import Boundary, Fault, StepScores
from gradatim.weights import device_of, no_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gradatim.prm import Solution
    from gradatim.prm.family import Encoder, Family

_AHEAD = 256
"""Solutions read ahead and sorted by length, so that a batch holds little padding; the bound on what is in memory."""

_Out = tuple[int, "StepScores | Fault"]


class LocalPRM:
    """Scores steps with the PRM in a folder.

    `kind`: its family, as `[prm] kind` names them; `separator`: what ends a step of a token classifier. `device`:
    `auto` (a CUDA card where there is one, else the processor), `cpu`, `cuda`, `cuda:1`, `mps`. Weights are bfloat16 on
    CUDA, as published, and float32 elsewhere; the last softmax is float32 everywhere. `batch_tokens`: the most tokens,
    padding included, that go through the model at once, save for one solution that is longer alone.
    `context`: the most tokens of a solution that is scored; None takes the model's own, and more than that is refused.
    `steps`: the rule that splits answers, `blank-lines` or `reasoning`.

    Raises `SetupError` where the folder is not such a PRM or the extra is not installed, `UsageError` for a wrong
    setting.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        kind: str = "qwen",
        separator: str | None = None,
        device: str = "auto",
        batch_tokens: int = 16384,
        context: int | None = None,
        steps: str = "blank-lines",
    ) -> None:
        family = replace(family_of(kind, separator=separator), splitter=splitter_of(steps))
        folder = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises where no such home is
        checkpoint = read_checkpoint(folder, family.architecture)
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
        self._family = family
        self._checkpoint = checkpoint
        self._batch_tokens = batch_tokens
        self._context = context or checkpoint.context
        self._encoder: Encoder | None = None
        self._model: Any = None
        self.aggregation = family.aggregation
        self.name = checkpoint.path.resolve().name
        precision = str(self._dtype).removeprefix("torch.")
        self.version = version_of(family, "local", checkpoint.fingerprint, precision, f"context={self._context}")

    def score(self, solutions: Iterable[Solution]) -> Iterator[_Out]:
        """Give each solution's key with its scores, or with a fault: `out_of_memory`, `model_error`, `wrong_count`.

        Streams: reads at most 256 solutions ahead and gives them shortest first. Raises `SetupError`.
        """
        self._load()
        source = iter(solutions)
        while window := list(islice(source, _AHEAD)):
            ready: list[Encoded] = []
            for solution in window:
                encoded = self._encode(solution)
                if isinstance(encoded, Encoded):
                    ready.append(encoded)
                else:
                    yield solution.key, encoded
            for batch in _batches(ready, self._batch_tokens):
                yield from self._score_batch(batch)

    def close(self) -> None:
        """Free the model; a later `score` loads it again."""
        self._model = self._encoder = None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()

    def _load(self) -> None:
        if self._model is None:
            self._encoder = _load_encoder(self._checkpoint.path, self._family)
            self._model = _load_model(self._checkpoint, self._family, self._dtype).to(self._device).eval()

    def _encode(self, solution: Solution) -> Encoded | StepScores:
        prepared = prepare(self._family, solution)
        if not isinstance(prepared, Prepared):
            return prepared
        assert self._encoder is not None
        encoded = self._encoder.encode(prepared)
        if isinstance(encoded, str):
            return refusal(prepared.steps, encoded)
        assert len(encoded.at) == len(encoded.steps)
        return encoded if len(encoded.ids) <= self._context else refusal(prepared.steps, "too_long")

    def _score_batch(self, batch: Sequence[Encoded]) -> Iterator[_Out]:
        """Score a batch, and in halves where memory does not hold it whole."""
        try:
            found = self._forward(batch)
        except self._torch.OutOfMemoryError as error:
            if len(batch) == 1:
                fault = Fault(boundary=Boundary.PRM, reason="out_of_memory", message=str(error)[:500])
                yield batch[0].key, fault
                return
            found = None
        except Exception as error:  # noqa: BLE001 - the PRM boundary: a fault of the library costs this batch, not the run
            fault = Fault(boundary=Boundary.PRM, reason="model_error", message=f"{type(error).__name__}: {error}"[:500])
            yield from ((item.key, fault) for item in batch)
            return
        if found is None:
            yield from self._score_batch(batch[: len(batch) // 2])
            yield from self._score_batch(batch[len(batch) // 2 :])
            return
        for item, probabilities in zip(batch, found, strict=True):
            yield item.key, scored(item.steps, probabilities)

    def _forward(self, batch: Sequence[Encoded]) -> list[list[float]]:
        """Return for each solution the score at each step's place, by position and never by value."""
        torch = self._torch
        width = max(len(item.ids) for item in batch)
        # Right padding: a causal model's real tokens never see it, and their positions count from 0 as in training.
        ids = torch.tensor([item.ids + [0] * (width - len(item.ids)) for item in batch])
        mask = torch.tensor([[1] * len(item.ids) + [0] * (width - len(item.ids)) for item in batch])
        rows = torch.tensor([row for row, item in enumerate(batch) for _ in item.at])
        places = torch.tensor([place for item in batch for place in item.at])
        assert self._encoder is not None
        with torch.inference_mode():
            output = self._model.model(
                input_ids=ids.to(self._device), attention_mask=mask.to(self._device), use_cache=False
            )
            hidden = output.last_hidden_state[rows.to(self._device), places.to(self._device)]
            values = iter(self._encoder.probabilities(self._model, hidden).tolist())
        return [list(islice(values, len(item.at))) for item in batch]


def _batches(items: list[Encoded], batch_tokens: int) -> Iterator[list[Encoded]]:
    """Group by length, shortest first, so that rows times the longest row stay within `batch_tokens`."""
    batch: list[Encoded] = []
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


def _load_encoder(path: Path, family: Family) -> Encoder:
    """Return the encoder with the tokenizer just as its file describes it. Raises `SetupError`."""
    from tokenizers import Tokenizer  # noqa: PLC0415 - comes with transformers

    file = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise SetupError(f"{file}: not a tokenizer ({error}); fetch it again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return family.encoder(tokenizer, file)


def _load_model(checkpoint: Checkpoint, family: Family, dtype: Any) -> Any:
    """Return the backbone with the family's head, every tensor accounted for. Raises `SetupError`."""
    import torch  # noqa: PLC0415 - optional
    from transformers import MODEL_MAPPING, AutoConfig  # noqa: PLC0415 - optional

    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    backbone = MODEL_MAPPING.get(type(config), None)
    if backbone is None or backbone.base_model_prefix != "model":
        raise SetupError(
            f"{checkpoint.path}: a {config.model_type} cannot be read here; a decoder such as qwen2, llama or mistral "
            "was expected"
        )

    # transformers publishes no types to mypy.
    class Scorer(backbone.__base__):  # type: ignore[misc,name-defined]
        """The architecture of the published checkpoint, under the names its tensors have."""

        _keys_to_ignore_on_load_unexpected = [name.replace(".", r"\.") for name in family.architecture.unused]  # noqa: RUF012 - their interface

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = backbone(config)
            for name, module in family.head(config).items():
                setattr(self, name, module)
            self.post_init()

    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in Scorer(config).state_dict().items()}
    pickled = checkpoint.files[0].suffix == ".bin"
    shapes = _pickled_shapes(checkpoint) if pickled else checkpoint.shapes
    check_tensors(checkpoint, shapes, expected, family.architecture)
    with no_bar():
        model, report = Scorer.from_pretrained(
            checkpoint.path,
            config=config,
            dtype=dtype,
            use_safetensors=not pickled,
            weights_only=True,
            local_files_only=True,
            output_loading_info=True,
        )
    # Held above from the files' own headers; this is the loader's word that it did as it was told.
    wrong = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in report[kind])
    if wrong:
        raise SetupError(f"{checkpoint.path}: transformers did not load {', '.join(wrong[:3])}; upgrade transformers")
    return model


def _pickled_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Return every tensor's shape in .bin files, of which nothing but tensors is read: no code of theirs is run."""
    import torch  # noqa: PLC0415 - optional

    shapes: dict[str, tuple[int, ...]] = {}
    for file in checkpoint.files:
        try:
            tensors = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
            shapes |= {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        except Exception as error:  # the library raises what pickle does
            raise SetupError(
                f"{file}: not a file of tensors ({type(error).__name__}); fetch it again, or as safetensors"
            ) from error
    return shapes
