"""The tiny models' tokenizer: a token for each digit, sign and word of the world, and ChatML around them."""

from __future__ import annotations

import json
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gradatim.tiny.world import CLOSERS, OPENERS, questions, told

if TYPE_CHECKING:
    from pathlib import Path

END, START, STOP, STEP, PAD, UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<extra_0>", "<pad>", "<unk>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""What chats with a PRM of the Qwen format begin with."""
PATTERN = r"\n+| ?\\boxed| ?[A-Za-z]+|\s|."
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' %}{% generation %}{{- message.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{- message.content + '<|im_end|>' }}{%- endif %}{{- '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
"""ChatML that keeps an answer as it is, `<think>` and all, and marks it as what is trained on."""
CONTEXT = 512


def make_tokenizer() -> Any:
    """Return a tokenizer that knows every text of the world and gives it back unchanged."""
    split = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    special = [END, START, STOP, STEP, PAD, UNKNOWN]
    words = sorted({piece for text in _texts() for piece, _ in split.pre_tokenize_str(text)})
    vocabulary = {word: number for number, word in enumerate([*special, "<think>", "</think>", *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.pre_tokenizer = split
    core.decoder = decoders.Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in ("<think>", "</think>")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=STOP,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _texts() -> list[str]:
    rng = Random(0)
    sample = list(islice(questions("pretraining", seed=0), 3000))
    solutions = ["\n".join(told(one.steps, one.reference, rng)) for one in sample]
    always = ["system\nuser\nassistant\n\n", SYSTEM, "0123456789", *OPENERS, *CLOSERS]
    return [*(one.prompt for one in sample), *solutions, *always]


def chat(prompt: str) -> str:
    """Return the chat up to where the answer begins."""
    return f"{START}user\n{prompt}{STOP}\n{START}assistant\n"


def answer(steps: list[str], reference: str, rng: Random) -> str:
    """Return a solution as the models write it: reasoning in tags, then the answer."""
    thinking, content = told(steps, reference, rng)
    return f"<think>\n{thinking}\n</think>\n\n{content}{STOP}"


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer with its chat template, under the class name that every version of transformers knows."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
