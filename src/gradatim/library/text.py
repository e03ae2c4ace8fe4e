"""Long texts as the library keeps them: zstd where that is smaller, plain where it is not."""

from __future__ import annotations

import threading

from gradatim.zstd import ZstdCompressor, ZstdError, decompress, get_frame_info

_WORTH_IT = 160
"""Below this many bytes zstd saves nothing worth its time (measured on GSM8K answers)."""
_LEVEL = 3
_LIMIT = 1 << 30
"""No text of ours is larger unpacked; a damaged frame cannot ask for more memory than this."""

_local = threading.local()


def pack(text: str) -> str | bytes:
    """Return `text` as it is stored: the same text, or a zstd frame where that is smaller."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) >= _WORTH_IT or len(raw) != len(text):
        packed = _compressor().compress(raw, ZstdCompressor.FLUSH_FRAME)
        if len(packed) < len(raw) or not _storable(text):
            return packed
    return text


def unpack(stored: str | bytes | None) -> str:
    """Return the text that `pack` was given."""
    if isinstance(stored, bytes):
        # Every frame of ours says its size.
        if (get_frame_info(stored).decompressed_size or 0) > _LIMIT:
            raise ZstdError("a text in the library says that it is larger than any that was put there")
        return decompress(stored).decode("utf-8", "surrogatepass")
    return stored or ""


def _storable(text: str) -> bool:
    """Tell whether SQLite can hold it as text: models do write lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _compressor() -> ZstdCompressor:
    """One per thread: the object is not safe to share."""
    if not hasattr(_local, "compressor"):
        _local.compressor = ZstdCompressor(level=_LEVEL)
    compressor: ZstdCompressor = _local.compressor
    return compressor
