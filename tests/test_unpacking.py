"""Packed private tests give their text, and whatever else stands there gives a reason: quickly, and running nothing."""

from __future__ import annotations

import base64
import collections
import json
import os
import pickle
import resource
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.formats.unpacking import Unreadable, unpacked

TESTS = json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}])


def packed(value: object, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    """A value as LiveCodeBench packs its private tests."""
    return wrapped(pickle.dumps(value, protocol=protocol))


def wrapped(data: bytes) -> str:
    """A pickle's bytes, compressed and in base64."""
    return base64.b64encode(zlib.compress(data)).decode()


class Calls:
    """A pickle of this calls `function` where it is loaded."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "text", ["", TESTS, "é\\u0041\n" * 300, "x" * 70_000], ids=["none", "tests", "escapes", "long"]
)
def test_a_packed_text_comes_out_as_it_went_in(text, protocol):
    """Every protocol of pickle, short and long, with and without a frame, gives the text back."""
    assert unpacked(packed(text, protocol)) == text


def test_line_breaks_in_base64_do_not_count():
    """Base64 that was broken into lines is read."""
    assert unpacked(base64.encodebytes(base64.b64decode(packed(TESTS))).decode()) == TESTS


MARK = "gradatim-was-here"
LOADED = {
    "os.system": pickle.dumps(Calls(os.system, f"touch {MARK}")),
    "subprocess": pickle.dumps(Calls(subprocess.run, ["touch", MARK])),
    "eval": pickle.dumps(Calls(eval, f"open({MARK!r}, 'w')")),
    "os.system, protocol 0": f"cos\nsystem\n(S'touch {MARK}'\ntR.".encode(),
    "after a text": pickle.dumps("text")[:-1] + pickle.dumps(Calls(os.system, f"touch {MARK}"))[2:],
    "an instance": f"(S'touch {MARK}'\nios\nsystem\n.".encode(),
    "a persistent id": b"Pabc\n.",
    "an extension": b"\x82\x01.",
    "an object": pickle.dumps(collections.OrderedDict(a=1)),
}


@pytest.mark.parametrize("data", LOADED.values(), ids=LOADED)
def test_a_pickle_that_loads_anything_runs_nothing(tmp_path, monkeypatch, data):
    """Calls, instances, extensions and persistent ids are refused, and none of them happened."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unreadable, match=r"^private_tests_unreadable$"):
        unpacked(wrapped(data))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [b"bytes", 7, 1.5, None, True, ["text"], {"a": "b"}, ("text",), {1, 2}, 10**50])
def test_only_a_text_comes_out(value):
    """Every other value is refused, plain data too."""
    with pytest.raises(Unreadable, match=r"^private_tests_unreadable$"):
        unpacked(packed(value))


BROKEN = {
    "nothing": "",
    "no base64": "this is no base64!",
    "half of base64": packed(TESTS)[:-3],
    "padding alone": "A===",
    "not ASCII": "é" * 8,
    "half a surrogate pair": "\ud800" * 8,
    "no zlib": base64.b64encode(b"plain").decode(),
    "half of zlib": base64.b64encode(zlib.compress(pickle.dumps("x" * 10_000))[:-6]).decode(),
    "more than zlib": base64.b64encode(zlib.compress(pickle.dumps("x")) + b"more").decode(),
    "no pickle": wrapped(b"[1, 2]"),
    "no end": wrapped(pickle.dumps("text")[:-1]),
    "an empty pickle": wrapped(b""),
    "only an end": wrapped(b"."),
    "two texts": wrapped(b"\x8c\x01a\x8c\x01b."),
    "a length beyond the end": wrapped(b"\x8d" + (2**62).to_bytes(8, "little") + b"x."),
    "bytes beyond the end": wrapped(b"\x96" + (2**40).to_bytes(8, "little") + b"x."),
    "a frame beyond the end": wrapped(b"\x95" + (2**62).to_bytes(8, "little") + b"."),
    "no UTF-8": wrapped(b"\x8c\x02\xff\xfe."),
    "deep": wrapped(b"(" * 10**6 + b"."),
    "many": wrapped(b"\x8c\x01a" * 10**5 + b"."),
    "a long number": wrapped(b"L" + b"9" * 10**6 + b"L\n."),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_a_reason(text):
    """Whatever is torn, too short, too long or not what it says gives the one reason, within a second."""
    start = time.process_time()
    with pytest.raises(Unreadable, match=r"^private_tests_unreadable$"):
        unpacked(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("data", [b"\x8c\x04textr\xff\xff\xff\xff.", b"\x8c\x04textp4294967295\n."], ids=["r", "p"])
def test_a_far_place_in_the_memo_takes_no_memory(data):
    """A dozen bytes for which Python's unpickler takes tens of gigabytes are read as what they are: a text."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert unpacked(wrapped(data)) == "text"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


def test_the_limit_is_exact():
    """As many bytes as the limit are read, and one more are too large, however well they compress."""
    data = pickle.dumps("x" * 100_000)
    assert unpacked(wrapped(data), limit=len(data)) == "x" * 100_000
    with pytest.raises(Unreadable, match=r"^tests_too_large$"):
        unpacked(wrapped(data), limit=len(data) - 1)


BOMB = """
import base64, resource, sys, zlib
from gradatim.formats.unpacking import Unreadable, unpacked
packer = zlib.compressobj(9)
block = packer.compress(bytes(2**22)) + packer.flush(zlib.Z_FULL_FLUSH)
# After a full flush a block stands for itself: the first with the header, then the same one again and again.
again = packer.compress(bytes(2**22)) + packer.flush(zlib.Z_FULL_FLUSH)
text = base64.b64encode(block + again * 1023).decode()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpacked(text, limit=2**26)
except Unreadable as error:
    print(error, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, len(text) // 2**20)
"""


def test_a_bomb_takes_no_more_than_the_limit():
    """Four MiB that unfold to four GiB are refused with little more memory than the limit."""
    found = subprocess.run([sys.executable, "-c", BOMB], capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == "tests_too_large"
    assert int(found[1]) < 2.2 * 64
    assert int(found[2]) < 8


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    """Any bytes for a pickle, and any for what is compressed, give a text or a reason."""
    for text in (wrapped(data), base64.b64encode(data).decode(), data.decode("latin-1")):
        try:
            found = unpacked(text)
        except Unreadable:
            continue
        assert type(found) is str
