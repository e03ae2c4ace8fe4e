# leaves a file in the first millisecond of its life, before the clock of the file system ticks
import os
if os.path.exists("early"):
    print("LEAK: early")
open("early", "w").close()
print(sum(map(int, input().split())))
