"""Which tiers this machine can give, and boxes of them.

A layer is not believed to be there because the kernel says so: a box that was just started runs a program that tries to
get out, and a tier whose box lets it is refused.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace

from gradatim.checkers.sandbox import Box, Ending, Job, Limits, Run, SandboxError, Tier, TierReport
from gradatim.checkers.sandbox.box import ForkServer
from gradatim.checkers.sandbox.command import Plan
from gradatim.checkers.sandbox.inside import kernel, syscalls
from gradatim.errors import SetupError

_BUBBLEWRAP = "`apt install bubblewrap`, or your distribution's package of that name"
_TRIAL = """\
import os, socket, sys
found = []
def attempt(name, action):
    try:
        action()
    except OSError:
        return
    found.append(name)
attempt("fork", lambda: os.fork() or os._exit(0))
attempt("network", lambda: socket.socket())
attempt("files", lambda: os.listdir("/"))
attempt("passwd", lambda: open("/etc/passwd"))
attempt("signals", lambda: os.kill(os.getppid(), 0))
attempt("write", lambda: open("/trial", "w"))
if os.getuid() == 0:
    found.append("root")
print(input(), *found)
"""
_LIMITS = Limits(seconds=10.0, memory_mb=256, output_kb=64)


@dataclass(frozen=True, slots=True)
class _Machine:
    """What this machine has."""

    bubblewrap: str
    landlock: int
    seccomp: bool


def _machine() -> _Machine:
    seccomp = syscalls.available() and kernel.seccomp_there()
    return _Machine(shutil.which("bwrap") or "", kernel.landlock_version(), seccomp)


def _plans(tier: Tier, machine: _Machine) -> list[Plan]:
    """Return the ways to give this tier, the best first."""
    confined = bool(machine.landlock) and machine.seccomp
    bare = Plan(bubblewrap="", namespaces=False, landlock=confined, seccomp=confined)
    if tier is Tier.LIMITS:
        return [replace(bare, landlock=False, seccomp=False)]
    if not confined:
        return []
    plans = [replace(bare, bubblewrap=machine.bubblewrap)] if machine.bubblewrap else []
    if tier is Tier.STRICT:
        return [replace(plan, namespaces=True) for plan in plans]
    return [*plans, bare]


def _lacking(tier: Tier, machine: _Machine) -> str:
    """Say what the machine lacks for this tier."""
    if not syscalls.available():
        return "programs are confined on x86_64 and aarch64 Linux alone: use such a machine"
    if not machine.landlock:
        return "the kernel has no Landlock: use Linux 5.13 or later with `landlock` among its security modules"
    if not machine.seccomp:
        return "the kernel takes no seccomp filters: allow them in the container that this runs in"
    if tier is Tier.STRICT and not machine.bubblewrap:
        return f"bubblewrap is not installed: {_BUBBLEWRAP}"
    return ""


def _tried(plan: Plan) -> ForkServer:
    """Return a box of this plan that has shown that it holds. Raises `SandboxError`."""
    box = ForkServer(plan)
    try:
        run = box.run(Job(style="stdio", program=_TRIAL, stdin=b"held\n"), _LIMITS)
        what = _objection(plan, run)
    except BaseException:
        box.close()
        raise
    if what:
        box.close()
        raise SandboxError("sandbox_start", what)
    return box


def _objection(plan: Plan, run: Run) -> str:
    said = run.stdout.decode(errors="replace").split()
    if run.ending is not Ending.FINISHED or said[:1] != ["held"]:
        return f"an honest program did not run in it: {run.ending}, {run.error}"
    got = [one for one in said[1:] if one == "root" or plan.seccomp]
    return f"a program got out of it: {', '.join(got)}" if got else ""


def opened(tier: Tier) -> Box:
    """Return a box of this tier. Raises `SetupError` where the machine cannot give it."""
    box, why = _opened(tier)
    if box is None:
        raise SetupError(f"the sandbox tier `{tier}` is not available here: {why}")
    return box


def _opened(tier: Tier) -> tuple[ForkServer | None, str]:
    machine = _machine()
    why = _lacking(tier, machine) if tier is not Tier.LIMITS else ""
    for plan in _plans(tier, machine):
        try:
            return _tried(plan), why
        except SandboxError as error:
            advice = ""
            if plan.bubblewrap and os.geteuid() != 0:
                advice = "; allow user namespaces (on Ubuntu: an AppArmor profile for bwrap), or run it as root"
            why = error.message + advice
    return None, why


def reports() -> tuple[TierReport, ...]:
    """Try every tier, and say what came of it."""
    found = []
    for tier in Tier:
        box, why = _opened(tier)
        if box is None:
            found.append(TierReport(tier=tier, available=False, layers=(), why=why))
            continue
        box.close()
        if tier is Tier.DEFAULT and "bubblewrap" not in box.layers:
            why = (
                why
                or f"without bubblewrap, so without namespaces of its own and without a folder to write: {_BUBBLEWRAP}"
            )
        found.append(TierReport(tier=tier, available=True, layers=box.layers, why=why))
    return tuple(found)
