# raises each of its limits, and its memory limit by way of the stack and locked pages
import mmap, resource

for name in dir(resource):
    if name.startswith("RLIMIT_"):
        which = getattr(resource, name)
        soft, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            try:
                resource.setrlimit(which, (hard + 1, hard + 1))
                print(f"LEAK: {name}")
            except (OSError, ValueError):
                pass
try:
    mmap.mmap(-1, 8 << 30, flags=mmap.MAP_SHARED | 0x4000)
    print("LEAK: eight gigabytes")
except (OSError, MemoryError):
    pass
