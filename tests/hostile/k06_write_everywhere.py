# makes a file, a link, a pipe, a socket or a folder in every place that there is
import os, stat

places = "/ /box /box/2 /py /py/lib /usr /usr/lib /lib /dev /dev/shm /dev/mqueue /tmp /var/tmp /run /proc/self /etc /gradatim /home".split()
for place in [*places, os.path.dirname(os.__file__)]:
    for action in (
        lambda: os.open(f"{place}/gradatim_hostile_own", os.O_CREAT | os.O_WRONLY),
        lambda: os.open(place, os.O_TMPFILE | os.O_RDWR),
        lambda: os.mkdir(f"{place}/gradatim_hostile_own"),
        lambda: os.symlink("/etc/passwd", f"{place}/gradatim_hostile_own"),
        lambda: os.link(os.__file__, f"{place}/gradatim_hostile_own"),
        lambda: os.mkfifo(f"{place}/gradatim_hostile_own"),
        lambda: os.rename(place, f"{place}.old"),
        lambda: os.rmdir(place),
    ):
        try:
            action()
        except OSError:
            continue
        print(f"LEAK: {place}")
for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR):
    try:
        os.mknod("own", kind | 0o600, os.makedev(1, 3))
        print(f"LEAK: {kind}")
    except OSError:
        pass
