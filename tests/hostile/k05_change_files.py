# changes modes, owners, times and locks of files outside its folder, which Landlock does not guard
import os

for path in ("/", "/box", "/box/1", "/box/2", "/py", "/usr/lib", "/dev/null", os.path.expanduser("~"), os.__file__, "."):
    for action in (
        lambda: os.chmod(path, 0o777),
        lambda: os.utime(path, (0, 0)),
        lambda: os.utime(path),
        lambda: os.chown(path, os.getuid(), os.getgid()),
        lambda: os.setxattr(path, "user.mark", b"x"),
    ):
        try:
            action()
        except OSError:
            continue
        print(f"LEAK: {path}")
