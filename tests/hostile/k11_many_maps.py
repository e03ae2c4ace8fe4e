# maps small pieces of memory until the kernel refuses, to fill its tables
import mmap

kept = [mmap.mmap(-1, 4096, prot=mmap.PROT_READ if place % 2 else mmap.PROT_WRITE) for place in range(100_000)]
print(len(kept))
