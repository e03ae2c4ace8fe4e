# opens as many pipes as it may, makes them as large as it may and fills them
import fcntl, os

size = 0
try:
    while True:
        out, into = os.pipe()
        os.set_blocking(into, False)
        try:
            fcntl.fcntl(into, 1031, 1 << 20)
            while True:
                size += os.write(into, bytes(1 << 16))
        except (BlockingIOError, PermissionError):
            pass
except OSError:
    print("LEAK: pipes" if size > 64 << 20 else "bounded")
