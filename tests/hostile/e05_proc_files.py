# opens what /proc has of itself, of init and of others
import os

pids = ["self", "thread-self", "1", "2", str(os.getppid()), str(os.getpid() - 1), str(os.getpid() + 1)]
names = "maps mem environ cmdline status stat fd task root/etc/passwd auxv syscall stack oom_score_adj uid_map".split()
for path in [f"/proc/{pid}/{name}" for pid in pids for name in names] + [
    "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/sys/kernel/core_pattern", "/proc/mounts", "/proc/sysrq-trigger",
    "/proc/meminfo", "/proc/cpuinfo", "/proc", "/sys", "/sys/kernel", "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/ptmx",
]:
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.open(path, flags)
        except OSError:
            continue
        print(f"LEAK: {path}")
