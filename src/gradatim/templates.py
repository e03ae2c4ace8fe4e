"""What a chat template is told besides the messages: always the same day.

Templates of Llama 3.2, SmolLM3, gpt-oss and others write today's date into the prompt. A prompt that changes overnight
makes another training of the same one, which then would not go on from its checkpoint, and other answers of a resumed
run; and the model would be trained on one prompt and asked with another.
"""

from __future__ import annotations

from typing import Any

_DAY = (
    "{%- macro strftime_now(format) -%}{{ {'%Y-%m-%d': '2024-07-26', '%d %B %Y': '26 July 2024', "
    "'%Y': '2024'}.get(format, '26 Jul 2024') }}{%- endmacro -%}{{ '' }}"
)
"""The day that Llama 3's template names where it is told none. Jinja takes the macro before transformers' function."""


def fix_day(tokenizer: Any) -> None:
    """Have a tokenizer's chat template be told the same day for ever; one that asks for none is left as it is."""
    template = tokenizer.chat_template
    if isinstance(template, str) and "strftime_now" in template and not template.startswith(_DAY):
        tokenizer.chat_template = _DAY + template
