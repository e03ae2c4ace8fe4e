# leaves modules named like the standard library's for the next program to import
import importlib, os, sys

for name in ("zipfile", "sched", "cmd", "sitecustomize", "usercustomize"):
    with open(f"{name}.py", "a") as file:
        file.write("print('\\nLEAK: imported what an earlier program left')\n")
import cmd, sched, zipfile

print(sum(map(int, input().split())))
