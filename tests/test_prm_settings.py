"""`[prm]`: which kinds run where, what each takes, and what the settings make of it."""

from __future__ import annotations

from contextlib import closing

import pytest

from gradatim import config
from gradatim.errors import UsageError
from gradatim.prm.thoughts import REASONING_RULE
from gradatim.work.opening import open_prm

CHAT = 'model = "m"\nbackend = "chat"\nbase_url = "http://localhost:1/v1"\n'


def read(folder, prm):
    """The `[prm]` of a settings file."""
    path = folder / "gradatim.toml"
    path.write_text(f"[prm]\n{prm}", encoding="utf-8")
    return config.load(str(path)).prm


@pytest.mark.parametrize(
    ("prm", "said"),
    [
        ('kind = "critic"\nmodel = "m"\n', 'backend: kind = "critic" is asked on a chat server'),
        ('kind = "critic"\nmodel = "m"\nbackend = "chat"\n', 'base_url: backend = "chat" needs it'),
        ('kind = "rlhflow"\nmodel = "m"\nbase_url = "http://h"\n', 'by /pooling; set backend = "chat"'),
        (CHAT, 'backend: kind = "qwen" is not what a chat server can score'),
        (f'{CHAT}kind = "critic"\nprompt = "{{prompt}}"\n', "prompt: it must hold {step}"),
        (f'{CHAT}kind = "critic"\nlabels = ["yes", "YES"]\n', "labels: 'yes' and 'YES' are not two different words"),
        (f'{CHAT}kind = "critic"\nlabels = ["yes"]\n', "labels"),
        (f'{CHAT}kind = "critic"\nlabels = ["ok", "okay"]\n', "labels: one of 'ok' and 'okay' is how the other begins"),
        (f'{CHAT}kind = "critic"\nanalysis = -1\n', "analysis: a number of at least 0"),
        (f'{CHAT}kind = "critic"\nseparator = "x"\n', 'separator: it belongs to kind = "token-classification"'),
        (f'{CHAT}kind = "rlhflow"\nanalysis = 3\n', 'analysis: it belongs to kind = "critic"'),
        (f'{CHAT}kind = "rlhflow"\nlabels = ["a", "b"]\n', 'labels: it belongs to kind = "critic"'),
        ('model = "m"\nbase_url = "http://h"\nprompt = "{prompt} {step}"\n', 'prompt: it belongs to kind = "critic"'),
        ('model = "m"\nbase_url = "http://h"\nsteps = "lines"\n', "steps"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path, prm, said):
    """A kind on the wrong backend, and a setting of another kind, are refused in a sentence that names the key."""
    with pytest.raises(UsageError) as caught:
        read(tmp_path, prm)
    assert "[prm]" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "prm",
    [
        f'{CHAT}kind = "critic"\n',
        f'{CHAT}kind = "critic"\nprompt = "{{prompt}} {{step}}"\nlabels = ["right", "wrong"]\nanalysis = 9\n',
        f'{CHAT}kind = "rlhflow"\ncontext = 9\n',
        'model = "m"\nbase_url = "http://localhost:1"\n',
    ],
)
def test_what_can_be_is_made(tmp_path, prm):
    """What passes the checks is a PRM with a name and a version, and asks nothing yet."""
    with closing(open_prm(read(tmp_path, prm))) as made:
        assert made.name == "m"
        assert "blank-lines-1" in made.version.split(";")


@pytest.mark.parametrize(
    ("more", "reasoning"),
    [
        ("", False),
        ('text = "thinking"\n', True),
        ('text = "thinking"\nsteps = "blank-lines"\n', False),
        ('steps = "reasoning"\n', True),
    ],
)
@pytest.mark.parametrize("kind", [f'{CHAT}kind = "critic"\n', 'model = "m"\nbase_url = "http://localhost:1"\n'])
def test_the_rule_of_steps_follows_the_text_that_is_scored(tmp_path, more, reasoning, kind):
    """Answers are split on blank lines and thinking as reasoning is, unless `steps` says otherwise; versions say it."""
    with closing(open_prm(read(tmp_path, kind + more))) as made:
        assert (REASONING_RULE in made.version.split(";")) == reasoning


def test_versions_under_which_libraries_hold_scores_have_not_changed(tmp_path):
    """A Qwen2.5-Math-PRM on a server is called what it was when its scores were first stored."""
    with closing(open_prm(read(tmp_path, 'model = "m"\nbase_url = "http://localhost:1"\n'))) as made:
        assert made.version == "qwen2.5-math-prm-1;blank-lines-1;vllm-pooling;m;context=4096"
