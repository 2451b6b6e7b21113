"""Sends garbage to a name server, over UDP and TCP, and then a query.

usage: dns_noise.py SERVER
"""

import os
import socket
import struct
import sys

QUESTION = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\3web\7default\3svc\7cluster\5local\0" + struct.pack("!2H", 1, 1)
NOISE = [
    b"",
    b"?",
    os.urandom(11),
    QUESTION[:-3],
    # an answer
    b"\0\7\x80\0" + QUESTION[4:],
    # a name that points at itself
    QUESTION[:12] + b"\xc0\x0c\0\1\0\1",
    # a label that is longer than the message
    QUESTION[:12] + b"\x3fweb",
    # more questions than there are
    QUESTION[:4] + b"\xff\xff" + QUESTION[6:],
]


def over_tcp(server, message):
    """One frame, and what comes back before the end."""
    with socket.create_connection((server, 53), timeout=20) as connection:
        connection.sendall(struct.pack("!H", len(message)) + message)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def main():
    """Makes noise, then asks."""
    server = sys.argv[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(20)
        datagrams.connect((server, 53))
        for noise in NOISE:
            datagrams.send(noise)
            over_tcp(server, noise)
        datagrams.send(QUESTION)
        answer = b""
        # what was malformed may be refused
        while answer[3:4] == b"" or answer[3] & 15 != 0:
            answer = datagrams.recv(65535)
    assert over_tcp(server, QUESTION)[2:].startswith(answer[:2])
    print("answered after the noise")


main()
