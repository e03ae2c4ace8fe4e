# stops itself, so that it uses no time and never ends
import os, signal

print(6, flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
