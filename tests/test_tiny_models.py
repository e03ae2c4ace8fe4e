"""The shipped tiny models: ordinary folders, small, and as good as their figures say."""

import json
from itertools import islice

import pytest

from gradatim.prm import Solution
from gradatim.prm.local import LocalPRM
from gradatim.prm.pooling import PoolingPRM
from gradatim.tiny import world
from gradatim.tiny.families import FAMILIES
from gradatim.tiny.weights import MODELS, folder

pytest.importorskip("transformers", reason="needs the extra [local]")
FIGURES = json.loads((folder("base").parent / "figures.json").read_text())


def loaded(name):
    """Load a folder as anyone would."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder(name), dtype="float32"), AutoTokenizer.from_pretrained(
        folder(name)
    )


def asked(count, seed=5):
    return list(islice(world.questions("pool", seed=seed), count))


@pytest.fixture(scope="module")
def greedy():
    """What both base models answer to 400 questions by transformers' own `generate`, and which of it is right."""
    import torch

    questions, texts = asked(400), {}
    chats = [[{"role": "user", "content": one.prompt}] for one in questions]
    for name in ("base", "second"):
        model, tokenizer = loaded(name)
        tokenizer.padding_side = "left"
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=128, do_sample=False)
        texts[name] = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :])
    right = {
        name: [f"\\boxed{{{one.reference}}}" in text for one, text in zip(questions, found, strict=True)]
        for name, found in texts.items()
    }
    return questions, texts, right


def test_all_three_are_at_most_four_megabytes():
    """The three folders together take no more than 4 MB of the package."""
    files = [file for name in MODELS for file in folder(name).rglob("*") if file.is_file()]
    assert {file.name for file in files} >= {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert sum(file.stat().st_size for file in files) <= 4_000_000


@pytest.mark.parametrize("name", ["base", "second"])
def test_a_tokenizer_gives_every_text_of_the_world_back(name):
    """Prompts and solutions go through the tokenizer unchanged, a token for each digit."""
    _, tokenizer = loaded(name)
    for one in asked(600):
        for text in (one.prompt, one.row()["solution"], "<think>\n" + "\n".join(one.steps) + "\n</think>\n\n"):
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.decode(ids) == text
            assert tokenizer.unk_token_id not in ids
    assert len(tokenizer.encode("2718", add_special_tokens=False)) == 4


def test_a_chat_keeps_the_reasoning():
    """The chat template writes an answer's `<think>` part as it stands."""
    _, tokenizer = loaded("base")
    answer = "<think>\n1+1=2\n</think>\n\nThe answer is \\boxed{2}."
    chat = [{"role": "user", "content": "Add 1 and 1."}, {"role": "assistant", "content": answer}]
    assert answer + "<|im_end|>" in tokenizer.apply_chat_template(chat, tokenize=False)


@pytest.mark.slow
def test_the_base_models_are_partly_competent_and_in_different_places(greedy):
    """The base model solves 50 to 65 % of the pool; both are as good as their figures say and fail elsewhere."""
    _, _, right = greedy
    share = {name: sum(found) / len(found) for name, found in right.items()}
    assert 0.50 <= share["base"] <= 0.65
    for name, found in share.items():
        assert abs(found - FIGURES[name]["accuracy"]) < 0.07
    differ = sum(a != b for a, b in zip(right["base"], right["second"], strict=True)) / len(right["base"])
    assert differ > 0.2


@pytest.mark.slow
def test_the_prm_tells_right_answers_from_wrong_ones(greedy):
    """Through Gradatim's own adapter, a right answer's mean step score is above a wrong one's in over 85 % of pairs."""
    questions, texts, right = greedy
    solutions = [
        Solution(key=key, prompt=one.prompt, answer=text.partition("</think>")[0].removeprefix("<think>"))
        for key, (one, text) in enumerate(zip(questions, texts["base"], strict=True))
    ]
    scores = dict(LocalPRM(path=folder("prm"), device="cpu").score(solutions))
    means = [sum(scores[key].scores) / len(scores[key].scores) for key in range(len(solutions))]
    good = [mean for mean, outcome in zip(means, right["base"], strict=True) if outcome]
    bad = [mean for mean, outcome in zip(means, right["base"], strict=True) if not outcome]
    above = sum(a > b for a in good for b in bad) / (len(good) * len(bad))
    assert above > 0.85


def test_competence_goes_from_nearly_always_to_nearly_never():
    """By family and size the base model's figures span from at most 10 % to at least 95 %."""
    shares = [share for sizes in FIGURES["base"]["by_family_and_size"].values() for share in sizes]
    assert len(shares) == 5 * len(FAMILIES)
    assert min(shares) <= 0.1
    assert max(shares) >= 0.95


def test_the_prm_knows_what_the_base_model_gets_right():
    """The shipped PRM's measured figures: outcomes told apart, pass rates followed, wrong answers too."""
    assert FIGURES["prm"]["outcome_auc"] > 0.85
    assert FIGURES["prm"]["rank_correlation_all"] > 0.7
    assert FIGURES["prm"]["rank_correlation_wrong"] > 0.2


def test_versions_that_libraries_hold_are_kept():
    """Scores of the Qwen family are found again by these versions, so these may not change, whatever is rearranged."""
    local = LocalPRM(path=folder("prm"), device="cpu")
    assert local.version == "qwen2.5-math-prm-1;blank-lines-1;local;ac275e662414bd31;float32;context=512"
    served = PoolingPRM(model="Qwen/Qwen2.5-Math-PRM-7B", base_url="http://localhost:8001")
    assert served.version == "qwen2.5-math-prm-1;blank-lines-1;vllm-pooling;Qwen/Qwen2.5-Math-PRM-7B;context=4096"
