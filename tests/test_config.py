"""Settings: what is refused and how, what options change, and which folder paths belong to."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

import gradatim
from cli_world import called, started
from gradatim import config
from gradatim.config import Config
from gradatim.errors import UsageError
from gradatim.work.opening import concurrency_of

TEMPLATE = Path(gradatim.__file__).parent / "cli" / "template.toml"
MODEL = '[models.base]\nmodel = "m"\nbase_url = "http://localhost:8000/v1"\n'


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "gradatim.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def test_the_template_is_valid(tmp_path):
    """What `init` writes loads as it is, and its values are the defaults wherever it does not say otherwise."""
    read_ = read(tmp_path, TEMPLATE.read_text(encoding="utf-8"))
    assert (read_.sample, read_.curate, read_.verify) == (Config().sample, Config().curate, Config().verify)
    assert read_.export.format == Config().export.format


def test_defaults_are_valid():
    """No settings at all are settings."""
    config.check(Config(), "the defaults")
    assert config.parse({}) == Config()


def test_paths_are_relative_to_the_settings_file(tmp_path, monkeypatch):
    """Every path of a file is seen from its folder; absolute ones, the hub's and `~` are what they say."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/own")
    (tmp_path / "math").mkdir()
    sources = ("pool.jsonl", "/data/pool.jsonl", "hf:openai/gsm8k", "openai/gsm8k", "~/pool.jsonl", "../pool.jsonl")
    tables = "".join(f'[[ingest]]\npath = "{source}"\n' for source in sources)
    text = f'library = "my.db"\n{tables}[export]\nout = "sets/x.jsonl"\n[prm]\nbackend = "local"\nmodel = "prm"\n'
    (tmp_path / "math" / "gradatim.toml").write_text(text)
    loaded = config.load("math/gradatim.toml")
    assert (loaded.library, loaded.export.out) == ("math/my.db", "math/sets/x.jsonl")
    assert loaded.prm is not None
    assert loaded.prm.model == "math/prm"
    assert [source.path for source in loaded.ingest] == [
        "math/pool.jsonl",
        "/data/pool.jsonl",
        "hf:openai/gsm8k",
        "openai/gsm8k",
        "/own/pool.jsonl",
        "math/../pool.jsonl",
    ]
    monkeypatch.chdir(tmp_path / "math")
    assert config.load("gradatim.toml").library == "my.db"


def test_a_folder_beside_the_settings_wins_over_the_hub(tmp_path):
    """`data/pool` is a file of ours where there is a folder `data`, and a data set of the hub where there is none."""
    (tmp_path / "data").mkdir()
    loaded = read(tmp_path, '[[ingest]]\npath = "data/pool"\n[[ingest]]\npath = "owner/name"\n')
    assert [source.path for source in loaded.ingest] == [str(tmp_path / "data" / "pool"), "owner/name"]


def test_a_pooling_prm_is_no_path(tmp_path):
    """The name of a served PRM stays as it is."""
    loaded = read(tmp_path, '[prm]\nmodel = "Qwen/PRM"\nbase_url = "http://localhost:8001/v1"\n')
    assert loaded.prm is not None
    assert loaded.prm.model == "Qwen/PRM"


def test_commands_use_the_paths_of_the_settings(tmp_path):
    """`gradatim --config DIR/gradatim.toml` reads and writes in DIR from wherever it is run; --library is one's own."""
    work, other = tmp_path / "math", tmp_path / "other"
    work.mkdir()
    other.mkdir()
    (work / "pool.jsonl").write_text('{"question": "What is one and one?", "answer": "2"}\n')
    (work / "gradatim.toml").write_text('[[ingest]]\npath = "pool.jsonl"\n')
    assert started("--config", "../math/gradatim.toml", "ingest", folder=other).code == 0
    assert (work / "library.db").exists()
    assert started("--config", "../math/gradatim.toml", "--library", "own.db", "ingest", folder=other).code == 0
    assert (other / "own.db").exists()


def test_updated_changes_what_is_given():
    """None and an empty tuple are no change; 0, an empty text and an empty list are values like others."""
    settings = gradatim.AttemptSettings(samples=4, limit=5, sets=["a"], system="s")
    assert config.updated(settings, samples=None, sets=()) is settings
    changed = config.updated(settings, samples=2, system="", sets=[])
    assert (changed.samples, changed.system, changed.sets, changed.limit) == (2, "", [], 5)
    assert (settings.samples, settings.system) == (4, "s")
    near = config.updated(gradatim.IngestSettings(path="x"), near=0.0)
    assert near.near == 0.0


def test_updated_keeps_tables_inside():
    """A changed stage stands in the whole, and what the whole held beside it stays."""
    whole = Config(library="x.db", models={"m": gradatim.ModelSettings(model="m", base_url="u")})
    changed = config.updated(whole, attempt=config.updated(whole.attempt, samples=7))
    assert (changed.attempt.samples, changed.models, changed.library) == (7, whole.models, "x.db")


def test_updated_refuses_what_does_not_fit():
    """A value of the wrong type is named as the option that gave it."""
    with pytest.raises(UsageError, match=r"^--column: 'nope' is none of id, level, source, model, reference\.$"):
        config.updated(gradatim.ExportSettings(), columns=["nope"])
    with pytest.raises(UsageError, match=r"^--max-tokens: a whole number is expected, not text\.$"):
        config.updated(gradatim.CurateSettings(), max_tokens="many")


@pytest.mark.parametrize(
    ("name", "is_key"),
    [
        (None, False),
        ("DEEPSEEK_API_KEY", False),
        ("my_key", False),
        ("key2", False),
        ("A_VERY_LONG_NAME_OF_A_VARIABLE_123456", False),
        ("the_key_of_our_own_server_2", False),
        ("sk-abc", True),
        ("", True),
        ("MY KEY", True),
        ("${KEY}", True),
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYz", True),
        ("gsk_1a2b3c4d5e6f7g8h9i0j", True),
        ("0123456789abcdef0123456789abcdef", True),
        ("a0123456789abcdef0123456789abcdef", True),
        ("AIzaSyA1b2C3d4E5f6G7h8", True),
    ],
)
def test_keys_are_told_from_names(name, is_key):
    """A key in the place of a variable's name is found; the names that people give variables are not."""
    assert config.looks_like_key(name) is is_key


def test_every_number_has_bounds():
    """No number of the settings can be negative or endless: each is refused with its table and key."""
    tables: dict[str, dict[str, object]] = {
        "ingest": {"path": "x"},
        "models.base": {"model": "m", "base_url": "http://h/v1"},
        "models.base.price": {},
        "attempt": {},
        "attempt.budget": {},
        "verify": {},
        "prm": {"model": "m", "base_url": "http://h/v1"},
        "sample": {},
        "teach": {},
        "teach.budget": {},
        "curate": {},
    }
    records = {
        "ingest": config.IngestSettings,
        "models.base": config.ModelSettings,
        "models.base.price": config.PriceSettings,
        "attempt": config.AttemptSettings,
        "attempt.budget": config.BudgetSettings,
        "verify": config.VerifySettings,
        "prm": config.PrmSettings,
        "sample": config.SampleSettings,
        "teach": config.TeachSettings,
        "teach.budget": config.BudgetSettings,
        "curate": config.CurateSettings,
    }
    for table, needed in tables.items():
        for field in msgspec.inspect.type_info(records[table]).fields:
            kinds = getattr(field.type, "types", (field.type,))
            wanted = [kind for kind in kinds if isinstance(kind, (msgspec.inspect.IntType, msgspec.inspect.FloatType))]
            if not wanted:
                continue
            for value in (-1, 10**30, float("nan")):
                if isinstance(wanted[0], msgspec.inspect.IntType) and value != value:  # noqa: PLR0124 - nan
                    continue
                with pytest.raises(UsageError) as caught:
                    config.parse(_nested(table, {**needed, field.name: value}), "x.toml")
                place = "[[ingest]] 1" if table == "ingest" else f"[{table}]"
                assert str(caught.value).startswith(f"x.toml: {place} {field.name}: a number "), (table, value)


def _nested(table: str, values: dict[str, object]) -> dict[str, object]:
    """Return the raw settings that hold a table with these values."""
    if table == "ingest":
        return {"ingest": [values]}
    if table == "models.base.price":
        return {"models": {"base": {"model": "m", "base_url": "http://h/v1", "price": values}}}
    first, _, rest = table.partition(".")
    return {first: {rest: values} if rest else values}


def test_the_sentence_names_the_first_fault_only(tmp_path):
    """Several faults at once give one sentence, of the first; put right, the next one follows."""
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "[attempt]\nsamples = 0\nsampels = 1\n[grade]\nrule = 3\n")
    assert str(caught.value) == (
        f"{tmp_path / 'gradatim.toml'}: [attempt]: unknown key 'sampels'. Did you mean 'samples'?"
    )


def test_a_key_is_never_repeated(tmp_path):
    """The sentence about a key in the settings does not hold the key."""
    for line in ('api_key_env = "sk-Yq8vT2mP4nR6"', 'api_key_env = "hf_AbCdEfGhIjKlMnOpQr"'):
        with pytest.raises(UsageError) as caught:
            read(tmp_path, MODEL + line)
        assert "Yq8v" not in str(caught.value)
        assert "AbCd" not in str(caught.value)


def test_settings_reach_the_record_of_an_attempt():
    """`sampling` holds what tells attempts apart, `extra_body` as canonical JSON."""
    settings = gradatim.AttemptSettings(temperature=0.5, extra_body={"top_k": 20, "a": [1]})
    assert json.loads(settings.sampling().extra_body) == {"a": [1], "top_k": 20}
    assert settings.sampling().extra_body == '{"a": [1], "top_k": 20}'


def test_settings_in_the_working_folder_are_found(tmp_path, monkeypatch):
    """Without --config, ./gradatim.toml is read where there is one, and nothing is where there is none."""
    monkeypatch.chdir(tmp_path)
    assert "There is no library at library.db" in called("status").err
    Path("gradatim.toml").write_text('library = "mine.db"\n')
    assert "There is no library at mine.db" in called("status").err
    assert [path.name for path in tmp_path.iterdir()] == ["gradatim.toml"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('kind = "local"', r"\[models.base\] path: kind = \"local\" needs it"),
        ('kind = "local"\npath = "p"\nbase_url = "http://x/v1"', r"\[models.base\] base_url: it belongs to a server"),
        ('kind = "local"\npath = "p"\napi_key_env = "KEY"', r"\[models.base\] api_key_env: it belongs to a server"),
        ('kind = "local"\npath = "p"\nthreads = 0', r"\[models.base\] threads: a number from 1 to 1024"),
        ('path = "p"', r"\[models.base\] base_url: it is missing; or for a folder, set kind = \"local\""),
        ('base_url = "http://x/v1"\npath = "p"', r"\[models.base\] path: it belongs to kind = \"local\""),
        ("", r"\[models.base\] base_url: it is missing"),
    ],
)
def test_a_model_has_what_its_kind_needs(tmp_path, table, said):
    """A folder for a local model, a URL for an endpoint, and nothing of the other kind's: the error names the key."""
    with pytest.raises(UsageError, match=said):
        read(tmp_path, f'[models.base]\nmodel = "m"\n{table}\n')


def test_a_local_models_folder_is_seen_from_the_settings(tmp_path):
    """Its path is relative to the settings file, and it is asked for more at once than a server is."""
    loaded = read(tmp_path, f'{MODEL}[models.own]\nmodel = "own"\nkind = "local"\npath = "runs/own"\n')
    assert loaded.models["own"].path == str(tmp_path / "runs/own")
    assert [concurrency_of(loaded.models[name]) for name in ("base", "own")] == [64, 256]


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "1e300"])
@pytest.mark.parametrize("key", ["seconds", "total_seconds", "memory_mb", "output_kb", "workers"])
def test_limits_of_programs_are_checked_before_any_runs(tmp_path, key, value):
    """A limit under which no program could run, or that no machine can keep, is refused when the settings are read."""
    if key not in ("seconds", "total_seconds"):
        value = {"inf": "9223372036854775807", "nan": "0", "1e300": "100000000"}.get(value, value)
    path = tmp_path / "gradatim.toml"
    path.write_text(f"[verify.code]\n{key} = {value}\n")
    with pytest.raises(UsageError, match=rf"\[verify.code\] {key}: a number from "):
        config.load(path)
