# returns values nested as deeply as may be, and more deeply
def solve(values):
    value = 6
    for _ in range(99 if values else 100_000):
        value = [value]
    return value
