"""The folder that a training writes: what the disk says of it is heard."""

import errno
import os

import pytest

from gradatim.training import folder


def refusing(number):
    """Return an fsync that fails with an error number."""

    def fsync(_):
        raise OSError(number, os.strerror(number))

    return fsync


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_to_keep_is_heard_of(tmp_path, monkeypatch, number):
    """What fsync says of a full or broken disk is raised, so that nothing counts as complete that is not."""
    (tmp_path / "weights").write_text("x")
    monkeypatch.setattr(folder.os, "fsync", refusing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        folder.sync(tmp_path)


def test_a_file_system_without_fsync_is_taken_as_it_is(tmp_path, monkeypatch):
    """Where a folder cannot be synced at all, training goes on."""
    monkeypatch.setattr(folder.os, "fsync", refusing(errno.EINVAL))
    folder.sync(tmp_path)
