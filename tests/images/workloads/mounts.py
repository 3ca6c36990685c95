# Its own tmpfs, and no other: what others write there while it is packed would end the
# dump. So nothing of /dev may be open.
import ctypes
log = os.open(D + "/log", os.O_RDWR | os.O_CREAT)
for fd in range(3):
    os.dup2(log, fd)
os.closerange(3, 1000)
libc = ctypes.CDLL(None, use_errno=True)
with open("/proc/self/mounts") as mounts:
    points = [line.split()[1] for line in mounts]
for point in reversed(points):
    if point not in ("/", "/proc"):
        libc.umount2(point.encode(), 2)
top = D + "/tmpfs"
os.mkdir(top)
if libc.mount(b"none", top.encode(), b"tmpfs", 0, None):
    raise OSError(ctypes.get_errno(), "mount")
with open(top + "/file", "w") as file:
    file.write("content")
with open(top + "/sparse", "w") as file:
    file.truncate(1 << 20)
    file.seek(1 << 19)
    file.write("x")
os.link(top + "/file", top + "/same")
os.symlink("file", top + "/symlink")
os.mkfifo(top + "/fifo", 0o600)
os.mkdir(top + "/folder")
with open(top + "/folder/" + "long" * 40, "w"):
    pass
