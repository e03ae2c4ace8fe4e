# promises four gigabytes in a reply
import os

os.write(4, b"\xff\xff\xff\xff\xff\xff\xff\xff")


def solve(values):
    return 6
