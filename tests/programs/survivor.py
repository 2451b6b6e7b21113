"""Keeps a connection open until it breaks, and continues with a new one. Prints the results.

usage: survivor.py HOST
"""

import errno
import socket
import sys

HOST = sys.argv[1]


def exchange(connection):
    """Whether the other end still echoes."""
    connection.sendall(b"hello")
    return connection.recv(100) == b"hello"


old = socket.create_connection((HOST, 7000), timeout=120)
idle = socket.create_connection((HOST, 7000), timeout=120)
print("open", exchange(old), flush=True)
for name, connection in [("busy", old), ("idle", idle)]:
    try:
        print(name, connection.recv(1), flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, type(error).__name__), flush=True)
new = socket.create_connection((HOST, 7000), timeout=120)
print("again", exchange(new), socket.gethostbyname("web.default"), flush=True)
