import pty
near, far = pty.openpty()
os.write(near, b"typed\n")
child, terminal = pty.fork()
if child == 0:
    import time
    time.sleep(1000)
