# opens its own descriptors again through /proc and /dev, with more rights than they have
import os

for path in ("/proc/self/fd/0", "/proc/self/fd/1", "/dev/fd/1", "/dev/stdin", "/dev/stdout"):
    try:
        os.open(path, os.O_RDWR)
    except OSError:
        continue
    print(f"LEAK: {path}")
