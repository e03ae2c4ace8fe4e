"""Curate: at most a quota per level, one chain per question, and a reason for everything else."""

import pytest

import gradatim as gr
from pools import answer, drawn_library, question, record_answers, write_rows

CALM = gr.CurateSettings(max_repetition=1.0)


@pytest.fixture
def library(tmp_path):
    with drawn_library(tmp_path) as library:
        yield library


def numbers(library, where="1") -> list[int]:
    """The numbers of the draw's questions, in the draw's order."""
    ids = {gr.Question.make_id("math", question(n)["problem"]): n for n in range(200)}
    return [ids[id_] for (id_,) in library.all(f"SELECT question FROM draws WHERE {where} ORDER BY level, rank")]


def taught(library, folder, answers) -> None:
    """Record a teacher's answers: texts by question."""
    rows = [{"q": question(n)["problem"], "a": text} for n, texts in answers.items() for text in texts]
    path = str(write_rows(folder / "teacher.jsonl", rows))
    gr.record(library, path, {"prompt": "q", "answer": "a"}, model="teacher", role="teacher")
    gr.verify(library)


def chains(library) -> list[tuple]:
    return library.all("SELECT question, kept, reason FROM chains ORDER BY 1, attempt")


def right(number: int) -> str:
    return answer(question(number)["answer"])


def test_a_level_keeps_its_quota_and_the_rest_say_so(library, tmp_path):
    """Where every drawn question is solved, the first of each level's order are kept and the reserve is over quota."""
    taught(library, tmp_path, {n: [right(n)] for n in numbers(library)})
    result = gr.curate(library, "d", CALM)
    assert {line.level: line.kept for line in result.lines} == {1: 5, 2: 4, 3: 3, 4: 2, 5: 1}
    assert all(line.reasons == {"over_quota": line.attempts - line.kept} for line in result.lines)
    kept = [id_ for id_, keep, _ in chains(library) if keep]
    quota = "(CASE level WHEN 1 THEN 5 WHEN 2 THEN 4 WHEN 3 THEN 3 WHEN 4 THEN 2 ELSE 1 END)"
    first = library.all(f"SELECT question FROM draws WHERE rank < {quota}")
    assert sorted(kept) == sorted(id_ for (id_,) in first)


def test_a_question_has_one_chain(library, tmp_path):
    """Of several right answers the first sample is kept, the others are `another_kept`."""
    number = numbers(library)[0]
    taught(library, tmp_path, {number: [right(number), right(number) + " Indeed.", right(number) + " Yes."]})
    result = gr.curate(library, "d", CALM)
    assert result.kept == 1
    assert [(keep, reason) for _, keep, reason in chains(library)] == [
        (1, "kept"),
        (0, "another_kept"),
        (0, "another_kept"),
    ]


def test_every_attempt_has_a_decision_and_the_reasons_are_counted(library, tmp_path):
    """Wrong, too short, too long, repeated, foreign, without an answer: each is listed with its own reason."""
    cases = {
        "kept": right,
        "wrong": lambda n: answer(str(int(question(n)["answer"]) + 1)),
        "too_short": lambda n: f"\\boxed{{{question(n)['answer']}}}",
        "too_long": lambda n: " ".join(str(k) for k in range(4000)) + right(n),
        "repetition": lambda n: "Let us think about it again and again.\n" * 40 + right(n),
        "language": lambda n: "Мы считаем всё, что есть, и складываем числа вместе. " + right(n),
    }
    order = numbers(library, "level = 1")
    given = {n: [make(n)] for n, make in zip(order, cases.values(), strict=False)}
    taught(library, tmp_path, given)
    curate = gr.CurateSettings(min_chars=30, max_tokens=2000, max_repetition=0.5, scripts=["latin"])
    result = gr.curate(library, "d", curate)
    reasons = dict.fromkeys(cases, 1)
    assert dict(library.all("SELECT reason, count(*) FROM chains GROUP BY 1")) == reasons
    assert result.lines[0].reasons == {word: 1 for word in cases if word != "kept"}
    assert len(chains(library)) == len(given)


def test_other_filters_can_be_tried_and_replace_the_old_decisions(library, tmp_path):
    """Curation is derived: the first settings again give the first result, and no attempt changes."""
    taught(library, tmp_path, {n: [right(n)] for n in numbers(library)})
    before = library.value("SELECT count(*) FROM attempts")
    gr.curate(library, "d", CALM)
    first = chains(library)
    assert gr.curate(library, "d", gr.CurateSettings(min_chars=10_000)).kept == 0
    assert gr.curate(library, "d", CALM).kept == 15
    assert chains(library) == first
    assert library.value("SELECT count(*) FROM attempts") == before


def test_keep_any_takes_wrong_ones_and_the_newest_verdict_decides(library, tmp_path, monkeypatch):
    """A wrong answer is a chain under keep = any; after a new round that finds it right it is one anyway."""
    from gradatim.checkers.math import MathChecker

    order = numbers(library, "level = 1")[:3]
    real = MathChecker.check
    with monkeypatch.context() as patched:
        wrong = gr.Verdict(outcome=gr.Outcome.WRONG, reason="different_number")
        patched.setattr(MathChecker, "check", lambda self, items: ((key, wrong) for key, _ in real(self, items)))
        taught(library, tmp_path, {n: [right(n)] for n in order})
    assert gr.curate(library, "d", CALM).kept == 0
    assert gr.curate(library, "d", gr.CurateSettings(keep="any", max_repetition=1.0)).kept == 3
    gr.verify(library, again=True)
    assert gr.curate(library, "d", CALM).kept == 3


def test_attempts_without_a_verdict_are_not_kept(library, tmp_path):
    """What was not judged yet is `not_verified`, also where any chain would be kept."""
    record_answers(library, tmp_path, "teacher", lambda _: [True], count=90, role="teacher")
    result = gr.curate(library, "d", gr.CurateSettings(keep="any"))
    assert result.kept == 0
    assert {reason for _, _, reason in chains(library)} == {"not_verified"}


def test_thinking_without_an_answer_is_no_chain(library, tmp_path):
    """An answer that is only thinking has nothing to be trained on, and says so."""
    number = numbers(library)[0]
    taught(library, tmp_path, {number: [f"<think>It is \\boxed{{{question(number)['answer']}}}"]})
    gr.curate(library, "d", CALM)
    assert {reason for _, _, reason in chains(library)} == {"undecided"}


def test_questions_that_were_excluded_since_are_left_out(library, tmp_path):
    """An evaluation set that came after the chains: they are listed as excluded, and the next in order are kept."""
    order = numbers(library, "level = 1")
    taught(library, tmp_path, {n: [right(n)] for n in order})
    path = write_rows(tmp_path / "eval.jsonl", [question(order[0])])
    gr.ingest(library, gr.IngestSettings(path=str(path), set="eval", purpose="eval"))
    result = gr.curate(library, "d", CALM)
    assert result.lines[0].kept == 5
    assert result.lines[0].reasons["question_excluded"] == 1


def test_nothing_to_curate_says_what_to_run(library):
    """Without a teacher's answers, or without the draw, the sentence names the next command."""
    with pytest.raises(gr.UsageError, match="gradatim teach d"):
        gr.curate(library, "d")
    with pytest.raises(gr.UsageError, match="no draw named 'e'"):
        gr.curate(library, "e")
