"""A language model's folder, loaded: its tokenizer, its template, its weights on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.models.faults import Refused
from gradatim.templates import fix_day
from gradatim.weights import device_of, no_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.models.folder import ModelFolder
    from gradatim.types import Message, Reply

_LOST = ("CUDA error", "device-side assert", "unspecified launch failure")


class Loaded:
    """A model with its tokenizer. For one thread."""

    def __init__(
        self, torch: Any, model: Any, tokenizer: Any, ends: frozenset[int], threads_before: int | None
    ) -> None:
        self.torch = torch
        self.model = model
        self.ends = ends
        """Tokens that end an answer."""
        self._tokenizer = tokenizer
        self._unsaid = ends | ({tokenizer.pad_token_id} - {None})
        self._threads_before = threads_before

    def prompt(self, messages: Sequence[Message], template_settings: dict[str, Any]) -> list[int]:
        """Return the tokens of a chat that the model is to answer. Raises whatever template and tokenizer raise."""
        chat = [{"role": message.role, "content": _whole(message.content)} for message in messages]
        text = self._tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, **template_settings
        )
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def written(self, begun: Reply) -> Sequence[int]:
        """Return the tokens of an answer that was cut off. Raises `Refused` where the text does not tell them.

        Those that were kept with it; else its text is read again, which gives the same ones where their number and
        their text are.
        """
        if begun.ids:
            return begun.ids
        text = begun.reasoning + begun.content
        ids: list[int] = self._tokenizer(_whole(text), add_special_tokens=False)["input_ids"]
        if self.text(ids) != text or len(ids) != begun.usage.completion:
            said = "the tokens of the answer are not known, and its text can be read in several ways; retry it instead"
            raise Refused("cannot_continue", said)
        return ids

    def text(self, written: Sequence[int]) -> str:
        """Return what was written, without the tokens that end or fill; other special ones (`<think>`) stay."""
        said = [token for token in written if token not in self._unsaid]
        text: str = self._tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether memory did not hold the batch."""
        return isinstance(error, (self.torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)

    def is_lost(self, error: Exception) -> bool:
        """Whether the device will do no more work: a CUDA error leaves its context unusable."""
        return isinstance(error, RuntimeError) and any(words in str(error) for words in _LOST)

    def forget(self) -> None:
        """Free what a failed batch held."""
        if self.model.device.type == "cuda":
            self.torch.cuda.empty_cache()

    def free(self) -> None:
        """Free the model, and put torch's threads back."""
        device, self.model = self.model.device, None
        if device.type == "cuda":
            self.torch.cuda.empty_cache()
        if self._threads_before is not None:
            self.torch.set_num_threads(self._threads_before)


def load(folder: ModelFolder, device: str, threads: int | None) -> Loaded:
    """Load the model that a folder holds. Raises `SetupError`, and whatever transformers raises."""
    import torch  # noqa: PLC0415 - optional, and seconds to import
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - optional

    where = device_of(device)
    threads_before = torch.get_num_threads() if threads is not None else None
    if threads is not None:
        torch.set_num_threads(threads)
    with no_bar():
        tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True, trust_remote_code=False)
        fix_day(tokenizer)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder.path,
            dtype="auto" if where.type == "cuda" else torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    wrong = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in report[kind])
    if wrong:
        raise SetupError(
            f"{folder.path}: its weights lack {', '.join(wrong[:3])}, or hold them in another shape, so the model "
            "would write nonsense; fetch or save the folder again, complete"
        )
    return Loaded(torch, model.to(where).eval(), tokenizer, _ends(folder, model, tokenizer), threads_before)


def _ends(folder: ModelFolder, model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer, of all places that name some. Raises `SetupError` where none does."""
    named = (folder.generation.get("eos_token_id"), getattr(model.config, "eos_token_id", None), tokenizer.eos_token_id)
    ends = {one for value in named for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)}
    if not ends:
        raise SetupError(
            f"{folder.path}: nothing says which token ends an answer; set eos_token_id in its generation_config.json"
        )
    return frozenset(ends)


def _whole(text: str) -> str:
    """Return a text that a tokenizer takes: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
