"""Which system calls a program may make, as a filter for the kernel: a list of what is allowed, all else is refused.

Left out on purpose: everything that makes a process (fork, exec), a connection (socket), shared memory or a message
queue, that looks into or signals another process (ptrace, process_vm_readv, pidfd), that changes who one is or how one
is scheduled, namespaces and mounts, io_uring, userfaultfd, perf, bpf, keys, memfd, timers that signal others; and what
changes the mode, owner or times of a file, which Landlock lets pass: without namespaces it would be the user's file.
Refused calls give EPERM, so an honest program gets an `OSError` with a line number.
"""

from __future__ import annotations

import errno
import platform
import struct

_PLAIN = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8,
        "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14,
        "rt_sigreturn": 15, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "pipe": 22,
        "select": 23, "sched_yield": 24, "mremap": 25, "msync": 26, "madvise": 28, "dup": 32, "dup2": 33, "pause": 34,
        "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "sendfile": 40, "exit": 60,
        "wait4": 61, "uname": 63, "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77,
        "getdents": 78, "getcwd": 79, "chdir": 80, "fchdir": 81, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
        "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "umask": 95,
        "gettimeofday": 96,
        "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107,
        "getegid": 108, "getppid": 110, "getpgrp": 111, "getgroups": 115, "getresuid": 118, "getresgid": 120,
        "getpgid": 121, "getsid": 124, "rt_sigpending": 127, "rt_sigtimedwait": 128, "rt_sigsuspend": 130,
        "sigaltstack": 131, "statfs": 137, "fstatfs": 138, "sched_getparam": 143,
        "sched_getscheduler": 145, "sched_get_priority_max": 146, "sched_get_priority_min": 147, "gettid": 186,
        "time": 201, "futex": 202, "sched_getaffinity": 204, "epoll_create": 213, "getdents64": 217,
        "set_tid_address": 218, "restart_syscall": 219, "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "waitid": 247,
        "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271,
        "set_robust_list": 273, "epoll_pwait": 281, "fallocate": 285, "eventfd2": 290,
        "epoll_create1": 291, "dup3": 292, "pipe2": 293, "preadv": 295, "pwritev": 296, "renameat2": 316,
        "getrandom": 318, "membarrier": 324, "preadv2": 327, "pwritev2": 328, "statx": 332, "rseq": 334,
        "close_range": 436, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "dup": 23, "dup3": 24,
        "flock": 32, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "statfs": 43,
        "fstatfs": 44, "truncate": 45, "ftruncate": 46, "fallocate": 47, "faccessat": 48, "chdir": 49, "fchdir": 50,
        "openat": 56, "close": 57, "pipe2": 59, "getdents64": 61, "lseek": 62,
        "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69,
        "pwritev": 70, "pselect6": 72, "ppoll": 73, "sendfile": 71, "readlinkat": 78, "newfstatat": 79,
        "fstat": 80, "fsync": 82, "fdatasync": 83, "exit": 93, "exit_group": 94, "waitid": 95,
        "set_tid_address": 96, "futex": 98, "set_robust_list": 99, "nanosleep": 101, "getitimer": 102, "setitimer": 103,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getscheduler": 120,
        "sched_getparam": 121, "sched_getaffinity": 123, "sched_yield": 124, "sched_get_priority_max": 125,
        "sched_get_priority_min": 126, "restart_syscall": 128, "sigaltstack": 132, "rt_sigsuspend": 133,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigpending": 136, "rt_sigtimedwait": 137,
        "rt_sigreturn": 139, "getresuid": 148, "getresgid": 150, "times": 153, "getpgid": 155, "getsid": 156,
        "getgroups": 158, "uname": 160, "getrlimit": 163, "getrusage": 165, "umask": 166, "gettimeofday": 169,
        "getpid": 172, "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178,
        "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "fadvise64": 223, "mprotect": 226,
        "msync": 227, "madvise": 233, "wait4": 260, "renameat2": 276, "getrandom": 278, "membarrier": 283,
        "preadv2": 286, "pwritev2": 287, "statx": 291, "rseq": 293, "close_range": 436, "faccessat2": 439,
    },
}  # fmt: skip
_CHECKED = {
    "x86_64": {"ioctl": 16, "clone": 56, "kill": 62, "fcntl": 72, "prctl": 157, "tgkill": 234, "prlimit64": 302},
    "aarch64": {"fcntl": 25, "ioctl": 29, "kill": 129, "tgkill": 131, "prctl": 167, "clone": 220, "prlimit64": 261},
}
"""Allowed for some arguments only."""
_CLONE3 = 435
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _ABOVE, _SET, _RETURN, _AND = 0x20, 0x15, 0x35, 0x45, 0x06, 0x54
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""What a terminal is asked (and no file answers), how much can be read, non-blocking, close-on-exec."""
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032, 1034)
"""Duplicating, flags, locks, a pipe's size, seals asked: none that sends signals."""
_PRCTLS = (15, 16)
"""The name of the own thread."""
_THREAD = 0x00010000
_NEVER_WITH_THREAD = 0x7E020080 | 0x00002000
"""New namespaces of any kind, and ptrace."""
_PID_MARK = 0x5EED5EED


class Filter:
    """The filter for this machine: built once, made to fit each program's process id."""

    def __init__(self) -> None:
        machine = platform.machine()
        self._code = assembled(machine)
        marks = struct.pack("<I", _PID_MARK)
        self._places = [at for at in range(4, len(self._code), 8) if self._code[at : at + 4] == marks]

    def of(self, pid: int) -> bytes:
        """Return the instructions for a process that may signal itself alone."""
        code = bytearray(self._code)
        for place in self._places:
            code[place : place + 4] = struct.pack("<I", pid)
        return bytes(code)


def available() -> bool:
    """Whether there is a list of system calls for this kind of machine."""
    return platform.machine() in _PLAIN and struct.calcsize("P") == 8


def assembled(machine: str) -> bytes:
    """Return the filter's instructions, with a mark where the process's own id goes."""
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        code += [(_ABOVE, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    for name, number in _CHECKED[machine].items():
        part = _argument_check(name)
        code += [(_EQUAL, 0, len(part), number), *part]
    code += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code += _ranges(sorted(_PLAIN[machine].values()))
    return b"".join(struct.pack("<HBBI", *one) for one in code)


def _argument_check(name: str) -> list[tuple[int, int, int, int]]:
    """Return the part that decides a call by one argument, its low half: the kernel reads no more of these."""
    place = {"ioctl": 1, "fcntl": 1}.get(name, 0)
    load = (_LOAD, 0, 0, 16 + 8 * place)
    allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    if name == "clone":
        return [load, (_SET, 0, 2, _THREAD), (_SET, 1, 0, _NEVER_WITH_THREAD), allow, refuse]
    good = {"ioctl": _IOCTLS, "fcntl": _FCNTLS, "prctl": _PRCTLS, "prlimit64": (0, _PID_MARK)}.get(name, (_PID_MARK,))
    checks = [(_EQUAL, len(good) - at, 0, value) for at, value in enumerate(good)]
    return [load, *checks, refuse, allow]


def _ranges(numbers: list[int]) -> list[tuple[int, int, int, int]]:
    """Return the part that allows these numbers: a search by halves, since the kernel tries it for every number."""
    edges: list[int] = []
    for number in numbers:
        if edges and edges[-1] == number:
            edges[-1] = number + 1
        else:
            edges += [number, number + 1]
    return _halves(edges, 0, len(edges))


def _halves(edges: list[int], low: int, high: int) -> list[tuple[int, int, int, int]]:
    """Decide for a number of which edges[low - 1] <= number < edges[high] is known."""
    if low == high:
        return [(_RETURN, 0, 0, _ALLOW if low % 2 else _ERRNO | errno.EPERM)]
    middle = (low + high) // 2
    below = _halves(edges, low, middle)
    above = _halves(edges, middle + 1, high)
    jump: list[tuple[int, int, int, int]] = [(_ABOVE, len(below), 0, edges[middle])]
    return jump + below + above
