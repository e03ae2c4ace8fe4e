"""What types cannot say of settings: bounds of numbers, empty names, keys in the wrong place, mixes and cuts."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradatim.config.explaining import bracketed, option
from gradatim.config.judging import mistake_of
from gradatim.config.settings import CALIBRATION, QUINTILES
from gradatim.errors import UsageError
from gradatim.types import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gradatim.config.models import ModelSettings, PrmSettings
    from gradatim.config.settings import Asking, CompareSettings, Config, TrainSettings, VerifySettings
    from gradatim.config.tables import Settings

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
        bounds = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:.7g}"
        shown = "one as large as that" if value >= _LARGE else f"{value:g}"
        raise wrong(table, key, f"a number {bounds} is expected, not {shown}")
    _check_names(config, wrong)
    for table, variable in _key_variables(config):
        if looks_like_key(variable):
            raise wrong(
                table, "api_key_env", "it takes the NAME of an environment variable, not a key. Keys stand in no file"
            )
    for name, model in config.models.items():
        _check_model(f"models.{name}", model, wrong)
        _check_batch(f"models.{name}", model, wrong)
    _check_asking("attempt", config.attempt, config, wrong)
    _check_asking("teach", config.teach, config, wrong)
    _check_asking("evaluate", config.evaluate, config, wrong)
    _check_method(config, wrong)
    _check_train(config, wrong)
    _check_compare(config.compare, wrong)
    if config.prm is not None:
        _check_prm(config.prm, wrong)


def _check_names(config: Config, wrong: _Wrong) -> None:
    """Check the texts that name something."""
    for table, key, text in _names(config):
        if not text.strip():
            raise wrong(table, key, "it is empty")
        if not text.isprintable():
            raise wrong(table, key, "it holds a line end or another character that cannot be seen")


def _check_prm(prm: PrmSettings, wrong: _Wrong) -> None:
    """Check that a PRM has what its backend and its family need."""
    _check_served("prm", prm, wrong)
    if prm.serve is not None and prm.backend == "local":
        raise wrong("prm", "serve", f'it belongs to a server, and backend = "{prm.backend}" runs in this process')
    if prm.path is not None and prm.serve is None:
        raise wrong("prm", "path", 'it belongs to serve = "vllm"; without it, model says all')
    if (mistake := mistake_of(prm)) is not None:
        raise wrong("prm", *mistake)


def _check_served(table: str, settings: ModelSettings | PrmSettings, wrong: _Wrong) -> None:
    """Check that a server is either there already, or one that Gradatim starts."""
    if settings.serve is None:
        for key in ("serve_args", "serve_command"):
            if getattr(settings, key):
                raise wrong(table, key, "it belongs to a server that Gradatim starts; set serve as well")
        return
    for key in ("base_url", "api_key_env", "served_as"):
        if getattr(settings, key, None) is not None:
            raise wrong(table, key, "it belongs to a server that runs already, and serve starts one")
    for key in ("serve_args", "serve_command"):
        words = getattr(settings, key)
        if any("\0" in word for word in words) or (key == "serve_command" and "" in words[:1]):
            raise wrong(table, key, "no command line can hold it")


def _check_model(table: str, model: ModelSettings, wrong: _Wrong) -> None:
    """Check that a model has what its kind needs, and nothing of the other kind's."""
    _check_served(table, model, wrong)
    if model.kind == "local":
        if not model.path:
            raise wrong(table, "path", 'kind = "local" needs it: the folder that holds the model')
        for key in ("serve", "base_url", "served_as", "api_key_env", "batched", "continues"):
            if getattr(model, key) is not None:
                raise wrong(
                    table,
                    "batch" if key == "batched" else key,
                    'it belongs to a server, and kind = "local" runs in this process',
                )
    elif model.serve is None:
        if model.base_url is None:
            said = (
                "it is missing; or set serve"
                if model.path is None
                else ('it is missing; or for a folder, set kind = "local" or serve = "vllm"')
            )
            raise wrong(table, "base_url", said)
        if model.path is not None:
            raise wrong(table, "path", 'it belongs to kind = "local" or to serve; a server at base_url has its own')


def _check_batch(table: str, model: ModelSettings, wrong: _Wrong) -> None:
    """Check that a model that is asked in batches is on a server that may have them."""
    if model.batched is not None and model.serve is not None:
        raise wrong(table, "batch", "a server that is started here (serve) has no batch API; leave one of them out")


def _check_asking(table: str, asking: Asking, config: Config, wrong: _Wrong) -> None:
    """Check how a model is asked."""
    if "{prompt}" not in asking.template:
        raise wrong(table, "template", "it must hold {prompt}, where the question goes")
    chosen = config.models.get(asking.model)
    _check_truncated(table, asking, chosen, wrong)
    if asking.extra_body:
        from gradatim.models.chat import body_of  # noqa: PLC0415 - few need it, and it takes time to load
        from gradatim.models.decoding import extras_of  # noqa: PLC0415 - as above

        try:
            asked = Request(key=0, messages=(), sampling=asking.sampling(), seed=0)
            body_of(asked, model="", stream=False, dropped=frozenset())
            if chosen is not None and chosen.kind == "local":
                extras_of(asking.sampling())
        except UsageError as error:
            raise wrong(table, "extra_body", str(error).removeprefix("extra_body ").rstrip(".")) from error
        except (TypeError, ValueError) as error:
            raise wrong(table, "extra_body", f"it holds what JSON has no form for ({error})") from error
    if asking.budget.money is not None and chosen is not None and chosen.price is None:
        raise wrong(
            f"{table}.budget",
            "money",
            f"a budget in money needs the model's price; set price in [models.{asking.model}]",
        )


def _check_truncated(table: str, asking: Asking, chosen: ModelSettings | None, wrong: _Wrong) -> None:
    """Check what is to become of answers that are cut off."""
    limit, what = asking.truncated_max_tokens, asking.truncated
    if what == "keep":
        if limit is not None:
            raise wrong(table, "truncated_max_tokens", 'it belongs to truncated = "continue" or "retry"')
        return
    if limit is None or limit <= asking.max_tokens:
        said = "it is missing" if limit is None else f"{limit} is not above max_tokens, {asking.max_tokens}"
        raise wrong(table, "truncated_max_tokens", f'{said}; truncated = "{what}" needs a larger limit')
    if chosen is not None and chosen.batched is not None:
        said = "batches make no further requests: set it for a run without batch, which takes up what was cut off"
        raise wrong(table, "truncated", said)
    if chosen is None or chosen.kind == "local" or chosen.serve == "vllm":
        return
    if what == "continue" and chosen.continues is None:
        raise wrong(
            table,
            "truncated",
            f"[models.{asking.model}] does not say how its server goes on with an answer; set continues there, or take "
            'truncated = "retry"',
        )


def _check_train(config: Config, wrong: _Wrong) -> None:
    """Check how a model is trained."""
    train = config.train
    if train.template is not None and "{prompt}" not in train.template:
        raise wrong("train", "template", "it must hold {prompt}, where the question goes")
    if train.micro_batch is not None and train.batch_size % train.micro_batch:
        raise wrong("train", "micro_batch", f"{train.micro_batch} does not divide batch_size, {train.batch_size}")
    if train.optimizer == "muon" and train.method == "lora":
        raise wrong("train", "optimizer", '"muon" is for whole matrices; method = "lora" takes "adamw"')


def _check_compare(compare: CompareSettings, wrong: _Wrong) -> None:
    """Check what is to be compared."""
    from gradatim.method.arms import ARMS  # noqa: PLC0415 - as above

    lists: dict[str, tuple[object, ...]] = {"arms": compare.arms, "seeds": compare.seeds, "replay": compare.replay}
    for key, values in lists.items():
        if not values or len(set(values)) < len(values):
            raise wrong("compare", key, "it takes one or more, and none twice")
    if len({f"{share:g}" for share in compare.replay}) < len(compare.replay):
        raise wrong("compare", "replay", "models are named by it, with six digits: two of these would have one name")
    if "/" in compare.name or "\\" in compare.name:
        raise wrong("compare", "name", "folders of trained models are named by it, so it may hold no slash")
    for key, arm in (*(("arms", arm) for arm in compare.arms), ("baseline", compare.baseline)):
        if arm not in ARMS:
            near = "".join(f"; did you mean {one!r}?" for one in difflib.get_close_matches(arm, ARMS, n=1))
            raise wrong("compare", key, f"there is no arm {arm!r}{near or '. There are: ' + ', '.join(ARMS)}")
    if compare.baseline not in compare.arms:
        raise wrong("compare", "baseline", f"{compare.baseline!r} is not among the arms; add it to arms")


def _check_method(config: Config, wrong: _Wrong) -> None:
    """Check the tables that the method's own functions can judge."""
    from gradatim.formats.write import suffix_of  # noqa: PLC0415 - 30 ms that --help need not spend
    from gradatim.method import filters, levels, mix  # noqa: PLC0415 - 30 ms that --help need not spend

    grade, sample, scripts = config.grade, config.sample, tuple(config.curate.scripts)
    if isinstance(grade.cuts, str):
        if grade.rule == "rate":
            raise wrong("grade", "cuts", f'"{grade.cuts}" belongs to rule = "paper"; the rate rule takes five numbers')
        if grade.cuts != QUINTILES and not (grade.cuts.startswith(CALIBRATION) and grade.cuts != CALIBRATION):
            raise wrong("grade", "cuts", f'"{grade.cuts}" is neither numbers, "{QUINTILES}" nor "{CALIBRATION}NAME"')
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
        for key in ("path", "served_as"):
            if (text := getattr(model, key)) is not None:
                yield f"models.{name}", key, text
        if (batch := model.batched) is not None:
            yield f"models.{name}.batch", "window", batch.window
    if config.prm is not None:
        yield "prm", "model", config.prm.model
        if config.prm.path is not None:
            yield "prm", "path", config.prm.path
    yield "sample", "name", config.sample.name
    yield "export", "out", config.export.out
    yield "train", "name", config.train.name
    yield "train", "out", config.train.out
    for key in ("name", "set", "observed", "static", "second", "out"):
        yield "compare", key, getattr(config.compare, key)
    if config.train.base is not None:
        yield "train", "base", config.train.base
    yield "report", "out", config.report.out


def _numbers(config: Config) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers that have bounds: table, key, value, least, most."""
    for number, source in enumerate(config.ingest, 1):
        yield f"ingest {number}", "near", source.near, 0, 1
        yield f"ingest {number}", "ngram", source.ngram, 0, math.inf
    for name, model in config.models.items():
        yield f"models.{name}", "concurrency", model.concurrency, 1, 100_000
        yield f"models.{name}", "tries", model.tries, 1, 1000
        yield f"models.{name}", "threads", model.threads, 1, 1024
        yield f"models.{name}", "idle_timeout", model.idle_timeout, 0.1, math.inf
        if (batch := model.batched) is not None:
            yield f"models.{name}.batch", "requests", batch.requests, 1, 1_000_000
            yield f"models.{name}.batch", "megabytes", batch.megabytes, 0.001, 10_000
            yield f"models.{name}.batch", "poll", batch.poll, 0.01, 86_400
            yield f"models.{name}.batch", "online", batch.online, 0, 1_000_000
        yield from _serving(f"models.{name}", model)
        if model.price is not None:
            yield from _each(f"models.{name}.price", model.price)
    for table, asking in (("attempt", config.attempt), ("teach", config.teach), ("evaluate", config.evaluate)):
        yield table, "temperature", asking.temperature, 0, 100
        yield table, "top_p", asking.top_p, 0, 1
        yield table, "max_tokens", asking.max_tokens, 1, math.inf
        yield table, "truncated_max_tokens", asking.truncated_max_tokens, 1, math.inf
        yield table, "seed", asking.seed, 0, math.inf
        yield from _each(f"{table}.budget", asking.budget)
    yield "attempt", "samples", config.attempt.samples, 1, 100_000
    yield "evaluate", "samples", config.evaluate.samples, 1, 100_000
    yield "attempt", "limit", config.attempt.limit, 1, math.inf
    yield "teach", "tries", config.teach.tries, 1, 100_000
    yield from _judging(config.verify)
    yield "sample", "size", config.sample.size, 1, math.inf
    yield "sample", "seed", config.sample.seed, 0, math.inf
    yield "sample", "easy", config.sample.easy, 0, math.inf
    yield "sample", "reserve", config.sample.reserve, 0, 1000
    yield "curate", "min_chars", config.curate.min_chars, 0, math.inf
    yield "curate", "max_tokens", config.curate.max_tokens, 1, math.inf
    yield "curate", "max_repetition", config.curate.max_repetition, 0, 1
    yield from _training(config.train)
    yield from _comparing(config.compare)
    if config.prm is not None:
        yield "prm", "context", config.prm.context, 1, math.inf
        yield "prm", "analysis", config.prm.analysis, 0, math.inf
        yield "prm", "concurrency", config.prm.concurrency, 1, 100_000
        yield "prm", "idle_timeout", config.prm.idle_timeout, 0.1, math.inf
        yield from _serving("prm", config.prm)


def _serving(
    table: str, settings: ModelSettings | PrmSettings
) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers of a server that Gradatim starts."""
    yield table, "serve_restarts", settings.serve_restarts, 0, 1000
    yield table, "start_timeout", settings.start_timeout, 1, 604_800


def _judging(verify: VerifySettings) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers of `[verify]` and `[verify.code]`: a limit that lets no program run would judge all wrong."""
    yield "verify", "deadline", verify.deadline, 0.1, math.inf
    yield "verify", "workers", verify.workers, 1, 1024
    yield "verify", "memory_mb", verify.memory_mb, 128, math.inf
    yield "verify.code", "seconds", verify.code.seconds, 0.1, 86_400
    yield "verify.code", "total_seconds", verify.code.total_seconds, 0.1, 86_400
    yield "verify.code", "memory_mb", verify.code.memory_mb, 16, 100_000
    yield "verify.code", "output_kb", verify.code.output_kb, 1, 100_000
    yield "verify.code", "workers", verify.code.workers, 1, 1024


def _training(train: TrainSettings) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers of `[train]`."""
    least: dict[str, float] = {"lora_alpha": 1e-6, "learning_rate": 1e-12, "max_length": 2}
    most: dict[str, float] = {"learning_rate": 10, "lora_rank": 65536, "weight_decay": 10}
    counts = ("epochs", "steps", "batch_size", "micro_batch", "max_length", "lora_rank", "checkpoint_every")
    for key in (*counts, "lora_alpha", "learning_rate"):
        yield "train", key, getattr(train, key), least.get(key, 1), most.get(key, 1_000_000_000)
    yield "train", "warmup", train.warmup, 0, 1
    yield "train", "weight_decay", train.weight_decay, 0, most["weight_decay"]
    yield "train", "replay", train.replay, 0, 1000
    yield "train", "seed", train.seed, 0, 2**32 - 1


def _comparing(compare: CompareSettings) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give the numbers of `[compare]`."""
    for seed in compare.seeds:
        yield "compare", "seeds", seed, 0, 2**32 - 1
    for share in compare.replay:
        yield "compare", "replay", share, 0, 1000
    yield "compare", "chains", compare.chains, 1, math.inf
    yield "compare", "steps", compare.steps, 1, 1_000_000_000
    yield "compare", "samples", compare.samples, 1, 100_000
    yield "compare", "temperature", compare.temperature, 0, 100
    yield "compare", "jobs", compare.jobs, 1, 1024


def _each(table: str, amounts: Settings) -> Iterator[tuple[str, str, float | None, float, float]]:
    """Give each key of a table that holds amounts, which have no upper end."""
    for key in amounts.__struct_fields__:
        yield table, key, getattr(amounts, key), 0, math.inf
