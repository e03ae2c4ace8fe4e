# returns handles that were never given out, negative, huge and within one another
import json, os, struct


def frame(head, *blobs):
    text = json.dumps({**head, "blobs": [len(one) for one in blobs]}).encode()
    return struct.pack("<II", 4 + len(text) + sum(map(len, blobs)), len(text)) + text + b"".join(blobs)



def solve(values):
    os.write(4, frame({"changed": [0]}, b'{"h":-1}', b'[{"h":99999999999999999999}]'))
    return 6
