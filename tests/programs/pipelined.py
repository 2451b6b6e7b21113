"""Sends many questions over one TCP connection before it reads an answer. Prints how many came back.

usage: pipelined.py SERVER NAME COUNT
"""

import socket
import struct
import sys


def question(identifier, name):
    """A question for the addresses of a name, in its frame."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)
    return struct.pack("!H", len(message)) + message


def main():
    """Asks, then reads."""
    server, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with socket.create_connection((server, 53), timeout=20) as connection:
        connection.sendall(b"".join(question(identifier, name) for identifier in range(count)))
        stream = connection.makefile("rb")
        seen = set()
        for _ in range(count):
            (length,) = struct.unpack("!H", stream.read(2))
            seen.add(struct.unpack("!H", stream.read(length)[:2])[0])
    print(len(seen), "answers")


main()
