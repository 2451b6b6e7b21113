"""Uses the network in ways that need more of the session than a socket, and prints the result of each.

usage: visible.py HOST PORT
"""

import os
import socket
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])


def told(what, act):
    """Prints one line with the result."""
    try:
        print(what, act())
    except OSError as error:
        print(what, type(error).__name__, error.errno)


def received():
    """What a server greets with."""
    with socket.create_connection((HOST, PORT), 10) as client:
        return client.recv(100)


def answer():
    """The first bytes of the answer of resolv.conf's name server to a query, and its source."""
    with open("/etc/resolv.conf", encoding="ascii") as lines:
        servers = [line.split()[1] for line in lines if line.startswith("nameserver")]
    question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x07default\x03svc\x07cluster\x05local\0\0\x01\0\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(question, (servers[0], 53))
        message, sender = client.recvfrom(512)
        return message[:2].hex(), message[3] & 15, sender


told("name", lambda: socket.gethostbyname("web"))
told("stream", received)
told("datagram", answer)
told("size is the file's", lambda: os.stat("/etc/resolv.conf").st_size == len(open("/etc/resolv.conf", "rb").read()))
told("readable", lambda: os.access("/etc/resolv.conf", os.R_OK))
print(open("/etc/resolv.conf", encoding="ascii").read(), end="")
