# makes the calls that are allowed for some arguments only, with others, in both halves of a register
import ctypes, fcntl, os

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
own = os.getpid()
tries = [(62, own + 1, 0), (62, 0, 0), (62, -1, 0), (62, -own, 0), (234, own + 1, own + 1, 0), (302, own + 1, 7, 0, 0), (302, 1, 7, 0, 0)]
tries += [(157, option, 1, 0, 0, 0) for option in (*range(1, 15), *range(17, 80), 0x59616D61)]
tries += [(72, 1, command, 0) for command in (8, 9, 10, 11, 15, 16, 1024, 1025, 1026, 1033, 1035, 1036, 1037)]
tries += [(16, 0, request, 0) for request in (0x5412, 0x540E, 0x5422, 0x5423, 0x5452, 0x8901, 0x40049409, 0xC020660B)]
tries += [(56, flags, 0, 0, 0, 0) for flags in (17, 0, 0x4000, 0x10000000, 0x20000000, 0x100 | 0x10000000 | 0x10000)]
for number, *values in tries:
    for high in (0, 1 << 32):
        got = libc.syscall(number, *[ctypes.c_long(value + high if value >= 0 else value) for value in values])
        if got == 0 and number == 56:
            os._exit(0)
        if got >= 0 or ctypes.get_errno() != 1:
            print(f"LEAK: {number} {values} {high} {got} {ctypes.get_errno()}")
