import socket
keep = [socket.socketpair(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
for near, far in keep:
    near.send(b"queued")
    far.send(b"and back")
passed = open(D + "/passed", "w")
socket.send_fds(keep[0][0], [b"a descriptor"], [passed.fileno()])
named = socket.socket(socket.AF_UNIX)
named.bind(D + "/socket")
named.listen(2)
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\0abstract=%d" % os.getpid())
abstract.listen(1)
