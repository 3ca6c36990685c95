import mmap
memfd = os.memfd_create("a name")
os.write(memfd, b"m" * 10000)
shared = mmap.mmap(-1, 1 << 20)
shared[:5] = b"shmem"
private = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(0, 256, 3):
    private[page * 4096] = 1
