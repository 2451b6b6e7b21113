"""Asks a name server by itself, over UDP, connected and not, and tells the code of each answer and its addresses.

usage: resolver.py SERVER NAME...
"""

import socket
import struct
import sys


def question(number, name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, 1, 1)


def after_name(message, at):
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def described(message):
    number, flags, questions, answers = struct.unpack(">4H", message[:8])
    at, found = 12, []
    for _ in range(questions):
        at = after_name(message, at) + 4
    for _ in range(answers):
        at = after_name(message, at)
        kind, _, _, length = struct.unpack(">HHIH", message[at : at + 10])
        if kind == 1:
            found.append(socket.inet_ntoa(message[at + 10 : at + 14]))
        at += 10 + length
    return f"number {number}, code {flags & 15}, {' '.join(sorted(found)) or 'no address'}"


server = (sys.argv[1], 53)
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
loose = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for each in (connected, loose):
    each.settimeout(15)
connected.connect(server)
for number, name in enumerate(sys.argv[2:], 1):
    connected.send(question(number, name))
    print(name, described(connected.recv(512)), flush=True)
    loose.sendto(question(number + 100, name), server)
    answer, source = loose.recvfrom(512)
    print(name, described(answer), "from", *source, flush=True)
