# closes every descriptor and goes on
import os, time

print(6, flush=True)
os.closerange(0, 65536)
while True:
    time.sleep(1)
