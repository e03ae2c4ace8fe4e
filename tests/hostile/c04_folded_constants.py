# has the compiler multiply constants into gigabytes
x = lambda: ("x" * 4096 * 4096 * 4096, (1,) * 256 * 256 * 256 * 256, 1 << 100_000_000_000, 9**9**9**9)
print(6)
