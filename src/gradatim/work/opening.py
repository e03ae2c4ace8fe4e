"""From settings to the parts they describe: a model, its price and budget, a PRM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradatim.models.budget import Budget, Price
from gradatim.models.endpoint import Endpoint
from gradatim.models.local import CONCURRENCY, LocalModel
from gradatim.models.pace import EngineSettings
from gradatim.prm.local import QwenLocalPRM
from gradatim.prm.pooling import QwenPoolingPRM
from gradatim.tiny import places

if TYPE_CHECKING:
    from gradatim.config import BudgetSettings, ModelSettings, PrmSettings
    from gradatim.prm import PRM


def open_model(settings: ModelSettings) -> Endpoint | LocalModel:
    """Return the model that is configured; nothing is asked or loaded yet.

    Raises `SetupError` where its key is not set or its folder holds no model, `UsageError` for a bad URL.
    """
    if settings.kind == "local":
        return LocalModel(
            name=settings.model,
            path=settings.path or "",
            device=settings.device,
            batch=concurrency_of(settings),
            threads=settings.threads,
        )
    return Endpoint(
        name=settings.model,
        base_url=_url(settings.base_url or ""),
        api_key_env=settings.api_key_env,
        model=settings.served_as,
        stream=settings.stream,
        idle_timeout=settings.idle_timeout,
        # The tiny teacher is a part of Gradatim: there is nothing to find out.
        probe=settings.probe and not places.is_tiny(settings.base_url or ""),
    )


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
        tokens=limits.tokens, money=limits.money, seconds=seconds, price=price, spent_tokens=tokens, spent_money=money
    )


def open_prm(settings: PrmSettings) -> PRM:
    """Return the PRM that is configured. Raises `SetupError` where it cannot be loaded."""
    if settings.backend == "local":
        return QwenLocalPRM(path=settings.model, device=settings.device, context=settings.context)
    return QwenPoolingPRM(
        model=settings.model,
        base_url=settings.base_url or "",
        api_key_env=settings.api_key_env,
        concurrency=settings.concurrency,
        idle_timeout=settings.idle_timeout,
        context=settings.context or 4096,
    )
