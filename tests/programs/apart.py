"""Uses the network from a network namespace of its own, which has nothing but what this program gives it.

usage: apart.py HOST PORT
"""

import errno
import socket
import subprocess
import sys
import time

HOST, PORT = sys.argv[1], int(sys.argv[2])


def report(what, act):
    """Prints one line with the result, and whether that took long."""
    begun = time.monotonic()
    try:
        outcome = act()
    except socket.gaierror as error:
        outcome = error.errno
    except OSError as error:
        outcome = errno.errorcode[error.errno]
    print(what, outcome, "" if time.monotonic() - begun < 4 else "late")


def stream(address):
    """Connects, and returns the first bytes."""
    with socket.create_connection(address, 10) as client:
        return client.recv(100)


def nonblocking():
    """Starts a non-blocking connect."""
    with socket.socket() as client:
        client.setblocking(False)
        return errno.errorcode.get(client.connect_ex((HOST, PORT)), 0)


def datagram(family, address):
    """Sends something."""
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", address)


def connected_datagram():
    """The same on a connected socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((HOST, PORT))
        return client.send(b"x")


def ask():
    """Every call that would leave the namespace."""
    report("name", lambda: socket.gethostbyname("web"))
    report("names", lambda: socket.getaddrinfo("web", 80))
    report("name of an address", lambda: socket.getnameinfo((HOST, PORT), socket.NI_NAMEREQD))
    report("stream", lambda: stream((HOST, PORT)))
    report("non-blocking stream", nonblocking)
    report("datagram", lambda: datagram(socket.AF_INET, (HOST, PORT)))
    report("datagram to all", lambda: datagram(socket.AF_INET, ("224.0.0.251", 5353)))
    report("datagram to a link", lambda: datagram(socket.AF_INET6, ("fe80::1", 5353, 0, 1)))
    report("connected datagram", connected_datagram)


ask()
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with socket.create_server(("127.0.0.1", 0)) as server:
    with socket.create_connection(server.getsockname()) as client:
        caller, who = server.accept()
        print("loopback", client.getpeername() == server.getsockname(), client.getsockname() == who)
# the namespace has that address, as one of a VPN or of a container has addresses of its own
subprocess.run(["ip", "address", "add", HOST + "/32", "dev", "lo"], check=True)
with socket.create_server((HOST, PORT)) as server, socket.create_connection((HOST, PORT), 10) as client:
    caller, who = server.accept()
    caller.send(b"here")
    print("own server", client.recv(100), client.getpeername(), who[0])
