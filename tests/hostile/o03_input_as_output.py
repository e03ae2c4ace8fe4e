# puts its input in place of its output, and writes to it
import os

os.dup2(0, 1)
os.write(0, b"6\n")
print(6)
