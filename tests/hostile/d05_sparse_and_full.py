# fills its folder, with holes, in many files and without names
import os

if os.listdir("."):
    print("LEAK: not empty")
kept = []
size = 0
try:
    for _ in range(40):
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
        kept.append(fd)
        for _ in range(15):
            size += os.write(fd, bytes(1 << 20))
except OSError:
    pass
print("LEAK: more than its folder holds" if size > 65 << 20 else size)
try:
    with open("hole", "w") as file:
        os.ftruncate(file.fileno(), 1 << 50)
    print("LEAK: a petabyte")
except OSError:
    pass
