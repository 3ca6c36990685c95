import socket
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    listener = socket.socket(family)
    listener.bind((address, 0))
    listener.listen(1)
    near = socket.create_connection(listener.getsockname()[:2])
    far, _ = listener.accept()
    near.send(b"to the server" * 30)
    far.send(b"to the client" * 70)
    for s in (listener, near, far):
        s.detach()
