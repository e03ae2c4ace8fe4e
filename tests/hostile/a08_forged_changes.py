# says that arguments changed which are not there, twice, backwards, into other kinds
import json, os, struct


def frame(head, *blobs):
    text = json.dumps({**head, "blobs": [len(one) for one in blobs]}).encode()
    return struct.pack("<II", 4 + len(text) + sum(map(len, blobs)), len(text)) + text + b"".join(blobs)



def solve(values):
    os.write(4, frame({"changed": [0, 0, -1, 5, "x"]}, b"7", b"{}", b"[]", b"[1]", b"6", b"6"))
    return None
