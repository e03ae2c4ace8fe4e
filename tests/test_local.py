"""A model in this process: what it writes, what that hangs on, and what goes wrong with folders."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [local]")
pytest.importorskip("transformers", reason="needs the extra [local]")

import gradatim as gr  # noqa: E402 - after the skips
from cli_world import called  # noqa: E402 - after the skips
from gradatim.config import parse  # noqa: E402 - after the skips
from gradatim.errors import SetupError, UsageError  # noqa: E402 - after the skips
from gradatim.models.faults import Refused, Stop  # noqa: E402 - after the skips
from gradatim.models.local import LocalModel  # noqa: E402 - after the skips
from gradatim.models.writing import Writer  # noqa: E402 - after the skips
from gradatim.templates import fix_day  # noqa: E402 - after the skips
from gradatim.types import Reply, Request, Sampling  # noqa: E402 - after the skips
from pools import ATTEMPTS, content, pool_library, write_pool  # noqa: E402 - after the skips
from tiny_lm import CONTEXT, make_lm  # noqa: E402 - after the skips

torch.set_num_threads(1)

SRC = str(Path(__file__).parents[1] / "src")
MAIN = "from gradatim.cli.main import main; main()"
PLAIN = Sampling(max_tokens=80)
ENGINE = gr.EngineSettings(concurrency=64, tries=2, backoff=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_lm(tmp_path_factory.mktemp("lm") / "tiny")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def request(number: int, sampling: Sampling = PLAIN, *, seed: int | None = None, prompt: str | None = None) -> Request:
    """Return a request; prompts of different numbers differ in length."""
    text = f"What is {number} + {number * 7}?{' Think.' * (number % 9)}" if prompt is None else prompt
    return Request(
        key=number, messages=sampling.messages(text), sampling=sampling, seed=number * 31 if seed is None else seed
    )


def answered(model: LocalModel, requests, *, together: bool = True) -> list:
    """Return the model's answers, or what it raised instead, to all at the same time or to one after the other."""

    async def ask():
        try:
            if together:
                return await asyncio.gather(*map(model.ask, requests), return_exceptions=True)
            return [await model.ask(one) for one in requests]
        finally:
            await model.close()

    return asyncio.run(ask())


def change(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_likeliest_answer_is_what_generate_writes(folder):
    """With temperature 0 each answer, written in a batch, is what transformers' generate writes for it alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sampling = Sampling(temperature=0, max_tokens=40)
    asked = [request(number, sampling) for number in range(12)]
    tokenizer, reference = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for one, reply in zip(asked, answered(LocalModel(name="m", path=folder), asked), strict=True):
        chat = [{"role": message.role, "content": message.content} for message in one.messages]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        written = reference.generate(**ids, do_sample=False, max_new_tokens=40)[0, ids["input_ids"].shape[1] :]
        ended = written[-1] == tokenizer.eos_token_id
        assert reply.content == tokenizer.decode(written[:-1] if ended else written)
        assert reply.finish_reason == ("stop" if ended else "length")
        assert (reply.usage.prompt, reply.usage.completion) == (ids["input_ids"].shape[1], len(written))


@pytest.mark.parametrize(
    "sampling",
    [
        PLAIN,
        Sampling(max_tokens=60, temperature=0),
        Sampling(max_tokens=60, temperature=0.7, top_p=0.9),
        Sampling(max_tokens=60, extra_body='{"top_k": 12, "min_p": 0.01, "repetition_penalty": 1.2}'),
    ],
    ids=["plain", "likeliest", "nucleus", "filters"],
)
def test_an_answer_does_not_hang_on_what_shares_its_batch(folder, sampling):
    """The same request gets the same answer alone, among 90 others, and among others in batches of 7."""
    asked = [request(number, sampling) for number in range(90)]
    together = answered(LocalModel(name="m", path=folder), asked)
    small = answered(LocalModel(name="m", path=folder, batch=7), list(reversed(asked)))
    alone = answered(LocalModel(name="m", path=folder), asked[::6], together=False)
    texts = [(reply.content, reply.finish_reason, reply.usage) for reply in together]
    assert [(reply.content, reply.finish_reason, reply.usage) for reply in reversed(small)] == texts
    assert [(reply.content, reply.finish_reason, reply.usage) for reply in alone] == texts[::6]
    assert len({reply.content for reply in together}) > 60


def test_a_seed_decides_an_answer(folder):
    """One question with 50 seeds gets 50 answers or nearly, and the same seeds in another order give the same ones."""
    asked = [request(1, seed=seed) for seed in range(50)]
    first = answered(LocalModel(name="m", path=folder), asked)
    again = answered(LocalModel(name="m", path=folder), list(reversed(asked)))
    assert [reply.content for reply in first] == [reply.content for reply in reversed(again)]
    assert len({reply.content for reply in first}) >= 45


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(max_tokens=1), lambda p: p),
        (Sampling(max_tokens=1, temperature=0.6), lambda p: p),
        (Sampling(max_tokens=1, top_p=0.7), lambda p: nucleus(p, 0.7)),
        (Sampling(max_tokens=1, extra_body='{"top_k": 9}'), lambda p: p * (p >= p.topk(9).values[-1])),
        (Sampling(max_tokens=1, extra_body='{"min_p": 0.2}'), lambda p: p * (p >= 0.2 * p.max())),
    ],
    ids=["plain", "cool", "top_p", "top_k", "min_p"],
)
def test_tokens_come_as_often_as_the_model_says(folder, sampling, kept):
    """Over 3,000 seeds the first tokens are distributed as the softmax, cut by the filter (chi-square, 5 sigma)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    count = 3000
    replies = answered(
        LocalModel(name="m", path=folder, batch=count), [request(3, sampling, seed=seed) for seed in range(count)]
    )
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    chat = [{"role": "user", "content": request(3).messages[0].content}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        logits = model(**ids).logits[0, -1].double()
    expected = kept((logits / (sampling.temperature or 1.0)).softmax(dim=-1))
    expected = expected / expected.sum() * count
    ends = tokenizer.eos_token_id
    seen = torch.zeros_like(expected)
    for reply in replies:
        stopped = reply.finish_reason == "stop"
        seen[ends if stopped else tokenizer.encode(reply.content, add_special_tokens=False)[0]] += 1
    assert not seen[expected == 0].any()
    often = expected >= 5
    statistic = float(((seen - expected) ** 2 / expected)[often].sum())
    freedom = int(often.sum()) - 1
    assert freedom >= 4
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def nucleus(p, mass):
    """Return the probabilities of the fewest tokens, the likeliest first, that together have this mass."""
    order = p.argsort(descending=True)
    inside = p[order].cumsum(0) - p[order] < mass
    return torch.zeros_like(p).scatter(0, order, p[order] * inside)


def test_tags_of_thinking_stay_and_ends_do_not(folder):
    """`<think>` is a special token and is kept; the tokens that end or fill are not in the text, but in the count."""
    replies = answered(LocalModel(name="m", path=folder), [request(number) for number in range(150)])
    assert any("<think>" in reply.content for reply in replies)
    assert not any("<|im_end|>" in reply.content or "<|endoftext|>" in reply.content for reply in replies)
    whole = [reply for reply in replies if "think>" not in reply.content]
    assert {reply.finish_reason for reply in whole} == {"stop", "length"}
    for reply in whole:
        # A byte-level tokenizer and ASCII: a token for each letter.
        assert reply.usage.completion == len(reply.content) + (reply.finish_reason == "stop")
        assert reply.usage.completion == 80 or reply.finish_reason == "stop"


def test_what_the_request_leaves_open_is_the_folders_default(copy):
    """Without a temperature the folder's generation_config.json decides, and one that is asked for wins over it."""
    default = answered(LocalModel(name="m", path=copy), [request(1)])[0].content
    change(copy / "generation_config.json", do_sample=False)
    likeliest = answered(LocalModel(name="m", path=copy), [request(1, Sampling(max_tokens=80, temperature=0))])[0]
    assert answered(LocalModel(name="m", path=copy), [request(1)])[0].content == likeliest.content != default
    assert (
        answered(LocalModel(name="m", path=copy), [request(1, Sampling(max_tokens=80, temperature=1.0))])[0].content
        == default
    )


def test_more_than_the_context_is_refused_or_cut_short_and_said(folder):
    """A prompt that fills the context is refused; one that leaves less room than asked is answered, with a note."""
    model = LocalModel(name="m", path=folder)
    sampling = Sampling(max_tokens=1000, temperature=0)
    long, short = answered(model, [request(0, sampling, prompt="x" * CONTEXT), request(1, sampling, prompt="x" * 400)])
    assert isinstance(long, Refused)
    assert long.fault.reason == "too_long"
    assert short.usage.prompt + short.usage.completion <= CONTEXT
    assert len(model.notes) == 1
    assert f"reads {CONTEXT} tokens" in model.notes[0]


def test_a_field_that_is_not_supported_is_named(folder):
    """A model refuses further fields that it does not know before it writes anything, and so do the settings."""
    (error,) = answered(LocalModel(name="m", path=folder), [request(0, Sampling(extra_body='{"logit_bias": {}}'))])
    assert isinstance(error, UsageError)
    assert "logit_bias" in str(error)
    raw = {
        "models": {"base": {"model": "m", "kind": "local", "path": "p"}},
        "attempt": {"extra_body": {"frequency_penalty": 1.0}},
    }
    with pytest.raises(UsageError, match=r"\[attempt\] extra_body: .*frequency_penalty.*top_k"):
        parse(raw)


def test_a_template_that_refuses_the_chat_ends_the_run(copy):
    """A template that raises stops the run with one sentence that says what to set."""
    template = copy / "chat_template.jinja"
    template.write_text("{{ raise_exception('no system turn, please') }}")
    (error,) = answered(LocalModel(name="m", path=copy), [request(0)])
    assert isinstance(error, Stop)
    assert "no system turn, please" in error.fault.message


def test_template_settings_reach_the_template(copy):
    """`chat_template_kwargs` are what vLLM's are: variables of the template."""
    (copy / "chat_template.jinja").write_text("{{ 'yes' if enable_thinking else 'certainly not' }}")
    sampling = [
        Sampling(max_tokens=1, extra_body=json.dumps({"chat_template_kwargs": {"enable_thinking": on}}))
        for on in (True, False)
    ]
    replies = answered(LocalModel(name="m", path=copy), [request(0, one) for one in sampling])
    assert [reply.usage.prompt for reply in replies] == [3, 13]


FOLDERS = [
    ("is missing", shutil.rmtree, "no such folder"),
    ("is empty", lambda folder: [file.unlink() for file in folder.iterdir()], "no config.json"),
    ("is an adapter", lambda folder: (folder / "config.json").rename(folder / "adapter_config.json"), "merge it into"),
    ("is no text model", lambda folder: change(folder / "config.json", architectures=["BertModel"]), "not a causal"),
    ("has a broken config", lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
    ("has no template", lambda folder: (folder / "chat_template.jinja").unlink(), "no chat template"),
    ("has no tokenizer", lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "no tokenizer.json"),
    ("has no weights", lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
    (
        "is a Git LFS pointer",
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"),
        "LFS",
    ),
    ("is cut short", lambda folder: os.truncate(folder / "model.safetensors", 50_000), "cut short"),
]


@pytest.mark.parametrize(("spoil", "said"), [row[1:] for row in FOLDERS], ids=[row[0] for row in FOLDERS])
def test_a_folder_that_will_not_do_is_refused_at_once(copy, spoil, said):
    """Each wrong folder is a SetupError of one sentence that names the folder, before a model is loaded."""
    spoil(copy)
    with pytest.raises(SetupError, match=said) as caught:
        LocalModel(name="m", path=copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_the_config_are_refused(copy):
    """A folder whose weights lack a layer ends the run with a sentence, instead of writing nonsense."""
    change(copy / "config.json", num_hidden_layers=3, layer_types=["full_attention"] * 3)
    (error,) = answered(LocalModel(name="m", path=copy), [request(0)])
    assert isinstance(error, SetupError)
    assert "lack model.layers.2" in str(error)


def test_a_model_that_gives_no_numbers_gives_no_answers(copy, tmp_path):
    """A model that training has broken (NaN) has faults and no attempts, and the run stops after some of them."""
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pool_library(tmp_path, 60) as library:
        result = gr.attempt(library, LocalModel(name="m", path=copy), engine=ENGINE)
        assert result.answered == 0
        assert result.faults.keys() == {"not_finite"}
        assert "not_finite" in result.stopped
        assert library.all("SELECT DISTINCT boundary, reason FROM faults") == [("model", "not_finite")]


def test_where_memory_does_not_hold_a_batch_it_is_halved(folder, monkeypatch):
    """Batches that memory does not hold are written in halves, with the same answers, and a note says the size."""
    asked = [request(number) for number in range(40)]
    whole = answered(LocalModel(name="m", path=folder), asked)
    read = Writer.read

    def small(self, cache, ids, mask, positions):
        if len(ids) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(self, cache, ids, mask, positions)

    monkeypatch.setattr(Writer, "read", small)
    model = LocalModel(name="m", path=folder)
    halved = answered(model, asked)
    assert [reply.content for reply in halved] == [reply.content for reply in whole]
    assert [note for note in model.notes if "10 at a time" in note]


def test_a_fault_of_the_model_concerns_the_request_that_has_it(folder, monkeypatch):
    """A request at which the model raises is refused with what it said; the others of its batch are answered."""
    asked = [request(number) for number in range(20)]
    read = Writer.read

    def fragile(self, cache, ids, mask, positions):
        if (ids == ord("~") - 33).any() and ids.shape[1] > 1:
            raise IndexError("index out of range in self")
        return read(self, cache, ids, mask, positions)

    monkeypatch.setattr(Writer, "read", fragile)
    replies = answered(LocalModel(name="m", path=folder), [*asked, request(99, prompt="What is ~?")])
    assert all(isinstance(reply, Reply) for reply in replies[:-1])
    assert isinstance(replies[-1], Refused)
    assert "index out of range" in replies[-1].fault.message


def test_a_request_that_nobody_waits_for_is_left_out(folder):
    """Cancelling one of two requests leaves the other its answer."""

    async def run():
        model = LocalModel(name="m", path=folder)
        first, second = (asyncio.ensure_future(model.ask(request(number))) for number in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        reply = await second
        await model.close()
        return reply

    reply = asyncio.run(run())
    assert reply.content == answered(LocalModel(name="m", path=folder), [request(2)])[0].content


def test_closing_ends_what_is_being_written(tmp_path, monkeypatch):
    """Closing in the midst of a batch ends the thread after the token it is at, and cancels what waits for answers."""
    folder = make_lm(tmp_path / "endless", eos=-50.0)
    tokens, under_way = [], threading.Event()
    read = Writer.read

    def counted(self, cache, ids, mask, positions):
        tokens.append(len(ids))
        if len(tokens) == 5:
            under_way.set()
        return read(self, cache, ids, mask, positions)

    monkeypatch.setattr(Writer, "read", counted)

    async def run():
        model = LocalModel(name="m", path=folder)
        asked = [asyncio.ensure_future(model.ask(request(n, Sampling(max_tokens=450)))) for n in range(4)]
        assert await asyncio.to_thread(under_way.wait, 120)
        await model.close()
        return await asyncio.gather(*asked, return_exceptions=True)

    ended = asyncio.run(run())
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 4
    assert len(tokens) < 400


def test_attempts_come_into_the_library_and_a_rerun_asks_for_none(folder, tmp_path):
    """Each answer is kept with its finish and the weights' fingerprint; a rerun adds none, batches change none."""
    model = LocalModel(name="tiny", path=folder)
    settings = gr.AttemptSettings(samples=3, max_tokens=60)
    with pool_library(tmp_path, 20) as library:
        first = gr.attempt(library, model, settings, engine=ENGINE)
        assert (first.answered, first.left, first.faults) == (60, 0, {})
        assert gr.attempt(library, model, settings, engine=ENGINE).answered == 0
        assert gr.verify(library).judged == 60
        rows = library.all("SELECT DISTINCT model, server_model FROM attempts")
        assert rows == [("tiny", f"tiny@{model.fingerprint}")]
        assert library.value("SELECT count(*) FROM attempts WHERE finish_reason NOT IN ('stop', 'length')") == 0
        # In two runs of another concurrency: the same answers.
        with pool_library(tmp_path, 20, name="other.db") as other:
            for limit in (7, None):
                part = gr.AttemptSettings(samples=3, max_tokens=60, limit=limit)
                gr.attempt(other, model, part, engine=gr.EngineSettings(concurrency=5))
            assert content(other, ATTEMPTS) == content(library, ATTEMPTS)


def test_another_model_has_another_fingerprint(folder, tmp_path):
    """Two models of one shape differ in their fingerprint, and two copies of one do not."""
    other = LocalModel(name="m", path=make_lm(tmp_path / "other", seed=1))
    same = LocalModel(name="m", path=shutil.copytree(folder, tmp_path / "same"))
    assert other.fingerprint != same.fingerprint == LocalModel(name="n", path=folder).fingerprint


def test_a_run_that_is_killed_goes_on_and_gives_the_same_answers(tmp_path, monkeypatch):
    """A command killed in the midst of its answers, and run again, ends with what one that was not killed has."""
    make_lm(tmp_path / "tiny", eos=2.0)
    write_pool(tmp_path / "pool.jsonl", 60)
    (tmp_path / "gradatim.toml").write_text(
        '[[ingest]]\npath = "pool.jsonl"\n[models.base]\nmodel = "tiny"\nkind = "local"\npath = "tiny"\n'
        "concurrency = 16\nthreads = 1\n[attempt]\nsamples = 3\nmax_tokens = 120\n"
    )
    command = [sys.executable, "-c", MAIN]
    environment = {**os.environ, "PYTHONPATH": SRC, "OMP_NUM_THREADS": "1"}

    def run(*words):
        return subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    assert run("ingest").returncode == 0
    shutil.copy(tmp_path / "library.db", tmp_path / "whole.db")
    process = subprocess.Popen([*command, "attempt"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while _count(tmp_path / "library.db") < 20 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed_at = _count(tmp_path / "library.db")
    assert 20 <= killed_at < 180
    ended = run("attempt")
    assert ended.returncode == 0, ended.stderr
    assert f"{180 - killed_at:,} answers" in ended.stdout
    monkeypatch.chdir(tmp_path)
    assert called("--library", "whole.db", "attempt", "--concurrency", "64").code == 0
    with gr.Library(tmp_path / "library.db") as killed, gr.Library(tmp_path / "whole.db") as whole:
        assert content(killed, ATTEMPTS) == content(whole, ATTEMPTS)


def _count(path: Path) -> int:
    with gr.Library(path) as library:
        return int(library.value("SELECT count(*) FROM attempt"))


def test_the_command_line_takes_a_folder_without_settings(folder, tmp_path, monkeypatch):
    """`attempt --model NAME --local FOLDER` needs no gradatim.toml; a folder that will not do is exit code 4."""
    monkeypatch.chdir(tmp_path)
    write_pool(tmp_path / "pool.jsonl", 5)
    assert called("ingest", "pool.jsonl").code == 0
    done = called("attempt", "--model", "tiny", "--local", str(folder), "--max-tokens", "20")
    assert (done.code, "attempt tiny: 5 answers" in done.out) == (0, True), done.err
    wrong = called("attempt", "--model", "tiny", "--local", ".")
    assert (wrong.code, "no config.json" in wrong.err) == (4, True)
    both = called("attempt", "--model", "tiny", "--local", str(folder), "--base-url", "http://localhost:8000/v1")
    assert (both.code, "--base-url and --local" in both.err) == (2, True)


def test_answers_of_other_weights_under_one_name_are_refused(folder, tmp_path):
    """Another model in a folder is refused, before anything is asked, where its name has answers; a copy is not."""
    settings = gr.AttemptSettings(max_tokens=20)
    place = shutil.copytree(folder, tmp_path / "model")
    with pool_library(tmp_path, 4) as library:
        gr.attempt(library, LocalModel(name="tiny", path=place), settings, engine=ENGINE)
        shutil.rmtree(place)
        make_lm(place, seed=1)
        for changed in (settings, gr.AttemptSettings(max_tokens=30)):
            with pytest.raises(UsageError, match=r"'tiny' that other weights gave .* model = .NAME."):
                gr.attempt(library, LocalModel(name="tiny", path=place), changed, engine=ENGINE)
        assert library.value("SELECT count(*) FROM attempts") == 4
        assert gr.attempt(library, LocalModel(name="other", path=place), settings, engine=ENGINE).answered == 4
        assert gr.attempt(library, LocalModel(name="tiny", path=folder), settings, engine=ENGINE).left == 0


def test_what_training_made_is_known_by_its_name(folder, tmp_path):
    """Two folders that differ in training.json alone, whose weights' samples may be alike, have two fingerprints."""
    prints = set()
    for id_ in ("one", "two"):
        place = shutil.copytree(folder, tmp_path / id_)
        (place / "training.json").write_text(json.dumps({"id": id_}))
        prints.add(LocalModel(name="m", path=place).fingerprint)
    assert len(prints) == 2


def test_a_template_is_told_the_same_day_for_ever(folder, tmp_path):
    """A template that asks for today's date gets a fixed one, and renders as before otherwise."""
    transformers = pytest.importorskip("transformers")
    place = shutil.copytree(folder, tmp_path / "dated")
    own = "\n{{- 'Today is ' + strftime_now('%d %b %Y') + ', ' + strftime_now('%Y-%m-%d') + '\\n' }}"
    (place / "chat_template.jinja").write_text(own + (folder / "chat_template.jinja").read_text())
    asked = [{"role": "user", "content": "Hello"}]
    plain = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(asked, tokenize=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    assert "2024" not in tokenizer.apply_chat_template(asked, tokenize=False)
    for _ in range(2):
        fix_day(tokenizer)
    said = "Today is 26 Jul 2024, 2024-07-26\n"
    assert tokenizer.apply_chat_template(asked, tokenize=False) == said + plain
