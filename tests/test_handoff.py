"""Hand-offs: what is written for other trainers, as their own parsers and templates read it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import gradatim as gr
from gradatim.stages.handoff import hand_off
from gradatim.training.families import family_of, keeping_template
from gradatim.training.handoff import yaml
from test_template import OPENING, STRIPPING
from tiny_lm import TEMPLATE, make_lm
from train_world import taught_library

TRAINERS = ("llamafactory", "axolotl", "trl-accelerate")
R1 = "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    place = tmp_path_factory.mktemp("taught")
    taught_library(place).close()
    with gr.Library(place / "library.db") as opened:
        yield opened


def written(library, out: Path, trainer: str, *, gpus: int = 8, base: str = R1, **settings):
    """Hand off, and return the folder and its settings as a YAML reader sees them."""
    loaded = pytest.importorskip("yaml")
    hand_off(
        library, "d", gr.TrainSettings(base=base, out=str(out), replay=1.0, **settings), trainer=trainer, gpus=gpus
    )
    return loaded.safe_load((out / "train.yaml").read_text())


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_hand_off_is_a_whole_folder(tmp_path, library, trainer):
    """Data, settings and a script are there; every example has its question and its reasoning; nothing is half done."""
    settings = written(library, tmp_path / "out", trainer, thinking="tags", system="Be exact.")
    assert {"train.yaml", "train.jsonl", "run.sh", "README.md"} <= {one.name for one in (tmp_path / "out").iterdir()}
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    found = rows(tmp_path / "out")
    assert len(found) == 30
    texts = [json.dumps(row) for row in found]
    assert all("Be exact." in text and "How many" in text for text in texts)
    assert sum("<think>" in text and "</think>" in text for text in texts) == 15
    assert settings["learning_rate"] == 1e-5
    assert 8 * settings["gradient_accumulation_steps"] == 16
    assert "run.sh" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_is_there_is_never_written_over(tmp_path, library, trainer):
    """A second hand-off to the same place is refused, and the first stays as it was."""
    written(library, tmp_path / "out", trainer)
    before = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    with pytest.raises(gr.UsageError, match="not written over"):
        written(library, tmp_path / "out", trainer, seed=1)
    assert {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()} == before
    with pytest.raises(gr.UsageError, match="no folder"):
        written(library, tmp_path / "nowhere" / "out", trainer)


def test_a_batch_that_cannot_be_shared_is_said_with_one_that_can(tmp_path, library):
    """Sixteen examples on six cards do not go; the sentence names a size that does, and nothing is left behind."""
    with pytest.raises(gr.UsageError, match=r"16 cannot be shared by 6 cards.*--batch-size 12"):
        written(library, tmp_path / "out", "axolotl", gpus=6)
    assert list(tmp_path.iterdir()) == []


def test_the_optimiser_goes_to_main_memory_where_the_cards_are_too_small(tmp_path, library):
    """By the model's size and the number of cards: 32B on 8 does, 7B on 8 does not, adapters never."""
    for base, method, offloaded in ((R1, "full", True), ("org/R1-Qwen-7B", "full", False), (R1, "lora", False)):
        out = tmp_path / f"{len(base)}{method}"
        written(library, out, "llamafactory", base=base, method=method)
        zero = json.loads((out / "zero3.json").read_text())["zero_optimization"]
        assert ("offload_optimizer" in zero) is offloaded


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing:FutureWarning")  # of TRL's own defaults
@pytest.mark.parametrize("method", ["full", "lora"])
def test_trl_reads_its_configuration(tmp_path, library, method):
    """TRL's own parser takes every key, and accelerate's configuration class takes the launch file."""
    trl = pytest.importorskip("trl")
    accelerate = pytest.importorskip("accelerate.commands.config.config_args")
    written(library, tmp_path / "out", "trl-accelerate", method=method, learning_rate=5e-6)
    kinds = (trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, trl.scripts.DatasetMixtureConfig)
    parser = trl.TrlParser(kinds)
    words = ["--config", str(tmp_path / "out" / "train.yaml"), "--use_cpu", "true"]
    script, training, model, mixture = parser.parse_args_and_config(words, fail_with_unknown_args=True)
    assert script.dataset_name is None
    assert (training.learning_rate, training.num_train_epochs, training.completion_only_loss) == (5e-6, 5, True)
    assert (training.max_length, training.packing, training.chat_template_path) == (None, False, "chat_template.jinja")
    assert (model.use_peft, model.model_name_or_path) == (method == "lora", R1)
    assert [(one.path, one.data_files) for one in mixture.datasets] == [("json", "train.jsonl")]
    launch = accelerate.ClusterConfig.from_yaml_file(str(tmp_path / "out" / "accelerate.yaml"))
    assert (launch.num_processes, launch.deepspeed_config["zero_stage"]) == (8, 3)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_trl_trains_on_the_whole_answer_under_the_template_that_is_written(tmp_path, library):
    """TRL's own preparation puts the loss on reasoning, answer and end, where the model's template drops the first."""
    pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    transformers = pytest.importorskip("transformers")
    from trl import SFTConfig, SFTTrainer

    base = make_lm(tmp_path / "base")
    (base / "chat_template.jinja").write_text(STRIPPING)
    written(library, tmp_path / "out", "trl-accelerate", base=str(base))
    found = rows(tmp_path / "out")
    data = datasets.Dataset.from_list(found)
    trained = {}
    for name, template in (("own", None), ("ours", str(tmp_path / "out" / "chat_template.jinja"))):
        tokenizer = transformers.AutoTokenizer.from_pretrained(base)
        arguments = SFTConfig(
            output_dir=str(tmp_path / name), max_length=None, completion_only_loss=True, report_to="none", use_cpu=True,
            bf16=False, gradient_checkpointing=False, chat_template_path=template, disable_tqdm=True,
        )  # fmt: skip
        model = transformers.AutoModelForCausalLM.from_pretrained(base)
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
        labels = [[one for one in row if one != -100] for row in trainer.train_dataset["labels"]]
        trained[name] = [tokenizer.decode(row) for row in labels]
    wanted = [row["completion"][0]["content"] for row in found]
    assert [text.removesuffix("\n").removesuffix("<|im_end|>") for text in trained["ours"]] == wanted
    assert all("<|im_end|>" in text for text in trained["ours"])
    assert not any("<think>" in text for text in trained["own"])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_llamafactory_reads_its_configuration(tmp_path, library, method, monkeypatch):
    """LLaMA-Factory's own parser takes every key, and finds the data set and a template that keeps the reasoning."""
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    hparams = pytest.importorskip("llamafactory.hparams", reason="LLaMA-Factory is not installed")
    parser = pytest.importorskip("llamafactory.data.parser")
    settings = written(library, tmp_path / "out", "llamafactory", method=method)
    monkeypatch.chdir(tmp_path / "out")
    assert settings.pop("deepspeed") == "zero3.json"  # parsed by a launched process only
    model, data, training, finetuning, _ = hparams.get_train_args(settings | {"use_cpu": True, "bf16": False})
    assert (model.model_name_or_path, data.template, data.enable_thinking) == (R1, "deepseekr1", True)
    assert (training.learning_rate, finetuning.finetuning_type) == (1e-5 if method == "full" else 1e-4, method)
    (described,) = parser.get_dataset_list(data.dataset, data.dataset_dir)
    assert (described.dataset_name, described.formatting, described.messages) == (
        "train.jsonl", "sharegpt", "conversations",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["full", "lora"])
def test_axolotl_reads_its_configuration(tmp_path, library, method):
    """Axolotl's own schema takes every key, and the template that keeps the reasoning is the data set's too."""
    schema = pytest.importorskip("axolotl.utils.schemas.config", reason="Axolotl is not installed")
    settings = written(library, tmp_path / "out", "axolotl", method=method)
    assert set(settings) <= set(schema.AxolotlInputConfig.model_fields)
    read = schema.AxolotlInputConfig(**settings)
    assert (read.base_model, read.adapter) == (R1, "lora" if method == "lora" else None)
    (data,) = read.datasets
    assert (data.chat_template, data.chat_template_jinja) == ("jinja", "chat_template.jinja")
    assert (data.roles_to_train, read.train_on_inputs, read.sample_packing) == (["assistant"], False, False)


def test_a_template_of_ours_asks_exactly_as_the_models_own(tmp_path):
    """Where a model's template drops the reasoning, ours has the same prompts and keeps it; else none is needed."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_lm(tmp_path / "base"))
    asked = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": "1+1?"}]
    answered = [*asked, {"role": "assistant", "content": "<think>\none more\n</think>\n\n2"}]
    for own in (STRIPPING, OPENING):
        tokenizer.chat_template = own
        ours = keeping_template(tokenizer, [], "M")
        assert tokenizer.chat_template == own
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert "one more" not in tokenizer.apply_chat_template(answered, tokenize=False)
        tokenizer.chat_template = ours
        assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == prompt
        whole = tokenizer.apply_chat_template(answered, tokenize=False)
        assert whole.startswith(prompt.removesuffix("<think>\n"))
        assert "<think>\none more\n</think>\n\n2<|im_end|>" in whole
    tokenizer.chat_template = TEMPLATE
    assert keeping_template(tokenizer, [], "M") is None
    tokenizer.chat_template = STRIPPING.replace("<|im_start|>", "[[").replace("<|im_end|>", "]]")
    with pytest.raises(gr.UsageError, match=r"drops the reasoning.*llamafactory"):
        keeping_template(tokenizer, [], "M")


def test_models_are_told_by_their_names():
    """The first family whose name is found counts, and an unknown model is said to be unknown."""
    for name, template in (
        (R1, "deepseekr1"), ("Qwen/QwQ-32B", "qwen"), ("Qwen/Qwen3-8B", "qwen3"), ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3"),
    ):  # fmt: skip
        assert family_of(name).llamafactory == template
    assert family_of("somebody/else-7B") is None


def test_an_unknown_model_gets_a_note(tmp_path, library):
    """What could not be checked is said, with what to do."""
    for trainer, words in (("axolotl", "was not checked"), ("llamafactory", "Set template")):
        settings = gr.TrainSettings(base="somebody/else-7B", out=str(tmp_path / trainer))
        assert any(words in note for note in hand_off(library, "d", settings, trainer=trainer).notes)


@pytest.mark.parametrize("name", ["zmath-32b", "zcode-32b"])
def test_the_papers_runs_load_and_hand_off(tmp_path, library, name):
    """Each recipe is valid as it stands, says what is not the paper's, and its training part is a hand-off."""
    path = Path(__file__).parents[1] / "recipes" / f"{name}.toml"
    config = gr.load(path)
    assert (config.sample.size, config.curate.keep, config.attempt.samples) == (2000, "correct", 1)
    assert "OURS" in path.read_text()
    settings = gr.config.updated(config.train, out=str(tmp_path / name))
    result = hand_off(library, "d", settings, trainer="llamafactory")
    assert (result.rows, settings.base) == (15, R1)


def test_yaml_reads_back_as_it_was():
    """Numbers with exponents, empty values, words like `no` and texts with signs come back with their types."""
    loaded = pytest.importorskip("yaml")
    plain = {
        "rate": 1e-05, "other": 2.5e-07, "half": 0.5, "none": None, "sure": True, "word": "no", "text": "a: b #c",
        "list": ["x", "y: z"], "inner": {"deep": {"n": 1}}, "items": [{"a": 1, "b": {"c": "d"}}, {"a": 2}],
        "mark": "<｜x｜>",
    }  # fmt: skip
    assert loaded.safe_load(yaml(plain)) == plain


def test_the_command_hands_off(tmp_path, library):
    """`gradatim train --handoff` writes the folder and says how to start it; options that do not fit are told."""
    from cli_world import called

    copy = shutil.copy(library.path, tmp_path / "library.db")
    words = ("--library", str(copy), "train", "d", "--base", R1, "-o", str(tmp_path / "out"))
    done = called(*words, "--handoff", "axolotl", "--gpus", "4")
    assert done.code == 0, done
    assert "15 examples for axolotl" in done.out
    assert "sh run.sh" in done.out
    assert (tmp_path / "out" / "run.sh").exists()
    assert called(*words, "--handoff", "axolotl", "--dry-run").code == 2
    assert "--handoff" in called(*words, "--gpus", "4").err
    assert called(*words, "--handoff", "nobody").code == 2


@pytest.mark.parametrize("trainer", TRAINERS)
def test_steps_take_the_place_of_epochs_here_too(tmp_path, library, trainer):
    """`steps` of `[train]` stands in the configuration, with a warm-up of its length, and no epochs beside it."""
    settings = written(library, tmp_path / "out", trainer, steps=100, warmup=0.1, batch_size=8)
    assert (settings["max_steps"], settings["warmup_steps"]) == (100, 10)
    assert not {"num_train_epochs", "num_epochs"} & settings.keys()
    assert "epochs" not in (tmp_path / "out" / "README.md").read_text()
