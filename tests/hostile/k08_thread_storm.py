# starts thousands of threads with tiny stacks
import threading, time

threading.stack_size(32768)
for _ in range(20_000):
    threading.Thread(target=time.sleep, args=(100,)).start()
