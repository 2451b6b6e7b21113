"""Sends everything but requests to a session's socket.

usage: garbage.py SOCKET TOKEN
"""

import array
import os
import random
import socket
import sys

PATH = sys.argv[1]
TOKEN = bytes.fromhex(sys.argv[2])
RANDOM = random.Random(7)


def caller():
    """A connection as the library makes it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(20)
    connection.connect(PATH)
    return connection


def said(message, descriptors=()):
    """What comes back for a message: mostly nothing but the end."""
    with caller() as connection:
        attached = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            connection.sendmsg([message], attached)
            return connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return b""


for size in [0, 1, 2, 3, 10, 31, 32, 33, 258, 259, 1000, 60_000]:
    said(RANDOM.randbytes(size))
    said(TOKEN + RANDOM.randbytes(size))
for kind in range(8):
    for version in [0, 1, 2, 255]:
        said(TOKEN + bytes([version, kind]) + RANDOM.randbytes(kind * 3))
        said(TOKEN + bytes([version, kind]))

# connects whose attached descriptor is no socket, or none that can connect, or several
target = TOKEN + bytes([1, 1, 4]) + (80).to_bytes(2, "little") + bytes([10, 96, 10, 1])
reader, writer = os.pipe()
file = os.open("/dev/null", os.O_RDWR)
pair = socket.socketpair()
listener = socket.create_server(("127.0.0.1", 0))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected = socket.create_connection(listener.getsockname())
for descriptors in [
    (), (reader,), (file,), (pair[0].fileno(),), (listener.fileno(),), (datagrams.fileno(),), (connected.fileno(),),
    (reader, writer, file), (caller().fileno(),),
]:
    said(target, descriptors)
streams = [socket.socket() for _ in range(3)]
said(target, [stream.fileno() for stream in streams])

# callers that say nothing, many at once, and one that speaks twice
silent = [caller() for _ in range(300)]
with caller() as twice:
    twice.send(TOKEN + b"\x01\x02" + bytes(8))
    twice.send(TOKEN + b"\x01\x02" + bytes(8))
    try:
        twice.recv(100)
    except ConnectionResetError:
        pass

# another kind of socket
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(PATH)
except OSError as error:
    print("stream:", error.strerror)
print(socket.gethostbyname("web"))
