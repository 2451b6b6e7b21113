"""Prints getsockname and getpeername while a connect is in progress: HOST PORT, from an IPv4 and from an IPv6 socket."""

import errno
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
for family, target in ((socket.AF_INET, host), (socket.AF_INET6, f"::ffff:{host}")):
    with socket.socket(family) as sock:
        sock.setblocking(False)
        print("before:", sock.getsockname()[0])
        print("connect:", errno.errorcode[sock.connect_ex((target, port))])
        address, own_port = sock.getsockname()[:2]
        print("own address:", address, "with a port" if own_port else "without a port")
        try:
            print("peer:", sock.getpeername())
        except OSError as error:
            print("peer:", errno.errorcode[error.errno])
