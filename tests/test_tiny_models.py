"""The shipped tiny models: ordinary folders, small, and as good as their figures say."""

import json
from itertools import islice

import pytest

from gradatim.prm import Solution
from gradatim.prm.local import QwenLocalPRM
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


def greedy(name, questions):
    """Answer with transformers' own `generate`, and tell which answers are right."""
    import torch

    torch.set_num_threads(1)
    model, tokenizer = loaded(name)
    tokenizer.padding_side = "left"
    chats = [[{"role": "user", "content": one.prompt}] for one in questions]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**inputs, max_new_tokens=128, do_sample=False)
    texts = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :])
    return [f"\\boxed{{{one.reference}}}" in text for one, text in zip(questions, texts, strict=True)]


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
def test_the_base_models_are_partly_competent_and_in_different_places():
    """The base model solves 50 to 65 % of the pool; both are as good as their figures say and fail elsewhere."""
    questions = asked(900)
    right = {name: greedy(name, questions) for name in ("base", "second")}
    share = {name: sum(found) / len(found) for name, found in right.items()}
    assert 0.50 <= share["base"] <= 0.65
    for name, found in share.items():
        assert abs(found - FIGURES[name]["accuracy"]) < 0.05
    differ = sum(a != b for a, b in zip(right["base"], right["second"], strict=True)) / len(questions)
    assert differ > 0.2


def test_competence_goes_from_nearly_always_to_nearly_never():
    """By family and size the base model's figures span from at most 10 % to at least 95 %."""
    shares = [share for sizes in FIGURES["base"]["by_family_and_size"].values() for share in sizes]
    assert len(shares) == 5 * len(FAMILIES)
    assert min(shares) <= 0.1
    assert max(shares) >= 0.95


def test_the_prm_scores_right_steps_above_wrong_ones():
    """Through Gradatim's own adapter, the world's own solutions score above ones with a step spoilt."""
    questions = [one for one in asked(400) if len(one.steps) > 2]
    solutions = []
    for key, one in enumerate(questions):
        spoilt = [*one.steps[:1], *(step[:-1] + str((int(step[-1]) + 3) % 10) for step in one.steps[1:])]
        solutions += [
            Solution(key=2 * key, prompt=one.prompt, answer="\n".join(one.steps)),
            Solution(key=2 * key + 1, prompt=one.prompt, answer="\n".join(spoilt)),
        ]
    scores = dict(QwenLocalPRM(path=folder("prm"), device="cpu").score(solutions))
    means = {key: sum(found.scores) / len(found.scores) for key, found in scores.items()}
    above = [means[2 * key] > means[2 * key + 1] for key in range(len(questions))]
    assert len(means) == len(solutions)
    assert sum(above) / len(above) > 0.8


def test_the_prm_knows_what_the_base_model_gets_right():
    """The shipped PRM's measured figures: outcomes told apart, pass rates followed, wrong answers too."""
    assert FIGURES["prm"]["outcome_auc"] > 0.85
    assert FIGURES["prm"]["rank_correlation_all"] > 0.7
    assert FIGURES["prm"]["rank_correlation_wrong"] > 0.2
