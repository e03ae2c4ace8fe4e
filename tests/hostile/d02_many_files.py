# makes empty files without end: memory of the kernel's that no limit counts
import os

number = 0
while True:
    os.close(os.open(str(number), os.O_CREAT | os.O_WRONLY))
    number += 1
