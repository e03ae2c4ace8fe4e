"""`doctor` says what is configured and whether it works: every server, whatever becomes of the others."""

import json

import pytest

import gradatim as gr
from cli_world import called
from scripted_server import Answer, Scripted

SETTINGS = """
[models.base]
model = "mock"
base_url = "{url}"
[models.teacher]
model = "big"
base_url = "http://127.0.0.1:9/v1"
api_key_env = "NO_SUCH_KEY"
[models.quiet]
model = "mock"
base_url = "{url}"
probe = false
[models.batched]
model = "mock"
base_url = "{url}"
batch = true
[models.tiny]
model = "tiny-teacher"
base_url = "tiny:teacher"
[prm]
model = "prm"
base_url = "{url}"
[attempt]
samples = 4
max_tokens = {tokens}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)

    def write(text, **values):
        (tmp_path / "gradatim.toml").write_text(text.format(**values))

    return write


def rows():
    ended = called("doctor", "--json")
    return ended, {row["what"]: (row["found"], row["note"]) for row in json.loads(ended.out)}


def test_all_are_shown_when_one_is_down(world):
    """One model's key is missing: the others are asked all the same, the exit code is 4 and the last line names it."""
    with gr.MockServer(gr.MockSettings(models=("mock", "prm"), context=4096, ignores=("seed",))) as server:
        world(SETTINGS, url=server.url, tokens=1000)
        ended, found = rows()
        assert server.stats().requests == 0
    assert ended.code == 4
    assert ended.err == (
        "gradatim: Not everything that is configured works: key NO_SUCH_KEY, model teacher. The notes say what to do.\n"
    )
    assert found["model base"][0] == "works"
    assert found["model base: seed"][0] == "no"
    assert found["model base: context"][0] == "4096"
    assert found["model base: [attempt]"][0] == "can run"
    assert found["key NO_SUCH_KEY"][0] == "not set"
    assert "NO_SUCH_KEY is not set" in found["model teacher"][1]
    assert found["model quiet"] == ("there", f"mock at {server.url}; not asked: probe = false")
    assert found["model tiny"][0] == "works"
    assert (found["model batched"][0], found["model batched: n"][0]) == ("works", "yes")
    assert found["prm"] == ("works", f"prm at {server.url}: 2 scores for 2 steps")
    assert "model base: clock" not in found


def test_a_key_is_never_shown(world, monkeypatch):
    """Of a key it is said that it is set, and a server that is down is one sentence."""
    monkeypatch.setenv("NO_SUCH_KEY", "sk-secret-0123456789")
    with gr.MockServer(gr.MockSettings(models=("mock", "prm"))) as server:
        world(SETTINGS, url=server.url, tokens=1000)
        ended, found = rows()
        text = called("doctor")
    assert found["key NO_SUCH_KEY"] == ("set", "for teacher")
    assert found["model teacher"] == (
        "does not work",
        "big: cannot reach http://127.0.0.1:9/v1: Connection refused. Start the server, or correct base_url.",
    )
    assert "sk-secret" not in ended.out + ended.err + text.out + text.err


def test_the_table_fits_80_columns(world):
    """What is printed of servers is no wider than 80 columns, and each finding has its own line."""
    with gr.MockServer(gr.MockSettings(models=("mock", "prm"), context=512)) as server:
        world(SETTINGS, url=server.url, tokens=4096)
        ended = called("doctor")
    servers = ended.out[ended.out.index("\nkey ") :].splitlines()
    assert max(map(len, servers)) <= 80
    assert "  [attempt]       cannot run     mock: the server at" in ended.out
    assert "leaves no room" in " ".join(ended.out.split())
    assert "model base: [attempt]" in ended.err


def test_a_prm_that_gives_nothing_does_not_work(world):
    """A PRM server that answers 200 with empty data is named, with what is wrong."""
    models = Answer(parts=[b'{"data": [{"id": "prm"}]}'])
    empty = Answer(parts=[b'{"data": [{"index": 0, "data": []}]}'])
    with Scripted(models, empty) as server:
        world('[prm]\nmodel = "prm"\nbase_url = "{url}"\n', url=server.url)
        ended, found = rows()
    assert (ended.code, found["prm"][0]) == (4, "does not work")
    assert found["prm"][1]


def test_a_clock_that_is_off_is_said(world):
    """A server whose Date differs by more than a minute is noted; the exit code stays."""
    choice = {"index": 0, "message": {"content": "some words"}, "finish_reason": "stop"}
    body = {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}
    late = {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"}
    with Scripted(Answer(parts=[json.dumps(body | {"data": [{"id": "m"}]}).encode()], headers=late)) as server:
        world('[models.m]\nmodel = "m"\nbase_url = "{url}"\n', url=server.url)
        ended, found = rows()
    assert ended.code == 0
    assert "behind this machine's" in found["model m: clock"][1]


def test_models_in_folders_are_looked_at(world):
    """A folder that holds no model does not work; one that does is there, and not loaded."""
    local = '[models.{name}]\nmodel = "{name}"\nkind = "local"\npath = "{path}"\n'
    world(local.format(name="a", path="tiny:base") + local.format(name="b", path="no"))
    ended, found = rows()
    assert (ended.code, found["model a"][0], found["model b"][0]) == (4, "there", "does not work")


def test_nothing_configured_asks_nothing(tmp_path, monkeypatch):
    """Without a gradatim.toml there is the machine and the sandbox, and no more."""
    monkeypatch.chdir(tmp_path)
    ended, found = rows()
    assert ended.code == 0
    assert not [what for what in found if what.startswith(("model", "prm", "key", "disk for"))]


def test_a_server_that_cannot_be_started_is_found_out_before_it_is_needed(world):
    """Servers of our own are not started, but a program or a folder that is not there is said, with exit code 4."""
    world(
        '[models.base]\nmodel = "b"\npath = "tiny:base"\nserve = "vllm"\nserve_command = ["true"]\n'
        '[models.far]\nmodel = "no/such/folder"\nserve = "vllm"\nserve_command = ["true"]\n'
        '[prm]\nmodel = "p"\npath = "tiny:prm"\nserve = "vllm"\nserve_command = ["nowhere"]\n'
    )
    ended, found = rows()
    assert ended.code == 4
    assert found["model base"] == ("not asked", "b: started when needed")
    assert found["model far"][0] == "does not work"
    assert "no such folder" in found["model far"][1]
    assert found["prm"][0] == "does not work"
    assert "there is no program 'nowhere'" in found["prm"][1]


def test_a_library_that_is_none_is_said(world, tmp_path):
    """A file that is no library fails; none at all is no fault before the first questions are read."""
    world('[models.tiny]\nmodel = "t"\nbase_url = "tiny:teacher"\n')
    ended, found = rows()
    assert (ended.code, found["disk for library"][1]) == (0, "no answers are planned yet")
    (tmp_path / "library.db").write_text("This is no library at all.\n" * 50)
    ended, found = rows()
    assert ended.code == 4
    assert "library.db is not a Gradatim library" in found["disk for library"][1]
    assert ended.err.startswith("gradatim: Not everything that is configured works: the library. ")
