import mmap
ANONYMOUS, HUGETLB, SIZE = mmap.MAP_ANONYMOUS, 0x40000, 2 << 20
private = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | ANONYMOUS | HUGETLB)
private[5000] = 1
shared = mmap.mmap(-1, SIZE, flags=mmap.MAP_SHARED | ANONYMOUS | HUGETLB)
shared[1 << 20] = 2
memfd = os.memfd_create("huge", 4)
os.ftruncate(memfd, SIZE)
file = mmap.mmap(memfd, SIZE)
file[SIZE - 1] = 3
