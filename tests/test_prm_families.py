"""Each family in this process: scores against an independent computation, and what is refused."""

from __future__ import annotations

import os
import pickle
import shutil
from contextlib import closing

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local]")
pytest.importorskip("transformers", reason="needs the extra [local]")

import tiny_families as tiny  # noqa: E402 - after the skips
import tiny_prm  # noqa: E402 - after the skips
from gradatim.errors import SetupError, UsageError  # noqa: E402 - after the skips
from gradatim.prm import Solution  # noqa: E402 - after the skips
from gradatim.prm.local import LocalPRM  # noqa: E402 - after the skips
from gradatim.prm.pooling import PoolingPRM  # noqa: E402 - after the skips
from gradatim.prm.steps import split_steps  # noqa: E402 - after the skips
from gradatim.types import StepScores  # noqa: E402 - after the skips

torch.set_num_threads(1)

SOLUTIONS = [
    Solution(
        key=i,
        prompt=f"What is {i} times {i % 7}?{' Say it.' * (i % 3)}",
        answer="\n\n".join(f"We take {j} of {i},\nso that é = {i * j} + {j}." for j in range(i % 5 + 1)),
    )
    for i in range(16)
]
KINDS = ("reasonflux", "skywork", "math-shepherd", "token-classification")
MAKERS = {
    "qwen": tiny_prm.make_prm,
    "reasonflux": tiny_prm.make_prm,
    "skywork": tiny.make_skywork,
    "math-shepherd": tiny.make_shepherd,
    "token-classification": tiny.make_classifier,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("prms")
    return {kind: make(root / kind) for kind, make in MAKERS.items()}


def local(kind, folder, **settings):
    return closing(LocalPRM(kind=kind, path=folder, device="cpu", **settings))


def tokenizer_of(folder):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(folder)


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def shepherd_reference(folder, solution):
    """The model card's own recipe."""
    from transformers import MistralForCausalLM

    tokenizer, model = tokenizer_of(folder), MistralForCausalLM.from_pretrained(folder).eval()
    steps = [step.strip() for step in split_steps(solution.answer)]
    output = "\n".join(f"Step {number}: {step} ки" for number, step in enumerate(steps, 1))
    ids = torch.tensor([tokenizer.encode(f"{solution.prompt} {output}")])
    candidates = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    assert (candidates, tag) == ([648, 387], 12902)
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(dim=-1)[:, :, 0]
    return scores[ids == tag].tolist()


def skywork_reference(folder, solution):
    """The repository's recipe: prepare_input, the backbone's last hidden state, the value head, sigmoid."""
    from transformers import Qwen2Config, Qwen2Model

    tokenizer, weights = tokenizer_of(folder), weights_of(folder)
    ids = tokenizer.encode(tokenizer.bos_token + solution.prompt + "\n")
    newline, ends = tokenizer.encode("\n")[-1], []
    for step in split_steps(solution.answer):
        for line in filter(str.strip, step.split("\n")):
            ids += [*tokenizer.encode(line), newline]
        ends.append(len(ids) - 1)
    backbone = Qwen2Model(Qwen2Config.from_pretrained(folder)).eval()
    backbone.load_state_dict({n.removeprefix("model."): t for n, t in weights.items() if n.startswith("model.")})
    with torch.no_grad():
        hidden = backbone(torch.tensor([ids])).last_hidden_state[0]
        values = torch.sigmoid(hidden @ weights["v_head.summary.weight"][0] + weights["v_head.summary.bias"])
    return [values[place].item() for place in ends]


def classifier_reference(folder, solution):
    """What PRMTrainer's tokenize_row writes, through transformers' own token classifier."""
    from transformers import AutoModelForTokenClassification

    tokenizer, model = tokenizer_of(folder), AutoModelForTokenClassification.from_pretrained(folder).eval()
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = bos + tokenizer(solution.prompt, add_special_tokens=False)["input_ids"]
    separator, ends = tokenizer.encode("\n", add_special_tokens=False), []
    for step in split_steps(solution.answer):
        for line in filter(str.strip, step.split("\n")):
            ids += tokenizer(line, add_special_tokens=False)["input_ids"] + separator
        ends.append(len(ids) - 1)
    with torch.no_grad():
        labels = model(torch.tensor([ids])).logits[0].softmax(dim=-1)
    return [labels[place, 1].item() for place in ends]


def reasonflux_reference(folder, solution):
    """The repository's recipe; this folder's template writes the default system message, as Qwen2.5-Math's does."""
    return tiny_prm.reference_scores(folder, solution.prompt, split_steps(solution.answer))


REFERENCES = {
    "reasonflux": reasonflux_reference,
    "skywork": skywork_reference,
    "math-shepherd": shepherd_reference,
    "token-classification": classifier_reference,
}


@pytest.mark.parametrize("kind", KINDS)
def test_batched_scores_are_the_reference_ones(folders, kind):
    """Every solution scored in batches has the scores of its makers' recipe run on it alone, to 1e-5; well apart."""
    with local(kind, folders[kind], batch_tokens=900) as prm:
        got = dict(prm.score(SOLUTIONS))
    assert got.keys() == {solution.key for solution in SOLUTIONS}
    for solution in SOLUTIONS[::3]:
        scores = got[solution.key]
        assert isinstance(scores, StepScores)
        assert scores.steps == split_steps(solution.answer)
        assert scores.scores == pytest.approx(REFERENCES[kind](folders[kind], solution), abs=1e-5)
    spread = [score for scores in got.values() for score in scores.scores]
    assert max(spread) - min(spread) > 0.3


@pytest.mark.parametrize("kind", ["skywork", "token-classification"])
def test_line_ends_of_either_kind_are_one(folders, kind):
    """Where a step ends in a line end, an answer with CR LF has the scores of the same answer with LF."""
    answer = "We add.\nSo 3.\n\nDone."
    both = [
        Solution(key=0, prompt="?", answer=answer),
        Solution(key=1, prompt="?", answer=answer.replace("\n", "\r\n")),
    ]
    with local(kind, folders[kind]) as prm:
        got = dict(prm.score(both))
    assert got[1].scores == pytest.approx(got[0].scores, abs=1e-6)
    assert "".join(got[1].steps) == both[1].answer


@pytest.mark.parametrize(("kind", "bos"), [("llama", "<|endoftext|>"), ("mistral", None), ("qwen3", None)])
def test_token_classifiers_of_other_decoders_score_the_same(tmp_path, kind, bos):
    """A Llama, a Mistral and a Qwen3 that TRL trained are read by their own classes, with or without a bos token."""
    folder = tiny.make_classifier(tmp_path / kind, kind=kind, bos=bos)
    with local("token-classification", folder) as prm:
        ((_, got),) = prm.score(SOLUTIONS[4:5])
    assert got.scores == pytest.approx(classifier_reference(folder, SOLUTIONS[4]), abs=1e-5)


def test_pickled_weights_score_the_same_and_run_nothing(folders, tmp_path):
    """Weights in .bin files give the same scores; a pickle with code in it is refused, and the code is not run."""
    folder = tiny.make_shepherd(tmp_path / "bin", pickled=True)
    with local("math-shepherd", folder) as prm, local("math-shepherd", folders["math-shepherd"]) as other:
        assert dict(prm.score(SOLUTIONS[:3])) == dict(other.score(SOLUTIONS[:3]))

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for content in (pickle.dumps(Evil()), b"version https://git-lfs.github.com/spec/v1\n"):
        (folder / "pytorch_model.bin").write_bytes(content)
        with local("math-shepherd", folder) as prm, pytest.raises(SetupError, match="not a file of tensors"):
            list(prm.score(SOLUTIONS[:1]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "make"),
    [("skywork", tiny.make_skywork), ("math-shepherd", tiny.make_shepherd)],
    ids=["skywork", "shepherd"],
)
def test_underflowing_scores_are_scores(tmp_path, kind, make):
    """A model so sure of itself that scores are exactly 0.0 or 1.0 still gives one score for each step."""
    with local(kind, make(tmp_path / "sure", head_scale=1e5)) as prm:
        got = dict(prm.score(SOLUTIONS))
    assert all(len(scores.scores) == len(scores.steps) for scores in got.values())
    assert {0.0, 1.0} <= {score for scores in got.values() for score in scores.scores}


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_and_never_cut(folders, kind):
    """A solution beyond the context is `too_long`, its neighbours are scored; a blank answer has no steps."""
    solutions = [
        *SOLUTIONS[:2],
        Solution(key=98, prompt="?", answer="word " * 600),
        Solution(key=99, prompt="?", answer=" "),
    ]
    with local(kind, folders[kind]) as prm:
        got = dict(prm.score(solutions))
    assert (got[98].reason, got[98].scores, got[99].reason) == ("too_long", (), "no_steps")
    assert got[0].scores
    assert got[1].scores


@pytest.mark.parametrize("kind", MAKERS)
def test_another_familys_folder_is_refused(folders, kind):
    """Each family's folder is refused by every family that reads another architecture, with what was found in it."""
    same = {"qwen": {"reasonflux"}, "reasonflux": {"qwen"}}.get(kind, set()) | {kind}
    for other in set(MAKERS) - same:
        with pytest.raises(SetupError, match="give the folder of") as caught:
            LocalPRM(path=folders[kind], kind=other)
        assert str(folders[kind]) in str(caught.value)


def without(folder, name, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    tiny_prm.rewrite(copy, drop=[name])
    return copy


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (
            "skywork",
            "v_head.summary.weight",
            "of the score head, v_head.summary.weight is missing, and there is a language",
        ),
        ("math-shepherd", "lm_head.weight", "of the score head, lm_head.weight is missing"),
        ("token-classification", "score.bias", "of the score head, score.bias is missing"),
        ("token-classification", "model.norm.weight", "model.norm.weight missing"),
    ],
)
def test_a_folder_without_its_head_is_refused(folders, tmp_path, kind, name, said):
    """A missing tensor is refused by name before anything is scored."""
    with local(kind, without(folders[kind], name, tmp_path)) as prm, pytest.raises(SetupError, match=said):
        list(prm.score(SOLUTIONS[:1]))


@pytest.mark.parametrize(
    ("kind", "act", "said"),
    [
        ("math-shepherd", lambda f: tiny.write_mistral_tokenizer(f, without="▁ки"), "▁ки is no token of its own"),
        ("math-shepherd", lambda f: tiny.write_mistral_tokenizer(f, without="▁+"), "▁\\+ is no token of its own"),
        ("skywork", lambda f: tiny.change(f, "tokenizer_config.json", bos_token=None), "it names no bos_token"),
        (
            "skywork",
            lambda f: tiny.change(f, "tokenizer_config.json", bos_token="<bos>"),
            "<bos> is no token of its own",
        ),
        (
            "reasonflux",
            lambda f: tiny.change(f, "tokenizer_config.json", chat_template=None),
            "its chat template .* is not there",
        ),
        ("reasonflux", lambda f: tiny.change(f, "tokenizer_config.json", chat_template="{% if"), "cannot be used"),
        ("reasonflux", lambda f: (f / "tokenizer_config.json").write_text("["), "cannot be used"),
        ("token-classification", lambda f: (f / "tokenizer_config.json").write_text("["), "not a JSON object"),
    ],
)
def test_a_wrong_tokenizer_is_refused(folders, tmp_path, kind, act, said):
    """A tokenizer that lacks what a family needs is refused with the token, or the file, that is wrong."""
    copy = shutil.copytree(folders[kind], tmp_path / "copy")
    act(copy)
    with local(kind, copy) as prm, pytest.raises(SetupError, match=said):
        list(prm.score(SOLUTIONS[:1]))


def test_classifiers_of_something_else_are_refused(tmp_path):
    """Three labels are no PRM's; and a BERT, which keeps its backbone elsewhere, is refused by its kind."""
    three = tiny.make_classifier(tmp_path / "three", labels=3)
    bert = tiny.make_classifier(tmp_path / "bert", kind="bert")
    for folder, said in ((three, "has 3 labels, and a PRM's are 2"), (bert, "a bert cannot be read here")):
        with local("token-classification", folder) as prm, pytest.raises(SetupError, match=said):
            list(prm.score(SOLUTIONS[:1]))


def test_what_decides_on_the_input_is_part_of_the_version(folders, tmp_path):
    """Another separator, another bos token or another chat template is another version; another file is not."""

    def version(kind, folder, **settings):
        return LocalPRM(path=folder, kind=kind, device="cpu", **settings).version

    made = folders["token-classification"]
    assert version("token-classification", made) == version("token-classification", made, separator="\n")
    assert version("token-classification", made) != version("token-classification", made, separator="\n\n")
    for kind, change in (("skywork", {"bos_token": "<|im_start|>"}), ("reasonflux", {"chat_template": "{{ 1 }}"})):
        copy = shutil.copytree(folders[kind], tmp_path / kind)
        (copy / "README.md").write_text("words")
        assert version(kind, copy) == version(kind, folders[kind])
        tiny.change(copy, "tokenizer_config.json", **change)
        assert version(kind, copy) != version(kind, folders[kind])


def test_wrong_settings_of_a_family_are_refused(folders):
    """An unknown family, a separator where none is taken or an empty one, a family that no server gives."""
    with pytest.raises(UsageError, match="one of qwen, reasonflux"):
        LocalPRM(path=folders["qwen"], kind="gwen")
    with pytest.raises(UsageError, match='separator belongs to kind = "token-classification"'):
        LocalPRM(path=folders["qwen"], separator="\n")
    with pytest.raises(UsageError, match="separator is empty"):
        LocalPRM(path=folders["token-classification"], kind="token-classification", separator="")
    for kind in ("skywork", "token-classification"):
        with pytest.raises(UsageError, match='set backend = "local"'):
            PoolingPRM(model="m", base_url="http://h", kind=kind)
