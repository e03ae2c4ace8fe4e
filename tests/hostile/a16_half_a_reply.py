# sends half a reply, then nothing
import os, time


def solve(values):
    os.write(4, b"\x40\0\0\0\x20\0\0\0{")
    time.sleep(100)
