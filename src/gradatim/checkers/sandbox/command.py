"""The command line that starts a box: bubblewrap around a bare interpreter, or the interpreter alone.

Inside bubblewrap there are the interpreter with its standard library (at `/py`, wherever it lies outside), the shared
libraries, five devices, our few files, and one small folder in memory. No home, no site-packages, no `/etc`.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

INSIDE = Path(__file__).parent / "inside"
NOBODY = 65534
_WORK_MB = 64
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_PACKAGES = ("site-packages", "dist-packages")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_START = """\
import sys, types
name = ""
for part in ("gradatim", "checkers", "sandbox", "inside"):
    name = f"{name}.{part}" if name else part
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = []
package.__path__ = [sys.argv[1]]
from gradatim.checkers.sandbox.inside.zygote import main
main()
"""
"""Stand-ins for our packages, so that of ours only the folder `inside` is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a box is started, and with which layers."""

    bubblewrap: str
    """The path of the program; empty: without."""
    namespaces: bool
    """Fresh ones for each program."""
    landlock: bool
    seccomp: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of what stands between a program and the machine."""
        there = {
            "bubblewrap": bool(self.bubblewrap),
            "namespaces": self.namespaces,
            "landlock": self.landlock,
            "seccomp": self.seccomp,
            "uid": os.geteuid() == 0,
            "rlimits": True,
        }
        return tuple(name for name, yes in there.items() if yes)


def command(plan: Plan) -> list[str]:
    """Return the command line of a box."""
    settings: dict[str, object] = {
        "landlock": plan.landlock,
        "seccomp": plan.seccomp,
        "namespaces": plan.namespaces,
        "uid": NOBODY if os.geteuid() == 0 else -1,
        "keep_reading": False,
        "die_with_parent": not plan.bubblewrap,
        "processes": bool(plan.bubblewrap) and os.geteuid() != 0,
        "work": "/box" if plan.bubblewrap else "",
    }
    if plan.bubblewrap:
        settings |= {"read": ["/py", *_LIBRARIES], "list": []}
        python = f"/py/bin/{_executable().name}"
        return [plan.bubblewrap, *_bubblewrap(plan), python, *_arguments("/gradatim", settings)]
    # Not the packages that were installed beside the standard library; of their folder, the names alone.
    library, shared = Path(_standard_library()), Path(sys.base_prefix) / sys.platlibdir
    inside = [str(one) for one in library.iterdir() if one.name not in _PACKAGES]
    settings["read"] = [*inside, *map(str, shared.glob("lib*.so*")), *_LIBRARIES]
    settings["list"] = [str(library)]
    settings["keep_reading"] = os.geteuid() == 0 and not _open_to_all(Path(_standard_library()))
    return [str(_executable()), *_arguments(str(INSIDE), settings)]


def environment(plan: Plan) -> dict[str, str]:
    """Return all that a box sees of the environment; bubblewrap itself is started with it too.

    The seed of hashes is fixed: whether a program that depends on the order of a set is right does not change.
    """
    fixed = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
    }
    if plan.bubblewrap:
        fixed["LD_LIBRARY_PATH"] = "/py/lib"
        fixed["HOME"] = "/"
    return fixed


def _arguments(folder: str, settings: dict[str, object]) -> list[str]:
    # -P -s -S -B: nothing but the standard library; not -I, which would take no notice of the seed of hashes.
    return ["-P", "-s", "-S", "-B", "-c", _START, folder, json.dumps(settings)]


def _executable() -> Path:
    """Return the real interpreter, not a virtual environment's link to it."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return Path(base).resolve()


def _standard_library() -> str:
    return sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix})


def _open_to_all(path: Path) -> bool:
    """Whether any user may read what lies there."""
    return all(one.stat().st_mode & 0o005 == 0o005 for one in (path, *path.parents))


def _bubblewrap(plan: Plan) -> list[str]:
    more = ("SYS_ADMIN",) if plan.namespaces else ()
    arguments = [
        "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--die-with-parent", "--new-session", "--hostname", "box", "--chdir", "/",
    ]  # fmt: skip
    if os.geteuid() != 0:
        arguments.append("--unshare-user")
    else:
        for capability in ("SETUID", "SETGID", "SETPCAP", "KILL", "CHOWN", "DAC_OVERRIDE", "FOWNER", *more):
            arguments += ["--cap-add", f"CAP_{capability}"]
    for folder in ("/py", "/py/bin", f"/py/{sys.platlibdir}", "/py/lib", "/usr", "/dev", "/etc"):
        # bubblewrap's own would be closed to all but their owner.
        arguments += ["--perms", "0755", "--dir", folder]
    for place in _LIBRARIES:
        path = Path(place)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), place]
        elif path.is_dir():
            arguments += ["--ro-bind", place, place]
    arguments += _interpreter()
    if Path("/etc/ld.so.cache").exists():
        arguments += ["--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for device in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    arguments += ["--ro-bind", str(INSIDE), "/gradatim", "--proc", "/proc"]
    arguments += ["--size", str(_WORK_MB << 20), "--perms", "0711", "--tmpfs", "/box"]
    return [*arguments, "--remount-ro", "/"]


def _interpreter() -> list[str]:
    executable, library = _executable(), Path(_standard_library())
    arguments = ["--ro-bind", str(executable), f"/py/bin/{executable.name}"]
    folder = library.parent
    if sys.base_prefix == "/usr":
        inside = f"/py/{folder.name}/{library.name}"
        arguments += ["--ro-bind", str(library), inside]
    else:
        inside = f"/py/{folder.name}/{library.name}"
        arguments += ["--ro-bind", str(folder), f"/py/{folder.name}"]
    for name in _PACKAGES:
        if (library / name).is_dir():
            arguments += ["--tmpfs", f"{inside}/{name}", "--remount-ro", f"{inside}/{name}"]
    return arguments
