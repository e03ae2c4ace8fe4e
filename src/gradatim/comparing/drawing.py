"""The arms' draws, and the chains for them: each question is asked about once, whichever arms chose it.

A draw of an arm is an ordinary draw. What its chains are must not depend on which arms came before it: so a question of
a draw's reserve counts only where all before it in its level were asked and gave no chain. The teacher is therefore
asked about the beginnings of all draws together, in one draw of its own (`NAME-chains-1`, `-2` where more were needed),
and then each arm's draw is curated from what is there.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from gradatim import pipeline
from gradatim.comparing import evidence
from gradatim.errors import GradatimError, LimitError, UsageError
from gradatim.library import attempts, draws, questions
from gradatim.library.draws import Draw
from gradatim.library.text import unpack
from gradatim.method.arms import Ask, choose
from gradatim.stages.curate import curate
from gradatim.types import CUT_OFF, Role
from gradatim.work.keeping import drop_reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gradatim.comparing.evidence import Sources
    from gradatim.config import Config
    from gradatim.library.grades import GradingRow
    from gradatim.library.store import Library
    from gradatim.method.arms import Choice
    from gradatim.progress import Progress

_BY_OTHER = "transfer"
"""The arm whose levels are the other model's."""


def draw_all(library: Library, config: Config, sources: Sources) -> dict[tuple[str, int], Draw]:
    """Return a draw for each arm and seed, made where it is not there yet.

    Raises `UsageError` where a draw of that name was made otherwise.
    """
    settings, grading = config.compare, sources.grading
    pool = evidence.known(library, sources)
    seen = _observed(library, config, grading) if "p_eval" in settings.arms else {}
    found: dict[tuple[str, int], Draw] = {}
    there = {one.name: one for one in draws.draws(library)}
    common = _common(library, config, grading)
    for arm in settings.arms:
        by = sources.other if arm == _BY_OTHER and sources.other is not None else grading
        said = {"arm": arm, "chains": settings.chains, "graded": by.id, "reserve": config.sample.reserve}
        said |= common
        if arm == "static":
            said["static"] = settings.static
        if arm == "p_eval":
            said["observed"] = settings.observed
        if arm == "pass_rate_band":
            said |= {"samples": settings.samples, "temperature": settings.temperature}
        for seed in settings.seeds:
            name = f"{settings.name}-{arm}-{seed}"
            if name in there:
                _check_same(there[name], said)
                found[arm, seed] = there[name]
                continue
            choice = choose(arm, pool, Ask(size=settings.chains, seed=seed, observed=seen))
            wanted = Draw(
                pk=0,
                name=name,
                grading=by.pk,
                size=settings.chains,
                seed=seed,
                mix=f"arm:{arm}",
                settings=json.dumps(said | {"moved": choice.moved}),
                quotas=choice.quotas(),
            )
            found[arm, seed] = _write(library, wanted, choice, config.sample.reserve)
    return found


def moved(draw: Draw) -> tuple[str, ...]:
    """Return what an arm had to take in place of what it asks for."""
    return tuple(json.loads(draw.settings)["moved"])


def _common(library: Library, config: Config, grading: GradingRow) -> dict[str, object]:
    """Return what all draws of a comparison share: seeds that are added later are to be of the same experiment."""
    teacher, sampling = config.model(config.teach.model).model, attempts.sampling_text(config.teach.sampling())
    return {
        "pool": evidence.fingerprint(library, grading),
        "teach": {"model": teacher, "sampling": json.loads(sampling), "keep": config.teach.keep},
        "curate": msgspec.to_builtins(config.curate),
    }


def _check_same(draw: Draw, said: Mapping[str, object]) -> None:
    before = json.loads(draw.settings)
    if changed := ", ".join(key for key in said if key in before and before[key] != said[key]):
        raise UsageError(
            f"There is another draw named {draw.name!r}; what differs: {changed}. A draw never changes: choose "
            "another name in [compare]."
        )


def _observed(library: Library, config: Config, grading: GradingRow) -> dict[int, int]:
    (set_,) = questions.chosen_sets(library, [config.compare.observed])
    return evidence.observed(library, grading, set_.pk)


def _write(library: Library, wanted: Draw, choice: Choice, reserve: float) -> Draw:
    keys = evidence.keys(library, choice.ids)
    orders = {level: [keys[id_] for id_ in ids] for level, ids in choice.orders(reserve).items()}
    return draws.write(library, wanted, orders)


def teach_all(
    library: Library, config: Config, drawn: Iterable[Draw], grading: GradingRow, progress: Progress
) -> list[str]:
    """Have the teacher asked until every draw has its chains, and return the names of the draws made for that.

    Raises `GradatimError` after faults, `LimitError` where a budget ends it; the next run goes on.
    """
    drawn = list(drawn)
    made = [one for one in draws.draws(library) if one.name.startswith(f"{config.compare.name}-chains-")]
    asked = {question for one in made for order in draws.items(library, one).values() for question in order}
    while True:
        state = _state(library, config, drawn)
        open_ = {question for draw in drawn for question in _needed(library, draw, state)}
        if not open_:
            return [one.name for one in made]
        if not open_ <= asked:
            asked |= open_
            made.append(_together(library, config, grading, asked, len(made) + 1))
        result = pipeline.do_teach(library, config, made[-1].name, progress)
        state = _state(library, config, drawn)
        if left := sum(state[question] is None for question in asked):
            faults = ", ".join(f"{reason} {count}" for reason, count in result.faults.items())
            raise (GradatimError if faults else LimitError)(
                f"The teacher was not asked all that is needed: {left} of {len(asked)} questions are open "
                f"({faults or result.stopped}). Run the same command to go on."
            )


def _state(library: Library, config: Config, drawn: Sequence[Draw]) -> dict[int, bool | None]:
    """Say of each question of the draws whether it has a chain; None where it may still get one."""
    chosen = config.model(config.teach.model)
    sampling = attempts.sampling_text(config.teach.sampling())
    setting = attempts.ensure_setting(library, Role.TEACHER, chosen.model, sampling)
    keep = msgspec.structs.replace(config.curate, keep=config.teach.keep)
    state: dict[int, bool | None] = {
        question: None for draw in drawn for order in draws.items(library, draw).values() for question in order
    }
    tried: Counter[int] = Counter()
    sql = (
        "SELECT a.question, a.setting, a.finish_reason, a.completion_tokens, t.content, t.reasoning, a.further, "
        "(SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk ORDER BY v.checker DESC LIMIT 1) "
        "FROM setting s JOIN answer a ON a.setting = s.pk JOIN answer_text t ON t.attempt = a.pk WHERE s.role = ?"
    )
    for question, by, finish, tokens, content, reasoning, further, outcome in library.rows(sql, (Role.TEACHER,)):
        if question not in state or state[question]:
            continue
        if not drop_reason(outcome, unpack(content), unpack(reasoning), tokens, keep):
            state[question] = True
        elif by == setting.pk:
            tried[question] += 1
            if finish in CUT_OFF and further is None and config.teach.truncated != "keep":
                continue
            if tried[question] >= config.teach.tries or finish in CUT_OFF:
                state[question] = False
    return state


def _needed(library: Library, draw: Draw, state: Mapping[int, bool | None]) -> list[int]:
    """Return the open questions among those that come before a level has its quota."""
    found: list[int] = []
    for level, order in draws.items(library, draw).items():
        lacking = draw.quotas.get(level, 0)
        for question in order:
            if lacking == 0:
                break
            if state[question] is not False:
                lacking -= 1
            if state[question] is None:
                found.append(question)
    return found


def _together(library: Library, config: Config, grading: GradingRow, asked: Collection[int], number: int) -> Draw:
    """Make a draw of all these questions, each of which is wanted."""
    sql = "SELECT question, level FROM grade WHERE grading = ? AND level IS NOT NULL"
    orders: dict[int, list[int]] = {}
    for question, level in library.all(f"{sql} ORDER BY question", (grading.pk,)):
        if question in asked:
            orders.setdefault(level, []).append(question)
    wanted = Draw(
        pk=0,
        name=f"{config.compare.name}-chains-{number}",
        grading=grading.pk,
        size=len(asked),
        seed=0,
        mix="arm:all",
        settings="{}",
        quotas={level: len(order) for level, order in orders.items()},
    )
    return draws.write(library, wanted, orders)


def curate_all(library: Library, config: Config, drawn: Iterable[Draw]) -> None:
    """Settle the chains of each draw. Raises `LimitError` where one has fewer than the budget: arms are to be equal."""
    for draw in drawn:
        result = curate(library, draw.name, config.curate)
        if result.kept < draw.size:
            dry = ", ".join(
                f"level {one.level}: {one.kept} of {one.quota}" for one in result.lines if one.kept < one.quota
            )
            raise LimitError(
                f"{draw.name} has {result.kept} of {draw.size} chains ({dry}), and its reserve is used up. "
                "Set a larger reserve in [sample] and another name in [compare], or allow more tries in [teach]."
            )
