"""A text out of base64, zlib and pickle, which is how LiveCodeBench packs its private tests.

Nothing of it is executed or constructed: of a pickle's language, the six operations that a lone text needs are read,
and anything else makes it unreadable. Python's own unpickler is not used, not even one that may find no class: a dozen
bytes that name a far place in its memo make it take 64 GiB. Each step ends at a size limit.
"""

from __future__ import annotations

import binascii
import pickletools
import re
import zlib

MAX_TEXT = 512 * 2**20
"""Characters or bytes, whichever a step counts. The largest of LiveCodeBench are below a fifth of it."""
_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
_SAY_NOTHING = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"})
_SPACE = re.compile(r"\s+")


class Unreadable(ValueError):  # noqa: N818 - a reason, caught where rows are read; it never reaches a user
    """What is packed cannot be had; the message is a word that a histogram can count."""


def unpacked(text: str, limit: int = MAX_TEXT) -> str:
    """Return the text that is packed.

    Raises:
        Unreadable: `private_tests_unreadable`, or `tests_too_large` beyond the limit.
    """
    try:
        packed = binascii.a2b_base64(_SPACE.sub("", text).encode("ascii"), strict_mode=True)
        return _pickled_text(_inflated(packed, limit))
    except Unreadable:
        raise
    except (ValueError, zlib.error, OverflowError, MemoryError) as error:
        raise Unreadable("private_tests_unreadable") from error


def _inflated(packed: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(packed, limit)
    # At the limit the end of the stream may still be to come, but no more of the data.
    if not inflater.eof and inflater.decompress(inflater.unconsumed_tail, 1):
        raise Unreadable("tests_too_large")
    if not inflater.eof or inflater.unused_data:
        raise Unreadable("private_tests_unreadable")
    return data


def _pickled_text(data: bytes) -> str:
    found: list[str] = []
    for operation, argument, _ in pickletools.genops(data):
        if operation.name in _TEXTS and isinstance(argument, str) and not found:
            found.append(argument)
        elif operation.name == "STOP" and found:
            return found[0]
        elif operation.name not in _SAY_NOTHING:
            break
    raise Unreadable("private_tests_unreadable")
