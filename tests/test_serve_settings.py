"""`serve` in the settings: what goes with it, where its paths lead, and what `transformers serve` is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gradatim import config
from gradatim.config import ModelSettings, PrmSettings
from gradatim.errors import SetupError, UsageError
from gradatim.models.transformers_serve import Suited, generation_defaults, suited
from gradatim.types import Request, Sampling
from gradatim.work.opening import concurrency_of, open_model, open_prm, pooling_arguments, server_log

if TYPE_CHECKING:
    from pathlib import Path

MODEL = '[models.base]\nmodel = "m"\n'
PRM = '[prm]\nmodel = "m"\n'


def read(tmp_path: Path, text: str) -> config.Config:
    """Load settings from a file."""
    (tmp_path / "gradatim.toml").write_text(text, encoding="utf-8")
    return config.load(tmp_path / "gradatim.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            MODEL + 'serve = "vllm"\nbase_url = "http://localhost/v1"',
            r"\[models.base\] base_url: it belongs to a server that",
        ),
        (MODEL + 'serve = "vllm"\napi_key_env = "KEY"', r"api_key_env: it belongs to a server that runs already"),
        (MODEL + 'serve = "vllm"\nserved_as = "x"', r"served_as: it belongs to a server that runs already"),
        (MODEL + 'kind = "local"\npath = "x"\nserve = "vllm"', r'serve: it belongs to a server, and kind = "local"'),
        (MODEL + 'base_url = "http://localhost/v1"\nserve_args = ["x"]', r"serve_args: .* set serve as well"),
        (MODEL + 'base_url = "http://localhost/v1"\nserve_command = ["x"]', r"serve_command: .* set serve as well"),
        (MODEL + 'serve = "vllm"\nserve_command = [""]', r"serve_command: no command line can hold it"),
        (MODEL + 'serve = "vllm"\nserve_restarts = -1', r"serve_restarts: a number from 0 to 1000"),
        (MODEL + 'serve = "vllm"\nstart_timeout = 0', r"start_timeout: a number from 1 to 604800"),
        (MODEL + 'serve = "sglang"', r"serve: .*vllm"),
        (MODEL + 'path = "x"', r'for a folder, set kind = "local" or serve = "vllm"'),
        (MODEL, r"base_url: it is missing; or set serve"),
        (PRM, r"base_url: .* needs it: .*; or set serve"),
        (PRM + 'serve = "transformers"', r"serve: "),
        (
            PRM + 'serve = "vllm"\nbackend = "local"',
            r'serve: it belongs to a server, and backend = "local" runs in this',
        ),
        (PRM + 'base_url = "http://localhost"\npath = "x"', r'path: it belongs to serve = "vllm"'),
    ],
)
def test_what_does_not_go_with_serve_is_refused(tmp_path, text, said):
    """Keys of a server that runs already, and of one that Gradatim starts, do not mix; the error names the key."""
    with pytest.raises(UsageError, match=said):
        read(tmp_path, text)


def test_paths_are_seen_from_the_settings_folder_and_ids_are_left_alone(tmp_path):
    """A folder beside the settings is that folder; `owner/name` that is none is an id of the hub."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    tables = [f'[models.{name}]\nmodel = "m"\nserve = "vllm"\npath = "{path}"\n' for name, path in (
        ("a", "own/model"), ("b", "owner/name"), ("c", "models"), ("d", "/data/m"),
    )]  # fmt: skip
    loaded = read(tmp_path, "".join(tables) + '[prm]\nmodel = "m"\nserve = "vllm"\npath = "own/model"\n')
    assert [one.path for one in loaded.models.values()] == [
        str(tmp_path / "own" / "model"),
        "owner/name",
        str(tmp_path / "models"),
        "/data/m",
    ]
    assert loaded.prm is not None
    assert loaded.prm.path == str(tmp_path / "own" / "model")
    command = (
        read(tmp_path, MODEL + 'serve = "vllm"\nserve_command = ["own/bin/vllm", "a/b"]').models["base"].serve_command
    )
    assert command == (str(tmp_path / "own/bin/vllm"), "a/b")
    assert server_log(loaded, "a") == tmp_path / "servers" / "a.log"


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "a/b/c", "model"])
def test_a_folder_that_is_not_there_is_said_before_anything_starts(path):
    """What cannot be an id of the hub has to be a folder."""
    with pytest.raises(SetupError, match="no such folder"):
        open_model(ModelSettings(model="m", serve="vllm", path=path, serve_command=("x",)))
    with pytest.raises(SetupError, match="no such folder"):
        open_prm(PrmSettings(model="m", serve="vllm", path=path, serve_command=("x",)))


def test_transformers_serve_is_asked_one_at_a_time():
    """It writes one answer after the other, and a seed is the whole process's; the user may say otherwise."""
    assert concurrency_of(ModelSettings(model="m", serve="transformers")) == 1
    assert concurrency_of(ModelSettings(model="m", serve="transformers", concurrency=4)) == 4
    assert concurrency_of(ModelSettings(model="m", serve="vllm")) == 64


def sent(sampling: Sampling, defaults=None) -> tuple[dict, dict]:
    """Return the generation config that is sent, and the other further fields."""
    made = suited(Request(key=0, messages=(), sampling=sampling, seed=0), defaults or {})
    extra = json.loads(made.sampling.extra_body)
    return json.loads(extra.pop("generation_config")), extra


def test_transformers_serve_is_told_to_sample():
    """A temperature above 0 says do_sample; at 0 it does not; the model's own settings stay."""
    found, _ = sent(Sampling(temperature=0.7), {"eos_token_id": 7, "top_k": 20})
    assert (found["do_sample"], found["temperature"], found["top_k"], found["eos_token_id"]) == (True, 0.7, 20, 7)
    assert sent(Sampling(temperature=0.0))[0]["do_sample"] is False
    assert sent(Sampling())[0]["do_sample"] is True
    assert sent(Sampling(), {"do_sample": False})[0]["do_sample"] is False
    assert sent(Sampling())[0]["top_k"] == 0  # its own default is 50


def test_further_fields_go_where_transformers_serve_takes_them():
    """What is no field of its requests goes into the generation config; what it does not know at all is refused."""
    extra = {"top_k": 5, "min_p": 0.1, "stop": ["x"], "chat_template_kwargs": {"enable_thinking": False}}
    found, rest = sent(Sampling(extra_body=json.dumps(extra)))
    assert (found["top_k"], found["min_p"]) == (5, 0.1)
    assert rest == {"stop": ["x"], "chat_template_kwargs": {"enable_thinking": False}}
    with pytest.raises(UsageError, match="guided_json"):
        sent(Sampling(extra_body='{"guided_json": {}}'))


def test_the_models_own_settings_are_found(tmp_path, monkeypatch):
    """In its folder, in the hub's cache, or as config.json has them; a broken file is as none."""
    own = tmp_path / "own"
    own.mkdir()
    assert generation_defaults(str(own)) == {}
    (own / "config.json").write_text('{"eos_token_id": 3, "hidden_size": 8, "pad_token_id": null}')
    assert generation_defaults(str(own)) == {"eos_token_id": 3}
    (own / "generation_config.json").write_text('{"temperature": 0.6}')
    assert generation_defaults(str(own)) == {"temperature": 0.6}
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert generation_defaults("owner/name") == {}
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc\n")
    (cached / "snapshots" / "abc").mkdir(parents=True)
    (cached / "snapshots" / "abc" / "generation_config.json").write_text('{"top_p": 0.9}')
    made = Suited("owner/name")(Request(key=0, messages=(), sampling=Sampling(), seed=0))
    assert json.loads(json.loads(made.sampling.extra_body)["generation_config"])["top_p"] == 0.9
    (own / "generation_config.json").write_text("{")
    assert generation_defaults(str(own)) == {"eos_token_id": 3}


def test_a_prm_is_served_as_its_family_wants(tmp_path):
    """The step tag's id is that of the folder's tokenizer, or the published one; Math-Shepherd is made a classifier."""

    def pooler(kind, folder):
        words = list(pooling_arguments(folder, kind))
        assert words[:2] == ["--runner", "pooling"]
        return json.loads(words[words.index("--pooler-config") + 1])["step_tag_id"], words

    assert pooler("qwen", tmp_path)[0] == 151651
    tag, words = pooler("math-shepherd", tmp_path)
    assert tag == 12902
    assert words[words.index("--convert") + 1] == "classify"
    vocabulary = {"added_tokens": [{"content": "<extra_0>", "id": 9}], "model": {"vocab": {"▁ки": 5}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocabulary))
    assert [pooler(kind, tmp_path)[0] for kind in ("qwen", "reasonflux", "math-shepherd")] == [9, 9, 5]


def test_a_family_that_no_server_has_is_refused(tmp_path):
    """Skywork's value head and TRL's classifiers run in this process only."""
    for kind in ("skywork", "token-classification"):
        with pytest.raises(UsageError, match='backend = "local"'):
            read(tmp_path, PRM + f'serve = "vllm"\nkind = "{kind}"')
