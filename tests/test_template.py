"""Chat templates as training meets them: what of an answer they keep, how a turn ends, what they refuse."""

from __future__ import annotations

import shutil

import pytest

import gradatim as gr
from gradatim.training import sft
from gradatim.training.recipe import Exchange, Recipe
from gradatim.training.template import encode, manner_of
from gradatim.types import Message
from tiny_lm import TEMPLATE, make_lm

transformers = pytest.importorskip("transformers")
pytest.importorskip("torch")

TARGET = "<think>\n6*7=42\n</think>\n\nIt is \\boxed{42}."
EXCHANGE = Exchange(id="a", messages=(Message(role="user", content="What is 6*7?"),), target=TARGET)
HEAD = "{%- for message in messages %}"
TAIL = "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
STRIPPING = (
    HEAD + "{%- set content = message.content %}{%- if message.role == 'assistant' and '</think>' in content %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}" + TAIL
)
"""Drops the reasoning of every assistant turn, as DeepSeek-R1's distilled models do."""
OPENING = STRIPPING.replace("assistant\\n' }}{%- endif %}", "assistant\\n<think>\\n' }}{%- endif %}")
"""And begins each answer's reasoning itself, as their newer revisions do."""
CLOSING = STRIPPING.replace("assistant\\n' }}{%- endif %}", "assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_lm(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def tokenizer(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)


def texts(tokenizer, template):
    """Return prompt and answer of the example under a template, and its manner."""
    tokenizer.chat_template = template
    manner = manner_of(tokenizer, [tokenizer.eos_token_id], "M")
    (one,), _ = encode(tokenizer, [EXCHANGE], manner, max_length=10_000, where="M")
    return tokenizer.decode(one.ids[: one.answer_from]), tokenizer.decode(one.ids[one.answer_from :]), manner


def test_a_template_that_drops_the_reasoning_is_found_out_and_does_no_harm(tokenizer):
    """With a template that strips the reasoning, the whole target is trained on all the same."""
    prompt, answer, manner = texts(tokenizer, TEMPLATE)
    assert manner.keeps
    stripped = texts(tokenizer, STRIPPING)
    assert not stripped[2].keeps
    assert stripped[:2] == (prompt, answer) == ("<|im_start|>user\nWhat is 6*7?<|im_end|>\n<|im_start|>assistant\n",
                                                TARGET + "<|im_end|>")  # fmt: skip


def test_a_template_that_opens_the_reasoning_gets_the_rest_of_it(tokenizer):
    """Where the prompt ends with the opening tag, the answer goes on after it: there is one tag in all."""
    prompt, answer, manner = texts(tokenizer, OPENING)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n")
    assert (
        prompt + answer == "<|im_start|>user\nWhat is 6*7?<|im_end|>\n<|im_start|>assistant\n" + TARGET + "<|im_end|>"
    )
    bare = Exchange(id="b", messages=EXCHANGE.messages, target="42")
    found, out = encode(tokenizer, [EXCHANGE, bare], manner, max_length=10_000, where="M")
    assert [one.id for one in found] == ["a"]
    assert out == {"no_reasoning": ["b"]}


def test_a_template_that_closes_the_reasoning_takes_none(tokenizer):
    """Where the prompt says that there was no reasoning, examples with some are refused and others are not."""
    tokenizer.chat_template = CLOSING
    manner = manner_of(tokenizer, [], "M")
    with pytest.raises(gr.UsageError, match='thinking = "none"'):
        encode(tokenizer, [EXCHANGE], manner, max_length=10_000, where="M")
    bare = Exchange(id="b", messages=EXCHANGE.messages, target="42")
    found, _ = encode(tokenizer, [bare], manner, max_length=10_000, where="M")
    assert tokenizer.decode(found[0].ids[found[0].answer_from :]) == "42<|im_end|>"


def test_an_answer_ends_as_the_template_ends_a_turn(tokenizer):
    """The template's own end of turn is taught, whatever the tokenizer's end is; without one it is the tokenizer's."""
    tokenizer.eos_token = "<|endoftext|>"
    _, answer, manner = texts(tokenizer, TEMPLATE)
    assert answer.endswith("<|im_end|>")
    assert manner.ending_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    _, answer, _ = texts(tokenizer, HEAD + "{{- message.role + ': ' + message.content + '\\n' }}" + "{%- endfor %}")
    assert answer == TARGET + "<|endoftext|>"


def test_the_finished_model_stops_where_it_was_taught_to(folder, tmp_path):
    """The end of turn is among the tokens that end generation, also where the base's settings forgot it."""
    import json
    import shutil

    model = shutil.copytree(folder, tmp_path / "base")
    (model / "generation_config.json").write_text('{"eos_token_id": 256, "temperature": 0.6}')
    plan = sft.plan(str(model), [EXCHANGE], Recipe())
    end = transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<|im_end|>")
    assert plan.ends[0] == end
    assert 256 in plan.ends
    from gradatim.training.folder import write_ends

    (tmp_path / "out").mkdir()
    write_ends(model, tmp_path / "out", list(plan.ends))
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (written["eos_token_id"], written["temperature"]) == ([end, 256], 0.6)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (None, "no chat template"),
        (HEAD + "{{- message.role }}" + "{%- endfor %}", "loses the text"),
        ("{{- raise_exception('only tools here') }}", "refuses a conversation of user.*only tools"),
        ("{% for %}", "refuses a conversation"),
    ],
)
def test_a_template_that_cannot_carry_a_chat_is_one_sentence(tokenizer, template, words):
    """No template, or one that loses text, refuses or is broken: each says what is wrong and what to do."""
    tokenizer.chat_template = template
    with pytest.raises(gr.UsageError, match=words) as caught:
        manner_of(tokenizer, [], "M")
    assert "folder" in str(caught.value)


def test_a_refused_system_message_is_said(tokenizer):
    """A template that takes no system message is named with what to set."""
    tokenizer.chat_template = (
        "{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}"
        + TEMPLATE
    )
    manner = manner_of(tokenizer, [], "M")
    asked = Exchange(id="a", messages=(Message(role="system", content="x"), *EXCHANGE.messages), target="42")
    with pytest.raises(gr.UsageError, match=r'system, user.*System role not supported.*system = ""'):
        encode(tokenizer, [asked], manner, max_length=10_000, where="M")


def test_a_text_that_holds_the_end_of_a_turn_is_left_out(tokenizer):
    """An answer that spells the control token would end in its middle, so it is counted and left out."""
    tokenizer.chat_template = TEMPLATE
    manner = manner_of(tokenizer, [], "M")
    odd = Exchange(id="b", messages=EXCHANGE.messages, target="It is <|im_end|> 42")
    found, out = encode(tokenizer, [EXCHANGE, odd], manner, max_length=10_000, where="M")
    assert [one.id for one in found] == ["a"]
    assert out == {"control_token": ["b"]}


def test_another_token_that_ends_an_answer_is_not_trained_on_inside_one(tokenizer):
    """An example is left out where any token that ends generation stands in its answer, not only the turn's own."""
    manner = manner_of(tokenizer, [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")], "M")
    inside = Exchange(id="b", messages=EXCHANGE.messages, target="It is 42.<|endoftext|> Or 43.")
    found, out = encode(tokenizer, [EXCHANGE, inside], manner, max_length=10_000, where="M")
    assert ([one.id for one in found], out) == (["a"], {"control_token": ["b"]})


def test_a_plan_hangs_on_no_date(folder, tmp_path):
    """A template that writes the date gives one training, whatever the day: else it would not be gone on with."""
    place = shutil.copytree(folder, tmp_path / "dated")
    own = "{{- strftime_now('%d %b %Y') + '\\n' }}"
    (place / "chat_template.jinja").write_text(own + (folder / "chat_template.jinja").read_text())
    plan = sft.plan(str(place), [EXCHANGE], Recipe())
    prompt = plan.examples[0].ids[: plan.examples[0].answer_from]
    assert transformers.AutoTokenizer.from_pretrained(place).decode(prompt).startswith("26 Jul 2024\n<|im_start|>user")
