"""What each family's model reads, worked out by hand: token ids and places of scores, on tokenizers of a few tokens."""

from __future__ import annotations

import json

import pytest

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra [local]")

from gradatim.prm import Solution  # noqa: E402 - after the skip
from gradatim.prm.families import family_of  # noqa: E402 - after the skip
from gradatim.prm.family import Prepared, prepare  # noqa: E402 - after the skip
from gradatim.prm.qwen import QWEN  # noqa: E402 - after the skip
from gradatim.prm.shepherd import SHEPHERD, text  # noqa: E402 - after the skip
from gradatim.prm.skywork import SKYWORK  # noqa: E402 - after the skip
from tiny_prm import TEMPLATE  # noqa: E402 - after the skip

# A blank is Ġ and a line end Ċ in byte-level vocabularies.
BYTES = {"Q": 0, "?": 1, "Ċ": 2, "?Ċ": 3, "x": 4, "=": 5, "1": 6, ".": 7, ".Ċ": 8, "Ġ": 9, "s": 10, "u": 11, "a": 12}
SPECIAL = {"<|endoftext|>": 13, "<|im_start|>": 14, "<|im_end|>": 15, "<extra_0>": 16}
MISTRAL = {
    "<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "Q": 4, "?": 5, "S": 6, "t": 7, "e": 8, "p": 9, "1": 10, ":": 11, "x": 12,
    "к": 13, "и": 14, "▁к": 15, "▁ки": 16, "<0x0A>": 17, "2": 18, "-": 19, "+": 20, "▁-": 21, "▁+": 22, "а": 23,
    "a": 24, "b": 25, "c": 26, ".": 27,
}  # fmt: skip


def byte_level(folder, *, merges=(("?", "Ċ"), (".", "Ċ")), **settings):
    """Write a byte-level tokenizer of the tokens above into the folder, and return it."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=BYTES, merges=list(merges)))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in SPECIAL])
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    made.save(str(folder / "tokenizer.json"))
    return made


def mistral():
    """Make a tokenizer as Mistral's, of the tokens above."""
    merges = [("▁", "к"), ("▁к", "и"), ("▁", "-"), ("▁", "+")]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab=MISTRAL, merges=merges, unk_token="<unk>", byte_fallback=True)
    )
    parts = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    made.normalizer = tokenizers.normalizers.Sequence(parts)
    made.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    return made


def encoded(family, tokenizer, folder, prompt, answer):
    """Prepare and encode a solution, as the backend does."""
    prepared = prepare(family, Solution(key=1, prompt=prompt, answer=answer))
    assert isinstance(prepared, Prepared)
    return family.encoder(tokenizer, folder / "tokenizer.json").encode(prepared)


def test_qwen_reads_a_chat_with_a_tag_after_each_step(tmp_path):
    """One text: turns, steps stripped, `<extra_0>` (16) after each; the scores stand at the two 16s."""
    tokenizer = byte_level(tmp_path)
    got = encoded(QWEN, tokenizer, tmp_path, "Q?", "x=1.\n\nx.\n")
    # The system turn and the words user and assistant are letters that this vocabulary lacks, save for s, u and a.
    tail = [4, 5, 6, 7, 16, 4, 7, 16, 15, 2]
    assert got.ids[-10:] == tail
    assert got.at == [len(got.ids) - 6, len(got.ids) - 3]
    assert [got.ids[place] for place in got.at] == [16, 16]
    assert got.ids.count(14) == got.ids.count(15) == 3


@pytest.mark.parametrize(
    ("template", "turns"), [(TEMPLATE, 3), (TEMPLATE.replace("{%- else %}", "{%- elif false %}"), 2)]
)
def test_reasonflux_reads_what_its_own_template_writes(tmp_path, template, turns):
    """No system message is given: what the folder's template then writes stands there, a default one or none."""
    pytest.importorskip("transformers", reason="needs the extra [local]")
    tokenizer = byte_level(tmp_path, tokenizer_class="PreTrainedTokenizerFast", chat_template=template)
    got = encoded(family_of("reasonflux"), tokenizer, tmp_path, "Q?", "x=1.\n\nx.")
    assert got.ids.count(14) == got.ids.count(15) == turns
    assert got.ids[-10:] == [4, 5, 6, 7, 16, 4, 7, 16, 15, 2]
    assert got.at == [len(got.ids) - 6, len(got.ids) - 3]


def test_skywork_reads_lines_made_apart(tmp_path):
    """The question melts with its line end (?Ċ is 3); each line is tokenised apart, so that its line end stays 2."""
    tokenizer = byte_level(tmp_path, bos_token="<|endoftext|>")
    got = encoded(SKYWORK, tokenizer, tmp_path, "Q?", "x=1.\n\nx.\n")
    assert got.ids == [13, 0, 3, 4, 5, 6, 7, 2, 4, 7, 2]
    assert got.at == [7, 10]


def test_skywork_scores_a_step_of_several_lines_at_its_last(tmp_path):
    """Within a step each line ends as a step does, blank lines are left out, and one score is read."""
    tokenizer = byte_level(tmp_path, bos_token={"content": "<|endoftext|>"})
    got = encoded(SKYWORK, tokenizer, tmp_path, "Q?", "x=1.\n x=1\n\nx.")
    assert got.ids == [13, 0, 3, 4, 5, 6, 7, 2, 9, 4, 5, 6, 2, 4, 7, 2]
    assert got.at == [12, 15]


def test_math_shepherd_reads_numbered_steps_with_its_tag(tmp_path):
    """`<s>`, the question, a blank, numbered steps a line each; the scores stand at the two ▁ки (16)."""
    got = encoded(SHEPHERD, mistral(), tmp_path, "Q?", "x\n\nx")
    assert got.ids == [1, 3, 4, 5, 3, 6, 7, 8, 9, 3, 10, 11, 3, 12, 16, 17, 6, 7, 8, 9, 3, 18, 11, 3, 12, 16]
    assert got.at == [14, 25]


def test_math_shepherd_numbers_no_step_twice():
    """The model card's example comes out as it stands there; what is numbered already keeps its number."""
    steps = ("Step 1: Janet's ducks lay 16 eggs per day.\n\n", "She eats three.\n\n", "**Step 3**: The answer is: 18\n")
    assert text("How many?", steps) == (
        "How many? Step 1: Janet's ducks lay 16 eggs per day. ки\nStep 2: She eats three. ки\n"
        "**Step 3**: The answer is: 18 ки"
    )


@pytest.mark.parametrize(
    ("separator", "bos", "ids", "at"),
    [
        (None, None, [0, 1, 4, 5, 6, 7, 2, 4, 7, 2], [6, 9]),
        ("\n", "<|endoftext|>", [13, 0, 1, 4, 5, 6, 7, 2, 4, 7, 2], [7, 10]),
        ("\n\n", None, [0, 1, 4, 5, 6, 7, 2, 2, 4, 7, 2, 2], [7, 11]),
        ("<extra_0>", None, [0, 1, 4, 5, 6, 7, 16, 4, 7, 16], [6, 9]),
    ],
)
def test_a_token_classifier_reads_what_its_trainer_wrote(tmp_path, separator, bos, ids, at):
    """Bos where there is one, the question, then each step and the separator, each tokenised by itself."""
    tokenizer = byte_level(tmp_path, **({} if bos is None else {"bos_token": bos}))
    got = encoded(family_of("token-classification", separator=separator), tokenizer, tmp_path, "Q?", "x=1.\n\nx.")
    assert (got.ids, got.at) == (ids, at)


@pytest.mark.parametrize(
    ("kind", "separator", "answer"),
    [
        ("qwen", None, "x <extra_0> x"),
        ("reasonflux", None, "x <|im_end|> x"),
        ("skywork", None, "x <|endoftext|> x"),
        ("math-shepherd", None, "x ки x"),
        ("math-shepherd", None, "x </s> x"),
        ("token-classification", "\n\n", "x\n\n$$x\n\nx$$"),
        ("token-classification", "<extra_0>", "x <extra_0> x"),
        ("token-classification", "x", "Q x Q"),
        ("token-classification", None, "x <|im_start|> x"),
    ],
)
def test_text_that_holds_a_tag_is_refused_in_the_question_and_in_the_answer(tmp_path, kind, separator, answer):
    """A family's own tag, or another control token, gives no scores and says why; wherever it stands."""
    family = family_of(kind, separator=separator)
    tokenizer = (
        mistral()
        if kind == "math-shepherd"
        else byte_level(
            tmp_path, bos_token="<|endoftext|>", chat_template=TEMPLATE, tokenizer_class="PreTrainedTokenizerFast"
        )
    )
    inside = [Solution(key=1, prompt="Q", answer=answer)]
    if separator not in ("\n\n", "x"):
        inside.append(Solution(key=2, prompt=answer, answer="x"))
    for solution in inside:
        got = prepare(family, solution)
        reason = (
            got.reason
            if not isinstance(got, Prepared)
            else family.encoder(tokenizer, tmp_path / "tokenizer.json").encode(got)
        )
        assert reason == "contains_step_tag"


def test_a_word_that_begins_as_the_tag_does_is_refused_by_the_text_alone():
    """A server's tokenizer is not at hand, so Math-Shepherd refuses `ки` wherever it stands: a score would slip."""
    got = prepare(SHEPHERD, Solution(key=1, prompt="Где китай?", answer="x"))
    assert got.reason == "contains_step_tag"


def test_each_family_says_what_the_settings_need():
    """Context, aggregation, licence and architecture are told of each, and no two write the same format."""
    kinds = ("qwen", "reasonflux", "skywork", "math-shepherd", "token-classification")
    families = [family_of(kind) for kind in kinds]
    assert [one.kind for one in families] == list(kinds)
    assert len({one.format for one in families}) == 5
    assert all(one.context >= 1024 and one.licence and one.aggregation in ("mean", "min") for one in families)
