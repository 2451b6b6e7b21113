"""What a program does with its own address, which it asks the kernel for: HOST with a TCP and UDP echo at 7000, a name server.

Clusters of programs (dask, ray, Spark, Akka) tell it to each other, telephones (SIP) write it into their messages."""

import ctypes
import errno
import os
import select
import socket
import subprocess
import sys
import threading

host, name_server = sys.argv[1], sys.argv[2]
ECHO = (host, 7000)
CHILD = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as stream:
    print("    a child:", stream.getpeername()[0] == sys.argv[1], stream.getsockname()[0] == sys.argv[1], stream.recv(9))
"""

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((name_server, 53))
    OWN = probe.getsockname()[0]


def text_of(address):
    """An address without a port that is another one each time."""
    shown = "own" if address[0] == OWN else "own, mapped" if address[0] == f"::ffff:{OWN}" else address[0]
    return f"{shown} with{'' if address[1] else 'out'} a port"


def attempt(what, call):
    try:
        print(f"{what}:", call())
    except OSError as error:
        print(f"{what}:", errno.errorcode.get(error.errno, type(error).__name__))


def answer(server, count, lines):
    for _ in range(count):
        stream, peer = server.accept()
        names = text_of(peer), text_of(stream.getsockname()), text_of(stream.getpeername())
        lines.append(f"    accepted from {names[0]} at {names[1]}, peer {names[2]}")
        lines.append(f"    the port is the peer's: {peer[1] == stream.getpeername()[1]}")
        stream.sendall(b"welcome")
        stream.close()


def reach(place, family=socket.AF_INET):
    """A listener at a place, from this program and from another one."""
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((place, 0))
        server.listen()
        server.settimeout(10)
        port, lines = server.getsockname()[1], []
        print("    listens at", text_of(server.getsockname()))
        thread = threading.Thread(target=answer, args=(server, 2, lines))
        thread.start()
        with socket.create_connection((OWN, port), 10) as client:
            print("    client at", text_of(client.getsockname()), "of", client.getpeername() == (OWN, port))
            print("    received", client.recv(9))
            client.recv(1)
        child = subprocess.run([sys.executable, "-SEc", CHILD, OWN, str(port)], stdout=subprocess.PIPE)
        thread.join()
        print(*lines, child.stdout.decode(), sep="\n", end="")
    with socket.socket(family) as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind((place, port))
        again.listen()
        return "listens again"


attempt("a listener at the own address", lambda: reach(OWN))
attempt("a listener everywhere", lambda: reach("0.0.0.0"))
attempt("a listener at the own address, mapped", lambda: reach(f"::ffff:{OWN}", socket.AF_INET6))
attempt("a listener of IPv6 everywhere", lambda: reach("::", socket.AF_INET6))


def taken():
    with socket.create_server((OWN, 0)) as server:
        socket.create_server(server.getsockname()).close()


attempt("the same port once more", taken)
attempt("an address of nobody", lambda: socket.create_server(("192.0.2.7", 0)))


def connected(stream, target):
    outcome = stream.connect_ex(target)
    if outcome == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        poll.poll(10_000)
        outcome = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode.get(outcome, outcome)


def nobody(blocking, elsewhere=None, family=socket.AF_INET, bound=None):
    """Connects to a closed port; prints the state of the socket, and its source when it connects elsewhere afterwards."""
    mapped = "::ffff:" if family == socket.AF_INET6 else ""
    with socket.create_server((OWN, 0)) as server:
        port = server.getsockname()[1]
    with socket.create_server((elsewhere or "127.0.0.1", 0)) as server, socket.socket(family) as stream:
        server.settimeout(10)
        stream.setblocking(blocking)
        if bound:
            stream.bind((bound, 0))
        outcomes = [connected(stream, (mapped + OWN, port)), text_of(stream.getsockname())]
        target = (mapped + elsewhere, server.getsockname()[1]) if elsewhere else (mapped + host, 7000)
        outcomes.append(connected(stream, target))
        if outcomes[-1] == "ECONNABORTED":
            # the failure, told once more
            outcomes += text_of(stream.getsockname()), connected(stream, target)
        outcomes.append(text_of(stream.getsockname()))
        if elsewhere:
            outcomes.append(text_of(server.accept()[1]))
        return outcomes


for elsewhere in (None, "127.0.0.1", OWN):
    for family in (socket.AF_INET, socket.AF_INET6):
        attempt("nobody listens", lambda: nobody(True, elsewhere, family))
        attempt("nobody listens, not blocking", lambda: nobody(False, elsewhere, family))
    attempt("nobody listens, bound", lambda: nobody(True, elsewhere, bound=OWN))
    attempt("nobody listens, bound, not blocking", lambda: nobody(False, elsewhere, bound=OWN))


def onlyhere():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection((OWN, server.getsockname()[1]), 10)


attempt("a listener on loopback alone", onlyhere)


def outwards(family, source, blocking):
    with socket.socket(family) as stream:
        stream.bind((source, 0))
        before = text_of(stream.getsockname())
        stream.setblocking(blocking)
        target = ECHO if family == socket.AF_INET else (f"::ffff:{host}", 7000)
        outcome = stream.connect_ex(target)
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        poll.poll(10_000)
        stream.settimeout(10)
        stream.sendall(b"hello")
        return before, errno.errorcode.get(outcome, 0), stream.recv(9), text_of(stream.getsockname())


for blocking in (True, False):
    attempt("to a service", lambda: outwards(socket.AF_INET, OWN, blocking))
    attempt("to a service, mapped", lambda: outwards(socket.AF_INET6, f"::ffff:{OWN}", blocking))


def receive(client):
    data, control, _, source = client.recvmsg(100, 100)
    return data, source if source[:1] in ((host,), (f"::ffff:{host}",)) else text_of(source)


def pktinfo(source=None):
    """struct in_pktinfo: any interface, this source."""
    source = socket.inet_aton(source or OWN)
    return [(socket.IPPROTO_IP, 8, b"\0\0\0\0" + source + b"\0\0\0\0")]


def datagram(bound, control=(), connected=False, family=socket.AF_INET):
    target = ECHO if family == socket.AF_INET else (f"::ffff:{host}", 7000)
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        if bound:
            client.bind((bound, 0))
        before = text_of(client.getsockname())
        if connected:
            client.connect(target)
            client.sendmsg([b"hello"], control)
        else:
            client.sendmsg([b"hello"], control, 0, target)
        return before, receive(client), text_of(client.getsockname())


for connected in (False, True):
    attempt("datagram", lambda: datagram(OWN, connected=connected))
    attempt("datagram, mapped", lambda: datagram(f"::ffff:{OWN}", (), connected, socket.AF_INET6))
    attempt("datagram with its source", lambda: datagram("0.0.0.0", pktinfo(), connected))
    attempt("datagram with its source, bound there", lambda: datagram(OWN, pktinfo(), connected))
    attempt("datagram with its source, new", lambda: datagram(None, pktinfo(), connected))
    wide = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(socket.AF_INET6, f"::ffff:{OWN}") + b"\0\0\0\0")]
    attempt("datagram with its source, mapped", lambda: datagram("::", wide, connected, socket.AF_INET6))
attempt("datagram with a foreign source", lambda: datagram("0.0.0.0", pktinfo("192.0.2.7")))


def myself(server_at, client_at, control=(), connected=False):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.settimeout(10)
        server.bind((server_at, 0))
        there = OWN, server.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            if client_at:
                client.bind((client_at, 0))
            if connected:
                client.connect(there)
                client.sendmsg([b"to myself"], control)
            elif control:
                client.sendmsg([b"to myself"], control, 0, there)
            else:
                client.sendto(b"to myself", there)
            data, source = server.recvfrom(100)
            server.sendto(b"and back", source)
            back, answerer = client.recvfrom(100)
            return data, text_of(source), back, text_of(answerer), answerer == there


for server_at in (OWN, "0.0.0.0"):
    for client_at in (OWN, None):
        attempt("datagram to myself", lambda: myself(server_at, client_at))
        attempt("datagram to myself, connected", lambda: myself(server_at, client_at, connected=True))
        attempt("datagram to myself with its source", lambda: myself(server_at, client_at, pktinfo()))

# by the numbers of system calls
libc = ctypes.CDLL(None, use_errno=True)
BIND, SHUTDOWN, ACCEPT4, GETSOCKNAME = {"x86_64": (49, 48, 288, 51), "aarch64": (200, 210, 242, 204)}[os.uname().machine]


def by_number():
    raw = socket.AF_INET.to_bytes(2, sys.byteorder) + b"\0\0" + socket.inet_aton(OWN) + bytes(8)
    with socket.socket() as server:
        server.settimeout(None)
        print("    bind:", libc.syscall(BIND, server.fileno(), raw, 16))
        server.listen()
        place, length = ctypes.create_string_buffer(16), ctypes.c_uint32(16)
        libc.syscall(GETSOCKNAME, server.fileno(), place, ctypes.byref(length))
        print("    own:", socket.inet_ntoa(place.raw[4:8]) == OWN)
        with socket.create_connection(server.getsockname(), 10) as client:
            length = ctypes.c_uint32(16)
            accepted = libc.syscall(ACCEPT4, server.fileno(), place, ctypes.byref(length), 0)
            port = int.from_bytes(place.raw[2:4], "big")
            print("    from:", socket.inet_ntoa(place.raw[4:8]) == OWN, port == client.getsockname()[1], length.value)
            print("    shutdown:", libc.syscall(SHUTDOWN, accepted, socket.SHUT_WR), client.recv(1))
    return "done"


attempt("by number", by_number)
