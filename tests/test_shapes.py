"""Training examples keep their texts in every shape, and come back out of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.formats.shapes import Column, Example, Shape, Thinking, shaped, typical, unfit

EXAMPLE = Example(
    prompt="1+1?",
    answer="It is \\boxed{2}.",
    thinking="one and one",
    system="Think.",
    id="abc",
    level=3,
    source="pool.jsonl:1",
    model="teacher",
    reference="2",
)
TAGGED = "<think>\none and one\n</think>\n\nIt is \\boxed{2}."

TEXT = st.text(min_size=1, max_size=30).filter(lambda text: text.strip() and "think>" not in text)


@pytest.mark.parametrize(
    ("shape", "row"),
    [
        (
            Shape.MESSAGES,
            {
                "messages": [
                    {"role": "system", "content": "Think."},
                    {"role": "user", "content": "1+1?"},
                    {"role": "assistant", "content": TAGGED},
                ]
            },
        ),
        (Shape.PROMPT_COMPLETION, {"prompt": "Think.\n\n1+1?\n\n", "completion": TAGGED}),
        (
            Shape.SHAREGPT,
            {
                "conversations": [
                    {"from": "system", "value": "Think."},
                    {"from": "human", "value": "1+1?"},
                    {"from": "gpt", "value": TAGGED},
                ]
            },
        ),
        (Shape.ALPACA, {"instruction": "1+1?", "input": "", "output": TAGGED, "system": "Think."}),
    ],
)
def test_each_shape_is_what_its_trainers_document(shape, row):
    """Each shape has exactly the documented names, with the reasoning in think tags by default."""
    assert shaped(EXAMPLE, shape) == row


def test_reasoning_goes_to_a_field_or_nowhere():
    """As a field the reasoning stands by itself, and without it only the answer is taught."""
    message = shaped(EXAMPLE, Shape.MESSAGES, thinking=Thinking.FIELD)["messages"][-1]
    assert message == {"role": "assistant", "content": EXAMPLE.answer, "reasoning_content": "one and one"}
    assert shaped(EXAMPLE, Shape.ALPACA, thinking=Thinking.FIELD)["thinking"] == "one and one"
    for shape in Shape:
        assert "one and one" not in str(shaped(EXAMPLE, shape, thinking=Thinking.NONE))


def test_no_empty_tags_and_no_empty_system_turn():
    """An example without reasoning or system text has no trace of either."""
    bare = Example(prompt="1+1?", answer="2")
    for shape in Shape:
        text = str(shaped(bare, shape))
        assert "think" not in text
        assert "system" not in text


def test_further_columns_come_last_in_the_order_asked_for():
    """The columns asked for stand behind the shape's own, in the order given."""
    row = shaped(EXAMPLE, Shape.ALPACA, columns=(Column.LEVEL, Column.ID, Column.REFERENCE))
    assert list(row) == ["instruction", "input", "output", "system", "level", "id", "reference"]
    assert (row["level"], row["id"], row["reference"]) == (3, "abc", "2")


@pytest.mark.parametrize(
    ("example", "thinking", "reason"),
    [
        (Example(prompt="q", answer=" "), Thinking.TAGS, "no_answer"),
        (Example(prompt="q", answer="2", thinking="a </think> b"), Thinking.TAGS, "think_tag"),
        (Example(prompt="q", answer="2", thinking="a </think> b"), Thinking.FIELD, ""),
        (Example(prompt="q", answer="<think>x", thinking=""), Thinking.FIELD, "think_tag"),
        (Example(prompt="q", answer="<think>x", thinking=""), Thinking.NONE, "think_tag"),
        (Example(prompt="a <think> tag?", answer="yes"), Thinking.TAGS, ""),
    ],
)
def test_examples_that_would_teach_something_else_are_named(example, thinking, reason):
    """An example whose texts would break its shape has a reason, and is not written."""
    assert unfit(example, thinking) == reason
    if reason:
        with pytest.raises(ValueError, match=reason):
            shaped(example, Shape.MESSAGES, thinking=thinking)


@given(TEXT, TEXT, st.just("") | TEXT, st.just("") | TEXT)
def test_every_shape_gives_its_texts_back(prompt, answer, thinking, system):
    """Prompt, answer, reasoning and system text are found again, unchanged, in every shape with tags."""
    example = Example(prompt=prompt, answer=answer, thinking=thinking, system=system)
    messages = shaped(example, Shape.MESSAGES)["messages"]
    turns = shaped(example, Shape.SHAREGPT)["conversations"]
    pair = shaped(example, Shape.PROMPT_COMPLETION)
    alpaca = shaped(example, Shape.ALPACA)
    assert messages[-2]["content"] == turns[-2]["value"] == alpaca["instruction"] == prompt
    assert pair["prompt"] == (f"{system}\n\n" if system else "") + f"{prompt}\n\n"
    assert (messages[0]["content"] if len(messages) == 3 else "") == alpaca.get("system", "") == system
    for text in (messages[-1]["content"], turns[-1]["value"], pair["completion"], alpaca["output"]):
        assert split(text) == (thinking, answer)


def split(text):
    """Take the reasoning and the answer out of a text with think tags, as a reader of the file would."""
    if not text.startswith("<think>\n"):
        return "", text
    thinking, _, answer = text.removeprefix("<think>\n").partition("\n</think>\n\n")
    return thinking, answer


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("thinking", Thinking)
def test_the_typical_row_has_every_column(shape, thinking):
    """The row that decides types has the columns of any row of its shape without a system text."""
    bare = Example(prompt="q", answer="a", thinking="t", id="i", level=1, source="s", model="m")
    row = shaped(bare, shape, thinking=thinking, columns=tuple(Column))
    model = typical(shape, thinking=thinking, columns=tuple(Column))
    assert list(row) == list(model)
    assert [type(value) for value in row.values()] == [type(value) for value in model.values()]


@pytest.mark.parametrize("shape", [Shape.MESSAGES, Shape.PROMPT_COMPLETION])
def test_trl_takes_the_shape(shape):
    """TRL's own check of data sets knows the shape, where TRL is installed."""
    trl = pytest.importorskip("trl")
    row = shaped(EXAMPLE, shape)
    assert trl.is_conversational(row) == (shape is Shape.MESSAGES)


def test_chat_templates_take_the_messages():
    """A chat template of the usual kind renders the messages, with the reasoning where it is a field."""
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Environment(autoescape=False).from_string(
        "{% for m in messages %}<|{{ m.role }}|>{% if m.reasoning_content is string %}<think>\n"
        "{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}{% endfor %}"
    )
    as_field = template.render(**shaped(EXAMPLE, Shape.MESSAGES, thinking=Thinking.FIELD))
    as_tags = template.render(**shaped(EXAMPLE, Shape.MESSAGES, thinking=Thinking.TAGS))
    assert as_field == as_tags == f"<|system|>Think.<|user|>1+1?<|assistant|>{TAGGED}"
