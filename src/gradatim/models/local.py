"""A language model in this process: a Hugging Face folder, run by transformers. A `Model`, like `Endpoint`.

What is asked at the same time is written together, in batches of prompts of like length, on a thread of its own; each
answer is given back as soon as it ends. An answer is a function of the weights, the messages, the sampling and the
request's seed, and not of what shares its batch: `choosing` says how, and how far that goes.

Needs the extra `[local]`. No code from the folder is run. The weights are loaded when the first answer is asked for.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.errors import SetupError, UsageError
from gradatim.models.batches import Batches
from gradatim.models.folder import read_folder
from gradatim.weights import device_of

if TYPE_CHECKING:
    from gradatim.types import Reply, Request

CONCURRENCY = 256
"""How many answers are best under way at once: as many as one batch holds."""


class LocalModel:
    """The causal language model in a folder, run in this process. A `Model`."""

    def __init__(
        self,
        *,
        name: str,
        path: str | Path,
        device: str = "auto",
        batch: int = CONCURRENCY,
        threads: int | None = None,
    ) -> None:
        """Look into the folder; no weight is read yet.

        Args:
            name: by which attempts and grades are kept.
            path: the folder with config.json, tokenizer, chat template and safetensors.
            device: `auto` (a CUDA card where there is one, else the processor), `cpu`, `cuda`, `cuda:1`, `mps`. Weights
                are as the folder says on CUDA, and float32 elsewhere.
            batch: the most answers that are written at once; halved where memory does not hold them.
            threads: of torch, while this model writes; None leaves them as they are.

        Raises `SetupError` where the folder is no such model or the extra is not installed, `UsageError` for a setting
        that cannot be right.
        """
        if not name:
            raise UsageError("the model has no name: set name")
        for word, value in (("batch", batch), ("threads", threads)):
            if value is not None and value < 1:
                raise UsageError(f"{word} is {value}; a count of at least 1 was expected")
        self.name = name
        self.notes: list[str] = []
        """What was found out about the model and concerns the user, each once, oldest first."""
        self._folder = read_folder(Path(os.path.expanduser(path)))  # noqa: PTH111 - Path's raises where no such home is
        self.fingerprint = self._folder.fingerprint
        self.continues = "local"
        for needed in ("torch", "transformers"):
            if importlib.util.find_spec(needed) is None:
                raise SetupError(f"a model in this process needs {needed}: pip install 'gradatim[local]'")
        if device != "auto":
            device_of(device)
        self._device = device
        self._batch = batch
        self._threads = threads
        self._batches: Batches | None = None

    def __repr__(self) -> str:
        return f"LocalModel(name={self.name!r}, path={str(self._folder.path)!r})"

    async def ask(self, request: Request) -> Reply:
        """Get an answer; what is asked meanwhile is written with it.

        Raises the errors of `gradatim.models.faults`, `SetupError` where the model cannot be loaded and `UsageError`
        for a field of the request that is not supported.
        """
        if self._batches is None:
            self._batches = Batches(
                self.name,
                self._folder,
                device=self._device,
                most=self._batch,
                threads=self._threads,
                note=self._note,
            )
        return await asyncio.wrap_future(self._batches.put(request))

    async def close(self) -> None:
        """Give up what is being written, and free the model; a later `ask` loads it again."""
        batches, self._batches = self._batches, None
        if batches is not None:
            self._batch = batches.most
            await asyncio.to_thread(batches.close)

    def _note(self, text: str) -> None:
        said = f"{self.name}: {text}"
        if said not in self.notes:
            self.notes.append(said)
