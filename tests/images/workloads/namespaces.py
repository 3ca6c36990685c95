import ctypes, fcntl, socket, struct
libc = ctypes.CDLL(None)
libc.sethostname(b"fixture", 7)
# The loopback link goes up, so that there are addresses; 10.9.0.0/16 goes there, so that
# there is a route.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))
    link = ctypes.create_string_buffer(b"lo")
    address = lambda text: struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
    route = struct.pack("Q16s16s16sHh4xQQh6xQQQH6x", 0, address("10.9.0.0"), address("0.0.0.0"),
                        address("255.255.0.0"), 1, 0, 0, 0, 0, ctypes.addressof(link), 0, 0, 0)
    fcntl.ioctl(s, 0x890B, route)
