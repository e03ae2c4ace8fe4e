# reads the sandbox's own modules for the fork server's state, requests and files
import os, sys

for name, module in list(sys.modules.items()):
    if name.startswith("gradatim"):
        for key, value in vars(module).items():
            if isinstance(value, (bytes, bytearray)) and b"1 2 3" in value:
                print(f"LEAK: {name}.{key}")
        if getattr(module, "__file__", None):
            try:
                open(module.__file__).read()
                print(f"LEAK: {module.__file__}")
            except OSError:
                pass
for path in ("/gradatim", "/box", "/box/2", "/box/.."):
    try:
        print(f"LEAK: {path} {os.listdir(path)}")
    except OSError:
        pass
