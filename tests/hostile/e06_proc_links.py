# follows the links in /proc, which no permission to read guards
import os

for pid in [1, 2, os.getppid(), *range(max(os.getpid() - 20, 1), os.getpid())]:
    for name in ("exe", "cwd", "root", "fd/0", "fd/1", "fd/3", "ns/pid", "ns/user"):
        try:
            print(f"LEAK: {pid} {os.readlink(f'/proc/{pid}/{name}')}")
        except OSError:
            pass
