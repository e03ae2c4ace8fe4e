"""What the kernel is asked for without a library: Landlock, seccomp, privileges, through `ctypes`.

A call that fails raises `OSError`; whether a layer is there is asked with `landlock_version` and `seccomp_there`.
"""

from __future__ import annotations

import builtins
import ctypes
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

globals()["__builtins__"] = dict(vars(builtins))

_LIBC = ctypes.CDLL(None, use_errno=True)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_SET_DEATH_SIGNAL, _GET_SECCOMP, _SET_SECCOMP, _SET_DUMPABLE, _SET_KEEPCAPS = 1, 21, 22, 4, 8
_CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _SET_SUBREAPER = 24, 38, 47, 36
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CLONE = {"x86_64": 56, "aarch64": 220}
_NEW_NAMESPACES = 0x10000000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x00020000
_READ_SEARCH = 2
"""CAP_DAC_READ_SEARCH."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_FILES_SINCE = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
"""The accesses to files that can be refused, by the version that brought them."""
_NETWORK, _SCOPES = 3, 3
"""Binding and connecting TCP since version 4; abstract sockets and signals out of the domain since 6."""
_OWN_FOLDER = 0x7FFF & ~0xE40 & ~_EXECUTE
"""All but executing, device nodes, sockets and FIFOs."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a program may see of the files."""

    read: tuple[str, ...]
    """Folders and files, all below included."""
    listed: tuple[str, ...]
    """Folders of which, and of those below, the names alone may be seen."""
    write: tuple[str, ...]


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, first: int = 0, second: int = 0, third: int = 0) -> int:
    """Ask for one of the many things that `prctl` does."""
    values = (ctypes.c_ulong(first), ctypes.c_ulong(second), ctypes.c_ulong(third), ctypes.c_ulong(0))
    return _call(_LIBC.prctl(option, *values))


def landlock_version() -> int:
    """Return the kernel's Landlock ABI, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def seccomp_there() -> bool:
    """Whether the kernel takes seccomp filters: a bad address says so, anything else says no."""
    return bool(_LIBC.prctl(_SET_SECCOMP, 2, None, 0, 0) < 0 and ctypes.get_errno() == 14)


def ruleset(allowed: Allowed) -> int:
    """Return a descriptor of Landlock rules that refuse all that is not allowed."""
    version = landlock_version()
    files = max(mask for since, mask in _FILES_SINCE.items() if since <= version)
    attributes = struct.pack("<Q", files)
    if version >= 4:
        attributes += struct.pack("<Q", _NETWORK)
    if version >= 6:
        attributes += struct.pack("<Q", _SCOPES)
    rules = _call(_LIBC.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    for path in allowed.read:
        _allow(rules, path, (_READ_FILE | _READ_DIR) & files)
    for path in allowed.listed:
        _allow(rules, path, _READ_DIR)
    for path in allowed.write:
        _allow(rules, path, _OWN_FOLDER & files)
    for device in ("null", "zero", "full", "random", "urandom"):
        _allow(rules, f"/dev/{device}", _READ_FILE | (_WRITE_FILE if device == "null" else 0))
    return rules


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not Path(path).is_dir():
            access &= _READ_FILE | _WRITE_FILE
        rule = struct.pack("<Qi", access, place)
        _call(_LIBC.syscall(_ADD_RULE, rules, 1, rule, 0))
    finally:
        os.close(place)


def confine(rules: int) -> None:
    """Hold this process to the rules, for good."""
    _call(_LIBC.syscall(_RESTRICT_SELF, rules, 0))


def no_new_privileges() -> None:
    """No program started from here gets rights that this one has not."""
    prctl(_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """No core file, and no look into this process by one of the same user."""
    prctl(_SET_DUMPABLE, 0)


def filter_calls(code: bytes) -> None:
    """Hold this process to a seccomp filter, for good."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    _call(_LIBC.prctl(_SET_SECCOMP, 2, program, 0, 0))


def die_with_parent() -> None:
    """Be killed when the parent dies."""
    prctl(_SET_DEATH_SIGNAL, 9)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent dies."""
    prctl(_SET_SUBREAPER, 1)


def forget_capabilities() -> None:
    """Take every capability from what this process may ever gain by starting a program; it keeps what it has now."""
    for capability in range(64):
        if _LIBC.prctl(_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break


def become(uid: int, *, keep_reading: bool) -> None:
    """From root to a user with nothing; `keep_reading` keeps the one right to read where Landlock lets it."""
    if keep_reading:
        prctl(_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(1 << _READ_SEARCH if keep_reading else 0)


def no_capabilities() -> None:
    """Give up what the founder of a user namespace may do in it."""
    _set_capabilities(0)


def _set_capabilities(kept: int) -> None:
    head = struct.pack("<Ii", 0x20080522, 0)
    sets = struct.pack("<IIIIII", kept, kept, 0, 0, 0, 0)
    _call(_LIBC.syscall(_CAPSET[os.uname().machine], head, sets))


def process_cpu(pid: int) -> float:
    """Return the CPU seconds of a process, all its threads together."""
    return time.clock_gettime(~pid << 3 | 2)


def fork_apart() -> int:
    """Fork into fresh namespaces of users, processes, mounts, network, IPC and host names; return as `os.fork`."""
    flags = _NEW_NAMESPACES | 17
    before, parent, child = (
        getattr(ctypes.pythonapi, f"PyOS_{name}") for name in ("BeforeFork", "AfterFork_Parent", "AfterFork_Child")
    )
    before()
    pid = int(_LIBC.syscall(_CLONE[os.uname().machine], ctypes.c_ulong(flags), None, None, None, None))
    if pid == 0:
        child()
    else:
        parent()
    return _call(pid)


def map_ids(pid: int, inside: int, uid: int, gid: int) -> None:
    """Say which user and group outside the one of a new namespace is; `pid` 0: of this process's own."""
    place = "self" if pid == 0 else str(pid)
    if pid == 0:
        prctl(_SET_DUMPABLE, 1)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        if name == "setgroups" and pid:
            continue
        fd = os.open(f"/proc/{place}/{name}", os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    not_dumpable()
