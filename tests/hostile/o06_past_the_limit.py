# prints the right answer, then so much white space that it is cut off
import sys

print(6)
while True:
    sys.stdout.write(" " * 65536)
