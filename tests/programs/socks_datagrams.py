"""A SOCKS5 client's datagrams (RFC 1928, UDP ASSOCIATE) to the service echo.

usage: socks_datagrams.py HOST PORT
"""

import socket
import struct
import sys

proxy = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=20)
proxy.sendall(b"\x05\x01\x00")
assert proxy.recv(2) == b"\x05\x00"
proxy.sendall(b"\x05\x03\x00\x01\0\0\0\0\0\0")
reply = proxy.recv(10)
assert reply[:4] == b"\x05\x00\x00\x01", reply
relay = (socket.inet_ntoa(reply[4:8]), struct.unpack("!H", reply[8:])[0])

ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ours.settimeout(20)


def name(text, port):
    """A destination by name."""
    return b"\x03" + bytes([len(text)]) + text.encode() + struct.pack("!H", port)


def address(text, port):
    """A destination by address."""
    return b"\x01" + socket.inet_aton(text) + struct.pack("!H", port)


def ask(destination, payload):
    """Sends a datagram and returns what comes back, without the head."""
    head = b"\0\0\0" + destination
    ours.sendto(head + payload, relay)
    answer, sender = ours.recvfrom(65536)
    assert sender == relay and answer.startswith(head), (sender, answer)
    return answer[len(head):]


print("echo.default", ask(name("echo.default", 7000), b"by name"))
print("10.96.10.3", ask(address("10.96.10.3", 7000), b"by address"))

# only the datagram behind these is answered
ours.sendto(b"\0\0\x01" + name("echo.default", 7000) + b"fragment", relay)
assert ask(name("echo.default", 7000), b"next") == b"next"
print("fragment dropped")

stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stranger.sendto(b"\0\0\0" + name("echo.default", 7000) + b"stranger", relay)
assert ask(name("echo.default", 7000), b"next") == b"next"
stranger.setblocking(False)
try:
    print(stranger.recv(100))
except BlockingIOError:
    print("stranger dropped")

ours.connect(relay)
ours.settimeout(0.2)
proxy.close()
# the socket at the other end goes with the connection; what arrives there meanwhile is lost
while True:
    try:
        ours.send(b"\0\0\0" + name("echo.default", 7000) + b"late")
        ours.recv(65536)
    except TimeoutError:
        continue
    except ConnectionRefusedError:
        print("closed")
        break
