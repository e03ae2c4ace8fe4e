# control: honest
def solve(values):
    return sum(values)
