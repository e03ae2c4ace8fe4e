# raises an exception with a text of fifty megabytes and terminal codes
def solve(values):
    raise ValueError("\x1b[2J\u202e\0" + "x" * 50_000_000)
