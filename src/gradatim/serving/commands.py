"""The command lines of the engines that Gradatim starts: vLLM, and `transformers serve`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from gradatim.errors import SetupError

Engine: TypeAlias = Literal["vllm", "transformers"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What is served, and by what."""

    engine: Engine
    path: str
    """The model's folder, or its id on the hub."""
    name: str
    """What requests call it."""
    program: tuple[str, ...] = ()
    """What starts the engine; none: what this machine has."""
    extra: tuple[str, ...] = ()
    """Further arguments; they come last, and so win."""

    @property
    def model(self) -> str:
        """What a request must call the model: `transformers serve` knows no name but the path."""
        return self.name if self.engine == "vllm" else self.path

    def command(self, port: int) -> list[str]:
        """Return the command line that serves on this port. Raises `SetupError` where the engine is not there."""
        program = _complete(self.program, self.engine) or _found(self.engine)
        at = ["--host", HOST, "--port", str(port)]
        if self.engine == "transformers":
            return [*program, self.path, *at, *self.extra]
        # The command takes the model by its place, the module by an option.
        model = [self.path] if program[-1] == "serve" else ["--model", self.path]
        return [*program, *model, "--served-model-name", self.name, *at, *self.extra]


def _complete(program: tuple[str, ...], engine: Engine) -> list[str]:
    """Return the user's command; `vllm` and `transformers` alone get the word that they want."""
    alone = len(program) == 1 and Path(program[0]).name == engine
    return [*program, "serve"] if alone else list(program)


def _found(engine: Engine) -> list[str]:
    """Return the engine of this machine."""
    if program := shutil.which(engine):
        return [program, "serve"]
    if engine == "vllm" and importlib.util.find_spec("vllm"):
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    beside = Path(sys.executable).with_name(engine)
    if beside.exists():
        return [str(beside), "serve"]
    package = "vllm" if engine == "vllm" else "'transformers[serving]'"
    raise SetupError(
        f"{engine} is not on this machine's PATH: install it in an environment of its own (pip install {package}) and "
        f'name it in the settings, as serve_command = ["/path/to/environment/bin/{engine}", "serve"]'
    )
