"""What types cannot say of settings: bounds of numbers, empty names, keys in the wrong place, mixes and cuts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradatim.config.explaining import bracketed, option
from gradatim.errors import UsageError
from gradatim.types import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatim.config.settings import Asking, Config, Settings

_Wrong: TypeAlias = "Callable[[str, str, str], UsageError]"
"""Makes the error of a table, a key and what is wrong with it."""

COMMAND_LINE = "the command line"
"""The place of settings that options gave, not a file."""
_LARGE = 2**63
"""A library keeps whole numbers below this."""


def check(config: Config, place: str) -> None:
    """Check what types cannot say. Raises `UsageError`; with `COMMAND_LINE` as place it speaks of options."""

    def wrong(table: str, key: str, what: str) -> UsageError:
        if place == COMMAND_LINE:
            return UsageError(f"{option(f'budget_{key}' if table.endswith('.budget') else key)}: {what}.")
        return UsageError(f"{place}: {f'{bracketed(table)} ' if table else ''}{key}: {what}.")

    for table, key, value, low, high in _numbers(config):
        if value is None or (low <= value <= high and value < _LARGE):
            continue
        bounds = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        shown = "one as large as that" if value >= _LARGE else f"{value:g}"
        raise wrong(table, key, f"a number {bounds} is expected, not {shown}")
    _check_names(config, wrong)
    for table, variable in _key_variables(config):
        if looks_like_key(variable):
            raise wrong(
                table, "api_key_env", "it takes the NAME of an environment variable, not a key. Keys stand in no file"
            )
    _check_asking("attempt", config.attempt, config, wrong)
    _check_asking("teach", config.teach, config, wrong)
    _check_asking("evaluate", config.evaluate, config, wrong)
    _check_method(config, wrong)
    prm = config.prm
    if prm is not None and prm.backend == "pooling" and not prm.base_url:
        raise wrong("prm", "base_url", 'backend = "pooling" needs it: "http://.../v1", where vLLM serves the PRM')


def _check_names(config: Config, wrong: _Wrong) -> None:
    """Check the texts that name something."""
    for table, key, text in _names(config):
        if not text.strip():
            raise wrong(table, key, "it is empty")
        if not text.isprintable():
            raise wrong(table, key, "it holds a line end or another character that cannot be seen")


def _check_asking(table: str, asking: Asking, config: Config, wrong: _Wrong) -> None:
    """Check how a model is asked."""
    if "{prompt}" not in asking.template:
        raise wrong(table, "template", "it must hold {prompt}, where the question goes")
    if asking.extra_body:
        from gradatim.models.chat import body_of  # noqa: PLC0415 - few need it, and it takes time to load

        try:
            asked = Request(key=0, messages=(), sampling=asking.sampling(), seed=0)
            body_of(asked, model="", stream=False, dropped=frozenset())
        except UsageError as error:
            raise wrong(table, "extra_body", str(error).removeprefix("extra_body ").rstrip(".")) from error
        except (TypeError, ValueError) as error:
            raise wrong(table, "extra_body", f"it holds what JSON has no form for ({error})") from error
    chosen = config.models.get(asking.model)
    if asking.budget.money is not None and chosen is not None and chosen.price is None:
        raise wrong(
            f"{table}.budget",
            "money",
            f"a budget in money needs the model's price; set price in [models.{asking.model}]",
        )


def _check_method(config: Config, wrong: _Wrong) -> None:
    """Check the tables that the method's own functions can judge."""
    from gradatim.formats.write import suffix_of  # noqa: PLC0415 - 30 ms that --help need not spend
    from gradatim.method import filters, levels, mix  # noqa: PLC0415 - 30 ms that --help need not spend

    grade, sample, scripts = config.grade, config.sample, tuple(config.curate.scripts)
    if grade.rule == "rate" and grade.cuts == "quintiles":
        raise wrong("grade", "cuts", '"quintiles" belongs to rule = "paper"; the rate rule takes five numbers')
    tries: list[tuple[str, str, Callable[[], object]]] = [
        ("sample", "mix", lambda: mix.parse_mix(sample.mix, sample.easy)),
        # Here, since the export comes last, when all the money is spent.
        ("export", "out", lambda: suffix_of(Path(config.export.out))),
        ("curate", "scripts", lambda: filters.FilterSettings(scripts=scripts)),
    ]
    if isinstance(grade.cuts, list):
        cuts, rule = tuple(grade.cuts), levels.PaperRule if grade.rule == "paper" else levels.RateRule
        tries.append(("grade", "cuts", lambda: rule(cuts=cuts)))
    for table, key, build in tries:
        try:
            build()
        except UsageError as error:
            said = str(error).rstrip(".")
            raise wrong(table, key, said[0].lower() + said[1:] if said[1:2].islower() else said) from error


def looks_like_key(name: str | None) -> bool:
    """Tell whether this is a key itself rather than the name of the variable that holds it.

    Some keys could be names (`hf_...`): known beginnings, and long words of small letters with several digits, count.
    """
    if name is None:
        return False
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) is None or re.match(r"(sk|hf|gsk|r8|pk)_\w{16}", name):
        return True
    return len(name) >= 20 and len(re.findall(r"\d", name)) >= 3 and re.search(r"[a-z]", name) is not None


def _key_variables(config: Config) -> Iterator[tuple[str, str | None]]:
    for name, model in config.models.items():
        yield f"models.{name}", model.api_key_env
    if config.prm is not None:
        yield "prm", config.prm.api_key_env


def _names(config: Config) -> Iterator[tuple[str, str, str]]:
    """Give the texts that may not be empty: table, key, text."""
    yield "", "library", config.library
    for number, source in enumerate(config.ingest, 1):
        yield f"ingest {number}", "path", source.path.removeprefix("hf:")
        yield f"ingest {number}", "set", source.set
    for name, model in config.models.items():
        yield f"models.{name}", "model", model.model
    if config.prm is not None:
        yield "prm", "model", config.prm.model
    yield "sample", "name", config.sample.name
    yield "export", "out", config.export.out
    yield "report", "out", config.report.out


def _numbers(config: Config) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers that have bounds: table, key, value, least, most."""
    for number, source in enumerate(config.ingest, 1):
        yield f"ingest {number}", "near", source.near, 0, 1
        yield f"ingest {number}", "ngram", source.ngram, 0, math.inf
    for name, model in config.models.items():
        yield f"models.{name}", "concurrency", model.concurrency, 1, 100_000
        yield f"models.{name}", "tries", model.tries, 1, 1000
        yield f"models.{name}", "idle_timeout", model.idle_timeout, 0.1, math.inf
        if model.price is not None:
            yield from _each(f"models.{name}.price", model.price)
    for table, asking in (("attempt", config.attempt), ("teach", config.teach), ("evaluate", config.evaluate)):
        yield table, "temperature", asking.temperature, 0, 100
        yield table, "top_p", asking.top_p, 0, 1
        yield table, "max_tokens", asking.max_tokens, 1, math.inf
        yield table, "seed", asking.seed, 0, math.inf
        yield from _each(f"{table}.budget", asking.budget)
    yield "attempt", "samples", config.attempt.samples, 1, 100_000
    yield "evaluate", "samples", config.evaluate.samples, 1, 100_000
    yield "attempt", "limit", config.attempt.limit, 1, math.inf
    yield "teach", "tries", config.teach.tries, 1, 100_000
    yield "verify", "deadline", config.verify.deadline, 0.1, math.inf
    yield "verify", "workers", config.verify.workers, 1, 1024
    yield "verify", "memory_mb", config.verify.memory_mb, 128, math.inf
    yield "sample", "size", config.sample.size, 1, math.inf
    yield "sample", "seed", config.sample.seed, 0, math.inf
    yield "sample", "easy", config.sample.easy, 0, math.inf
    yield "sample", "reserve", config.sample.reserve, 0, 1000
    yield "curate", "min_chars", config.curate.min_chars, 0, math.inf
    yield "curate", "max_tokens", config.curate.max_tokens, 1, math.inf
    yield "curate", "max_repetition", config.curate.max_repetition, 0, 1
    if config.prm is not None:
        yield "prm", "context", config.prm.context, 1, math.inf
        yield "prm", "concurrency", config.prm.concurrency, 1, 100_000
        yield "prm", "idle_timeout", config.prm.idle_timeout, 0.1, math.inf


def _each(table: str, amounts: Settings) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give each key of a table that holds amounts, which have no upper end."""
    for key in amounts.__struct_fields__:
        yield table, key, getattr(amounts, key), 0, math.inf
