"""What is left of a socket whose connect was refused while nobody waited in it: HOST PORT ELSEWHERE PORT.

Whoever asks first is told of the refusal; then the socket is at its end, and connects elsewhere at the second attempt."""

import errno
import select
import socket
import sys


def told(call, *arguments):
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
EVERYTHING = select.POLLIN | select.POLLOUT | select.POLLRDHUP
for first in ("SO_ERROR", "recv", "send", "connect"):
    with socket.socket() as sock:
        sock.setblocking(False)
        print(first, "first:", errno.errorcode[sock.connect_ex(refusing)])
        events(sock, 0)
        if first == "SO_ERROR":
            print("SO_ERROR:", errno.errorcode[sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
        elif first == "recv":
            print("recv:", told(sock.recv, 10))
        elif first == "send":
            print("send:", told(sock.send, b"x"))
        else:
            print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
            print("events:", events(sock, EVERYTHING))
        if first != "connect":
            print("events:", events(sock, EVERYTHING))
            print("recv:", told(sock.recv, 10), told(sock.recv, 10))
            print("send:", told(sock.send, b"x"))
            print("peer:", told(sock.getpeername))
            print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
        print("events:", events(sock, EVERYTHING))
        print("SO_ERROR:", sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        print("connect:", errno.errorcode[sock.connect_ex(elsewhere)])
        events(sock, select.POLLIN)
        print("recv:", sock.recv(100))
