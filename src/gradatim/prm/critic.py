"""A critic: any chat model that is asked of each step whether it is right, and answers yes or no.

For domains that have no process reward model. The score is P(yes) / (P(yes) + P(no)) at one token: the first of the
answer; or, where the model may write an analysis first, as GenPRM and ThinkPRM do, the last label that is announced.
What such a critic is worth, nobody has measured for your model and questions: `gradatim calibrate` does.

Left out, of GenPRM: running the programs that it writes; of both: several votes, and answers that we begin for them.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from gradatim.errors import UsageError
from gradatim.prm.chat import Chat
from gradatim.prm.labels import Labels
from gradatim.types import content_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradatim.prm.chat import Turn

PROMPT = """\
Below are a question and the beginning of a solution to it. Judge its last step alone: is it right, given the question \
and the steps before it?

Question:
{prompt}

Steps before the last one:
{steps}

Last step:
{step}

"""
AT_ONCE = "Answer with one word, {good} or {bad}."
AFTER_ANALYSIS = (
    "Check it in a few sentences. Then write on a line of its own: Judgement: {good}, or: Judgement: {bad}."
)

_FIELD = re.compile(r"\{(prompt|steps|step|good|bad)\}")
_CONTROL = re.compile(
    r"<\|(?:im_start|im_end|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|system|user"
    r"|assistant|end|start|channel|message|return)\|>|<(?:start|end)_of_turn>|\[/?INST\]|<｜(?:User|Assistant)｜>"
    r"|<｜(?:begin|end)▁of▁sentence｜>"
)
"""What chat templates of the current open models begin and end a turn with."""


def critic(*, prompt: str | None = None, labels: tuple[str, str] = ("yes", "no"), analysis: int = 0) -> Chat:
    """Return the critic that is asked by this prompt.

    `prompt`: `{prompt}` is replaced by the question, `{steps}` by the steps before the one to judge, `{step}` by that
    one, `{good}` and `{bad}` by the labels; None takes ours. `labels`: the word for a right step, then that for a wrong
    one. `analysis`: tokens that the model may write before it decides; 0 has its first token decide.

    Raises `UsageError` for a prompt without `{prompt}` or `{step}`, and for labels that cannot be told apart.
    """
    good, bad = labels
    made = Labels(good=good, bad=bad)
    if not (good and bad and good != bad and made.which(good) == good and made.which(bad) == bad):
        raise UsageError(f"labels of the critic: {good!r} and {bad!r} are not two different words")
    if good.casefold().startswith(bad.casefold()) or bad.casefold().startswith(good.casefold()):
        raise UsageError(f"labels of the critic: one of {good!r} and {bad!r} is how the other begins")
    if analysis < 0:
        raise UsageError(f"analysis of the critic: it is {analysis}; a count of tokens was expected")
    template = prompt if prompt is not None else PROMPT + (AFTER_ANALYSIS if analysis else AT_ONCE)
    for field in ("{prompt}", "{step}"):
        if field not in template:
            raise UsageError(f"prompt of the critic: it must hold {field}")
    return Chat(
        kind="critic",
        format=f"critic-1:{content_id(template, good, bad, str(analysis))}",
        labels=made,
        analysis=analysis,
        turns=partial(_turns, template, labels),
        forbidden=_forbidden,
    )


def _turns(template: str, labels: tuple[str, str], prompt: str, steps: Sequence[str], number: int) -> list[Turn]:
    """Return the one turn that asks. All fields are filled at once: none is looked for in what fills another."""
    before = "\n\n".join(step.strip() for step in steps[:number])
    good, bad = labels
    fields = {"prompt": prompt, "steps": before, "step": steps[number].strip(), "good": good, "bad": bad}
    return [{"role": "user", "content": _FIELD.sub(lambda match: fields[match[1]], template)}]


def _forbidden(text: str) -> bool:
    return _CONTROL.search(text) is not None
