# leaves files whose names are no text, no line, or as long as may be
import os

print(sum(map(int, input().split())))
left = [name for name in os.listdir(b".")]
if left:
    print(f"\nLEAK: {left}")
for name in (b"\xff\xfe", b"a\nb", b"-rf", b" ", b"x" * 255, "\u202e".encode(), b"\x1b[2J", b"*"):
    open(name, "w").close()
    os.mkdir(name + b"d" if len(name) < 255 else name[:-1])
