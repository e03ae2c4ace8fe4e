"""What models in this process have in common, language models and PRMs: device, weight files, a silent loader."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gradatim.errors import SetupError, UsageError

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterator
    from pathlib import Path

_SAMPLES = 16
_SAMPLE_BYTES = 4096


def device_of(name: str) -> Any:
    """Return torch's device. Raises `UsageError` for a word that names none, `SetupError` for one that is not here."""
    import torch  # noqa: PLC0415 - optional, and seconds to import

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device is {name!r}; auto, cpu, cuda, cuda:N or mps was expected") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False) or (
        device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    ):
        raise SetupError(f"device {name!r} is not there on this machine; set device to 'auto' or 'cpu'")
    return device


def sample(file: Path, digest: hashlib.blake2b) -> None:
    """Add to the digest a few blocks spread over the file: two trainings of one model differ in nothing else."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        for part in range(_SAMPLES):
            stream.seek(max(0, size - _SAMPLE_BYTES) * part // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))


@contextmanager
def no_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar: stderr may be a file, and bars are the command line's to draw."""
    from transformers.utils import logging  # noqa: PLC0415 - optional

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
