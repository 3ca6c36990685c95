import time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
    time.sleep(1000)
zombie = os.fork()
if zombie == 0:
    os._exit(3)
