# leaves objects with two tags, the same tag twice, unknown tags, tags of the wrong kind
import os


def solve(values):
    os.write(3, b'[{"i":"6","f":"nan"},{"i":"6","i":"6"},{"h":0},{"x":1},{"i":6},{"c":[1]},{"d":[[1]]},{"f":"1"}]')
    os._exit(0)
