# sleeps in thirty threads that wake all the time, so as to seem to wait for a core
import threading, time


def doze():
    while True:
        time.sleep(0.001)


for _ in range(30):
    threading.Thread(target=doze).start()
