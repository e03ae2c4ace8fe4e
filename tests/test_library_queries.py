"""The library's queries give what a count by hand gives, also across the borders of their pages."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from gradatim.library import attempts, draws, grades, paging, questions, verdicts
from gradatim.library.attempts import NewAttempt
from gradatim.library.store import Library
from gradatim.types import Domain, Outcome, Question, Reply, Role, StepScores, Usage, Verdict

SEEDS = range(8)


@dataclass
class Made:
    """A small library of random contents, and the same contents as plain Python."""

    library: Library
    members: dict[str, set[int]] = field(default_factory=dict)
    purposes: dict[str, str] = field(default_factory=dict)
    excluded: set[int] = field(default_factory=set)
    settings: list[attempts.Setting] = field(default_factory=list)
    attempts: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """(setting, question, sample): key of the attempt."""
    outcomes: dict[tuple[int, int], str] = field(default_factory=dict)
    """(attempt, checker): outcome."""
    checkers: list[int] = field(default_factory=list)
    scores: dict[tuple[int, int], float | None] = field(default_factory=dict)
    prms: list[int] = field(default_factory=list)

    def of(self, pk):
        """The domain of a question."""
        return Domain.MATH if pk % 3 else Domain.CHOICE

    def active(self, names):
        """Questions of the sets, without excluded ones that are in no evaluation set."""
        evaluated = set().union(*(self.members[name] for name in self.members if self.purposes[name] == "eval"))
        return set().union(*(self.members[name] for name in names)) - (self.excluded - evaluated)

    def newest(self, attempt):
        """The newest verdict's outcome, or None."""
        return next(
            (self.outcomes[attempt, one] for one in self.checkers[::-1] if (attempt, one) in self.outcomes), None
        )


@pytest.fixture(params=SEEDS)
def made(request, tmp_path):
    random_ = random.Random(request.param)
    with Library(tmp_path / "library.db", write=True) as library:
        one = Made(library)
        _fill_questions(one, random_, random_.randint(1, 40))
        _fill_attempts(one, random_)
        _fill_verdicts(one, random_)
        yield one


def _fill_questions(made, random_, count):
    made.purposes = {"pool": "pool", "more": "pool", "eval": "eval"}
    made.members = {name: set() for name in made.purposes}
    with made.library.transaction() as connection:
        pks = {name: questions.ensure_set(connection, name, purpose) for name, purpose in made.purposes.items()}
        for pk in range(1, count + 1):
            sets = random_.sample(sorted(pks), random_.choice((1, 1, 1, 2, 3)))
            domain = made.of(pk)
            added = Question(id=f"{random_.getrandbits(60):x}", domain=domain, prompt=f"question {pk}", reference="1")
            assert questions.add(connection, pks[sets[0]], added) == pk
            for name in sets:
                questions.join(connection, pks[name], pk)
                made.members[name].add(pk)
            for reason in ("contaminated", "by hand"):
                if random_.random() < 0.2:
                    questions.exclude(connection, pk, reason, "a test")
                    made.excluded.add(pk)


def _fill_attempts(made, random_):
    every = sorted(set().union(*made.members.values()))
    for role, model in ((Role.BASE, "a"), (Role.BASE, "b"), (Role.TEACHER, "t")):
        made.settings.append(attempts.ensure_setting(made.library, role, model, "{}"))
    new = []
    for setting, question in itertools.product(made.settings, every):
        share = random_.choice((0.0, 0.5, 1.0))
        new += [(setting.pk, question, sample) for sample in range(6) if random_.random() < share]
    random_.shuffle(new)
    with made.library.transaction() as connection:
        attempts.write(connection, [_attempt(*key) for key in new])
    made.attempts = {key: pk for pk, key in enumerate(new, start=1)}


def _attempt(setting, question, sample):
    reply = Reply(content=f"answer {question}/{sample}", finish_reason="stop", usage=Usage(prompt=1, completion=2))
    return NewAttempt(setting=setting, question=question, sample=sample, reply=reply, cost=None, made_at=0.0)


def _fill_verdicts(made, random_):
    made.checkers = [verdicts.ensure_checker(made.library, "check", version) for version in ("1", "2")]
    made.prms = [verdicts.ensure_prm(made.library, "prm", version) for version in ("1", "2")]
    with made.library.transaction() as connection:
        for attempt in made.attempts.values():
            for checker in made.checkers:
                if random_.random() < 0.6:
                    outcome = random_.choice(list(Outcome))
                    verdicts.write_verdict(connection, attempt, checker, Verdict(outcome=outcome, reason="a_test"))
                    made.outcomes[attempt, checker] = outcome
            for prm in made.prms:
                if random_.random() < 0.4:
                    mean = random_.choice((None, 0.25, 0.75))
                    reason, values = ("too_long", ()) if mean is None else ("", (mean,))
                    scores = StepScores(steps=("a step",), scores=values, reason=reason)
                    verdicts.write_scores(connection, attempt, prm, scores)
                    made.scores[attempt, prm] = mean


@pytest.fixture(params=[1, 3, 1000])
def _page(request, monkeypatch):
    """Pages as small as one row, and larger than everything."""
    for module, name in ((paging, "PAGE"), (paging, "WINDOW"), (questions, "PAGE"), (grades, "QUESTIONS")):
        monkeypatch.setattr(module, name, request.param)


CHOICES = [("pool",), ("more", "pool"), ("eval",), ("eval", "more"), ("pool", "more", "eval")]


@pytest.mark.usefixtures("_page")
@pytest.mark.parametrize("names", CHOICES)
def test_missing_and_counts_agree_with_a_count_by_hand(made, names):
    """Each sample that an active question lacks is named once, and done and missing add up to what is wanted."""
    chosen = questions.chosen_sets(made.library, names)
    active = made.active(names)
    assert questions.count_active(made.library, chosen) == len(active)
    for setting, samples in itertools.product(made.settings, (1, 4, 6)):
        lacking = {
            question: lack
            for question in sorted(active)
            if (lack := [one for one in range(samples) if (setting.pk, question, one) not in made.attempts])
        }
        found = list(attempts.missing(made.library, setting, chosen, samples))
        assert sorted(found) == list(lacking.items())
        done = attempts.count_done(made.library, setting, chosen, samples)
        assert done == len(active) * samples - sum(map(len, lacking.values()))


@pytest.mark.usefixtures("_page")
def test_missing_sees_no_answer_twice_that_comes_while_it_runs(made):
    """Answers that are written while the pages are read neither hide a question nor bring one again."""
    chosen = questions.chosen_sets(made.library, None)
    setting, asked = made.settings[0], []
    for question, lack in attempts.missing(made.library, setting, chosen, 3):
        asked.append(question)
        with made.library.transaction() as connection:
            attempts.write(connection, [_attempt(setting.pk, question, sample) for sample in lack])
    assert len(asked) == len(set(asked))
    assert not list(attempts.missing(made.library, setting, chosen, 3))


@pytest.mark.usefixtures("_page")
def test_pages_give_every_active_question_once(made):
    """Questions come in the order they were read, with their texts."""
    chosen = questions.chosen_sets(made.library, ["more", "eval"])
    found = [(pk, one.prompt) for some in questions.pages(made.library, chosen) for pk, one in some.items()]
    assert sorted(found) == [(pk, f"question {pk}") for pk in sorted(made.active(["more", "eval"]))]


@pytest.mark.usefixtures("_page")
@pytest.mark.parametrize("role", [None, Role.BASE, Role.TEACHER, Role.EVAL])
def test_unjudged_gives_each_attempt_that_the_checker_has_not_judged(made, role):
    """By domain and role, each once, in the order they were made, whatever other checkers decided."""
    roles = {setting.pk: setting.role for setting in made.settings}
    for checker, domain in itertools.product((*made.checkers, 99), Domain):
        expected = [
            pk
            for (setting, question, _), pk in made.attempts.items()
            if (pk, checker) not in made.outcomes and made.of(question) is domain and role in (None, roles[setting])
        ]
        found = list(verdicts.unjudged(made.library, domain, checker, role=role))
        assert [one.pk for one in found] == expected
        keys = {pk: key for key, pk in made.attempts.items()}
        for one in found:
            setting, question, sample = keys[one.pk]
            assert (one.setting, one.question, one.content) == (setting, question, f"answer {question}/{sample}")


@pytest.mark.usefixtures("_page")
def test_unscored_gives_each_wrong_attempt_without_a_score(made):
    """The newest verdict counts, and a reason for having no score counts as a score."""
    for setting, prm in itertools.product(made.settings, made.prms):
        expected = [
            pk
            for (of, _, _), pk in made.attempts.items()
            if of == setting.pk and made.newest(pk) == Outcome.WRONG and (pk, prm) not in made.scores
        ]
        assert [one.pk for one in verdicts.unscored(made.library, setting, prm)] == expected


@pytest.mark.usefixtures("_page")
def test_evidence_never_splits_a_question(made):
    """Each attempted question comes once, in order, with all its samples, newest outcomes and the PRM's means."""
    for setting, prm in itertools.product(made.settings, (None, *made.prms)):
        expected = {}
        for (of, question, sample), pk in sorted(made.attempts.items()):
            if of == setting.pk:
                expected.setdefault(question, []).append((sample, made.newest(pk), made.scores.get((pk, prm))))
        found = list(grades.evidence(made.library, setting, prm))
        assert [question for question, _ in found] == list(expected)
        for question, rows in found:
            assert [(one.sample, one.outcome, one.score) for one in rows] == expected[question]


def _graded(made, model, random_):
    """Grade every question at random; return the grading and the levels."""
    grading = grades.ensure_grading(made.library, made.settings[0], None, "rate", f'{{"{model}": 1}}')
    levels = {pk: random_.choice((None, 0, 1, 2, 3, 4, 5)) for pk in sorted(set().union(*made.members.values()))}
    rows = [(grading.pk, pk, level, None, 0.0, 1.0, 1, 1, 0, None, "", None) for pk, level in levels.items()]
    with made.library.transaction() as connection:
        grades.write(connection, rows)
    return grading, levels


def test_histogram_counts_a_question_of_two_pools_once(made):
    """Of one set its own questions, of all pools each question once, without those of evaluation sets only."""
    grading, levels = _graded(made, "a", random.Random(1))
    for one in questions.sets(made.library):
        assert grades.histogram(made.library, grading, one.pk) == Counter(levels[pk] for pk in made.members[one.name])
    pools = made.members["pool"] | made.members["more"]
    assert grades.histogram(made.library, grading) == Counter(levels[pk] for pk in pools)


def test_moves_counts_what_both_graded(made):
    """A question without a level in either grading is in no cell."""
    (first, before), (second, after) = _graded(made, "a", random.Random(1)), _graded(made, "b", random.Random(2))
    expected = Counter((before[pk], after[pk]) for pk in before if None not in (before[pk], after[pk]))
    assert {(one, other): count for one, other, count in grades.moves(made.library, first, second)} == expected


def test_undrawable_holds_excluded_and_evaluation_questions(made):
    """Also those that are in a pool as well."""
    assert draws.undrawable(made.library) == made.excluded | made.members["eval"]


@pytest.mark.parametrize("names", [None, ("pool",), ("more", "pool"), ("pool", "eval")])
def test_available_counts_what_graded_gives_without_the_undrawable(made, names):
    """Counts are taken from an index, questions come one by one: both are of the same questions."""
    grading, levels = _graded(made, "a", random.Random(3))
    sets = None if names is None else questions.chosen_sets(made.library, names)
    inside = set().union(*(made.members[name] for name in names or made.members))
    counts = draws.available(made.library, grading, sets)
    assert sorted(counts) == list(range(6))
    never = draws.undrawable(made.library)
    for level in range(6):
        found = [pk for pk, _ in draws.graded(made.library, grading, level, sets)]
        assert sorted(found) == [pk for pk in levels if levels[pk] == level and pk in inside]
        assert counts[level] == len(set(found) - never)


def test_keys_come_in_the_order_of_the_ids(made):
    """An order that a seed gave is kept."""
    rows = made.library.all("SELECT id, pk FROM question")
    random.Random(4).shuffle(rows)
    assert draws.keys(made.library, [id_ for id_, _ in rows]) == [pk for _, pk in rows]


def test_status_counts_each_attempt_by_its_newest_verdict(made):
    """An attempt that two checkers judged counts once, as the later one decided."""
    from gradatim.cli.looking import summary

    expected = Counter()
    for (pk, _, _), attempt in made.attempts.items():
        setting = next(one for one in made.settings if one.pk == pk)
        if made.newest(attempt) is not None:
            expected["verdicts", f"{setting.role} {setting.model}", made.newest(attempt)] += 1
    found = {(row[0], row[1], row[3]): row[2] for row in summary(made.library) if row[0] == "verdicts"}
    assert found == expected


def test_the_view_of_questions_names_their_sets(made):
    """Each set once, also where a question is in several."""
    rows = made.library.all("SELECT q.pk, v.sets FROM questions v JOIN question q ON q.id = v.id")
    for pk, sets in rows:
        assert sorted(sets.split(",")) == sorted(name for name in made.members if pk in made.members[name])


SMALL = ("setting", "question_set", "grading", "draw", "checker", "prm", "s", "g", "d", "fault")
"""Tables, and their short names in the queries, that stay small in a large library."""


def test_no_page_and_no_item_scans_a_large_table(made):
    """What is run once for each page or question finds its rows by a key; SQLite's own plan says so."""
    from gradatim.cli.looking import _everything

    library, setting = made.library, made.settings[0]
    grading, _ = _graded(made, "a", random.Random(5))
    chosen = questions.chosen_sets(library, None)
    statements = []
    library._reader.set_trace_callback(statements.append)
    list(attempts.missing(library, setting, chosen, 9))
    attempts.next_sample(library, setting, 1)
    list(questions.pages(library, chosen))
    list(verdicts.unjudged(library, Domain.MATH, 99, role=Role.BASE))
    list(verdicts.unscored(library, setting, made.prms[0]))
    list(grades.evidence(library, setting, made.prms[0]))
    list(draws.graded(library, grading, 1, chosen))
    draws.keys(library, [questions.get(library, 1).id])
    _everything(library, questions.get(library, 1).id)
    library._reader.set_trace_callback(None)
    scans = {
        (step[3], sql)
        for sql in set(statements)
        for step in library.all(f"EXPLAIN QUERY PLAN {sql}")
        if step[3].startswith("SCAN") and step[3].split()[1] not in SMALL
    }
    assert len(statements) > 15
    assert not scans
