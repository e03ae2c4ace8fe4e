"""The in-process backend, on a tiny PRM of the published architecture, against a plain reference computation."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local]")
pytest.importorskip("transformers", reason="needs the extra [local]")

from gradatim.errors import SetupError, UsageError  # noqa: E402 - after the skips
from gradatim.prm import Solution  # noqa: E402 - after the skips
from gradatim.prm.local import LocalPRM  # noqa: E402 - after the skips
from gradatim.prm.qwen import chat_text  # noqa: E402 - after the skips
from gradatim.prm.steps import split_steps  # noqa: E402 - after the skips
from gradatim.types import Fault, StepScores  # noqa: E402 - after the skips
from tiny_prm import CONTEXT, WIDTH, make_prm, reference_scores, rewrite  # noqa: E402 - after the skips

torch.set_num_threads(1)

SOLUTIONS = [
    Solution(
        key=100 - i,
        prompt=f"Sue has {i} boxes of {i % 5} pens.{' How many pens?' * (i % 4)}",
        answer="\n\n".join(
            f"Step {j}: {i} \\times {j} = {i * j}, so we add {'x + ' * (i % 3)}1." for j in range(i % 6 + 1)
        ),
    )
    for i in range(24)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_prm(tmp_path_factory.mktemp("prm") / "Tiny-PRM")


@pytest.fixture(scope="module")
def prm(folder):
    with closing(LocalPRM(path=folder, device="cpu", batch_tokens=700)) as made:
        yield made


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_batched_scores_are_the_reference_ones(folder, prm):
    """Every solution scored in batches has the scores of the model card's recipe run on it alone, to 1e-5."""
    got = dict(prm.score(iter(SOLUTIONS)))
    assert got.keys() == {solution.key for solution in SOLUTIONS}
    for solution in SOLUTIONS:
        scores = got[solution.key]
        assert isinstance(scores, StepScores)
        assert scores.steps == split_steps(solution.answer)
        assert scores.scores == pytest.approx(reference_scores(folder, solution.prompt, scores.steps), abs=1e-5)
    spread = [score for scores in got.values() for score in scores.scores]
    assert max(spread) - min(spread) > 0.5


def test_padding_changes_no_score(prm):
    """A short solution has the same scores alone and in a batch with a far longer one."""
    long = Solution(key=1, prompt="?", answer="\n\n".join(["We add the numbers."] * 20))
    (alone,) = prm._forward([prm._encode(SOLUTIONS[3])])
    together = prm._forward([prm._encode(SOLUTIONS[3]), prm._encode(long)])
    assert together[0] == pytest.approx(alone, abs=1e-6)
    assert [len(scores) for scores in together] == [len(alone), 20]


def test_the_text_is_what_the_tokenizers_template_writes(folder):
    """Our chat text is the one that transformers renders from the model's own template."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for solution in SOLUTIONS:
        steps = split_steps(solution.answer)
        chat = [
            {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."},
            {"role": "user", "content": solution.prompt},
            {"role": "assistant", "content": "".join(step.strip() + "<extra_0>" for step in steps)},
        ]
        assert chat_text(solution.prompt, steps) == tokenizer.apply_chat_template(chat, tokenize=False)


def test_underflowing_scores_are_scores(tmp_path):
    """A PRM so sure of itself that probabilities are exactly 0.0 still gives one score for each step."""
    made = make_prm(tmp_path / "sure", head_scale=1e4)
    with closing(LocalPRM(path=made, device="cpu")) as sure:
        got = dict(sure.score(SOLUTIONS))
    assert all(len(scores.scores) == len(scores.steps) for scores in got.values())
    values = {score for scores in got.values() for score in scores.scores}
    assert {0.0, 1.0} <= values


def test_refusals_have_reasons_and_the_rest_is_scored(prm):
    """Too long, a tag inside, another control token, a blank answer: each its reason, its neighbours their scores."""
    answers = ["We add.\n\nSo 3.", "word " * CONTEXT, "a <extra_0> b", "a <|object_ref_start|> b", "", "x = 1"]
    got = dict(prm.score(Solution(key=i, prompt="?", answer=answer) for i, answer in enumerate(answers)))
    assert [got[i].reason for i in range(6)] == [
        "",
        "too_long",
        "contains_step_tag",
        "contains_step_tag",
        "no_steps",
        "",
    ]
    assert len(got[0].scores) == 2
    assert not got[1].scores


def test_the_context_is_exact(folder, prm):
    """A text of exactly `context` tokens is scored, one token more is refused; the setting is part of the version."""
    size = len(prm._encode(SOLUTIONS[5]).ids)
    for context, reason in ((size, ""), (size - 1, "too_long")):
        with closing(LocalPRM(path=folder, device="cpu", context=context)) as limited:
            ((_, got),) = limited.score([SOLUTIONS[5]])
            assert got.reason == reason
            assert limited.version != prm.version


def test_scoring_streams(prm):
    """The first result comes after at most 256 solutions have been read, however many there are."""
    read = []

    def endless():
        for key in range(10**9):
            read.append(key)
            yield Solution(key=key, prompt="?", answer="1" if key % 8 == 0 else "")

    stream = prm.score(endless())
    next(stream)
    stream.close()
    assert len(read) <= 256


def test_sharded_weights_load(tmp_path, prm):
    """The same weights in three files with an index give the same scores."""
    made = make_prm(tmp_path / "sharded", shards=3)
    with closing(LocalPRM(path=made, device="cpu")) as sharded:
        got = dict(sharded.score(SOLUTIONS[:4]))
    want = dict(prm.score(SOLUTIONS[:4]))
    for key, scores in got.items():
        assert scores.scores == pytest.approx(want[key].scores, abs=1e-6)


def test_the_version_under_which_libraries_hold_scores_has_not_changed(tmp_path):
    """A folder of these very bytes was called this when a Qwen2.5-Math-PRM's scores were first stored."""
    config = '"architectures": ["Qwen2ForProcessRewardModel"], "model_type": "qwen2", "max_position_embeddings": 4096'
    (tmp_path / "config.json").write_text(f"{{{config}}}")
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_text("{}")
    was = "qwen2.5-math-prm-1;blank-lines-1;local;ab81d8a4ef9b8a21;float32;context=4096"
    assert LocalPRM(path=tmp_path, device="cpu").version == was


def test_other_weights_are_another_version(tmp_path, folder, prm):
    """Weights that differ in values alone, of the same names, shapes and sizes, give another version."""
    assert LocalPRM(path=folder, device="cpu").version == prm.version
    assert LocalPRM(path=make_prm(tmp_path / "other", seed=1), device="cpu").version != prm.version


def test_a_closed_prm_scores_again(folder):
    """After `close` the model is gone, and the next `score` loads it."""
    with closing(LocalPRM(path=folder, device="cpu")) as made:
        first = dict(made.score(SOLUTIONS[:1]))
        made.close()
        assert made._model is None
        assert dict(made.score(SOLUTIONS[:1])) == first


def test_faults_of_the_model_cost_their_batch_only(folder, monkeypatch):
    """Out of memory halves the batch and gives a fault for what is too large alone; any other error is a fault too."""
    with closing(LocalPRM(path=folder, device="cpu")) as made:
        want = dict(made.score(SOLUTIONS))
        largest = max(SOLUTIONS, key=lambda solution: len(made._encode(solution).ids)).key
        whole = LocalPRM._forward

        def small(self, batch):
            if len(batch) > 3 or largest in [item.key for item in batch]:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(self, batch)

        monkeypatch.setattr(LocalPRM, "_forward", small)
        got = dict(made.score(SOLUTIONS))
        assert got[largest].reason == "out_of_memory"
        for key in got.keys() - {largest}:
            assert got[key].scores == pytest.approx(want[key].scores, abs=1e-6)

        def broken(*_):
            raise RuntimeError("device-side assert")

        monkeypatch.setattr(LocalPRM, "_forward", broken)
        got = dict(made.score(SOLUTIONS[:2]))
        assert all(isinstance(fault, Fault) and fault.reason == "model_error" for fault in got.values())


@pytest.mark.parametrize(
    ("drop", "add", "said"),
    [
        (["score.2.weight"], {}, "of the score head, score.2.weight is missing"),
        (["score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"], {}, "a language model's lm_head"),
        (["model.norm.weight"], {}, "model.norm.weight missing"),
        ([], {"extra.weight": (2, 2)}, "extra.weight unexpected"),
        (
            [],
            {"score.2.weight": (400, WIDTH), "score.2.bias": (400,)},
            "score.2.weight has the shape [400, 32], and [2, 32]",
        ),
        ([], {"model.norm.weight": (WIDTH + 1,)}, "model.norm.weight has the shape [33], and [32] was expected"),
    ],
)
def test_other_tensors_are_refused(copy, drop, add, said):
    """A missing, unexpected or wrongly shaped tensor is refused by name before anything is scored."""
    rewrite(copy, drop=drop, add={name: torch.zeros(shape) for name, shape in add.items()})
    with pytest.raises(SetupError) as caught:
        list(LocalPRM(path=copy, device="cpu").score(SOLUTIONS[:1]))
    assert said in str(caught.value)


def test_the_unused_head_may_be_absent(copy, prm):
    """A checkpoint without the published one's `lm_head.weight` scores the same."""
    rewrite(copy, drop=["lm_head.weight"])
    with closing(LocalPRM(path=copy, device="cpu")) as made:
        assert dict(made.score(SOLUTIONS[:2])) == dict(prm.score(SOLUTIONS[:2]))


def break_file(name, content):
    def act(folder):
        if content is None:
            (folder / name).unlink()
        elif isinstance(content, int):
            (folder / name).write_bytes((folder / name).read_bytes()[:content])
        else:
            (folder / name).write_text(content)

    return act


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda folder: change_config(folder, architectures=["Qwen2ForCausalLM"]), "['Qwen2ForCausalLM']"),
        (lambda folder: change_config(folder, model_type="llama"), "'llama'"),
        (lambda folder: change_config(folder, max_position_embeddings="many"), "max_position_embeddings is 'many'"),
        (break_file("config.json", "{"), "not JSON"),
        (break_file("config.json", "[]"), "a JSON object was expected"),
        (break_file("config.json", None), "there is no config.json"),
        (break_file("tokenizer.json", None), "there is no tokenizer.json"),
        (break_file("tokenizer.json", "{}"), "not a tokenizer"),
        (break_file("model.safetensors", None), "there is no model.safetensors"),
        (break_file("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
        (break_file("model.safetensors", 20_000), "cut short"),
        (break_file("model.safetensors", 3), "not a whole safetensors file"),
        (break_file("model.safetensors.index.json", "{}"), "not an index of weight files"),
        (
            break_file("model.safetensors.index.json", '{"weight_map": {"a": "gone.safetensors"}}'),
            "no gone.safetensors",
        ),
    ],
)
def test_wrong_folders_are_refused(copy, act, said):
    """Each thing that can be wrong with a folder gets a sentence that names it."""
    act(copy)
    with pytest.raises(SetupError) as caught:
        list(LocalPRM(path=copy, device="cpu").score(SOLUTIONS[:1]))
    assert said in str(caught.value)
    assert str(copy) in str(caught.value)


def test_a_tokenizer_without_the_tag_is_refused(copy):
    """The tag's id comes from the tokenizer, and one that splits the tag into pieces is refused."""
    file = copy / "tokenizer.json"
    file.write_text(file.read_text().replace("<extra_0>", "<extra_9>"))
    with pytest.raises(SetupError, match="<extra_0> is no token of its own"):
        list(LocalPRM(path=copy, device="cpu").score(SOLUTIONS[:1]))


def test_wrong_settings_are_refused(folder, tmp_path):
    """A context beyond training, no batch, an unknown or absent device, no folder: each is refused at once."""
    for settings in ({"context": CONTEXT + 1}, {"context": 0}, {"batch_tokens": 0}, {"device": "abacus"}):
        with pytest.raises(UsageError):
            LocalPRM(path=folder, **settings)
    with pytest.raises(SetupError, match="cuda:99"):
        LocalPRM(path=folder, device="cuda:99")
    with pytest.raises(SetupError, match="no such folder"):
        LocalPRM(path=tmp_path / "absent")


def test_without_torch_the_extra_is_named(folder, monkeypatch):
    """Without torch the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SetupError, match=r"pip install 'gradatim\[local\]'"):
        LocalPRM(path=folder)
