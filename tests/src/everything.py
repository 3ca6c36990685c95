import ctypes, mmap, os, sys
os.setsid()
D = sys.argv[1]
PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
PRIVATE = mmap.MAP_PRIVATE
ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


def mark(area, name, pages):
    for page in pages:
        text = b"%s page %d " % (name, page)
        area[page * PAGE : (page + 1) * PAGE] = (text * (PAGE // len(text) + 1))[:PAGE]


keep = []
area = mmap.mmap(-1, 100 * PAGE, flags=ANONYMOUS)
mark(area, b"anonymous", [p for p in range(100) if p % 3])
keep.append(area)
# Read but never written: the zero page.
area = mmap.mmap(-1, 9 * PAGE, flags=ANONYMOUS)
keep.append((area, area[:]))

with open(D + "/file", "wb") as file:
    for page in range(20):
        file.write((b"file %d " % page * PAGE)[:PAGE])
    file.write(b"the last page is not whole")
fd = os.open(D + "/file", os.O_RDWR)
area = mmap.mmap(fd, 12 * PAGE, flags=PRIVATE, offset=4 * PAGE)
mark(area, b"private", [1, 2, 7])
keep.append(area)
area = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED)
mark(area, b"shared file", [3, 18])
keep.append(area)

area = mmap.mmap(-1, 64 * PAGE)
mark(area, b"shared", [0, 5, 6, 63])
keep.append(area)

memfd = os.memfd_create("a name")
os.ftruncate(memfd, 32 * PAGE)
area = mmap.mmap(memfd, 32 * PAGE)
mark(area, b"memfd", [0, 1, 9, 31])
keep.append(area)
area = mmap.mmap(memfd, 20 * PAGE, flags=PRIVATE, offset=8 * PAGE)
mark(area, b"private memfd", [2])
keep.append(area)

segment = libc.shmget(0x77, 16 * PAGE, 0o1600)
address = libc.shmat(segment, None, 0)
area = (ctypes.c_char * (16 * PAGE)).from_address(address)
mark(area, b"System V", [0, 3, 15])

# The machine has no others to give.
if "huge" in sys.argv:
    huge = mmap.mmap(-1, 2 << 20, flags=ANONYMOUS | 0x40000)
    mark(huge, b"huge", [0, 100, 511])
    keep.append(huge)
thp = mmap.mmap(-1, 4 << 20, flags=ANONYMOUS)
try:
    thp.madvise(mmap.MADV_HUGEPAGE)
except OSError:
    pass
mark(thp, b"transparent", range(0, 1024, 7))
keep.append(thp)

if os.fork() == 0:
    # Shares what is shared, and has its own of the rest.
    mark(keep[0], b"child", range(10))
open(D + "/ready%d" % os.getpid(), "w").close()
import time
while True:
    time.sleep(1000)
