"""A library of a million questions: how long commands take to start and to finish, and the memory of each.

    python benchmarks/bench_scale.py                      a million questions, four million attempts: some minutes
    python benchmarks/bench_scale.py --questions 50000    the same, smaller
    python benchmarks/bench_scale.py --folder FOLDER      keep the library there, and use it again where it is whole

The library is built with the library's own functions in large transactions, from a seed; then every command runs as a
process of its own, with the file in the system's cache. Time is from the start of the process to its end, or for a
resumed `attempt` to the arrival of its first request at the mock server. CPU is user and system time, memory the peak
resident set, both of the process and of the workers that it has waited for. Exits with 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from gradatim.config import AttemptSettings, IngestSettings, PrmSettings
from gradatim.library import attempts, questions, verdicts
from gradatim.library.attempts import NewAttempt
from gradatim.library.store import Library
from gradatim.models.mock_server import MockServer, MockSettings
from gradatim.stages.ingest import ingest
from gradatim.types import Domain, Outcome, Question, Reply, Role, StepScores, Usage, Verdict
from gradatim.work.judging import make_checker
from gradatim.work.opening import open_prm

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES = 4
CHUNK = 20_000
"""Questions per transaction while the library is built."""
FEW = 5
"""Questions at the end that are left for the resumed `attempt`."""
SEED = 2504
MEMORY_MB = 500
PRM = "mock-prm"
PORT = 8917
"""The mock server's, which the settings in the folder name."""

SETTINGS = f"""
library = "library.db"
[models.base]
model = "base"
base_url = "http://127.0.0.1:{PORT}/v1"
[models.teacher]
model = "teacher"
base_url = "http://127.0.0.1:{PORT}/v1"
[attempt]
samples = {SAMPLES}
max_tokens = 512
sets = ["pool"]
[prm]
model = "{PRM}"
base_url = "http://127.0.0.1:{PORT}/v1"
"""


def question(number: int) -> Question:
    """Return the pool's question of this number; all differ."""
    one, other = number % 997 + 2, number // 997 + 2
    prompt = f"A shelf holds {one} boxes with {other} marbles each. How many marbles are there in all, and how so?"
    return Question(
        id=Question.make_id(Domain.MATH, prompt),
        domain=Domain.MATH,
        prompt=prompt,
        reference=str(one * other),
        source=f"pool.jsonl:{number + 1}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A made-up attempt and what is known of it."""

    question: int
    sample: int
    text: str
    right: bool
    score: float


def answered(number: int) -> Iterator[Answered]:
    """Give a question's attempts; the question's number decides how hard it is and what comes of each."""
    random_ = random.Random(SEED + number)
    chance, quality = random_.random(), random_.random()
    asked = question(number)
    for sample in range(SAMPLES):
        right = random_.random() < chance
        found = asked.reference if right else str(int(asked.reference) + random_.randint(1, 9))
        text = f"Each box holds as many as the next.\n\nSo it is a product.\n\nThe answer is \\boxed{{{found}}}."
        score = min(1.0, max(0.0, random_.gauss(quality, 0.1)))
        yield Answered(question=number + 1, sample=sample, text=text, right=right, score=score)


def build_questions(library: Library, count: int) -> None:
    """Add the pool, with as many bands as near duplicates are looked for by; the first question in the usual way."""
    random_ = random.Random(SEED)
    first = library.path.with_name("first.jsonl")
    first.write_text(json.dumps({"question": question(0).prompt, "answer": question(0).reference}), encoding="utf-8")
    ingest(library, IngestSettings(path=str(first)))
    set_pk = questions.chosen_sets(library, ["pool"])[0].pk
    for start in range(1, count, CHUNK * 5):
        numbers = range(start, min(count, start + CHUNK * 5))
        with library.transaction() as connection:
            pks = [questions.add(connection, set_pk, question(number)) for number in numbers]
            banded = sorted((random_.getrandbits(63), pk) for pk in pks for _ in range(6))
            connection.executemany("INSERT OR IGNORE INTO near_band VALUES (?, ?)", banded)


def build_attempts(library: Library, first: int, last: int) -> None:
    """Add the attempts at the questions from `first` up to `last`."""
    settings = AttemptSettings(samples=SAMPLES, max_tokens=512)
    setting = attempts.ensure_setting(library, Role.BASE, "base", attempts.sampling_text(settings.sampling()))
    usage = Usage(prompt=40, completion=30)
    for start in range(first, last, CHUNK):
        with library.transaction() as connection:
            attempts.write(
                connection,
                [
                    NewAttempt(
                        setting=setting.pk,
                        question=one.question,
                        sample=one.sample,
                        reply=Reply(content=one.text, finish_reason="stop", usage=usage, latency=0.5),
                        cost=None,
                        made_at=1.7e9 + number,
                    )
                    for number in range(start, min(last, start + CHUNK))
                    for one in answered(number)
                ],
            )


def build_verdicts(library: Library, judged: int, scored: int) -> None:
    """Judge the attempts at the first `judged` questions, and score the wrong ones of the first `scored`."""
    checker = make_checker(Domain.MATH)
    key = verdicts.ensure_checker(library, checker.name, checker.version)
    checker.close()
    prm = open_prm(PrmSettings(model=PRM, base_url=f"http://127.0.0.1:{PORT}/v1"))
    prm_key = verdicts.ensure_prm(library, prm.name, prm.version)
    right = Verdict(outcome=Outcome.CORRECT, reason="equal_number", answer="42", found_by="box")
    wrong = Verdict(outcome=Outcome.WRONG, reason="different_number", answer="42", found_by="box")
    for start in range(0, scored, CHUNK):
        keys: dict[tuple[int, int], int] = {
            (row[0], row[1]): row[2]
            for row in library.all(
                "SELECT question, sample, pk FROM attempt WHERE setting = 1 AND question > ? AND question <= ?",
                (start, start + CHUNK),
            )
        }
        with library.transaction() as connection:
            for number in range(start, min(scored, start + CHUNK)):
                for one in answered(number):
                    pk = keys[one.question, one.sample]
                    if number < judged:
                        verdicts.write_verdict(connection, pk, key, right if one.right else wrong)
                    if not one.right:
                        scores = StepScores(steps=("a" * 40, "b" * 30), scores=(one.score, one.score))
                        verdicts.write_scores(connection, pk, prm_key, scores)


def build(path: Path, count: int, phase: str) -> None:
    """Build one phase of the library: `half` of the attempts, or `all` but a few of them and what follows."""
    with Library(path, write=True) as library:
        if phase == "half":
            build_questions(library, count)
            build_attempts(library, 0, count // 2)
        elif phase == "all":
            build_attempts(library, count // 2, count - FEW)
            # The last twentieth is left for `verify`, and some wrong attempts for the PRM.
            build_verdicts(library, count - count // 20, count - FEW - 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one command took."""

    command: str
    seconds: float
    cpu: float
    memory: float
    """Peak, in MB."""
    limit: float | None
    """Of the seconds."""
    code: int

    @property
    def ok(self) -> bool:
        """Whether it ended well and within its limits."""
        return self.code == 0 and self.memory < MEMORY_MB and (self.limit is None or self.seconds < self.limit)


class Bench:
    """A folder with a library, and the commands that run in it."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self.library = folder / "library.db"
        self.table: list[Measured] = []
        (folder / "gradatim.toml").write_text(SETTINGS, encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the package beside this file."""
        program = "import sys; from gradatim.cli.main import main; main()"
        environment = {**os.environ, "PYTHONPATH": sys.path[0]}
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def run(
        self, *arguments: str, limit: float | None = None, first_request: MockServer | None = None, note: str = ""
    ) -> None:
        """Run a command and keep what it took; with a server, the time to its first request counts."""
        if first_request is not None:
            first_request.reset()
        began = time.perf_counter()
        process = self.start(*arguments)
        arrived = None
        while first_request is not None and arrived is None and process.poll() is None:
            if first_request.stats().requests:
                arrived = time.perf_counter() - began
            time.sleep(0.02)
        assert process.stderr is not None
        words = process.stderr.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        ended = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        self.table.append(
            Measured(
                command=" ".join(arguments)[:60] + note,
                seconds=ended if arrived is None else arrived,
                cpu=used.ru_utime + used.ru_stime,
                memory=used.ru_maxrss / 1024,
                limit=limit,
                code=process.returncode,
            )
        )
        print(_line(self.table[-1]), flush=True)
        if process.returncode:
            print(words.strip()[-500:], flush=True)

    def build(self, phase: str) -> None:
        """Build in a process of its own, since a child's peak memory starts at its parent's."""
        began = time.perf_counter()
        call = [sys.executable, __file__, "--build", phase, "--folder", str(self.folder)]
        subprocess.run([*call, "--questions", str(self.count)], check=True)
        print(f"built: {phase}, {time.perf_counter() - began:.0f} s, {_size(self.library)}", flush=True)


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.0f} MB"


def _line(one: Measured) -> str:
    limit = "-" if one.limit is None else f"{one.limit:.0f}"
    ok = "ok" if one.ok else "TOO MUCH" if one.code == 0 else f"exit {one.code}"
    return f"{one.command:<72} {one.seconds:>8.2f} {one.cpu:>8.2f} {one.memory:>8.0f} {limit:>6}  {ok}"


def write_inputs(folder: Path, count: int) -> None:
    """Write files to ingest and to record: new questions, an evaluation set, answers of another model."""
    with (folder / "more.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count, count + count // 50):
            one = question(number)
            file.write(json.dumps({"question": f"{one.prompt} Say it in words.", "answer": one.reference}) + "\n")
    with (folder / "eval.jsonl").open("w", encoding="utf-8") as file:
        for number in range(500):
            file.write(json.dumps({"question": f"What is {number} plus {number}?", "answer": str(2 * number)}) + "\n")
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
        for number in range(count // 20):
            for one in answered(number):
                file.write(json.dumps({"prompt": question(number).prompt, "answer": one.text}) + "\n")


def write_drawn(bench: Bench) -> Path:
    """Write the drawn questions with their references, by which the mock server's teacher is right."""
    path = bench.folder / "drawn.jsonl"
    with Library(bench.library) as library, path.open("w", encoding="utf-8") as file:
        for pks in library.all("SELECT question FROM draw_item WHERE draw = 1"):
            one = questions.get(library, pks[0])
            file.write(json.dumps({"question": one.prompt, "answer": one.reference}) + "\n")
    return path


def measure(bench: Bench) -> None:
    """Run every command on the whole library."""
    some = question(bench.count // 3).id
    with MockServer(MockSettings(port=PORT, models=("base", "teacher", PRM)), process=True) as server:
        bench.run("attempt", limit=5, first_request=server, note=" (all but a few done: first request)")
        bench.run("attempt", limit=5, note=" (all done)")
        bench.run("run", "--dry-run", limit=5)
        bench.run("verify", note=f" ({bench.count // 20 * SAMPLES:,} attempts)")
        bench.run("verify", note=" (nothing new)")
        bench.run("grade", note=" (all questions)")
        bench.run("grade", "--rule", "rate", note=" (all questions)")
    bench.run("grade", "--no-prm", "--cuts", "quintiles", note=" (all questions)")
    bench.run("levels")
    bench.run("status")
    bench.run("sample", limit=2)
    bench.run("sample", "--name", "all", "--easy", "5", "--when-dry", "nearest", limit=2)
    bench.run("run", "--dry-run", limit=5)
    bench.run("show", some)
    bench.run("query", f"select attempt, outcome from verdicts where question = '{some}'")
    bench.run("query", "--nl", "select question, level from grades where level = 3")
    bench.run("ingest", "more.jsonl", "--set", "more", note=f" ({bench.count // 50:,} rows)")
    bench.run("ingest", "eval.jsonl", "--set", "eval", "--eval", note=" (500 rows; screens the pools)")
    fields = ("--field", "prompt=prompt", "--field", "answer=answer")
    bench.run("attempt", "--recorded", "answers.jsonl", "--model", "other", *fields)
    drawn = str(write_drawn(bench))
    settings = MockSettings(port=PORT, models=("teacher",), answers=drawn, accuracy=0.95)
    with MockServer(settings, process=True):
        bench.run("teach", "draw")
    bench.run("curate", "draw")
    bench.run("export", "draw")


def measure_half(bench: Bench) -> None:
    """Resume an attempt run in the middle of its way."""
    with MockServer(MockSettings(port=PORT, models=("base",)), process=True) as server:
        half = " (half done: first request)"
        bench.run("attempt", "--limit", "20", limit=5, first_request=server, note=half)


def main() -> int:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="kept; a folder that is deleted afterwards by default")
    parser.add_argument("--build", choices=["half", "all"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.folder / "library.db", options.questions, options.build)
        return 0
    with tempfile.TemporaryDirectory(prefix="gradatim-scale-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, options.questions)
        heading = f"{'command':<72} {'seconds':>8} {'CPU s':>8} {'peak MB':>8} {'limit':>6}"
        write_inputs(folder, options.questions)
        if not (folder / "built").exists():
            bench.build("half")
            print(heading)
            measure_half(bench)
            bench.build("all")
            (folder / "built").touch()
        print(heading)
        measure(bench)
        print(f"library: {_size(bench.library)}")
    return 0 if all(one.ok for one in bench.table) else 1


if __name__ == "__main__":
    sys.exit(main())
