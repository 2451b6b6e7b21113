"""What an open connection can do, a case each. Prints the same for every connection that is one.

usage: streams.py CASE [HOST] [ARGUMENT]
"""

import errno
import hashlib
import os
import socket
import struct
import sys
import threading

HOST = sys.argv[2] if len(sys.argv) > 2 else "10.96.10.3"


def connect(port):
    """A blocking connection that never hangs for ever."""
    return socket.create_connection((HOST, port), timeout=20)


def read_all(connection):
    """Everything up to the end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def failure(call, *arguments):
    """The errno by name, or what the call returned."""
    try:
        return repr(call(*arguments))
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


def greeting():
    """The peer speaks and closes."""
    connection = connect(7005)
    print(read_all(connection), connection.recv(1), failure(connection.recv, 1))


def half_close():
    """We close our side, and the peer still answers."""
    connection = connect(7003)
    connection.sendall(b"x" * 100_000)
    connection.shutdown(socket.SHUT_WR)
    print(failure(connection.send, b"more"))
    print(read_all(connection))
    empty = connect(7003)
    empty.shutdown(socket.SHUT_WR)
    print(read_all(empty))


def reset():
    """The peer resets after one byte."""
    connection = connect(7004)
    connection.sendall(b"x")
    print(failure(connection.recv, 1))
    print(failure(connection.recv, 1))
    print(failure(connection.send, b"x"))
    polled = connect(7004)
    polled.sendall(b"x")
    poll = __import__("select").poll()
    poll.register(polled, 0)
    events = poll.poll(10_000)[0][1]
    print("ERR" if events & 8 else "", "HUP" if events & 16 else "")
    print(errno.errorcode.get(polled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))


def own_reset():
    """We reset by closing with unread data and with a linger of nothing; a new connection works after it."""
    connection = connect(7002)
    connection.recv(10)
    connection.close()
    connection = connect(7000)
    connection.sendall(b"x")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    print(read_all(connect(7005)))


def echo():
    """Bytes come back as they went, urgent sizes and all."""
    connection = connect(7000)
    for size in [1, 2, 1447, 1448, 1449, 65535, 65536, 65537, 300_000]:
        data = os.urandom(size)
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        back = b""
        while len(back) < size:
            back += connection.recv(size - len(back))
        sender.join()
        print(size, back == data)


def transfer():
    """Much, both ways at once, with a checksum. Prints how much came back whole."""
    size = int(sys.argv[3])
    connection = connect(7000)
    sent, received = hashlib.blake2b(), hashlib.blake2b()
    block = os.urandom(1 << 20)

    def send():
        left = size
        while left:
            part = block[: min(left, len(block))]
            connection.sendall(part)
            sent.update(part)
            left -= len(part)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    count = 0
    while part := connection.recv(1 << 18):
        received.update(part)
        count += len(part)
    sender.join()
    print(count, sent.digest() == received.digest())


def upload():
    """Much one way: the peer counts."""
    size = int(sys.argv[3])
    connection = connect(7003)
    block = b"x" * (1 << 20)
    for _ in range(size >> 20):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
    print(read_all(connection))


def download():
    """Much the other way, and then we have had enough."""
    size = int(sys.argv[3])
    connection = connect(7002)
    count = 0
    while count < size:
        count += len(connection.recv(1 << 18))
    connection.close()
    print("enough")


def stalled():
    """A peer that does not read stops us, and nobody else."""
    connection = connect(7006)
    connection.setblocking(False)
    try:
        while True:
            connection.send(b"x" * 65536)
    except BlockingIOError:
        print("stopped")
    print(read_all(connect(7005)))
    echoed = connect(7000)
    echoed.sendall(b"still here")
    print(echoed.recv(100))


def names():
    """Whom the two ends believe to speak with."""
    connection = connect(7007)
    address, port = read_all(connection).split()
    print(address.decode().rsplit(".", 1)[0], 0 < int(port) < 65536)
    print(connection.getpeername())
    print(connection.getsockname()[1] > 0, connection.family.name, connection.type.name)


def who():
    """The address that the peer sees."""
    print(read_all(connect(7007)).split()[0].decode())


def options():
    """Options of the socket stay what the program makes them."""
    connection = connect(7000)
    for level, option in [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    ]:
        before = connection.getsockopt(level, option)
        connection.setsockopt(level, option, 1)
        print(before, connection.getsockopt(level, option) != 0)
    print(connection.getblocking(), connection.gettimeout())


def fork():
    """A child goes on with its parent's connection."""
    connection = connect(7000)
    child = os.fork()
    if child == 0:
        connection.sendall(b"from the child")
        os._exit(0)
    os.waitpid(child, 0)
    print(connection.recv(100))
    connection.shutdown(socket.SHUT_WR)
    print(connection.recv(100))


def reachable():
    """Whether something listens on a port."""
    connect(int(sys.argv[3])).close()


globals()[sys.argv[1]]()
