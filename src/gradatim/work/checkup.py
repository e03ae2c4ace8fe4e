"""Whether what is configured works: each model's server, the PRM's, and the keys. `doctor` prints it.

Every server is asked, whatever becomes of the others; models and PRMs in folders are looked at and not loaded.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.config import EvaluateSettings
from gradatim.errors import GradatimError
from gradatim.models.batch_api import BatchEndpoint
from gradatim.models.budget import prompt_bound
from gradatim.models.capabilities import NAMES, Found
from gradatim.models.endpoint import Endpoint
from gradatim.models.loops import run_async
from gradatim.models.needs import Needs, notes
from gradatim.models.probe import probe
from gradatim.prm import Solution
from gradatim.tiny import places
from gradatim.types import Fault, Sampling
from gradatim.work.opening import concurrency_of, open_model, open_prm
from gradatim.work.served import ServedModel

if TYPE_CHECKING:
    from gradatim.config import Config, ModelSettings, PrmSettings
    from gradatim.models.capabilities import Capabilities

SKEW = 60.0
"""Seconds by which clocks may differ before it is said."""
_STEPS = (
    "We are asked for the sum of 1 and 1, so we add the two numbers: 1 + 1 = 2.",
    "We check it by taking 1 away again: 2 - 1 = 1. So the answer is 2.",
)
_EXAMPLE = Solution(key=0, prompt="What is 1 + 1?", answer="\n\n".join(_STEPS))
"""Two steps, and so two scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing that was looked at."""

    what: str
    """`model base`; what belongs to it is called `model base: seed`."""
    found: str
    note: str = ""
    works: bool = True
    """False where a run that uses it would end."""


def checkup(config: Config) -> list[Checked]:
    """Look at all keys, models and the PRM of the settings. Raises nothing for what does not work: that is a row."""
    rows = _keys(config)
    for group in run_async(_models(config)):
        rows += group
    if config.prm is not None:
        rows += _prm(config.prm)
    return rows


def _keys(config: Config) -> list[Checked]:
    """Say of each variable that is to hold a key whether it is set, never what it holds."""
    users: dict[str, list[str]] = {}
    for name, model in config.models.items():
        if model.api_key_env:
            users.setdefault(model.api_key_env, []).append(name)
    if config.prm is not None and config.prm.api_key_env:
        users.setdefault(config.prm.api_key_env, []).append("the PRM")
    rows = []
    for variable, names in users.items():
        there = bool(os.environ.get(variable, "").strip())
        note = f"for {', '.join(names)}" if there else f"export {variable}=... with the key for {', '.join(names)}"
        rows.append(Checked(what=f"key {variable}", found="set" if there else "not set", note=note, works=there))
    return rows


async def _models(config: Config) -> list[list[Checked]]:
    """Look at all models at once."""
    return await asyncio.gather(*(_model(config, name, model) for name, model in config.models.items()))


async def _model(config: Config, name: str, model: ModelSettings) -> list[Checked]:
    what = f"model {name}"
    if model.base_url is not None and places.is_tiny(model.base_url):
        return [Checked(what=what, found="works", note=f"{model.base_url}: a part of Gradatim")]
    try:
        opened = open_model(model)
        if isinstance(opened, ServedModel):
            return [Checked(what=what, found="not asked", note=f"{model.model}: started when needed")]
        if isinstance(opened, BatchEndpoint):
            opened = opened.endpoint
        if not isinstance(opened, Endpoint):
            return [Checked(what=what, found="there", note=f"{model.model} in {model.path}; loaded when needed")]
        asked = _asked(config, name)
        sampling = next(iter(asked.values())).sampling if asked else Sampling(temperature=1.0)
        if not model.probe:
            return [await _there(what, opened)]
        can = await probe(opened, sampling, at_once=concurrency_of(model))
    except GradatimError as error:
        return [Checked(what=what, found="does not work", note=str(error), works=False)]
    return _endpoint(what, opened, can, asked)


async def _there(what: str, endpoint: Endpoint) -> Checked:
    """Say only that the server is there, where it is not to be asked more."""
    await endpoint.check()
    return Checked(what=what, found="there", note=f"{endpoint.model} at {endpoint.base_url}; not asked: probe = false")


def _asked(config: Config, name: str) -> dict[str, Needs]:
    """Return which stages ask this model, and what they need of it."""
    samples = {"attempt": config.attempt.samples, "evaluate": config.evaluate.samples or 1}
    found = {}
    for stage in ("attempt", "teach", "evaluate"):
        asking = getattr(config, stage)
        # Who says nothing of an evaluation may not want one.
        wanted = stage != "evaluate" or config.evaluate != EvaluateSettings()
        if asking.model == name and wanted:
            limits = asking.budget
            found[stage] = Needs(
                sampling=asking.sampling(),
                samples=samples.get(stage, 1),
                tries=config.teach.tries if stage == "teach" else 1,
                limited=limits.tokens is not None or limits.money is not None,
            )
    return found


def _endpoint(what: str, endpoint: Endpoint, can: Capabilities, asked: dict[str, Needs]) -> list[Checked]:
    """Return an endpoint's rows: itself, what it does, and what that means for the stages that ask it."""
    knows = any(getattr(can, name).found is not Found.UNKNOWN for name in NAMES)
    rows = [
        Checked(
            what=what,
            found="works" if knows else "unknown",
            note=f"{can.model} at {can.server}" if knows else "; ".join(endpoint.notes),
        )
    ]
    if not knows:
        return rows
    context = "unknown" if can.context is None else str(can.context)
    said = "the server does not say" if can.context is None else "tokens of prompt and answer together"
    rows.append(Checked(what=f"{what}: context", found=context, note=said))
    for name in NAMES:
        finding = getattr(can, name)
        rows.append(Checked(what=f"{what}: {name.replace('_', ' ')}", found=finding.found, note=finding.how))
    if can.clock is not None and abs(can.clock) > SKEW:
        side = "ahead of" if can.clock > 0 else "behind"
        rows.append(
            Checked(
                what=f"{what}: clock", found=f"{abs(can.clock):,.0f} s", note=f"the server's is {side} this machine's"
            )
        )
    rows.append(
        Checked(
            what=f"{what}: asked",
            found=f"{can.requests} times",
            note=f"{can.tokens} tokens in {can.seconds:.1f} s to find this out",
        )
    )
    for stage, needs in asked.items():
        rows += _stage(f"{what}: [{stage}]", needs, can)
    for note in endpoint.notes:
        rows.append(Checked(what=f"{what}: note", found="", note=note.split(f"{can.server} ", 1)[-1]))
    return rows


def _stage(what: str, needs: Needs, can: Capabilities) -> list[Checked]:
    """Say whether a stage can go with this endpoint."""
    try:
        said = notes(needs, can)
    except GradatimError as error:
        return [Checked(what=what, found="cannot run", note=str(error), works=False)]
    note = "; ".join(text for _, text in said) or "has what it needs"
    room = None if can.context is None else can.context - needs.sampling.max_tokens
    if room is not None and room < prompt_bound(()):
        note += f"; {room} tokens are left for a prompt beside max_tokens = {needs.sampling.max_tokens}"
    return [Checked(what=what, found="can run", note=note)]


def _prm(settings: PrmSettings) -> list[Checked]:
    """Have the PRM score two steps; one in a folder is not loaded, and no server is started."""
    if settings.backend == "local":
        there = (Path(settings.model).expanduser() / "config.json").is_file()
        note = "loaded when needed" if there else "there is no config.json in it: is this a model's folder?"
        found = "there" if there else "does not work"
        return [Checked(what="prm", found=found, note=f"{settings.model}: {note}", works=there)]
    try:
        with closing(open_prm(settings)) as prm:
            if settings.serve is not None:
                return [Checked(what="prm", found="not asked", note=f"{settings.model}: started when needed")]
            ((_, result),) = list(prm.score([_EXAMPLE]))
    except GradatimError as error:
        return [Checked(what="prm", found="does not work", note=str(error), works=False)]
    where = f"{settings.model} at {settings.base_url}"
    if isinstance(result, Fault):
        said, works = f"{result.reason}: {result.message}", False
    else:
        said = result.reason or f"{len(result.scores)} scores for {len(_STEPS)} steps"
        works = len(result.scores) == len(_STEPS)
    return [Checked(what="prm", found="works" if works else "does not work", note=f"{where}: {said}", works=works)]
