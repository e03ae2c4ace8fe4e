# writes a wrong output, then takes it back and writes another wrong one with a hole in it
import os

os.write(1, b"6\n" * 1000)
os.ftruncate(1, 0)
os.lseek(1, 5000, os.SEEK_SET)
os.write(1, b"6\n")
