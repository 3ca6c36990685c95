import ctypes, signal
libc = ctypes.CDLL(None)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 1000, 5)
timer = ctypes.c_void_p()
libc.timer_create(1, None, ctypes.byref(timer))
libc.timer_settime(timer, 0, (ctypes.c_long * 4)(50, 0, 500, 0), None)
