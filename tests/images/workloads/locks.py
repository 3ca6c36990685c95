import fcntl
whole = open(D + "/whole", "w")
fcntl.flock(whole, fcntl.LOCK_EX)
part = open(D + "/part", "w")
fcntl.lockf(part, fcntl.LOCK_EX, 10, 5)
