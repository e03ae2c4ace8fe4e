# opens its own descriptors again through /proc, with more rights than they have, and reads all
import os

for fd in range(64):
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            data = os.pread(os.open(f"/proc/self/fd/{fd}", flags), 65536, 0)
        except OSError:
            continue
        if data not in (b"", b"1 2 3\n"):
            print(f"LEAK: {fd} {data[:50]}", flush=True)
