# leaves folders that nobody may read or enter
import os

print(sum(map(int, input().split())))
os.mkdir("a")
os.mkdir("a/b", 0o300)
open("a/b/c", "w").close()
os.umask(0o777)
os.mkdir("a/e")
os.open("f", os.O_CREAT, 0)
