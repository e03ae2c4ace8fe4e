"""Training for real, on a tiny random model: what carries loss, what a kill costs, what is replayed or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import gradatim as gr
from cli_process import wait_until
from gradatim.tiny.weights import folder as tiny_folder
from gradatim.training import folder, sft
from gradatim.training.order import arranged, split
from gradatim.training.recipe import Exchange, Recipe
from gradatim.types import Message
from gradatim.work.gathering import resolved
from pools import record_answers
from tiny_lm import make_lm
from train_world import quick, taught_library

torch = pytest.importorskip("torch")
pytest.importorskip("trl")
safetensors = pytest.importorskip("safetensors.torch")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_lm(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A library that nothing is trained in; copy it to write."""
    place = tmp_path_factory.mktemp("taught")
    taught_library(place).close()
    return place / "library.db"


@pytest.fixture
def library(tmp_path, taught):
    shutil.copy(taught, tmp_path / "library.db")
    with gr.Library(tmp_path / "library.db", write=True) as opened:
        yield opened


def weights(model: Path) -> dict:
    return safetensors.load_file(model / "model.safetensors")


def unlike(one: Path, other: Path) -> float:
    """Return the largest difference between two models' weights."""
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


def test_a_training_lowers_the_loss_and_leaves_a_whole_model(tmp_path, library, base):
    """The loss falls over the steps that the library keeps, and the folder loads as a model with its tokenizer."""
    import transformers

    ticks = []
    settings = quick(tmp_path, base)
    result = gr.train(library, "d", settings, progress=lambda stage, tick: ticks.append((stage, tick.done)))
    curve = library.all("SELECT step, loss, tokens, epoch FROM training_steps ORDER BY step")
    assert (result.chains, result.replayed, result.steps) == (15, 0, 12)
    assert [row[0] for row in curve] == list(range(1, 13))
    assert result.last_loss == curve[-1][1] < 0.8 * curve[0][1] == 0.8 * result.first_loss
    assert (curve[-1][2], curve[-1][3]) == (result.tokens, 3.0)
    assert library.all("SELECT model, base, draw, chains, replayed, steps, done FROM trainings") == [
        ("trained", "m", "d", 15, 0, 12, 12)
    ]
    assert ticks[0] == ("train", 0)
    assert ticks[-1] == ("train", 12)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "trained")
    assert tokenizer.chat_template
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert unlike(base, tmp_path / "trained") > 1e-3
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".partial")] == []


def test_loss_is_on_the_answer_and_its_end_and_on_nothing_else(base):
    """What carries a label spells the target and the end of the turn; the rest spells the prompt of inference."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    messages = (Message(role="system", content="Be exact."), Message(role="user", content="What is 6*7?"))
    target = "<think>\n6*7=42\n</think>\n\nIt is \\boxed{42}."
    plan = sft.plan(str(base), [Exchange(id="a", messages=messages, target=target)], Recipe())
    (one,) = plan.examples
    asked = [{"role": message.role, "content": message.content} for message in messages]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    assert list(one.ids[: one.answer_from]) == prompt
    assert tokenizer.decode(one.ids[one.answer_from :]) == target + "<|im_end|>"
    assert one.labels() == [-100] * len(prompt) + list(one.ids[len(prompt) :])


def test_the_prompt_is_the_one_that_the_base_model_was_asked():
    """System and template of the examples are those of the base's attempts, unless the settings say otherwise."""
    from gradatim.formats.shapes import Example, Thinking
    from gradatim.stages.train import exchange
    from gradatim.types import Sampling
    from gradatim.work.gathering import put

    asked = Sampling(system="Think.", template="Q: {prompt}")
    example = Example(prompt="1+1?", answer="2")
    for settings, expected in (
        (gr.TrainSettings(), [("system", "Think."), ("user", "Q: 1+1?")]),
        (gr.TrainSettings(system="", template="{prompt}"), [("user", "1+1?")]),
    ):
        (one,) = put([example], settings, asked)
        assert [(message.role, message.content) for message in exchange(one, Thinking.TAGS).messages] == expected


def test_the_same_again_is_done_and_anything_changed_is_refused(tmp_path, library, base):
    """A second run does nothing; with a change it needs another name and another folder, and harms neither."""
    settings = quick(tmp_path, base, epochs=1)
    first = gr.train(library, "d", settings)
    before = (tmp_path / "trained" / "model.safetensors").read_bytes()
    again = gr.train(library, "d", settings)
    assert (again.already, again.training) == (True, first.training)
    with pytest.raises(gr.UsageError, match=r"not written over.*--out"):
        gr.train(library, "d", quick(tmp_path, base, epochs=1, seed=1))
    with pytest.raises(gr.UsageError, match=r"was trained before.*--name"):
        gr.train(library, "d", quick(tmp_path, base, epochs=1, seed=1, out=str(tmp_path / "other")))
    with pytest.raises(gr.UsageError, match="answers of a model named 'm' already"):
        gr.train(library, "d", quick(tmp_path, base, epochs=1, name="m", out=str(tmp_path / "other")))
    other = gr.train(library, "d", quick(tmp_path, base, epochs=1, seed=1, name="b", out=str(tmp_path / "other")))
    assert other.training != first.training
    assert (tmp_path / "trained" / "model.safetensors").read_bytes() == before


CHILD = textwrap.dedent("""
    import json, sys
    import gradatim as gr
    with gr.Library(sys.argv[1], write=True) as library:
        gr.train(library, "d", gr.TrainSettings(**json.loads(sys.argv[2])))
""")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path, taught, base):
    """SIGKILL after a checkpoint: the same call goes on from it, and weights and curve are those of a whole run."""
    curves = []
    for name in ("whole", "killed"):
        place = tmp_path / name
        place.mkdir()
        shutil.copy(taught, place / "library.db")
        wanted = {
            "base": str(base), "out": str(place / "trained"), "epochs": 8, "batch_size": 4, "micro_batch": 2,
            "learning_rate": 3e-3, "replay": 1.0, "checkpoint_every": 6,
        }  # fmt: skip
        if name == "killed":
            environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", CHILD, str(place / "library.db"), json.dumps(wanted)]
            process = subprocess.Popen(command, env=environment)
            wait_until(lambda place=place: any(place.glob(".trained.*.partial/checkpoint-*/complete")), 150)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            assert not (place / "trained").exists()
        with gr.Library(place / "library.db", write=True) as library:
            result = gr.train(library, "d", gr.TrainSettings(**wanted))
            curves.append(library.all("SELECT step, loss FROM training_steps ORDER BY step"))
        assert result.steps == 60
        assert (result.resumed_from > 0) is (name == "killed")
    assert 6 <= result.resumed_from < 60
    assert result.resumed_from % 6 == 0
    assert unlike(tmp_path / "whole" / "trained", tmp_path / "killed" / "trained") < 1e-5
    assert [row[0] for row in curves[0]] == [row[0] for row in curves[1]] == list(range(1, 61))
    assert all(abs(one[1] - other[1]) < 1e-3 for one, other in zip(*curves, strict=True))


def test_half_written_checkpoints_are_never_gone_on_from(tmp_path):
    """Only a checkpoint with its mark counts; others are removed, and of the marked ones the newest two are kept."""
    for step in (10, 20, 30):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_text("w")
        if step < 30:
            folder.mark(tmp_path / f"checkpoint-{step}")
    assert folder.checkpoint(tmp_path) == (tmp_path / "checkpoint-20", 20)
    assert not (tmp_path / "checkpoint-30").exists()
    (tmp_path / "checkpoint-40").mkdir()
    folder.mark(tmp_path / "checkpoint-40")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["checkpoint-20", "checkpoint-40"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_adapters_are_merged_into_the_base(tmp_path, library, base):
    """LoRA changes the linear layers only, and the finished folder is a whole model beside its adapter."""
    import peft
    import transformers

    result = gr.train(library, "d", quick(tmp_path, base, method="lora", lora_rank=4, epochs=2))
    assert result.last_loss < result.first_loss
    before, after = weights(base), weights(tmp_path / "trained")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base)
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "trained" / "adapter")
    merged = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert torch.allclose(adapted(ids).logits, merged(ids).logits, atol=1e-4)


def test_muon_trains_and_goes_on_from_a_checkpoint(tmp_path, library, base):
    """Muon with AdamW lowers the loss, and a run stopped by an error ends as one that was not."""
    settings = quick(tmp_path, base, optimizer="muon", learning_rate=2e-3, checkpoint_every=4)
    result = gr.train(library, "d", settings)
    assert result.last_loss < result.first_loss
    second = gr.Library(shutil.copy(library.path, tmp_path / "second.db"), write=True)

    def stop(_, tick):
        if tick.done >= 6:
            raise RuntimeError("stop")

    again = quick(tmp_path, base, optimizer="muon", learning_rate=2e-3, checkpoint_every=4, out=str(tmp_path / "again"))
    with second:
        real, gr.stages.train._EVERY = gr.stages.train._EVERY, 0.0
        try:
            with pytest.raises(RuntimeError, match="stop"):
                gr.train(second, "d", again, progress=stop)
        finally:
            gr.stages.train._EVERY = real
        resumed = gr.train(second, "d", again)
    assert resumed.resumed_from == 4
    assert unlike(tmp_path / "trained", tmp_path / "again") < 1e-5


def test_replay_takes_only_verified_correct_answers_to_other_questions(library):
    """Each replayed answer is the base's own and judged correct, one per question, none to a question with a chain."""
    from gradatim.library import draws
    from gradatim.work import chains
    from gradatim.work.replaying import replayed

    kept = chains.kept(library, draws.chosen_draw(library, "d"))
    for shortest in (False, True):
        found = replayed(library, kept, model="m", count=20, seed=3, shortest=shortest)
        ids = {one.id for one in found}
        assert len(ids) == len(found) == 20
        assert not ids & {one.id for one in kept}
        right = set(library.all("SELECT a.question, a.answer FROM attempts a JOIN verdicts v ON v.attempt = a.id "
                                "WHERE a.role = 'base' AND v.outcome = 'correct'"))  # fmt: skip
        assert all((one.id, one.answer) in right for one in found)
        assert found == replayed(library, kept, model="m", count=20, seed=3, shortest=shortest)
    other = replayed(library, kept, model="m", count=20, seed=4, shortest=False)
    assert [one.id for one in other] != [one.id for one in replayed(
        library, kept, model="m", count=20, seed=3, shortest=False)]  # fmt: skip
    assert replayed(library, kept, model="nobody", count=20, seed=3, shortest=False) == []


def test_replay_never_takes_evaluation_questions_and_says_what_is_missing(tmp_path, library, base):
    """A question that an evaluation set holds is not replayed, and asking for more than there is gets a note."""
    from gradatim.library import draws
    from gradatim.work import chains
    from gradatim.work.replaying import replayed
    from pools import question, write_rows

    kept = chains.kept(library, draws.chosen_draw(library, "d"))
    have = {one.id for one in kept}
    free = [n for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) not in have and n % 9]
    path = write_rows(tmp_path / "eval.jsonl", [question(number) for number in free[:10]])
    gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
    held = {row[0] for row in library.all("SELECT id FROM questions WHERE sets LIKE '%eval%'")}
    found = replayed(library, kept, model="m", count=1000, seed=0, shortest=False)
    assert not {one.id for one in found} & held
    result = gr.train(library, "d", quick(tmp_path, base, replay=50.0), dry_run=True)
    assert (result.replay_asked, result.replayed) == (750, len(found))
    assert f"there are {len(found)} verified-correct" in result.notes[0]


def test_what_was_replayed_is_not_held_out(tmp_path, library, base):
    """An evaluation set that is read after a training, with a question that was replayed in it, is refused for it."""
    from gradatim.errors import UsageError
    from gradatim.library import evaluations, questions
    from pools import question, write_rows

    gr.train(library, "d", quick(tmp_path, base, name="tuned", replay=1.0, steps=1))
    again = set(json.loads(library.value("SELECT settings FROM trainings"))["replayed_questions"])
    assert len(again) == 15
    drawn = {row[0] for row in library.all("SELECT question FROM draws")}
    rows = [question(n) for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) in again - drawn]
    gr.ingest(
        library, gr.IngestSettings(path=str(write_rows(tmp_path / "late.jsonl", rows)), set="late", purpose="eval")
    )
    (late,) = questions.chosen_sets(library, ["late"])
    found = evaluations.overlap(library, late, "tuned")
    assert (found.drawn, found.replayed, found.clean) == (0, len(rows), False)
    assert evaluations.overlap(library, late, "m").clean
    with pytest.raises(UsageError, match=f"answers to {len(rows)} of its questions were replayed in training"):
        gr.evaluate(library, "tuned", gr.EvaluateSettings(sets=["late"]))


def test_long_examples_are_left_out_and_counted(tmp_path, library, base):
    """What is longer than max_length is never cut: it is counted and not trained on."""
    from gradatim.stages import train as stage

    plan = stage._prepared(library, "d", quick(tmp_path, base)).plan
    lengths = sorted(len(one.ids) for one in plan.examples)
    result = gr.train(library, "d", quick(tmp_path, base, max_length=lengths[7]), dry_run=True)
    assert result.left_out == {"too_long": sum(length > lengths[7] for length in lengths)}
    assert 0 < result.left_out["too_long"] == 15 - result.chains
    assert "are left out" in result.notes[0]
    with pytest.raises(gr.UsageError, match=r"None of the 15 examples.*too_long 15"):
        gr.train(library, "d", quick(tmp_path, base, max_length=20))
    assert not list(tmp_path.glob("*trained*"))


def test_a_dry_run_needs_no_writer_and_leaves_nothing(tmp_path, library, base):
    """A dry run says counts and steps of the real one, from a library that is opened for reading."""
    library.close()
    with gr.Library(library.path) as reader:
        result = gr.train(reader, "d", quick(tmp_path, base, replay=1.0), dry_run=True)
    assert (result.dry_run, result.chains, result.replayed, result.steps) == (True, 15, 15, 23)
    assert not list(tmp_path.glob("*trained*"))


def test_late_exclusions_and_empty_draws_are_refused_as_by_export(tmp_path, library, base):
    """A chain whose question is excluded since, or no chain at all, is one sentence with the command to run."""
    from pools import question, write_rows

    (id_,) = library.all("SELECT question FROM chains WHERE kept LIMIT 1")[0]
    number = next(n for n in range(90) if gr.Question.make_id("math", question(n)["problem"]) == id_)
    path = write_rows(tmp_path / "eval.jsonl", [question(number)])
    gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
    with pytest.raises(gr.UsageError, match="gradatim curate d"):
        gr.train(library, "d", quick(tmp_path, base))
    gr.sample(library, gr.SampleSettings(name="e", size=5, mix="explicit:1,1,1,1,1", when_dry="nearest"))
    with pytest.raises(gr.UsageError, match="gradatim curate e"):
        gr.train(library, "e", quick(tmp_path, base))


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path, library, base):
    """A missing folder, one without weights, one with a broken config and one that is damaged each say what to do."""
    with pytest.raises(gr.SetupError, match=r"no folder .*nowhere"):
        gr.train(library, "d", quick(tmp_path, tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(gr.SetupError, match=r"no config\.json"):
        gr.train(library, "d", quick(tmp_path, empty))
    (empty / "config.json").write_text("{}")
    with pytest.raises(gr.SetupError, match="no weights"):
        gr.train(library, "d", quick(tmp_path, empty))
    broken = Path(shutil.copytree(base, tmp_path / "broken"))
    (broken / "config.json").write_text("{")
    with pytest.raises(gr.SetupError, match="cannot be loaded"):
        gr.train(library, "d", quick(tmp_path, broken))
    damaged = Path(shutil.copytree(base, tmp_path / "damaged"))
    content = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(gr.SetupError, match="cannot be loaded"):
        gr.train(library, "d", quick(tmp_path, damaged))
    with pytest.raises(gr.UsageError, match="--base FOLDER"):
        gr.train(library, "d", gr.TrainSettings(out=str(tmp_path / "x")))
    with pytest.raises(gr.UsageError, match=r"no folder .*to make"):
        gr.train(library, "d", quick(tmp_path, base, out=str(tmp_path / "a" / "b")))


def test_a_rate_that_is_too_high_is_said_so(tmp_path, library, base):
    """A loss that is no number ends the run with a sentence, and no folder appears."""
    with pytest.raises(gr.GradatimError, match=r"no number at step.*--learning-rate"):
        gr.train(library, "d", quick(tmp_path, base, learning_rate=9.0, warmup=0.0, schedule="constant", epochs=40))
    assert not (tmp_path / "trained").exists()


def test_batches_hold_every_example_once_an_epoch():
    """Every epoch has each example once, all batches but the last are full, and the seed decides the order."""
    lengths = [number * 7 % 50 for number in range(100)]
    batches = arranged(lengths, epochs=3, batch_size=8, seed=0)
    flat = [one for batch in batches for one in batch]
    assert sorted(flat) == sorted([*range(100)] * 3)
    assert [len(batch) for batch in batches] == [8] * 37 + [4]
    assert batches == arranged(lengths, epochs=3, batch_size=8, seed=0)
    assert batches != arranged(lengths, epochs=3, batch_size=8, seed=1)
    padded = sum(len(batch) * max(lengths[one] for one in batch) for batch in batches)
    assert padded < 1.25 * sum(lengths) * 3
    assert [len(part) for part in split(batches[0], 3)] == [3, 3, 2]
    assert arranged([1, 1, 1], epochs=4, batch_size=8, seed=0)[0:1] != []
    assert sorted(len(batch) for batch in arranged([1, 1, 1], epochs=4, batch_size=8, seed=0)) == [4, 8]


def test_the_command_trains_and_says_so(tmp_path, taught, base):
    """`gradatim train` prints counts, steps and loss, as sentences or JSON; a dry run prints what it would do."""
    from cli_world import called

    shutil.copy(taught, tmp_path / "library.db")
    words = ("--library", str(tmp_path / "library.db"), "train", "d", "--base", str(base), "-o", str(tmp_path / "out"))
    quickly = ("--epochs", "1", "--learning-rate", "0.01", "--batch-size", "8", "--replay", "1")
    dry = called(*words, *quickly, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert "15 chains and 15 of the model's own answers, 4 steps" in dry.out
    done = called(*words, *quickly, "--json")
    assert json.loads(done.out)["steps"] == 4
    assert done.code == 0
    again = called(*words, *quickly)
    assert "is trained already" in again.out
    assert called(*words, *quickly, "--seed", "1").code == 2
    wrong = called(*words, "--epochs", "0")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "--epochs" in wrong.err
    nothing = called("--library", str(tmp_path / "library.db"), "train", "d")
    assert nothing.code == 2
    assert "--base FOLDER" in nothing.err


def test_settings_of_a_training_are_checked():
    """Settings that cannot be are refused with their table and key."""
    from gradatim.config import parse

    for wrong, words in (
        ({"micro_batch": 3}, "does not divide"),
        ({"template": "x"}, "{prompt}"),
        ({"optimizer": "muon", "method": "lora"}, "muon"),
        ({"warmup": 1.5}, "from 0 to 1"),
        ({"replay": -1.0}, "from 0"),
        ({"out": " "}, "empty"),
        ({"epoch": 3}, "epochs"),
    ):
        with pytest.raises(gr.UsageError, match=r"\[train\]") as caught:
            parse({"train": wrong})
        assert words in str(caught.value)


def test_recorded_teacher_and_base_are_all_that_is_needed(tmp_path, base):
    """A base model with another name can be replayed from: `replay_from` says whose answers."""
    with taught_library(tmp_path) as library:
        record_answers(library, tmp_path, "n", lambda number: [number % 2 == 0], count=90)
        gr.verify(library)
        result = gr.train(library, "d", quick(tmp_path, base, replay=1.0, replay_from="n"), dry_run=True)
        assert result.replayed == 15


def test_steps_take_the_place_of_epochs(base):
    """With `steps` a training has so many full batches, examples come about as often, and epochs do not count."""
    asked = [Message(role="user", content="q")]
    exchanges = [Exchange(id=str(n), messages=tuple(asked), target=f"<think>\n{n}\n</think>\n\nb") for n in range(5)]
    plan = sft.plan(str(base), exchanges, Recipe(steps=7, batch_size=2))
    assert [len(batch) for batch in plan.batches] == [2] * 7
    counts = [sum(batch.count(one) for batch in plan.batches) for one in range(5)]
    assert min(counts) >= 2
    assert max(counts) <= 3
    assert plan.id == sft.plan(str(base), exchanges, Recipe(steps=7, batch_size=2, epochs=9)).id
    assert plan.id != sft.plan(str(base), exchanges, Recipe(steps=6, batch_size=2)).id


_LIMITED = """
    import resource, signal, sys
    from pathlib import Path
    import gradatim as gr
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    settings = gr.TrainSettings(base=sys.argv[2], out=sys.argv[3], epochs=1, batch_size=4)
    with gr.Library(sys.argv[1], write=True) as library:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
        try:
            gr.train(library, "d", settings)
        except gr.SetupError as error:
            sys.exit(f"SETUP {error}")
"""


@pytest.mark.parametrize("share", [0.5, 1.5], ids=["weights", "optimiser"])
def test_a_full_disk_is_one_sentence(tmp_path, taught, base, share):
    """Weights or the optimiser's state that cannot be written end the training with what to do, and no model appears.

    The optimiser's state is twice as large as the weights, so a limit of a file's size stops either.
    """
    shutil.copy(taught, tmp_path / "library.db")
    limit = max(int((base / "model.safetensors").stat().st_size * share), 0)
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LIMITED), tmp_path / "library.db", base, tmp_path / "out", str(limit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.stderr.strip().splitlines()[-1].startswith(f"SETUP {tmp_path}"), ran.stderr
    assert "could not be written" in ran.stderr
    assert not (tmp_path / "out").exists()


def test_odd_names_and_the_tiny_world_can_be_trained_from_the_command_line(tmp_path):
    """A folder with a star in its name is a folder, and `--base tiny:base` means the shipped model."""
    assert folder.unfinished(tmp_path / "a**b", "id") == []
    (tmp_path / ".a**b.other.partial").mkdir()
    assert folder.unfinished(tmp_path / "a**b", "id") == [str(tmp_path / ".a**b.other.partial")]
    config = gr.Config(train=gr.TrainSettings(base="tiny:base"))
    assert resolved(config).base == str(tiny_folder("base"))
