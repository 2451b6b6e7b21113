"""Listens at the pod's own address and answers, until its standard input ends.

usage: pod_server.py NAME_SERVER PORT NAME. Each line on standard input has it connect to itself; it prints what comes of it, and
whether it still knows where it listens."""

import errno
import socket
import sys
import threading

name_server, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((name_server, 53))
    own = probe.getsockname()[0]
server = socket.create_server((own, port))


def serve():
    while True:
        stream, peer = server.accept()
        stream.sendall(f"{name} serves {peer[0] == own}".encode())
        stream.close()


def ask(host):
    try:
        with socket.create_connection((host, port), 10) as stream:
            return stream.recv(100).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


threading.Thread(target=serve, daemon=True).start()
print("listens", server.getsockname() == (own, port), flush=True)
for _ in sys.stdin:
    here = server.getsockname()[0]
    print(ask(own), "at the pod's" if here == own else "on loopback" if here.startswith("127.") else here, ask(here), flush=True)
