"""What tests against real engines start from: the engines' command lines, and answers asked for and compared."""

from __future__ import annotations

import sys
from pathlib import Path

from gradatim.config import ModelSettings
from gradatim.models.engine import Engine
from gradatim.types import Request, Sampling
from gradatim.work.opening import engine_settings, open_model
from tiny_lm import make_lm

VLLM = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
VLLM_ARGS = ("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16")
"""float32, so that scores and answers can be compared; without compiling, which takes longer than the tests."""
TRANSFORMERS = (str(Path(sys.executable).with_name("transformers")), "serve")
PROMPTS = [f"How many are {number} and {number * 7 % 13}?" for number in range(12)]


def settings(engine: str, folder: Path, **more) -> ModelSettings:
    """Return the settings of a model that is served by an engine, or run in this process."""
    if engine == "local":
        return ModelSettings(model="tiny/lm", kind="local", path=str(folder), device="cpu", threads=1)
    program, extra = (VLLM, VLLM_ARGS) if engine == "vllm" else (TRANSFORMERS, ())
    return ModelSettings(
        model="tiny/lm", path=str(folder), serve=engine, serve_command=program, serve_args=extra, **more
    )


class Answers:
    """Answers of one model, and the faults."""

    def __init__(self, made: ModelSettings, log: Path) -> None:
        self._settings = made
        self.model = open_model(made, log=log)

    def of(self, sampling: Sampling, *, samples: int = 1, seed: int = 0) -> dict[tuple[int, int], object]:
        """Ask each prompt so often, each time with a seed of its own; return the replies by prompt and sample."""
        replies, faults = {}, []
        feed = _Feed(
            [
                Request(
                    key=number * 100 + sample,
                    messages=sampling.messages(prompt),
                    sampling=sampling,
                    seed=seed + number * 100 + sample,
                )
                for number, prompt in enumerate(PROMPTS)
                for sample in range(samples)
            ]
        )
        Engine(
            self.model,
            feed,
            on_reply=lambda request, reply: replies.__setitem__(divmod(request.key, 100), reply),
            on_fault=lambda _, fault: faults.append(fault),
            settings=engine_settings(self._settings),
        ).run()
        assert faults == []
        assert len(replies) == len(PROMPTS) * samples
        return replies


class _Feed:
    def __init__(self, requests):
        self._requests = list(reversed(requests))

    def take(self):
        return self._requests.pop() if self._requests else None

    def open(self):
        return bool(self._requests)


def texts(replies) -> dict[tuple[int, int], str]:
    """Return what was answered."""
    return {key: reply.content for key, reply in sorted(replies.items())}


def ends(replies) -> dict[tuple[int, int], str | None]:
    """Return why each answer ended."""
    return {key: reply.finish_reason for key, reply in sorted(replies.items())}


def make_plain_lm(folder: Path) -> Path:
    """Write a tiny chat model that vLLM's attention for processors takes, and that writes printable ASCII alone.

    So its texts hold all that it wrote: no half of a character, which engines write differently, and no special token,
    which vLLM leaves out. At temperature 0 it ends some answers of `PROMPTS` within 48 tokens, one of them at once.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_lm(folder, width=128, eos=43.0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        for number, token in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
            if number != tokenizer.eos_token_id and not (len(token) == 1 and token.isascii()):
                model.lm_head.weight[number, 0] = -5000.0
    model.save_pretrained(folder)
    return folder
