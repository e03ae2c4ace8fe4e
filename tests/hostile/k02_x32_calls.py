# calls the kernel with the numbers of the x32 kind
import ctypes

libc = ctypes.CDLL(None, use_errno=True)
for number in (0, 39, 57, 101, 520, 521, 522, 523, 540):
    if libc.syscall(0x40000000 | number, -1, -1, -1, -1, -1, -1) >= 0 or ctypes.get_errno() not in (1, 38):
        print(f"LEAK: {number} {ctypes.get_errno()}")
