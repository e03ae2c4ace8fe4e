# leaves half a value and ends with status 0
import os


def solve(values):
    os.write(3, b'{"t":[6,')
    os._exit(0)
