"""A box runs one program at a time, says what it did, and leaves nothing."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import sandbox_corpus as corpus
from gradatim.checkers.sandbox import Ending, Job, Limits, SandboxError, Tier, open_box, probe
from gradatim.checkers.sandbox.box import ForkServer
from gradatim.checkers.sandbox.command import Plan, command, environment
from gradatim.checkers.sandbox.inside import plain
from gradatim.checkers.sandbox.replies import printable
from gradatim.errors import SetupError

LIMITS = Limits(seconds=1.0, memory_mb=256, output_kb=256)
REPORTS = {report.tier: report for report in probe()} if sys.platform == "linux" else {}
pytestmark = pytest.mark.skipif(
    not REPORTS or not REPORTS[Tier.DEFAULT].available, reason=f"no default tier here: {REPORTS.get(Tier.DEFAULT)}"
)


@pytest.fixture(scope="module")
def box():
    """A box of the default tier."""
    opened = open_box(Tier.DEFAULT)
    yield opened
    opened.close()


def stdio(box, program, stdin=b"", **limits):
    """Run a program that reads stdin and writes stdout."""
    return box.run(Job(style="stdio", program=program, stdin=stdin), replace(LIMITS, **limits))


def call(box, program, *arguments, **limits):
    """Have a program's function `f` called."""
    job = Job(style="call", program=program, function="f", arguments=arguments)
    return box.run(job, replace(LIMITS, **limits))


@pytest.mark.parametrize(
    ("program", "ending", "error"),
    [
        ("print(6)", Ending.FINISHED, ""),
        ("import sys\nsys.exit(0)", Ending.FINISHED, ""),
        ("exit()", Ending.FINISHED, ""),
        ("x = 1\n1 / 0", Ending.EXCEPTION, "ZeroDivisionError: division by zero (line 2)"),
        ("import sys\nsys.exit(3)", Ending.EXCEPTION, "SystemExit: 3"),
        ("raise SystemExit('no')", Ending.EXCEPTION, "SystemExit: no"),
        ("import os\nos._exit(9)", Ending.EXCEPTION, "exit status 9"),
        ("def f(:", Ending.SYNTAX, "SyntaxError: invalid syntax (line 1)"),
        ("import no_such_module", Ending.IMPORT, "ModuleNotFoundError: No module named 'no_such_module' (line 1)"),
        ("a = bytearray(10 ** 9)", Ending.MEMORY, "MemoryError (line 1)"),
        ("import os\nos.abort()", Ending.SIGNAL, "signal 6"),
        ("print('x' * 300_000)", Ending.OUTPUT, "more output than may be"),
        ("while True: pass", Ending.TIME, "not done after 1 s"),
        ("import time\ntime.sleep(60)", Ending.TIME, "not done after 1 s"),
        ("raise Exception('\\x1b[2J' + 'y' * 5000)", Ending.EXCEPTION, "Exception: \\x1b[2J" + "y" * 379 + "..."),
    ],
)
def test_an_ending_says_what_happened(box, program, ending, error):
    """Each way to end has its word, and one line says more."""
    run = stdio(box, program)
    assert (run.ending, run.error) == (ending, error)


def test_a_program_reads_and_writes_as_usual(box):
    """The names of contest programming are there, stdin is read in each usual way, and what is written arrives."""
    program = (
        "from __future__ import annotations\nimport sys\nn = int(input())\n"
        "rest = sys.stdin.buffer.read().split()\nheap = [int(one) for one in rest]\nheapify(heap)\n"
        "print(n, gcd(12, 18), Counter('aab')['a'], sqrt(16.0), pow(2, 5, 7), __name__, datetime.date.min.year)\n"
        "def f(n: List[int]) -> Optional[int]: ...\nout = open(1, 'w', closefd=False)\nout.write('not flushed\\n')\n"
    )
    run = stdio(box, program, b"3\n5 4\n1\n")
    assert run.ending is Ending.FINISHED, run.error
    assert run.stdout.splitlines() == [b"3 6 2 4.0 4 __main__ 1", b"not flushed"]


def test_exit_functions_and_threads_are_waited_for(box):
    """What a program does in other threads and at its end counts as its output."""
    program = (
        "import atexit, threading, time\natexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\nprint('first')\n"
    )
    assert stdio(box, program).stdout.split() == [b"first", b"thread", b"last"]


def test_a_value_comes_back_as_it_is(box):
    """Plain data of every kind crosses both ways with its type."""
    value = [None, True, 0, -(2**70), 1.5, "a\ud800\x00\u202e", b"\xff", (1,), {1: [2]}, {(1, 2)}, frozenset("a"), 2j]
    run = call(box, "def f(*a): return list(a)", *value)
    assert run.ending is Ending.FINISHED, run.error
    assert repr(run.value) == repr(value)
    assert math.isnan(call(box, "def f(): return float('nan')").value)
    assert call(box, "def f(): return 10 ** 20_000").value == 10**20_000


@pytest.mark.parametrize(
    ("program", "ending", "part"),
    [
        ("def f(): return object()", Ending.EXCEPTION, "returned an object of class object, which is no plain data"),
        ("class I(int): ...\ndef f(): return [I(6)]", Ending.EXCEPTION, "class I, which is no plain data"),
        ("def f():\n  x = []\n  x.append(x)\n  return x", Ending.EXCEPTION, "nested too deeply, or in itself"),
        ("def f(): return 'x' * 300_000", Ending.OUTPUT, "larger than the limit"),
        ("def f(): exit(0)", Ending.EXCEPTION, "SystemExit: 0"),
        ("import os\ndef f(): os._exit(0)", Ending.NO_VALUE, "before there was a value"),
        ("def g(): return 6", Ending.FUNCTION, "defines no function 'f'"),
        ("def count(a): return 6\nf = None", Ending.FUNCTION, "defines no function 'f'"),
        ("import os\ndef f():\n  os.write(3, b'[[[')\n  os._exit(0)", Ending.EXCEPTION, "cannot be read"),
        ("import os\ndef f():\n  os.write(3, b'{\"i\":[]}')\n  os._exit(0)", Ending.EXCEPTION, "cannot be read"),
    ],
)
def test_what_is_no_value_is_told_apart(box, program, ending, part):
    """Objects, missing functions, early ends and forged values are no values, and the box goes on."""
    run = call(box, program)
    assert run.ending is ending
    assert part in run.error
    assert call(box, "class Solution:\n  def f(self, a): return a + 1", 5).value == 6


SEARCH = """
import ctypes, gc, os
mark = b"can" + b"ary" + input().encode()
seen = pages = 0
r, w = os.pipe()
for base in sorted({id(one) >> 20 for one in gc.get_objects()}):
    for page in range(base << 20, base + 1 << 20, 4096):
        try:
            os.write(w, (ctypes.c_char * 4096).from_address(page))
        except OSError:
            continue
        pages += 1
        seen += os.read(r, 4096).count(mark)
print(seen, pages)
"""
"""Counts a word in the memory around all objects of the process: what the kernel lets it read there."""


def test_nothing_of_a_program_is_in_the_next_ones_memory(box):
    """A program finds a word that the one before it had, read, wrote and raised no oftener than any other word."""

    def search(digits, text=""):
        run = stdio(box, SEARCH.replace("\nr, w", f"\n{text}\nr, w"), digits, seconds=20.0)
        assert run.ending is Ending.FINISHED, run.error
        return tuple(map(int, run.stdout.split()))

    word = "canary" + "7193"
    stdio(box, f"import sys\nmark = {word!r}\nprint(mark, sys.stdin.read())\nraise ValueError(mark)", word.encode())
    found, pages = search(b"7193")
    assert pages > 500
    assert found <= search(b"5582")[0]
    assert search(b"7193", f"keep = {word!r}")[0] > found, "the search does not find what is there"


def test_the_private_folder_is_small_and_new_each_time(box):
    """A program may write a few files, which the next one does not find, whatever it did to the folder."""
    if "bubblewrap" not in box.layers:
        pytest.skip("without bubblewrap there is no folder to write")
    write = "import os\nopen('x', 'w').write('y')\nos.mkdir('d')\nopen('d/z', 'w')\n"
    write += "os.symlink('/', 'l')\nos.mkdir('d/e', 0)\nos.mkdir('c', 0o300)\nopen('c/w', 'w')"
    assert stdio(box, write).ending is Ending.FINISHED
    assert stdio(box, "import os\nprint(os.listdir('.'), oct(os.stat('.').st_mode))").stdout == b"[] 0o40700\n"
    fill = "n = 0\nfor i in range(2000):\n  try:\n    open(str(i), 'wb').write(b'x' * 100_000)\n    n += 1\n"
    fill += "  except OSError: break\nprint(n)"
    assert 0 < int(stdio(box, fill, seconds=10.0).stdout) < 700
    assert stdio(box, "open('x', 'w').write('y')\nprint(6)").stdout == b"6\n"


def test_folders_without_end_and_files_without_number_are_cleared(box):
    """Folders deeper than there are descriptors, and more files than may be, cost the next program nothing."""
    if "bubblewrap" not in box.layers:
        pytest.skip("without bubblewrap there is no folder to write")
    deep = "import os\nfor i in range(3000):\n  os.mkdir('d')\n  os.chdir('d')\nprint(6)"
    assert stdio(box, deep, seconds=20.0).stdout == b"6\n"
    process = box._process
    assert stdio(box, "import os\nprint(os.listdir('.'))").stdout == b"[]\n"
    many = "i = 0\nwhile True:\n  i += 1\n  open(str(i), 'w').close()"
    assert stdio(box, many, seconds=20.0).error == "more files than may be"
    assert stdio(box, "import os\nprint(os.listdir('.'))").stdout == b"[]\n"
    assert box._process is process


def test_a_killed_box_is_started_anew(box):
    """A job that loses its box is a fault, one that finds it dead is not, and either way the next job runs."""
    stdio(box, "print(6)")
    os.killpg(box._process.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert stdio(box, "print(6)").stdout == b"6\n"
    timer = threading.Timer(0.3, os.killpg, (box._process.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(SandboxError) as caught:
        stdio(box, "import time\ntime.sleep(60)", seconds=30.0)
    assert caught.value.reason == "sandbox_lost"
    assert stdio(box, "print(6)").stdout == b"6\n"


def descriptors():
    """The open descriptors of this process."""
    return {one.name for one in Path("/proc/self/fd").iterdir()}


def test_closing_leaves_nothing():
    """After `close` there is no process, and no descriptor that was not there before."""
    open_box(Tier.DEFAULT).close()
    before, files = corpus.below(os.getpid()), descriptors()
    opened = open_box(Tier.DEFAULT)
    stdio(opened, "print(6)")
    assert corpus.below(os.getpid()) - before
    opened.close()
    opened.close()
    assert corpus.below(os.getpid()) - before == set()
    assert descriptors() == files


def test_a_killed_caller_leaves_nothing():
    """When the calling process is killed in the middle of a program, the box and the program go with it."""
    text = (
        "from gradatim.checkers.sandbox import *\nbox = open_box(Tier.DEFAULT)\nprint('up', flush=True)\n"
        "box.run(Job(style='stdio', program='import time\\ntime.sleep(60)'), Limits(seconds=50))"
    )
    caller = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, env=with_source())
    assert caller.stdout.read(3) == b"up\n"
    time.sleep(0.5)
    started = corpus.below(caller.pid)
    assert started
    caller.kill()
    caller.wait()
    caller.stdout.close()
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < until:
        time.sleep(0.05)
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def with_source():
    """The environment of a process that is to find the package."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}


def test_what_a_program_waits_for_a_core_is_known():
    """Of two busy programs on one core each waits while the other runs, and its run says how long."""
    text = (
        "import os, threading\nfrom gradatim.checkers.sandbox import *\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "job = Job(style='stdio', program='import time\\nwhile time.process_time() < 0.3: pass')\n"
        "boxes = [open_box(Tier.DEFAULT) for _ in range(2)]\nruns = []\n"
        "use = lambda box: runs.append(box.run(job, Limits(seconds=20.0)))\n"
        "threads = [threading.Thread(target=use, args=(box,)) for box in boxes]\n"
        "[one.start() for one in threads]\n[one.join() for one in threads]\n"
        "print(*(f'{run.ending} {run.waited} {run.wall - run.seconds}' for run in runs))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=with_source(), check=True)
    first, waited, idle, *_ = done.stdout.split()
    assert first == "finished"
    assert 0.05 < float(waited) <= float(idle) + 0.01


def test_a_box_outlives_the_thread_that_opened_it():
    """A box that a thread opened serves others after that thread's end, without being started again."""
    found = []
    thread = threading.Thread(target=lambda: found.append(open_box(Tier.DEFAULT)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert stdio(found[0], "print(6)").stdout == b"6\n"
    process = found[0]._process
    assert stdio(found[0], "print(6)").stdout == b"6\n"
    assert found[0]._process is process
    found[0].close()


def test_another_thread_may_close_a_box():
    """Closing a box under the thread that waits for its job ends the job at once, as a fault, and leaves nothing."""
    before, opened, caught = corpus.below(os.getpid()), open_box(Tier.DEFAULT), []

    def work():
        try:
            stdio(opened, "import time\ntime.sleep(60)", seconds=50.0)
        except SandboxError as error:
            caught.append(error.reason)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    opened.close()
    thread.join(10)
    assert caught == ["sandbox_lost"]
    assert corpus.below(os.getpid()) - before == set()


def test_the_environment_is_empty(monkeypatch):
    """No variable of the caller's is in a box, nor in bubblewrap's own environment."""
    monkeypatch.setenv("GRADATIM_CANARY_KEY", "canary")
    opened = open_box(Tier.DEFAULT)
    assert b"canary" not in stdio(opened, "import os\nprint(os.environ)").stdout
    for pid in corpus.below(os.getpid()):
        assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()
    opened.close()


def test_probe_names_tiers_and_layers(monkeypatch):
    """Each tier is tried; without bubblewrap the default one has fewer layers, strict is refused, both with advice."""
    assert [report.tier for report in probe()] == list(Tier)
    monkeypatch.setenv("PATH", "/nowhere")
    found = {report.tier: report for report in probe()}
    assert found[Tier.DEFAULT].available
    assert {"landlock", "seccomp", "rlimits"} <= set(found[Tier.DEFAULT].layers)
    assert "bubblewrap" not in found[Tier.DEFAULT].layers
    for tier in (Tier.DEFAULT, Tier.STRICT):
        assert "apt install bubblewrap" in found[tier].why
    with pytest.raises(SetupError, match=r"`strict` is not available here: .*apt install bubblewrap"):
        open_box(Tier.STRICT)


def test_without_landlock_there_is_no_default_tier(monkeypatch):
    """A kernel without Landlock gives the tier `limits` alone, and says what to do."""
    monkeypatch.setattr("gradatim.checkers.sandbox.inside.kernel.landlock_version", lambda: 0)
    with pytest.raises(SetupError, match=r"`default` is not available here: .*Linux 5.13"):
        open_box(Tier.DEFAULT)
    limits = open_box(Tier.LIMITS)
    assert stdio(limits, "print(6)").stdout == b"6\n"
    limits.close()


def test_a_box_that_does_not_hold_is_refused(monkeypatch):
    """Where a layer is said to be there and does nothing, the trial program gets out, and the tier is refused."""
    monkeypatch.setattr("gradatim.checkers.sandbox.tiers.ForkServer", Leaky)
    with pytest.raises(SetupError, match=r"a program got out of it: .*network"):
        open_box(Tier.DEFAULT)


class Leaky(ForkServer):
    """A box without the filter of system calls that its plan promises."""

    def __init__(self, plan):
        super().__init__(replace(plan, seccomp=False))


def test_the_command_hides_home_and_environment():
    """Bubblewrap binds neither the home folder nor `/etc`, and is itself started with a fixed environment."""
    plan = Plan(bubblewrap="bwrap", namespaces=False, landlock=True, seccomp=True)
    words = command(plan)
    bound = [words[at + 1] for at, word in enumerate(words) if word in ("--ro-bind", "--bind")]
    assert str(Path.home()) not in bound
    assert [path for path in bound if path.startswith("/etc")] in ([], ["/etc/ld.so.cache"])
    assert not any("KEY" in name or "TOKEN" in name for name in environment(plan))
    assert environment(plan)["HOME"] == "/"


@pytest.mark.parametrize(
    "text", ["[", '{"q":1}', '{"i":"zz"}', '{"s":[[]]}', '{"d":[[1]]}', '{"h":1}', "[" * 100_000, "1" * 9000]
)
def test_reading_refuses_what_is_never_written(text):
    """Text that is no plain data is a `ValueError`, whatever is wrong with it."""
    with pytest.raises(ValueError, match="no plain data"):
        plain.read(text)


def test_shown_texts_are_printable():
    """Control characters, half characters and right-to-left marks are escaped, long texts cut."""
    assert printable("a\x1b\ud800\u202e\nb") == "a\\x1b\\ud800\\u202e\\nb"
    assert len(printable("x" * 1000)) == 400


REFUSED = {
    "socket": 41, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101, "setuid": 105,
    "setpriority": 141, "sched_setaffinity": 203, "mount": 165, "unshare": 272, "setns": 308, "memfd_create": 319,
    "execveat": 322, "process_vm_readv": 310, "userfaultfd": 323, "bpf": 321, "perf_event_open": 298, "keyctl": 250,
    "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "io_uring_setup": 425, "pidfd_open": 434,
    "pidfd_send_signal": 424, "tkill": 200, "rt_sigqueueinfo": 129, "timer_create": 222, "personality": 135,
    "seccomp": 317, "landlock_create_ruleset": 444, "clone with namespaces": 56, "x32 getpid": 0x40000000 + 39,
    "a call of the future": 900,
}  # fmt: skip


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86_64")
def test_system_calls_that_lead_out_are_refused(box):
    """Each system call that makes a process or a connection, or reaches another process, is not permitted."""
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, number in {REFUSED!r}.items():\n"
        "  flags = 0x10010000 if 'namespaces' in name else 0\n"
        "  if libc.syscall(number, ctypes.c_long(flags), 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:\n"
        "    print(name, ctypes.get_errno())\n"
        "import fcntl, os, signal\n"
        "def attempt(name, action):\n  try: action()\n  except OSError: return\n  print(name)\n"
        "attempt('kill all', lambda: os.kill(-1, 0))\nattempt('kill parent', lambda: os.kill(os.getppid(), 0))\n"
        "attempt('owner', lambda: fcntl.fcntl(1, 8, os.getppid()))\n"
        "attempt('tty', lambda: fcntl.ioctl(1, 0x5412, b'x'))\n"
        "os.kill(os.getpid(), 0)\nprint('done')\n"
    )
    run = stdio(box, program)
    assert (run.stdout, run.error) == (b"done\n", "")
