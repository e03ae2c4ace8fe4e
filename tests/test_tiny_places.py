"""`tiny:` in settings: questions, folders and a teacher that come with the package."""

from itertools import islice

import pytest

import gradatim as gr
from cli_world import called
from gradatim.config import ModelSettings, load
from gradatim.errors import UsageError
from gradatim.tiny import places, world
from gradatim.tiny.weights import folder
from gradatim.work.opening import open_model


def test_questions_are_those_of_the_world(tmp_path):
    """A source `tiny:SPLIT` holds the world's own questions, with family and size, and is read once."""
    source = gr.IngestSettings(path="tiny:pool?size=30&seed=4", near=0)
    with gr.Library(tmp_path / "l.db", write=True) as library:
        assert gr.ingest(library, source).added == 30
        assert gr.ingest(library, source, again=False).unchanged
        found = library.all("SELECT prompt, reference, source, extra FROM questions ORDER BY rowid")
    made = list(islice(world.questions("pool", seed=4), 30))
    assert {row[:2] for row in found} == {(one.prompt, one.reference) for one in made}
    assert found[0][2].startswith("tiny:pool?size=30&seed=4:")
    assert '"size":' in found[0][3]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tiny:nowhere", "no split 'nowhere'"),
        ("tiny:pool?size=0", "from 1 to 1,000,000"),
        ("tiny:pool?size=1e300", "from 1 to 1,000,000"),
        ("tiny:pool?size=many", "size is a number, not 'many'"),
        ("tiny:pool?size=1.5", "size is a whole number"),
        ("tiny:pool?length=3", "no 'length'. There are: size, seed"),
    ],
)
def test_wrong_words_are_one_sentence(tmp_path, path, said):
    """What `tiny:` cannot mean is said in a sentence, and no question is read."""
    done = called("--library", str(tmp_path / "l.db"), "ingest", path)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_settings_name_the_shipped_folders(tmp_path):
    """A file's `tiny:base` and `tiny:prm` become folders, and a source stays what it is."""
    (tmp_path / "gradatim.toml").write_text(
        '[[ingest]]\npath = "tiny:pool"\n[models.base]\nkind = "local"\nmodel = "m"\npath = "tiny:base"\n'
        '[prm]\nmodel = "tiny:prm"\nbackend = "local"\n[train]\nbase = "tiny:second"\n'
    )
    config = load(tmp_path / "gradatim.toml")
    assert config.ingest[0].path == "tiny:pool"
    assert config.models["base"].path == str(folder("base"))
    assert config.prm.model == str(folder("prm"))
    assert config.train.base == str(folder("second"))


def test_a_folder_that_is_not_shipped_is_refused(tmp_path):
    """`tiny:third` names no model, and the sentence says which there are."""
    (tmp_path / "gradatim.toml").write_text('[models.base]\nkind = "local"\nmodel = "m"\npath = "tiny:third"\n')
    with pytest.raises(UsageError, match="base, second, prm"):
        load(tmp_path / "gradatim.toml")


def test_the_teacher_is_served_once_for_each_setting():
    """`tiny:teacher` opens a model on loopback; the same words give the same server, others another."""
    first = places.teacher_url("tiny:teacher?error_rate=0.1")
    assert first.startswith("http://127.0.0.1:")
    assert places.teacher_url("tiny:teacher?error_rate=0.1") == first
    assert places.teacher_url("tiny:teacher?error_rate=0.2") != first
    assert first in repr(open_model(ModelSettings(model="tiny-teacher", base_url="tiny:teacher?error_rate=0.1")))
    with pytest.raises(UsageError, match="serves one model"):
        places.teacher_url("tiny:student")
    with pytest.raises(UsageError, match="error rate"):
        places.teacher_url("tiny:teacher?error_rate=2")
