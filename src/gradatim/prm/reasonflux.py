"""ReasonFlux-PRM-7B: as Qwen2.5-Math-PRM, but no system message is given to the chat template.

From the repository's own example (Gen-Verse/ReasonFlux, ReasonFlux_PRM/README.md). What stands before the question is
then what the folder's own template writes where it is given no system message; so the chat is written by that template:
here by transformers, on a server by vLLM, which gets the messages and not the text. Splits as Qwen2.5-Math-PRM's: on
blank lines. Left out: ReasonFlux-PRM-1.5B, which gives one number for a whole answer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError
from gradatim.prm import qwen
from gradatim.prm.family import Served
from gradatim.templates import fix_day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def messages(prompt: str, steps: Sequence[str]) -> list[dict[str, str]]:
    """Return the chat that the template is given."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": qwen.joined(steps)}]


def _body(prompt: str, steps: Sequence[str]) -> dict[str, object]:
    return {"messages": messages(prompt, steps), "add_generation_prompt": False, "add_special_tokens": False}


def _written(template: Any, prompt: str, steps: Sequence[str]) -> str:
    return str(template.apply_chat_template(messages(prompt, steps), tokenize=False, add_generation_prompt=False))


def _encoder(tokenizer: Any, file: Path) -> qwen.ChatEncoder:
    from transformers import AutoTokenizer  # noqa: PLC0415 - optional, and seconds to import

    where = f"{file.parent}: its chat template (tokenizer_config.json or chat_template.jinja)"
    try:
        template = AutoTokenizer.from_pretrained(file.parent, local_files_only=True, trust_remote_code=False)
        there = template.chat_template is not None
        fix_day(template)
        if there:
            _written(template, "", ())
    except Exception as error:  # what transformers and jinja2 raise, whatever it is
        raise SetupError(f"{where} cannot be used ({type(error).__name__}: {error}); fetch it again") from error
    if not there:
        raise SetupError(f"{where} is not there, and this PRM reads what it writes; fetch the folder again, complete")
    return qwen.encoder(tokenizer, file, write=partial(_written, template))


REASONFLUX = replace(
    qwen.QWEN,
    kind="reasonflux",
    format="reasonflux-prm-1",
    licence="not known; see its model card",
    architecture=replace(
        qwen.QWEN.architecture,
        called="ReasonFlux-PRM-7B",
        also_read=("tokenizer_config.json", "chat_template.jinja"),
    ),
    served=Served(body=_body, tag=qwen.STEP_TAG, tag_id=151651, arguments=qwen.arguments),
    encoder=_encoder,
)
