"""`status`, `show` and `query`: reading a library, also while another process writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gradatim.cli.context import Start, pass_start
from gradatim.cli.output import print_rows, row_options
from gradatim.errors import UsageError
from gradatim.library.attempts import settings
from gradatim.types import Outcome

if TYPE_CHECKING:
    from gradatim.library.store import Library


@click.command(short_help="What the library holds.")
@row_options
@pass_start
def status(start: Start, /, shape: str | None) -> None:
    """Show what the library holds: sets, attempts and verdicts per model, draws, faults, drops."""
    with start.library(write=False) as library:
        print_rows(("what", "which", "count", "more"), summary(library), shape)


def summary(library: Library) -> list[tuple[str, str, int, str]]:
    """Return the library's contents in sum."""
    return [
        *library.all(
            "SELECT 'questions', s.name || CASE s.purpose WHEN 'eval' THEN ' (eval)' ELSE '' END, count(m.question), "
            "(SELECT count(*) || ' excluded' FROM member n JOIN (SELECT DISTINCT question FROM "
            "exclusion) e ON e.question = n.question WHERE n.question_set = s.pk) "
            "FROM question_set s LEFT JOIN member m ON m.question_set = s.pk GROUP BY s.pk"
        ),
        *library.all(
            "SELECT 'dropped rows', s.name, count(*), d.reason FROM dropped d JOIN question_set s "
            "ON s.pk = d.question_set "
            "GROUP BY s.pk, d.reason ORDER BY s.pk, count(*) DESC"
        ),
        *library.all(
            "SELECT 'attempts', s.role || ' ' || s.model, count(*), "
            "coalesce(sum(a.written_tokens), 0) || ' tokens written' || "
            "CASE WHEN sum(a.cost) IS NULL THEN '' ELSE printf(', cost %.4f', sum(a.cost)) END "
            "FROM answer a JOIN setting s ON s.pk = a.setting GROUP BY s.pk"
        ),
        *_verdicts(library),
        *library.all(
            "SELECT 'scores', p.name, count(*), CASE x.reason WHEN '' THEN 'scored' ELSE x.reason "
            "END FROM score x JOIN prm p ON p.pk = x.prm GROUP BY p.pk, x.reason"
        ),
        *library.all(
            "SELECT 'grades', g.model, count(*), 'rule ' || g.rule || ', grading ' || g.id FROM "
            "grade x JOIN grading g ON g.pk = x.grading GROUP BY g.pk"
        ),
        *library.all(
            "SELECT 'draws', d.name, d.size, d.mix || ', ' || (SELECT count(*) FROM chain c WHERE "
            "c.draw = d.pk AND c.kept) || ' chains kept' FROM draw d"
        ),
        *library.all(
            "SELECT 'faults', f.stage || ' ' || f.boundary, count(*), f.reason FROM fault f GROUP "
            "BY f.stage, f.boundary, f.reason"
        ),
    ]


def _verdicts(library: Library) -> list[tuple[str, str, int, str]]:
    """Count each model's attempts by their newest verdict's outcome."""
    # Counted in one pass: grouping would sort four million rows. LIMIT -1 keeps SQLite from looking a verdict up anew
    # for each of the counts.
    counts = ", ".join(f"count(*) FILTER (WHERE outcome = '{outcome}')" for outcome in sorted(Outcome))
    sql = (
        f"SELECT {counts} FROM (SELECT (SELECT v.outcome FROM fresh v WHERE v.attempt = a.pk "
        "ORDER BY v.checker DESC LIMIT 1) AS outcome FROM attempt a WHERE a.setting = ? LIMIT -1)"
    )
    return [
        ("verdicts", f"{setting.role} {setting.model}", count, outcome.value)
        for setting in settings(library)
        for outcome, count in zip(sorted(Outcome), library.all(sql, (setting.pk,))[0], strict=True)
        if count
    ]


@click.command(short_help="One question or attempt with all that is known of it.")
@click.argument("id_", metavar="[ID]", required=False)
@click.option("--dropped", is_flag=True, help="List rows that did not become questions.")
@click.option("--excluded", is_flag=True, help="List questions that no draw may hold, with the passage.")
@click.option("--faults", is_flag=True, help="List faults, the newest first.")
@click.option("--reason", metavar="WORD", help="With --dropped, --excluded or --faults: only this reason.")
@row_options
@pass_start
def show(
    start: Start, /, id_: str | None, dropped: bool, excluded: bool, faults: bool, reason: str | None, shape: str | None
) -> None:
    """Show a question or an attempt by its id (or the id's beginning): texts, verdicts, scores, grades, chains."""
    with start.library(write=False) as library:
        for wanted, sql in ((dropped, _DROPPED), (excluded, _EXCLUDED), (faults, _FAULTS)):
            if wanted:
                columns, body = sql
                print_rows(columns, library.rows(body, (reason, reason)), shape)
                return
        if not id_:
            raise UsageError(
                "Say what to show: an id, --dropped, --excluded or --faults. Ids are in: gradatim "
                'query "select id, prompt from questions"'
            )
        print_rows(("what", "value"), _everything(library, id_), shape)


_DROPPED = (
    ("set", "place", "reason", "detail", "row"),
    (
        "SELECT s.name, d.place, d.reason, d.detail, unpack(d.body) FROM dropped d JOIN "
        "question_set s ON s.pk = d.question_set WHERE ? IS NULL OR d.reason = ? ORDER BY d.pk"
    ),
)
_EXCLUDED = (
    ("question", "reason", "detail"),
    (
        "SELECT q.id, e.reason, e.detail FROM exclusion e JOIN question q ON q.pk = "
        "e.question WHERE ? IS NULL OR e.reason = ? ORDER BY q.pk"
    ),
)
_FAULTS = (
    ("stage", "boundary", "reason", "message", "question", "model", "sample"),
    (
        "SELECT stage, boundary, reason, message, question, model, sample FROM faults WHERE ? "
        "IS NULL OR reason = ? ORDER BY at DESC"
    ),
)


def _everything(library: Library, id_: str) -> list[tuple[str, object]]:
    """Return what is known of the question that this id, or attempt id, begins."""
    question_id = id_.partition("-")[0].lower()
    found = library.all(
        "SELECT pk, id FROM question WHERE id >= ? AND id < ? || '{' LIMIT 2", (question_id, question_id)
    )
    if len(found) != 1:
        raise UsageError(
            f"{'Several questions' if found else 'No question'} in {library.path} "
            f"{'begin' if found else 'begins'} with the id {question_id!r}."
        )
    pk, full = found[0]
    rows: list[tuple[str, object]] = []
    columns = ("id", "domain", "sets", "excluded", "source", "prompt", "reference", "solution", "extra")
    values = library.all(f"SELECT {', '.join(columns)} FROM questions WHERE id = ?", (full,))[0]
    rows += [(name, value) for name, value in zip(columns, values, strict=True) if value not in (None, "", "{}")]
    rows += _suite(library, pk)
    attempts = library.all(_ATTEMPTS, (pk,))
    if "-" in id_:
        asked = id_.lower()
        attempts = [one for one in attempts if one[1] == asked] or [one for one in attempts if one[1].startswith(asked)]
        if not attempts:
            raise UsageError(f"No attempt in {library.path} begins with the id {id_!r}. See: gradatim show {full}")
    for attempt in attempts:
        rows += _attempt(library, attempt)
    rows += [
        (
            "grade",
            (
                f"level {level} for {model} by rule {rule}: difficulty {_number(difficulty)}, pass "
                f"rate {_number(low)} to {_number(high)}{', ' + why if why else ''}"
            ),
        )
        for level, model, rule, difficulty, low, high, why in library.all(
            "SELECT x.level, g.model, g.rule, x.difficulty, x.low, x.high, x.reason FROM grading g CROSS JOIN grade x "
            "ON x.grading = g.pk WHERE x.question = ? ORDER BY g.pk",
            (pk,),
        )
    ]
    rows += [
        ("drawn", f"{draw}: level {level}, rank {rank}")
        for draw, level, rank in library.all(
            "SELECT d.name, i.level, i.rank FROM draw d CROSS JOIN draw_item i ON i.draw = d.pk "
            "WHERE i.question = ? ORDER BY d.pk",
            (pk,),
        )
    ]
    return rows


_ATTEMPTS = (
    "SELECT a.pk, q.id || '-' || s.id || '-' || a.sample, s.role || ' ' || s.model, "
    "thinking_of(t.content, t.reasoning), answer_of(t.content, t.reasoning), a.finish_reason, a.completion_tokens, "
    "CASE a.further WHEN 'anew' THEN ', begun anew, not continued' ELSE coalesce(', ' || a.further, '') END "
    "FROM question q CROSS JOIN setting s "
    "CROSS JOIN answer a ON a.setting = s.pk AND a.question = q.pk JOIN answer_text t ON t.attempt = a.pk "
    "WHERE q.pk = ? ORDER BY a.setting, a.sample"
)


def _attempt(library: Library, attempt: tuple[object, ...]) -> list[tuple[str, object]]:
    """Return an attempt's texts, verdicts, scores and what became of it as a chain."""
    pk, id_, who, thinking, answer, finish, tokens, became = attempt
    counted = "unknown" if tokens is None else tokens
    rows: list[tuple[str, object]] = [
        (
            "attempt",
            f"{id_} by {who}, finish {finish or 'unknown'}, {counted} tokens{became}",
        )
    ]
    if thinking:
        rows.append(("  thinking", thinking))
    rows.append(("  answer", answer))
    for verdict in library.all(_VERDICTS, (pk,)):
        rows += _verdict(*verdict)
    rows += [
        ("  scores", f"mean {_number(mean)} {steps} by {name}" if not reason else f"none: {reason} ({name})")
        for mean, steps, reason, name in library.all(
            "SELECT x.mean, x.steps, x.reason, p.name FROM score x JOIN prm p ON p.pk = x.prm WHERE x.attempt = ?",
            (pk,),
        )
    ]
    rows += [
        ("  chain", f"{draw}: {reason}")
        for draw, reason in library.all(
            "SELECT d.name, c.reason FROM draw d CROSS JOIN chain c ON c.draw = d.pk WHERE c.attempt = ?", (pk,)
        )
    ]
    return rows


_VERDICTS = (
    "SELECT v.outcome, v.reason, unpack(coalesce(x.answer, v.answer)), v.found_by, c.name || ' ' || c.version || "
    "CASE c.round WHEN 0 THEN '' ELSE ', round ' || c.round END || iif(v.checker <= coalesce((SELECT f.stale "
    "FROM further f WHERE f.attempt = v.attempt), 0), ', of the first answer', ''), v.passed, v.total, "
    "unpack(x.detail) "
    "FROM verdict v JOIN checker c ON c.pk = v.checker LEFT JOIN verdict_text x ON x.attempt = v.attempt "
    "AND x.checker = v.checker WHERE v.attempt = ? ORDER BY c.pk"
)


def _verdict(
    outcome: str, reason: str, text: str, found: str, checker: str, passed: int | None, total: int | None, detail: str
) -> list[tuple[str, object]]:
    """Return what a checker decided; of a program, its tests too."""
    if not detail and total is None and not checker.startswith("code "):
        return [("  verdict", f"{outcome} ({reason}; compared {text!r}, found by {found or 'nothing'}; {checker})")]
    from gradatim.work.programs import read_detail

    said = read_detail(detail)
    tests = "" if total is None else f"; {'not all' if passed is None else passed} of {total} tests passed"
    rows: list[tuple[str, object]] = [
        ("  verdict", f"{outcome} ({reason}{tests}; {checker})"),
        ("    program", _place(text, found, said.span)),
        ("    used", said.used()),
    ]
    if said.failed is not None:
        rows.append(("    failed test", "-" if said.failed.test is None else f"{said.failed.test} of {total}"))
        rows += [(f"      {name}", words) for name, words in said.failed.words()]
    return [row for row in rows if row[1]]


def _place(program: str, found: str, span: tuple[int, int] | None) -> str:
    """Say which part of an answer was taken for the program."""
    if not found:
        return ""
    where = f", {span[0]:,} to {span[1]:,} of the answer" if span else ""
    return f"{len(program):,} characters found by {found}{where}"


def _suite(library: Library, pk: int) -> list[tuple[str, object]]:
    """Say in a line what tests a code question has; they can be megabytes."""
    from gradatim.library.questions import tests
    from gradatim.suite import decoded

    text = tests(library, pk)
    if not text:
        return []
    suite = decoded(text)
    what = [f"{len(suite.cases)} cases" if suite.cases else "assertions", f"{len(text):,} characters"]
    what += [f"function {suite.function}"] if suite.function else []
    what += [f"for {', '.join(suite.entries)}"] if suite.entries else []
    return [("tests", f'{suite.style}: {", ".join(what)} (gradatim query "select tests from questions")')]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@click.command(short_help="Run a SELECT; long texts are readable.")
@click.argument("sql")
@row_options
@pass_start
def query(start: Start, /, sql: str, shape: str | None) -> None:
    """Run a SELECT against the library.

    Views: questions, attempts, verdicts, scores, grades, draws, chains, faults, drops, ledger,
    batches, batch_items.
    """
    from gradatim.library.store import select

    with start.library(write=False) as library:
        columns, rows = select(library, sql)
        print_rows(columns, rows, shape)
