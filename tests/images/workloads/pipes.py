for content in (b"hello", b"x" * 5000, b""):
    r, w = os.pipe()
    os.write(w, content)
os.mkfifo(D + "/fifo")
fifo = os.open(D + "/fifo", os.O_RDWR)
os.write(fifo, b"in a named pipe")
