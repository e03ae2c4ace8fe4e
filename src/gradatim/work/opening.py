"""From settings to the parts they describe: a model, its price and budget, a PRM."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from msgspec import structs

from gradatim.config.judging import critic_of
from gradatim.errors import SetupError
from gradatim.models.batch_api import BatchEndpoint
from gradatim.models.budget import Budget, Price
from gradatim.models.endpoint import Endpoint
from gradatim.models.folder import read_folder
from gradatim.models.local import CONCURRENCY, LocalModel
from gradatim.models.pace import EngineSettings
from gradatim.models.transformers_serve import Suited
from gradatim.prm.chat import ChatPRM
from gradatim.prm.families import FAMILIES
from gradatim.prm.local import LocalPRM
from gradatim.prm.pooling import PoolingPRM
from gradatim.prm.rlhflow import RLHFLOW_CHAT
from gradatim.prm.tokens import token_id
from gradatim.serving.commands import Engines
from gradatim.serving.server import Server, Serving
from gradatim.tiny import places
from gradatim.work.served import NOWHERE, ServedModel, ServedPRM

if TYPE_CHECKING:
    from gradatim.config import BudgetSettings, Config, ModelSettings, PrmSettings
    from gradatim.method.aggregation import Aggregation
    from gradatim.prm import PRM


def open_model(
    settings: ModelSettings, *, log: Path | None = None
) -> Endpoint | BatchEndpoint | LocalModel | ServedModel:
    """Return the model that is configured; nothing is asked, loaded or started yet.

    `log` is where the log of a server that is started here goes (`server_log`). Raises `SetupError` where its key is
    not set or its folder holds no model, `UsageError` for a bad URL.
    """
    if settings.serve is not None:
        return _served(settings, log)
    if settings.kind == "local":
        return LocalModel(
            name=settings.model,
            path=settings.path or "",
            device=settings.device,
            batch=concurrency_of(settings),
            threads=settings.threads,
        )
    endpoint = _endpoint(settings, _url(settings.base_url or ""), settings.served_as)
    batch = settings.batched
    return endpoint if batch is None else BatchEndpoint(endpoint, **structs.asdict(batch))


def _endpoint(settings: ModelSettings, base_url: str, served_as: str | None) -> Endpoint:
    return Endpoint(
        name=settings.model,
        base_url=base_url,
        api_key_env=settings.api_key_env,
        model=served_as,
        stream=settings.stream,
        idle_timeout=settings.idle_timeout,
        continues=continues_of(settings),
        # The tiny teacher is a part of Gradatim: there is nothing to find out.
        probe=settings.probe and not places.is_tiny(settings.base_url or ""),
    )


def continues_of(settings: ModelSettings) -> str | None:
    """Return how the model's server goes on with an answer that was cut off; a vLLM of our own says so itself."""
    return settings.continues or ("vllm" if settings.serve == "vllm" else None)


def server_log(config: Config, name: str) -> Path:
    """Return where the log of a model's server is kept: beside the library."""
    return Path(config.library).parent / "servers" / f"{name.replace('/', '--')}.log"


def _served(settings: ModelSettings, log: Path | None) -> ServedModel:
    """Return the model whose server is started here."""
    path = settings.path or settings.model
    engines = _engines(settings, path)
    return ServedModel(
        server=_server(settings, engines, log),
        endpoint=_endpoint(settings, f"{NOWHERE}/v1", engines.model),
        suited=Suited(path) if settings.serve == "transformers" else None,
        fingerprint=_fingerprint(path),
    )


def _engines(settings: ModelSettings | PrmSettings, path: str, extra: tuple[str, ...] = ()) -> Engines:
    """Return what is served, and by what. Raises `SetupError` for a folder that is not there."""
    if not Path(path).is_dir() and (path.count("/") != 1 or path.startswith(("/", ".", "~"))):
        raise SetupError(f"{path}: no such folder; give the folder of the model that is to be served, or its hub id")
    return Engines(
        engine=settings.serve or "vllm",
        path=path,
        name=settings.model,
        program=settings.serve_command,
        extra=(*extra, *settings.serve_args),
    )


def _server(settings: ModelSettings | PrmSettings, engines: Engines, log: Path | None) -> Server:
    # So that an engine that is not there is found out before any work.
    program = engines.command(0)[0]
    if shutil.which(program) is None:
        raise SetupError(
            f"serve_command: there is no program {program!r} that can be run; give the path of one, or a name on the "
            "PATH"
        )
    return Server(
        Serving(
            name=settings.model,
            command=engines.command,
            log=log or Path("servers", settings.model.replace("/", "--") + ".log"),
            model=engines.name if engines.engine == "vllm" else "",
            timeout=settings.start_timeout,
            restarts=settings.serve_restarts,
        )
    )


def _fingerprint(path: str) -> str:
    """Return the fingerprint of the weights in a folder; empty for what is not a folder as transformers writes it."""
    try:
        return read_folder(Path(path)).fingerprint
    except SetupError:
        return ""


def _url(base_url: str) -> str:
    """Return the URL to ask; for `tiny:teacher` that of a server which starts now."""
    return places.teacher_url(base_url) if places.is_tiny(base_url) else base_url


def engine_settings(settings: ModelSettings) -> EngineSettings:
    """Return how the engine is to ask this model."""
    return EngineSettings(concurrency=concurrency_of(settings), tries=settings.tries)


def concurrency_of(settings: ModelSettings) -> int:
    """Return how many requests may be under way at once."""
    if settings.concurrency is not None:
        return settings.concurrency
    if settings.serve == "transformers":
        return 1  # it writes one answer after the other, and a seed is the whole process's
    return CONCURRENCY if settings.kind == "local" else EngineSettings().concurrency


def price_of(settings: ModelSettings) -> Price | None:
    """Return the model's price, if one is set."""
    price = settings.price
    return None if price is None else Price(input=price.input, cached_input=price.cached_input, output=price.output)


def open_budget(limits: BudgetSettings, price: Price | None, *, tokens: int, money: float) -> Budget | None:
    """Return the budget with what was spent before, or None where there is no limit."""
    if limits.tokens is None and limits.money is None and limits.hours is None:
        return None
    seconds = None if limits.hours is None else limits.hours * 3600
    return Budget(
        tokens=limits.tokens,
        money=limits.money,
        seconds=seconds,
        price=price,
        spent_tokens=tokens,
        spent_money=money,
        open_counted=limits.tokens is not None or limits.money is not None,
    )


class Reading(TypedDict):
    """What a stage is told of a PRM besides the PRM itself."""

    text: Literal["answer", "thinking"]
    aggregation: Aggregation


def reading_of(settings: PrmSettings | None) -> Reading:
    """Return what the PRM is given to read, and how its step scores become one: as it is set, or its family's way."""
    if settings is None:
        return {"text": "answer", "aggregation": "mean"}
    family = FAMILIES.get(settings.kind)
    return {"text": settings.text, "aggregation": settings.aggregation or (family.aggregation if family else "mean")}


def open_prm(settings: PrmSettings, *, log: Path | None = None) -> PRM:
    """Return the PRM that is configured. Raises `SetupError` where it cannot be loaded."""
    if settings.backend == "local":
        return LocalPRM(
            path=settings.model,
            kind=settings.kind,
            separator=settings.separator,
            device=settings.device,
            context=settings.context,
            steps=steps_of(settings),
        )
    if settings.serve is not None:
        return _served_prm(settings, log)
    return _unserved_prm(settings, settings.base_url or "")


def steps_of(settings: PrmSettings) -> str:
    """Return the rule that splits what is scored: the settings' own, or that of the text."""
    return settings.steps or ("reasoning" if settings.text == "thinking" else "blank-lines")


def _unserved_prm(settings: PrmSettings, base_url: str) -> PRM:
    """Return the PRM on a server that is there. Raises `UsageError` for a family that no server has."""
    return _chat_prm(settings, base_url) if settings.backend == "chat" else _pooling_prm(settings, base_url)


def _served_prm(settings: PrmSettings, log: Path | None) -> ServedPRM:
    """Return the PRM whose server is started here. Raises `UsageError` for a family that no server has."""
    _unserved_prm(settings, NOWHERE)
    path = settings.path or settings.model
    extra = () if settings.backend == "chat" else pooling_arguments(Path(path), settings.kind)
    server = _server(settings, _engines(settings, path, extra), log)
    return ServedPRM(server, lambda base_url: _unserved_prm(settings, base_url))


def _pooling_prm(settings: PrmSettings, base_url: str) -> PRM:
    return PoolingPRM(
        model=settings.model,
        kind=settings.kind,
        base_url=base_url,
        api_key_env=settings.api_key_env,
        concurrency=settings.concurrency,
        idle_timeout=settings.idle_timeout,
        context=settings.context,
        steps=steps_of(settings),
    )


def _chat_prm(settings: PrmSettings, base_url: str) -> PRM:
    chat = critic_of(settings) if settings.kind == "critic" else RLHFLOW_CHAT
    return ChatPRM(
        model=settings.model,
        base_url=base_url,
        chat=chat,
        api_key_env=settings.api_key_env,
        concurrency=settings.concurrency,
        idle_timeout=settings.idle_timeout,
        context=settings.context,
        steps=steps_of(settings),
    )


def pooling_arguments(folder: Path, kind: str) -> tuple[str, ...]:
    """Return how vLLM serves a PRM: with the id of its step tag, from the folder's tokenizer where there is one."""
    served = FAMILIES[kind].served
    assert served is not None
    found = token_id(folder, served.tag)
    return served.arguments(served.tag_id if found is None else found)
