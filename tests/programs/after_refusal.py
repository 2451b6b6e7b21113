"""Prints the state of a socket after a non-blocking connect was refused: HOST PORT ELSEWHERE PORT.

Whoever asks first is told of the refusal; then the socket is at its end, and connects elsewhere at the second attempt,
also to this machine. One that is dissolved is as new at once, also while its connect is under way: HOST PORT of silence."""

import ctypes
import errno
import select
import socket
import sys


def result_of(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def events(sock, wanted):
    poll = select.poll()
    poll.register(sock, wanted)
    return [hex(event) for _, event in poll.poll(5000)]


refusing = sys.argv[1], int(sys.argv[2])
elsewhere = sys.argv[3], int(sys.argv[4])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(elsewhere)
    OWN = probe.getsockname()[0]


def place(sock):
    """The socket's address, without the port, which varies."""
    address, port = sock.getsockname()
    return "own" if address == OWN else address, port != 0


EVERYTHING = select.POLLIN | select.POLLOUT | select.POLLRDHUP
for first in ("SO_ERROR", "recv", "send", "connect"):
    with socket.socket() as sock:
        sock.setblocking(False)
        print(first, "first:", errno.errorcode[sock.connect_ex(refusing)])
        events(sock, 0)
        print("place:", place(sock))
        if first == "SO_ERROR":
            print("SO_ERROR:", errno.errorcode[sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
        elif first == "recv":
            print("recv:", result_of(sock.recv, 10))
        elif first == "send":
            print("send:", result_of(sock.send, b"x"))
        else:
            print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
            print("events:", events(sock, EVERYTHING))
        if first != "connect":
            print("events:", events(sock, EVERYTHING))
            print("place:", place(sock))
            print("recv:", result_of(sock.recv, 10), result_of(sock.recv, 10))
            print("send:", result_of(sock.send, b"x"))
            print("peer:", result_of(sock.getpeername))
            print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
        print("events:", events(sock, EVERYTHING))
        print("place:", place(sock))
        print("SO_ERROR:", sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
        events(sock, select.POLLIN)
        print("recv:", sock.recv(100))

libc = ctypes.CDLL(None, use_errno=True)


def dissolve(sock, length=16):
    unspecified = ctypes.create_string_buffer(length)
    return libc.connect(sock.fileno(), unspecified, length)


def finish(sock):
    """Polls until a connect is done."""
    events(sock, select.POLLOUT)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def greet(sock, server):
    """Whether bytes go both ways with a server of this machine."""
    with server.accept()[0] as peer:
        peer.sendall(b"hello")
        events(sock, select.POLLIN)
        received = sock.recv(100)
        sock.sendall(received)
        return peer.recv(100)


server = socket.create_server(("127.0.0.1", 0))
server.settimeout(10)
with socket.create_server(("127.0.0.1", 0)) as closed, socket.socket() as sock:
    nobody = closed.getsockname()
    closed.close()
    sock.setblocking(False)
    outcomes = [errno.errorcode[sock.connect_ex(nobody)] for _ in range(3)]
    print("nobody here:", outcomes, result_of(sock.recv, 1), events(sock, EVERYTHING))
    print("then elsewhere:", errno.errorcode[sock.connect_ex(elsewhere)])
    print("again:", errno.errorcode[sock.connect_ex(elsewhere)], finish(sock))
    events(sock, select.POLLIN)
    print("recv:", sock.recv(100))
with socket.socket() as sock:
    sock.setblocking(False)
    print("shut down:", result_of(sock.shutdown, socket.SHUT_RDWR))
    print("connect:", sock.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS), finish(sock))
    with server.accept()[0] as peer:
        print("peer:", peer.getpeername()[0])
with socket.socket() as sock:
    sock.setblocking(False)
    sock.connect_ex(refusing)
    events(sock, 0)
    print("then here:", errno.errorcode[sock.connect_ex(server.getsockname())])
    print("again:", sock.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS), finish(sock))
    print("greeting:", greet(sock, server))
for told_before, length in ((False, 16), (True, 16), (False, 2)):
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(refusing)
        events(sock, 0)
        if told_before:
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print("dissolved:", dissolve(sock, length))
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print("connect:", errno.errorcode[sock.connect_ex(elsewhere)], finish(sock))
        events(sock, select.POLLIN)
        print("recv:", sock.recv(100), sock.getpeername())
silent = sys.argv[5], int(sys.argv[6])
for target in (elsewhere, server.getsockname()):
    with socket.socket() as sock:
        sock.setblocking(False)
        print("silent:", errno.errorcode[sock.connect_ex(silent)])
        print("dissolved:", dissolve(sock))
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        print("connect:", sock.connect_ex(target) in (0, errno.EINPROGRESS), finish(sock))
        if target == elsewhere:
            events(sock, select.POLLIN)
            print("recv:", sock.recv(100), sock.getpeername())
        else:
            with server.accept()[0] as peer:
                peer.settimeout(1)
                sock.close()
                print("the end:", peer.recv(1))
# connected, dissolved and connected to another peer: the relay must not apply the state of the first to the second
with socket.socket() as sock:
    print("connect:", sock.connect(elsewhere), sock.getpeername() == elsewhere)
    print("dissolved:", dissolve(sock))
    print("connect:", sock.connect(elsewhere))
    print("recv:", sock.recv(100), sock.recv(100), sock.getpeername())
