import ctypes, struct
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for i in range(2):
    segment = libc.shmget(0x100 + i, 4096 * (3 + i), 0o1600)
    ctypes.memmove(libc.shmat(segment, None, 0), b"shared", 6)
for n in (1, 3, 4, 5, 8):
    values = libc.semget(0x200 + n, n, 0o1600)
    for i in range(n):
        libc.semctl(values, i, 16, ctypes.c_int(i * 100 + 7))
queue = libc.msgget(0x300, 0o1600)
for text in (b"a", b"12345678", b"0123456789abcdef", b"x" * 100, b""):
    libc.msgsnd(queue, struct.pack("q", 5) + text, len(text), 0)
libc.msgget(0x301, 0o1600)
